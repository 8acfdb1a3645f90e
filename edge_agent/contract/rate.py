"""How fast readings really come, told from times that jitter, skip and bunch.

Two figures err in different ways. The *typical* interval (median) does not see missing readings but is misled by
readings that arrive in bursts; the *mean* interval does not see bursts but is stretched by missing readings. A rate is
called wrong only where both say so, in the same direction, and the mean by more than chance (or by more than half). So
jitter, readings left out now and then, clocks of one second's resolution and arrival in bursts pass, and a source that
is set to another rate does not.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Times

TOLERANCE: Final = 0.1
"""Share by which a rate may differ from the bundle's: what a model learned from windows of T rows still recognises."""

MIN_STRETCH: Final = 64
"""Fewest intervals that a rate is judged on: with a third of the readings missing, the median of so many still shows
the true interval in all but one of a thousand stretches, and the mean must be off as well."""

MAX_STRETCH: Final = 65_536
"""Most intervals that a rate is judged on: bounds the memory at half a megabyte."""

BURSTS_IN_STRETCH: Final = 8
"""A stretch is so many times as long as the longest pause that is not a gap, so that it holds several bursts."""

STANDARD_ERRORS: Final = 3.0
"""By how many of its standard errors the mean interval must be off on top of the tolerance."""

MOST_MISSING: Final = 0.5
"""Share of the readings that may be missing; beyond it the rate is wrong whatever the typical interval is. It is also
what tells a slow source that sends in bursts."""

NEAR: Final = 0.2
"""Intervals within this share of the median count as typical when `measured_rate_hz` looks whether there is one."""


class RateCheck:
    """Judges one stretch of intervals after the other; the verdict does not depend on how the readings were cut."""

    def __init__(self, rate_hz: float, max_gap_s: float) -> None:
        """Expect `rate_hz`; longer pauses than `max_gap_s` are gaps, which say nothing about the rate."""
        self.rate_hz = rate_hz
        self._expected_ns = NS / rate_hz
        self._max_gap_ns = max_gap_s * NS
        rows = math.ceil(min(BURSTS_IN_STRETCH * max_gap_s * rate_hz, MAX_STRETCH))
        self._steps = np.zeros(max(MIN_STRETCH, rows), np.int64)
        self._filled = 0
        self.detail = ""
        """What is wrong with the rate, in words; empty while nothing is."""

    def feed(self, steps: Times) -> list[tuple[int, str]]:
        """Take the intervals in ns that led to some rows; those not above 0 are breaks in time and left out.

        Returns:
            For each row at which the verdict changed: its index, and the new `detail`.
        """
        changes: list[tuple[int, str]] = []
        if len(steps) == 1 and self._filled + 1 < len(self._steps):
            # Most calls on a slow stream: a row that completes nothing.
            self._steps[self._filled] = steps[0]
            self._filled += int(steps[0] > 0)
            return changes
        rows = np.flatnonzero(steps > 0)
        begin = 0
        while begin < len(rows):
            taken = rows[begin : begin + len(self._steps) - self._filled]
            self._steps[self._filled : self._filled + len(taken)] = steps[taken]
            self._filled += len(taken)
            begin += len(taken)
            if self._filled == len(self._steps):
                self._filled = 0
                detail = self._verdict()
                if bool(detail) != bool(self.detail):
                    changes.append((int(taken[-1]), detail))
                    self.detail = detail
        return changes

    def _verdict(self) -> str:
        """Return what is wrong with the rate of the full stretch, in words, or an empty string."""
        steps, expected = _between_gaps(self._steps, self._max_gap_ns), self._expected_ns
        mean = float(steps.mean())
        chance = STANDARD_ERRORS * float(steps.std()) / math.sqrt(len(steps))
        longest, shortest = expected / (1 - TOLERANCE), expected / (1 + TOLERANCE)
        slow = mean - chance > longest and _most(steps > longest)
        fast = mean + chance < shortest and _most(steps < shortest)
        if not (slow or fast or mean - chance > expected / MOST_MISSING):
            return ""
        return f"readings come at {NS / mean:.3g} Hz, the bundle expects {self.rate_hz:.3g} Hz"


def measured_rate_hz(t_ns: Times, max_gap_s: float) -> float:
    """Return the rate of readings.

    The inverse of the median interval where there is a typical one (at least half of the intervals lie near it and it
    is not shorter than half of the mean: readings are missing now and then), else of the mean (jitter, bursts).

    Args:
        t_ns: int64 [n] reading times.
        max_gap_s: longer pauses are gaps and left out, unless they are the rule.

    Raises:
        ValueError: there are not two readings in rising order of time.
    """
    steps = np.diff(t_ns)[t_ns[1:] > t_ns[:-1]]
    steps = steps[steps > 0]
    if not len(steps):
        raise ValueError(f"expected at least 2 readings in rising order of time, got {len(t_ns)} readings")
    steps = _between_gaps(steps, max_gap_s * NS)
    median, mean = float(np.quantile(steps, 0.5)), float(steps.mean())
    near = np.count_nonzero(np.abs(steps - median) <= NEAR * median)
    typical = 2 * near >= len(steps) and mean / 2 <= median <= mean * (1 + TOLERANCE)
    return NS / (median if typical else mean)


def _most(which: NDArray[np.bool_]) -> bool:
    """Return whether more than half are."""
    return bool(2 * np.count_nonzero(which) > len(which))


def _between_gaps(steps: Times, max_gap_ns: float) -> Times:
    """Return the intervals without the gaps; all of them where most are longer than a gap may be."""
    inside = steps <= max_gap_ns
    return steps[inside] if 2 * np.count_nonzero(inside) >= len(steps) else steps
