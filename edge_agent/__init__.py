"""Anomalite's device side: readings in, alerts out, for years."""

__version__ = "0.1.0"
