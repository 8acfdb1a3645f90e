"""From a series of scores to the events it would have raised at any threshold.

With v the N-th largest of the last M scores, "N of the last M above t" is exactly v > t. Windows with v > t that are no
further apart than the join time are one event. How many events there are is known for every t at once: window i begins
one for those t with p <= t < v, where p is the largest v within the join time before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Doubles, Times

_BLOCK = 65_536
"""Windows whose histories are held at once: bounds memory at 2.6 MB for M = 5, whatever the length of the recording."""


def usual_step_ns(t_ns: Times) -> float:
    """Return the median step forward in time; 0 where there is none."""
    steps = np.diff(t_ns)
    return float(np.median(steps[steps > 0])) if np.any(steps > 0) else 0.0


def unbroken_ns(t_ns: Times, join_s: float) -> int:
    """Return the longest step that need not be a gap: the larger of the join time and three usual steps."""
    return round(max(join_s * NS, 3 * usual_step_ns(t_ns)))


def run_starts(t_ns: Times, gap_ns: int) -> NDArray[np.bool_]:
    """Mark the first window of each unbroken run: bool [n], from int64 [n].

    A step of more than `gap_ns`, and one that does not go forward in time, begins a new run.
    """
    starts = np.ones(len(t_ns), dtype=np.bool_)
    steps = np.diff(t_ns)
    starts[1:] = (steps > gap_ns) | (steps <= 0)
    return starts


def nth_largest(scores: Doubles, starts: NDArray[np.bool_], n: int, m: int) -> Doubles:
    """Return v, float64 [k]: the N-th largest of the last M scores of the run; -inf while it has fewer than N."""
    place = _place_in_run(starts)
    result = np.empty(len(scores))
    for first in range(0, len(scores), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(scores)))
        history = np.full((len(rows), m), -np.inf)
        for lag in range(m):
            inside = place[rows] >= lag
            history[inside, lag] = scores[rows[inside] - lag]
        result[rows] = np.partition(history, m - n, axis=1)[:, m - n]
    return result


def event_levels(strength: Doubles, t_ns: Times, join_ns: int) -> tuple[int, Doubles]:
    """Return how many events there are at any threshold, and where the next one appears.

    Args:
        strength: float64 [k], v of each window; +inf where it alarms at any threshold, -inf where it never does.
        t_ns: int64 [k]; a step back in time separates events.
        join_ns: alarming windows no further apart than this are one event.

    Returns:
        The events that remain at any threshold, and float64 [r], falling: at a threshold equal to its entry of index
        r, and at any above, there are at most r further events. (At lower thresholds events merge; the count is the
        largest reached on the way down, so it never falls again.)
    """
    before = _largest_before(strength, t_ns, join_ns)
    begins = before < strength
    highs, lows = np.sort(strength[begins]), np.sort(before[begins])
    levels = np.unique(highs)[::-1]
    events = (len(highs) - np.searchsorted(highs, levels)) - (len(lows) - np.searchsorted(lows, levels))
    most = np.maximum.accumulate(events)
    always = int(most[0]) if len(levels) and np.isposinf(levels[0]) else 0
    finite = np.isfinite(levels)
    further = np.diff(most[finite], prepend=always)
    return always, np.repeat(levels[finite], further)


def _place_in_run(starts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Windows since the run began, int64 [k]."""
    index = np.arange(len(starts), dtype=np.int64)
    result: NDArray[np.int64] = index - np.maximum.accumulate(np.where(starts, index, 0))
    return result


def _largest_before(strength: Doubles, t_ns: Times, join_ns: int) -> Doubles:
    """Largest strength among the windows at most `join_ns` before each one, itself excluded; -inf where there are none.

    A sparse table (each range is covered by two overlapping ones whose length is a power of two), level by level.
    """
    steps = np.diff(t_ns, prepend=t_ns[:1])
    clock = np.cumsum(np.where(steps < 0, join_ns + 1, steps))
    last = np.arange(len(strength))
    first = np.searchsorted(clock, clock - join_ns)
    lengths = last - first
    result = np.full(len(strength), -np.inf)
    table, width = strength, 1
    while len(table) and width <= lengths.max(initial=0):
        here = np.flatnonzero((lengths >= width) & (lengths < 2 * width))
        result[here] = np.maximum(table[first[here]], table[last[here] - width])
        table, width = np.maximum(table[:-width], table[width:]), 2 * width
    return result
