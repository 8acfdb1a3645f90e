"""What the agent costs on this machine, measured: `make bench`, or one part with `python -m benchmarks.NAME`.

prefilter.py   windower and Gaussian prefilter
path.py        the whole path from readings to decision against the bare invoke() of the same graph
camera_path.py the same from frames to decision, and the memory of an agent with a camera
service.py     the running agent: start-up, memory, time from decision to commit, 10 kHz through a serial port
"""

import os

# As the unit of the service sets it: threads that wait for each other cost more than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
