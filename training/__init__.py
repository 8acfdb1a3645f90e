"""The workstation: recordings in, detectors fitted and judged, run folders out. Runs from the checkout."""

import os

# numpy works on many small matrices here: threads that wait for each other cost more than they compute, on a busy
# machine five times as much. TensorFlow has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
