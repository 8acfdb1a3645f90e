"""What the agent costs on this machine, measured: `make bench`, or one part with `python -m benchmarks.NAME`.

prefilter.py   windower and Gaussian prefilter
path.py        the whole path from readings to decision against the bare invoke() of the same graph
service.py     the running agent: start-up, memory, time from decision to commit, 10 kHz through a serial port
"""
