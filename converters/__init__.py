"""From run folder to bundle: conversion, parity, thresholds, gating, packing. Runs from the checkout."""
