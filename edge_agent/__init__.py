"""Anomalite's device side: readings in, alerts out, for years."""

import os

# As the unit of the service sets it, for an agent that a person starts: numpy's matrices are small here, and on a busy
# machine threads that wait for each other cost many times what they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
