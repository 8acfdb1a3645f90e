"""What scores of normal data say: their distribution, and the events they would have raised at any threshold.

A few hundred numbers that stand for the recording: thresholds for any asked rate, p-values and levels are derived from
them, on the workstation and on a device that never sees the data.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.peaks import event_levels, nth_largest, run_starts, unbroken_ns, usual_step_ns
from edge_agent.contract.records import NS, Doubles, Times
from edge_agent.contract.tail import Tail, fit_tail

NS_PER_DAY = 86_400 * NS

TAIL_PEAKS = 50
"""Least peaks that a tail is fitted to: the scale of 50 excesses is known to 14 %."""

MOST_TAIL_PEAKS = 250
"""Most peaks that a tail is fitted to: more would reach down into the bulk, where scores follow no tail's law."""

TAIL_SHARE = 0.5
"""Share of all peaks, from the highest, that a tail may be fitted to: the lowest ones run into each other."""

EXACT_RANKS = 64
"""Peaks kept one by one, from the highest; further down ten a decade, as one more or less means less and less."""

MAX_POINTS = 512
"""Longest list read from a file: 64 ranks and ten a decade make some 110 at a million peaks."""

MAX_HISTORY = 64
"""Largest M: the Decider keeps one bit a window in one machine word."""

SURVIVALS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""Shares of normal windows at or above the stored quantiles; beyond the last one in use, a tail."""

Q99_WINDOWS = 100
"""Windows that have a 0.99 quantile of their own; of fewer, at most their highest score is known of it."""

QUANTILE_WINDOWS = 30
"""Windows that must lie above a stored quantile, and so the least that its tail is fitted to."""

LEAST_SPREAD = 1e-6
"""Least distance from median to threshold, relative to the median: eight steps of the float32 that graphs give."""

LEAST_SPREAD_AT_ZERO = 1e-30
"""The same where the median is 0: small against any score, large against float64's smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalScores:
    """The summary of one recording of normal windows, scored by one graph on one runtime."""

    days: float
    """D, days of reading time covered by windows, gaps excluded."""
    n: int
    """N of N-of-M."""
    m: int
    """M of N-of-M."""
    join_s: float
    """Seconds: alarming windows no further apart are one event (window length + hold-off)."""
    median: float
    q99: float
    """0.99 quantile of the scores; of fewer than `Q99_WINDOWS` what their highest lets expect of it (`_q99`)."""
    gross_events: int
    """Events that the prefilter's upper limit raised by itself."""
    quantile_scores: tuple[float, ...]
    """Rising, from the median up."""
    quantile_shares: tuple[float, ...]
    """Falling: share of the windows at or above each of `quantile_scores`."""
    tail: Tail
    """Share of windows beyond a score, from the last quantile up."""
    peak_ranks: tuple[float, ...]
    """Rising from 1; empty where no window had a history of N."""
    peak_scores: tuple[float, ...]
    """Not rising: at a threshold of the score of rank r there were fewer than r events beside the gross ones."""
    peak_tail: Tail | None
    """Number of peaks beyond a score; None with too few of them."""

    def __post_init__(self) -> None:
        """Refuse what no recording can have given: the numbers may come from a file."""
        check_history(self.n, self.m)
        _check_finite(self.days, self.join_s, self.median, self.q99)
        if min(self.days, self.join_s, self.gross_events) < 0 or self.q99 < self.median:
            raise ValueError("days, join_s and gross_events must be 0 or more, and q99 not below the median")
        _check_curve("quantile_scores", self.quantile_scores, len(self.quantile_shares))
        _check_curve("quantile_shares", tuple(-share for share in self.quantile_shares), len(self.quantile_scores))
        _check_curve("peak_ranks", self.peak_ranks, len(self.peak_scores))
        _check_curve("peak_scores", tuple(-score for score in self.peak_scores), len(self.peak_ranks), strict=False)
        if not self.quantile_scores or not 0 < self.quantile_shares[-1] <= self.quantile_shares[0] < 1:
            raise ValueError("quantile_shares must lie between 0 and 1, and there must be one at least")
        if (self.tail.start, self.tail.mass) != (self.quantile_scores[-1], self.quantile_shares[-1]):
            raise ValueError("the tail must begin at the last quantile")
        if self.peak_ranks and self.peak_ranks[0] != 1:
            raise ValueError(f"peak_ranks must begin with 1, got {self.peak_ranks[0]}")

    @property
    def least_spread(self) -> float:
        """Least distance from median to threshold that means anything, in the unit of the scores."""
        return _least_spread(self.median)

    @property
    def usual_spread(self) -> float:
        """From the median to the 0.99 quantile; where they are equal, to the highest peak; at least `least_spread`."""
        highest = self.peak_scores[0] if self.peak_scores else self.median
        return max((self.q99 - self.median) or (highest - self.median), self.least_spread)


def summarise(
    scores: Doubles,
    t_ns: Times,
    *,
    n: int,
    m: int,
    join_s: float,
    gross: NDArray[np.bool_] | None = None,
    gap_s: float | None = None,
) -> NormalScores:
    """Summarise the scores of normal windows; arguments and errors as in `calibration.calibrate`."""
    check_history(n, m)
    _check_scores(scores, t_ns, gross)
    scores = scores.astype(np.float64)
    starts = run_starts(t_ns, unbroken_ns(t_ns, join_s) if gap_s is None else round(gap_s * NS))
    within_runs_ns = float(np.diff(t_ns)[~starts[1:]].sum())
    covered_ns = within_runs_ns + usual_step_ns(t_ns) * float(np.count_nonzero(starts))
    strength = nth_largest(scores, starts, n, m)
    if gross is not None:
        strength[gross] = np.inf
    gross_events, levels = event_levels(strength, t_ns, round(join_s * NS))
    median = float(np.median(scores))
    quantile_scores, quantile_shares = _quantiles(scores)
    ranks = _ranks(len(levels))
    return NormalScores(
        days=covered_ns / NS_PER_DAY,
        n=n,
        m=m,
        join_s=float(join_s),
        median=median,
        q99=_q99(scores, median),
        gross_events=gross_events,
        quantile_scores=quantile_scores,
        quantile_shares=quantile_shares,
        tail=_tail(scores, quantile_scores[-1], quantile_shares[-1], _least_spread(median)),
        peak_ranks=tuple(map(float, ranks)),
        peak_scores=tuple(float(levels[rank - 1]) for rank in ranks),
        peak_tail=_peak_tail(levels, _least_spread(median)),
    )


def check_history(n: int, m: int) -> None:
    """Refuse what is no N of M."""
    if not 1 <= n <= m <= MAX_HISTORY:
        raise ValueError(f"N of M must satisfy 1 <= N <= M <= {MAX_HISTORY}, got {n} of {m}")


def _check_scores(scores: Doubles, t_ns: Times, gross: NDArray[np.bool_] | None) -> None:
    if scores.ndim != 1 or t_ns.shape != scores.shape or (gross is not None and gross.shape != scores.shape):
        shapes = [list(array.shape) for array in (scores, t_ns, gross) if array is not None]
        raise ValueError(f"scores, t_ns and gross must have one entry for each window, got shapes {shapes}")
    if not len(scores):
        raise ValueError("no normal score to calibrate with: the recording is shorter than a window, or all in a fault")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        first = f"number {bad[0]} is {scores[bad[0]]}"
        raise ValueError(f"scores must be finite, {len(bad)} of {len(scores)} are not; {first}")
    back = int(np.count_nonzero(np.diff(t_ns) <= 0))
    if 3 * back > len(t_ns):
        raise ValueError(f"t_ns must rise, {back} of {len(t_ns) - 1} steps do not: sort the windows by reading time")


def _q99(scores: Doubles, median: float) -> float:
    """Return the 0.99 quantile of the scores, estimated where they are few.

    Of n scores with an exponential tail of scale s the highest is expected at H_n s, where H_n = 1 + 1/2 + ... + 1/n,
    the median at s log 2 and the quantile at s log 100. Five scores so give 2.5 times the distance of their highest
    from their median, 20 give 1.3 times.

    Source: A. Renyi, "On the theory of order statistics", Acta Mathematica Hungarica 4 (1953).
    """
    observed = float(np.quantile(scores, 0.99))
    if len(scores) >= Q99_WINDOWS:
        return observed
    expected = float((1 / np.arange(1, len(scores) + 1)).sum()) - math.log(2)
    return max(observed, median + (float(scores.max()) - median) * math.log(50) / expected)


def _quantiles(scores: Doubles) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the quantiles that enough windows support; of equal ones that with the largest share."""
    shares = [share for share in SURVIVALS if share * len(scores) >= QUANTILE_WINDOWS] or [SURVIVALS[0]]
    values, first = np.unique(np.quantile(scores, [1 - share for share in shares]), return_index=True)
    return tuple(values.tolist()), tuple(shares[index] for index in first)


def _tail(scores: Doubles, start: float, mass: float, least_scale: float) -> Tail:
    return fit_tail(scores[scores > start] - start, start=start, mass=mass, least_scale=least_scale)


def _peak_tail(levels: Doubles, least_scale: float) -> Tail | None:
    count = min(int(TAIL_SHARE * len(levels)), MOST_TAIL_PEAKS)
    if count < TAIL_PEAKS:
        return None
    start = float(levels[count])
    return fit_tail(levels[:count] - start, start=start, mass=float(count), least_scale=least_scale)


def _ranks(count: int) -> list[int]:
    """Return which peaks are kept: every one of the highest and ever fewer below, the last included."""
    exact = range(1, min(count, EXACT_RANKS) + 1)
    if count <= EXACT_RANKS:
        return list(exact)
    steps = math.ceil(10 * math.log10(count / EXACT_RANKS))
    return sorted({*exact, *np.geomspace(EXACT_RANKS, count, 1 + steps).round().astype(int).tolist()})


def _least_spread(median: float) -> float:
    return max(LEAST_SPREAD * abs(median), LEAST_SPREAD_AT_ZERO)


def _check_finite(*numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"numbers must be finite, got {numbers[:8]}")


def _check_curve(name: str, values: tuple[float, ...], length: int, *, strict: bool = True) -> None:
    if len(values) != length or length > MAX_POINTS:
        lengths = f"{len(values)} and {length}"
        raise ValueError(f"{name} and its partner must be of one length up to {MAX_POINTS}, got {lengths}")
    _check_finite(*values)
    if any(high < low or (strict and high == low) for low, high in itertools.pairwise(values)):
        raise ValueError(f"{name} must be in order")
