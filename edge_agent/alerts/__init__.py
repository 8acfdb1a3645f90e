"""Alerts out: the outbox on disk, the link to the broker, evidence beside the alerts."""
