"""The score of the Numenta Anomaly Benchmark: early detections in labelled windows against false ones.

Source: A. Lavin and S. Ahmad, Evaluating real-time anomaly detection algorithms - the Numenta Anomaly Benchmark, ICMLA
2015; where the paper leaves a choice, what the authors' published boards are computed with (named below). For a
detected row at relative position y, in window widths from the right edge of a window, the weight is the scaled sigmoid

    s(y) = 2 / (1 + exp(5 y)) - 1

- In a window of w rows y runs from -1 at its first row to -1 / w at its last. Only the first detected row counts, with
  tp s(y) / s(-1): tp for a detection at the first row (the boards' choice). A window without one costs fn.
- Outside, every detected row costs fp: -fp s(y) with y rows after the nearest window before, in units of w - 1 rows; fp
  in full from y = 3 on and before any window.
- The first 15 % of a file, at most 750 rows, are its probation: detections there count neither way.

The sum over all files is put on a scale where 0 is a detector that never detects and 100 a perfect one; it can be far
below 0 at a bad threshold. One threshold holds for all files, and it is the best one with the labels known: the score
ranks detectors and promises no rate. Point-wise F1 and the others are in `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from edge_agent.contract.records import Doubles, Times
from training.evaluation.metrics import by_score, threshold_for

PROBATION_SHARE = 0.15
"""Share of a file's rows that a detector may learn from."""
LONGEST_PROBATION = 750
"""Rows: 15 % of 5,000, the paper's cap for long files."""
STEEPNESS = 5.0
"""Of the sigmoid, per window width."""
FAR_BEHIND = 3.0
"""Window widths behind a window from which a false detection costs in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an application pays for each kind of row; true negatives weigh nothing in the score."""

    tp: float
    """Gain of a window detected at its first row."""
    fp: float
    """Cost of a false detection far behind a window."""
    fn: float
    """Cost of a window missed."""


PROFILES = MappingProxyType(
    {
        "standard": Profile(tp=1.0, fp=0.11, fn=1.0),
        "reward_low_FP": Profile(tp=1.0, fp=0.22, fn=1.0),
        "reward_low_FN": Profile(tp=1.0, fp=0.11, fn=2.0),
    }
)
"""The paper's application profiles."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """The scores of one file, and what is labelled."""

    scores: Doubles
    """float64 [n], finite, larger where stranger; comparable between files, since one threshold holds for all."""
    t_ns: Times
    """int64 [n], reading time."""
    windows: tuple[tuple[int, int], ...]
    """First and last reading time in ns of each labelled window, oldest first; the windows share no row."""

    def __post_init__(self) -> None:
        """Refuse lengths that differ and scores that are not finite."""
        if self.scores.ndim != 1 or self.scores.shape != self.t_ns.shape or not len(self.scores):
            raise ValueError(
                "scores and times must be of one length, at least one row; "
                f"got shapes {list(self.scores.shape)} and {list(self.t_ns.shape)}"
            )
        if not np.all(np.isfinite(self.scores)):
            raise ValueError(f"scores must be finite, {np.count_nonzero(~np.isfinite(self.scores))} are not")


@dataclass(frozen=True, slots=True, kw_only=True)
class NabScore:
    """The score of a detector on a corpus, at the threshold that is best for it."""

    score: float
    """0: never detects, 100: perfect; never below 0, since a threshold may be so high that nothing is detected."""
    threshold: float
    """Rows with a score above it are detected."""
    windows: int
    """Labelled windows with a row after probation."""
    detected: int
    """Of these, windows with a detected row."""
    false_positives: int
    """Detected rows outside the windows, after probation."""


def score(series: Sequence[Series], profile: str = "standard") -> NabScore:
    """Score a corpus at its best threshold; of equally good ones the highest is taken.

    Every distinct score is tried in one pass over the sorted rows: what a row adds when it becomes detected does not
    depend on the threshold, but for ties, which become detected together.

    Args:
        series: one for each file.
        profile: a name in `PROFILES`.

    Raises:
        ValueError: no labelled window after probation, a window without rows or out of order, or an unknown profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    weights, windows = PROFILES[profile], [_windows(one) for one in series]
    total = sum(window.counted < window.stop for rows in windows for window in rows)
    if not total:
        raise ValueError("needs a labelled window that reaches beyond probation, got none")
    scores = np.concatenate([one.scores for one in series])
    gains = np.concatenate([_gains(one, rows, weights) for one, rows in zip(series, windows, strict=True)])
    order, ends = by_score(scores)
    sums = np.append(0.0, np.cumsum(gains[order])[ends])
    best = int(np.argmax(sums))
    threshold = threshold_for(scores[order][ends], best)
    return NabScore(
        score=float(100 * sums[best] / (total * (weights.tp + weights.fn))),
        threshold=threshold,
        windows=total,
        detected=sum(
            bool(np.any(one.scores[window.counted : window.stop] > threshold))
            for one, rows in zip(series, windows, strict=True)
            for window in rows
        ),
        false_positives=int(np.count_nonzero((scores > threshold) & (gains < 0))),
    )


class _Window(NamedTuple):
    """Rows of a labelled window."""

    first: int
    counted: int
    """The first after probation; not below `stop` where the window ends in probation."""
    stop: int
    """The one after the last."""


def _probation(one: Series) -> int:
    return min(int(PROBATION_SHARE * len(one.scores)), LONGEST_PROBATION)


def _windows(one: Series) -> list[_Window]:
    windows: list[_Window] = []
    for begin_ns, end_ns in one.windows:
        rows = np.flatnonzero((one.t_ns >= begin_ns) & (one.t_ns <= end_ns))
        if not len(rows) or (windows and rows[0] < windows[-1].stop):
            raise ValueError(
                f"windows must be in order and hold rows of their own, got {begin_ns} to {end_ns} ns "
                f"in a file from {one.t_ns[0]} to {one.t_ns[-1]} ns"
            )
        first, stop = int(rows[0]), int(rows[-1]) + 1
        windows.append(_Window(first, max(first, _probation(one)), stop))
    return windows


def _gains(one: Series, windows: list[_Window], profile: Profile) -> Doubles:
    """What each row adds to the sum when it becomes detected after all rows with a higher score, float64 [n].

    Below 0 outside the windows, above or 0 inside: there a row adds what it is worth beyond those detected before.
    """
    rows = np.arange(len(one.scores))
    gains = np.full(len(rows), -profile.fp)
    for first, counted, stop in windows:
        behind = (rows[stop:] - (stop - 1)) / max(stop - 1 - first, 1)
        gains[stop:] = profile.fp * np.where(behind < FAR_BEHIND, _sigmoid(np.minimum(behind, FAR_BEHIND)), -1.0)
        worth = profile.tp * _sigmoid((rows[counted:stop] - stop) / (stop - first)) / _sigmoid(np.array(-1.0))
        order = np.argsort(-one.scores[counted:stop], kind="stable")
        gains[counted + order] = np.diff(np.maximum.accumulate(worth[order]), prepend=-profile.fn)
    gains[: _probation(one)] = 0.0
    return gains


def _sigmoid(position: Doubles) -> Doubles:
    """The scaled sigmoid s, 1..-1."""
    return 2 / (1 + np.exp(STEEPNESS * position)) - 1
