"""The processes that do the work. Light on purpose: a worker imports this before its output is sent away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
}
"""Of the workers: as many as asked share the cores, and costs are told of one thread."""


@contextmanager
def workers(processes: int, log: Path) -> Iterator[Executor]:
    """Processes that start afresh, as TensorFlow cannot be forked; what libraries print there goes to `log`.

    They end with the block, at once where it ends by an error or Ctrl-C.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(log,)
    )
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(log: Path) -> None:
    # Ctrl-C is for the process that was started by hand: it ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
