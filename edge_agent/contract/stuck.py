"""How long a channel stays at one value: in training, for the limits, and on the device, for the fault."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Floats, Times

STUCK_FACTOR: Final = 3
"""A channel is stuck when constant for more than this many times its longest constant run in training. The longest run
among n readings grows with log n (Erdos and Renyi 1970): three times that of 400 readings is that of a year at 1 Hz."""

MIN_STUCK_SAMPLES: Final = 32
"""No channel is stuck before so many samples at one value. A coarse signal dwells longer in another regime than in the
one it was trained on, which no run length seen in training foretells: a flow meter of a water loop went from 5 samples
to 27 (a change every fifth sample gives 32 in a row about once in 1,300 changes). Where windows are this long it
changes nothing."""


def constant_runs(values: Floats, last: Floats, run: Times) -> Times:
    """Return for how many samples each channel has been at its value, up to and including each row.

    A missing value (NaN or infinite) is no sample: it neither counts nor ends a run.

    Args:
        values: float32 [n, C], n >= 1.
        last: float32 [C] the last sample before the first row; NaN where there was none.
        run: int64 [C] its run.

    Returns:
        int64 [n, C].
    """
    present = np.isfinite(values)
    row = np.arange(1, len(values) + 1)[:, np.newaxis]
    before = last
    if present.all():
        changed = values != np.concatenate((last[np.newaxis], values[:-1]))
        samples = row
    else:
        before = last_samples(values, present, last)
        changed = present & (values != before[:-1])
        samples = np.cumsum(present, axis=0)
    first_of_run = np.maximum.accumulate(np.where(changed, samples, 0), axis=0)
    return np.where(first_of_run > 0, samples - first_of_run + 1, run + samples)


def last_samples(values: Floats, present: NDArray[np.bool_], last: Floats) -> Floats:
    """Return the last sample before each row and after the last row, float32 [n + 1, C], NaN where there was none."""
    extended = np.concatenate((last[np.newaxis], values))
    row = np.arange(len(extended))[:, np.newaxis]
    source = np.where(np.concatenate((np.ones((1, values.shape[1]), bool), present)), row, 0)
    return np.take_along_axis(extended, np.maximum.accumulate(source, axis=0), axis=0)


def longest_constant_run(values: Floats) -> tuple[int, ...]:
    """Return the largest number of samples in a row at one value, per channel of float32 [n, C]; 0 without samples."""
    columns: int = values.shape[1]
    if not len(values):
        return (0,) * columns
    runs = constant_runs(values, np.full(columns, np.nan, np.float32), np.zeros(columns, np.int64))
    return tuple(int(run) for run in runs.max(axis=0))


def stuck_limits(values: Floats, window: int) -> tuple[int | None, ...]:
    """Return for how many samples each channel may be constant before it counts as stuck.

    Args:
        values: float32 [n, C] normal readings.
        window: rows T of a window: the least limit, as a window that is not constant throughout still has something to
            tell the network.

    Returns:
        `STUCK_FACTOR` times the longest run, at least `window` and `MIN_STUCK_SAMPLES`; None (never stuck) for a
        channel that was constant throughout.
    """
    samples = np.count_nonzero(np.isfinite(values), axis=0)
    runs = longest_constant_run(values)
    return tuple(
        None if run == n else max(STUCK_FACTOR * run, window, MIN_STUCK_SAMPLES)
        for run, n in zip(runs, samples, strict=True)
    )
