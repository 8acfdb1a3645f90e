"""From normal scores to a threshold: the user asks for false alarms per day, the data decide what can be promised.

    scores of normal windows -> NormalScores (what the data said) -> Calibration (what was asked, and what follows)

Let D be the days of normal data and lambda the false alarms asked per day, those of the prefilter's `gross` included: a
tenth of lambda D at least is theirs, the rest the network's. An alarm is an event: peaks of v (the N-th largest of the
last M scores) joined when closer than window and hold-off.

    counted        lambda D >= 3                       the score that so many peaks reached
    extrapolated   lambda D >= 0.1 and >= 50 peaks     generalized Pareto tail of the peaks, shape in 0..0.3
    provisional    otherwise                           median + k (0.99 quantile - median); no p-value.
                                                       Of fewer than 100 windows the quantile is estimated

`Calibration.at` derives all of it anew for another rate, so that a device changes its sensitivity without the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract import strict_json
from edge_agent.contract.normal_scores import TAIL_PEAKS, TAIL_SHARE, NormalScores, summarise
from edge_agent.contract.records import Doubles, Times

HOURS_PER_DAY = 24.0
"""Days are what rates are asked in, hours what recordings are spoken of in."""

COUNTED_EVENTS = 3.0
"""Events expected in the normal data (lambda D) from which counting is believed: 0.3 to 2 times those asked come."""

EXTRAPOLATED_EVENTS = 0.1
"""Events expected in the normal data (lambda D) down to which a tail is believed: ten times beyond what was seen."""

GROSS_SHARE = 0.1
"""Share of the asked alarms left to the prefilter's upper limit, which stands beyond all the normal data it was set on:
they show none of the `gross` alarms that will come on top of the network's."""

NETWORK_SHARE = 1 / 3
"""Least share of the asked alarms left to the network where `gross` alone would use them up: 1 of 3 counted events."""


class Grade(StrEnum):
    """How well the data support the threshold; shown wherever an alarm is."""

    COUNTED = "counted"
    EXTRAPOLATED = "extrapolated"
    PROVISIONAL = "provisional"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold, how well it is founded, and what it was derived from. An event opens when v > threshold."""

    grade: Grade
    threshold: float
    """In the unit of the scores, above the median."""
    alarms_per_day: float
    """Asked false alarms per day of reading time, `gross` ones included."""
    k: float
    """Factor of the provisional threshold."""
    hours_needed: float
    """Hours of further normal data that would give a better grade; 0 when counted."""
    normal: NormalScores

    def __post_init__(self) -> None:
        """Refuse what no calibration can have given: the numbers may come from a file."""
        _check_asked(self.alarms_per_day, self.k)
        if not (math.isfinite(self.threshold) and self.threshold > self.normal.median):
            raise ValueError(f"the threshold must be above the median {self.normal.median}, got {self.threshold}")
        if not (math.isfinite(self.hours_needed) and self.hours_needed >= 0):
            raise ValueError(f"hours_needed must be 0 or more, got {self.hours_needed}")

    @property
    def median(self) -> float:
        """Median of the normal scores."""
        return self.normal.median

    @property
    def q99(self) -> float:
        """0.99 quantile of the normal scores, estimated where they are few."""
        return self.normal.q99

    @property
    def normal_days(self) -> float:
        """Days of normal data behind the threshold."""
        return self.normal.days

    @property
    def n(self) -> int:
        """N of N-of-M."""
        return self.normal.n

    @property
    def m(self) -> int:
        """M of N-of-M."""
        return self.normal.m

    def at(self, *, alarms_per_day: float | None = None, k: float | None = None) -> Calibration:
        """Derive grade and threshold anew for another asked rate or factor.

        Raises:
            ValueError: the rate or the factor is not a finite number above 0.
        """
        asked = self.alarms_per_day if alarms_per_day is None else alarms_per_day
        return _derive(self.normal, asked, self.k if k is None else k)

    def with_threshold(self, threshold: float) -> Calibration:
        """Take a threshold chosen otherwise, such as from labels: provisional, since no rate stands behind it.

        Raises:
            ValueError: it is not a finite number above the median.
        """
        k = (threshold - self.median) / self.normal.usual_spread
        hours = _hours_needed(self.normal, self.alarms_per_day, Grade.PROVISIONAL)
        return replace(self, grade=Grade.PROVISIONAL, threshold=threshold, k=k, hours_needed=hours)

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` writes."""
        plain: dict[str, Any] = strict_json.plain(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: keys missing or unknown, or numbers that no calibration can have given.
            ManifestError: the same, inside `normal`.
        """
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise ValueError(f"expected the keys {sorted(names)}, got {sorted(map(str, data))[:20]}")
        numbers = {name: _number(name, data[name]) for name in ("threshold", "alarms_per_day", "k", "hours_needed")}
        normal = strict_json.read(NormalScores, data["normal"], "normal")
        return cls(grade=Grade(data["grade"]), normal=normal, **numbers)


def calibrate(
    scores: Doubles,
    t_ns: Times,
    *,
    alarms_per_day: float,
    n: int,
    m: int,
    join_s: float,
    k: float,
    gross: NDArray[np.bool_] | None = None,
    gap_s: float | None = None,
) -> Calibration:
    """Derive a threshold from the scores of normal windows that nothing was fitted to.

    Args:
        scores: float64 [w], one for each window, in order of reading time.
        t_ns: int64 [w], reading time of each window's last row. A step back begins a new recording.
        alarms_per_day: asked false alarms per day of reading time, `gross` ones included.
        n: N of N-of-M.
        m: M of N-of-M.
        join_s: window length plus hold-off: alarming windows no further apart are one event.
        k: factor of the provisional threshold.
        gross: bool [w], the prefilter's upper limit was passed.
        gap_s: a longer step between windows empties the history of N-of-M. By default the larger of `join_s` and three
            usual steps, which no unbroken recording exceeds.

    Raises:
        ValueError: shapes that do not match, no score, one that is not finite, mixed-up times, a setting out of range.
    """
    _check_asked(alarms_per_day, k)
    return _derive(summarise(scores, t_ns, n=n, m=m, join_s=join_s, gross=gross, gap_s=gap_s), alarms_per_day, k)


def _derive(normal: NormalScores, alarms_per_day: float, k: float) -> Calibration:
    _check_asked(alarms_per_day, k)
    grade, threshold = _graded_threshold(normal, alarms_per_day * normal.days, k)
    return Calibration(
        grade=grade,
        threshold=max(threshold, normal.median + normal.least_spread),
        alarms_per_day=float(alarms_per_day),
        k=float(k),
        hours_needed=_hours_needed(normal, alarms_per_day, grade),
        normal=normal,
    )


def _graded_threshold(normal: NormalScores, events: float, k: float) -> tuple[Grade, float]:
    """Return the best grade that D days support for `events` = lambda D, and its threshold."""
    rank = max(events - max(normal.gross_events, GROSS_SHARE * events), NETWORK_SHARE * events)
    if events >= COUNTED_EVENTS and normal.peak_ranks:
        return Grade.COUNTED, _peak_score(normal, rank)
    if events >= EXTRAPOLATED_EVENTS and normal.peak_tail is not None:
        # Counting sets a floor: fewer alarms never ask for a lower threshold than the most that is counted.
        return Grade.EXTRAPOLATED, max(
            normal.peak_tail.value(rank), _peak_score(normal, (1 - GROSS_SHARE) * COUNTED_EVENTS)
        )
    return Grade.PROVISIONAL, normal.median + k * normal.usual_spread


def _peak_score(normal: NormalScores, rank: float) -> float:
    """Score of the peak of that rank, counted from the highest: `rank` peaks are expected above it in as many days."""
    return float(np.interp(rank, normal.peak_ranks, normal.peak_scores))


def _hours_needed(normal: NormalScores, alarms_per_day: float, grade: Grade) -> float:
    """Hours of further data for the next grade, at the rate at which these gave peaks."""
    if grade is Grade.COUNTED:
        return 0.0
    days = COUNTED_EVENTS / alarms_per_day - normal.days
    if grade is Grade.PROVISIONAL and not normal.peak_ranks:
        days = max(days, normal.days)
    elif grade is Grade.PROVISIONAL:
        enough_peaks = normal.days * (TAIL_PEAKS / TAIL_SHARE / normal.peak_ranks[-1] - 1)
        days = min(days, max(EXTRAPOLATED_EVENTS / alarms_per_day - normal.days, enough_peaks))
    return max(days, 0.0) * HOURS_PER_DAY


def _check_asked(alarms_per_day: float, k: float) -> None:
    for name, value in (("alarms_per_day", alarms_per_day), ("k", k)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number above 0, got {value}")


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{name} must be a number, got {str(value)[:60]!r}")
