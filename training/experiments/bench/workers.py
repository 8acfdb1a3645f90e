"""The processes that do the work. Light on purpose: a worker imports this before its output is sent away."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
}
"""Of the workers: as many as asked share the cores, and costs are told of one thread."""


def workers(processes: int, log: Path) -> ProcessPoolExecutor:
    """Processes that start afresh, as TensorFlow cannot be forked; what libraries print there goes to `log`."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(log,)
    )


def _start(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
