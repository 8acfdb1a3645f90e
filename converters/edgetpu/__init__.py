"""Graphs for the Edge TPU: integers in, which operators it takes, and its compiler where that is installed."""
