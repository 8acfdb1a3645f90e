"""Figures of merit from labels and scores, one of each for every window or reading.

Two kinds: by points (how many rows are right) and by events (how many faults were noticed, how late, and how many
alarms a day were false). Scores are larger where stranger; a row alarms when its score is **above** the threshold. What
is not defined is None, such as recall without a fault; nothing is NaN.

There is no point-adjusted F1 here, and must not be: it counts a whole fault as found for a single alarmed row, so that
random scores come out on top (S. Kim et al., Towards a rigorous evaluation of time-series anomaly detection, 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.peaks import event_levels, nth_largest, run_starts, unbroken_ns, usual_step_ns
from edge_agent.contract.records import NS, Doubles, Times
from training.evaluation.surface import Surface

Flags = NDArray[np.bool_]

S_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How many rows were alarmed rightly and wrongly; every rate follows from these four."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP): share of the alarmed rows that are faulty. 0..1, more is better."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN): share of the faulty rows that are alarmed. 0..1, more is better."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def accuracy(self) -> float | None:
        """(TP + TN) / all. 0..1, more is better; says little where faults are rare."""
        right = self.true_positives + self.true_negatives
        return _ratio(right, right + self.false_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN), row by row. 0..1, more is better."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def far_percent(self) -> float | None:
        """False alarm rate as in SKAB, 100 FP / (FP + TN): of the normal rows those alarmed. 0..100, less is better."""
        rate = _ratio(self.false_positives, self.false_positives + self.true_negatives)
        return None if rate is None else 100 * rate

    @property
    def mar_percent(self) -> float | None:
        """Missed alarm rate as in SKAB, 100 FN / (FN + TP): of the faulty rows the silent. 0..100, less is better."""
        rate = _ratio(self.false_negatives, self.false_negatives + self.true_positives)
        return None if rate is None else 100 * rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Events found and false alarms, at one threshold."""

    threshold: float | None
    """None where alarms were given instead of scores."""
    alarms_per_day_asked: float | None
    """The false alarms per day that the threshold was set for."""
    events: int
    """Faults in the labels."""
    detected: int
    """Faults with an alarmed row."""
    event_recall: float | None
    """detected / events. 0..1, more is better."""
    delays_s: tuple[float, ...]
    """For each fault detected, in order: seconds from its first row to its first alarmed row."""
    median_delay_s: float | None
    """Median of `delays_s`; 0 or more, less is better."""
    false_alarms: int
    """Alarm events without a faulty row."""
    false_alarms_per_day: float | None
    """Per day of normal rows. 0 or more, less is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """A threshold chosen from labelled scores, and its two error rates there."""

    threshold: float
    far_percent: float
    mar_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """All figures of one detector on one labelled recording."""

    threshold: float
    confusion: Confusion
    precision: float | None
    recall: float | None
    accuracy: float | None
    f1: float | None
    far_percent: float | None
    mar_percent: float | None
    auc_pr: float | None
    auc_roc: float | None
    vus_pr: float | None
    max_buffer: int
    """Longest buffer of VUS-PR, in rows."""
    detection: Detection
    """At `threshold`."""
    at_false_alarms: tuple[Detection, ...]
    """At thresholds set for fixed false alarms per day."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` writes."""
        return asdict(self)


def evaluate(
    labels: Flags,
    scores: Doubles,
    t_ns: Times,
    *,
    threshold: float,
    join_s: float,
    max_buffer: int = 100,
    alarms_per_day: Sequence[float] = (1.0, 10.0, 100.0),
    n: int = 1,
    m: int = 1,
) -> Metrics:
    """Compute every figure. The ranking figures use the scores as they are, the others v (see `detection_at`).

    Args:
        labels: bool [k], the row is faulty.
        scores: float64 [k], finite.
        t_ns: int64 [k], reading time.
        threshold: rows with v above it alarm.
        join_s: alarmed rows no further apart are one alarm.
        max_buffer: longest buffer of VUS-PR in rows; about the length of a window.
        alarms_per_day: false alarms per day at which event recall and delay are asked.
        n: N of N-of-M.
        m: M of N-of-M.

    Raises:
        ValueError: shapes or types that do not match, no row, or a score that is not finite.
    """
    _check(labels, scores, t_ns)
    votes = _votes(scores, t_ns, join_s, n, m)
    counts = confusion(labels, votes > threshold)
    asked = alarms_per_day if not labels.all() else ()
    return Metrics(
        threshold=float(threshold),
        confusion=counts,
        precision=counts.precision,
        recall=counts.recall,
        accuracy=counts.accuracy,
        f1=counts.f1,
        far_percent=counts.far_percent,
        mar_percent=counts.mar_percent,
        auc_pr=auc_pr(labels, scores),
        auc_roc=auc_roc(labels, scores),
        vus_pr=vus_pr(labels, scores, max_buffer),
        max_buffer=max_buffer,
        detection=detection(labels, votes > threshold, t_ns, join_s=join_s, threshold=float(threshold)),
        at_false_alarms=tuple(
            detection_at(labels, scores, t_ns, alarms_per_day=rate, join_s=join_s, n=n, m=m) for rate in asked
        ),
    )


def confusion(labels: Flags, alarms: Flags) -> Confusion:
    """Count rows: bool [k] faulty against bool [k] alarmed."""
    _check(labels, alarms)
    both, alarmed, faulty = (int(np.count_nonzero(flags)) for flags in (labels & alarms, alarms, labels))
    return Confusion(
        true_positives=both,
        false_positives=alarmed - both,
        false_negatives=faulty - both,
        true_negatives=len(labels) - alarmed - faulty + both,
    )


def auc_pr(labels: Flags, scores: Doubles) -> float | None:
    """Area under precision and recall as average precision: sum over thresholds of (R_i - R_(i-1)) P_i.

    0..1, more is better; a random score gives the share of faulty rows. None without a faulty row. No interpolation
    between thresholds, which would flatter (J. Davis and M. Goadrich, ICML 2006).
    """
    _check(labels, scores)
    if not labels.any():
        return None
    order, ends = by_score(scores)
    hits = np.cumsum(labels[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / (ends + 1)))


def auc_roc(labels: Flags, scores: Doubles) -> float | None:
    """Area under the true against the false positive rate: P(a faulty row scores higher than a normal one), ties half.

    0..1, more is better; a random score gives 0.5. None unless there are rows of both kinds.
    """
    _check(labels, scores)
    if labels.all() or not labels.any():
        return None
    order, ends = by_score(scores)
    hits = np.cumsum(labels[order])[ends]
    misses = ends + 1 - hits
    heights = (hits + np.concatenate([[0], hits[:-1]])) / 2
    return float(np.sum(np.diff(misses, prepend=0) * heights) / (hits[-1] * misses[-1]))


def vus_pr(labels: Flags, scores: Doubles, max_buffer: int) -> float | None:
    """Volume under the precision-recall surface: the mean range-aware AUC-PR over buffers of 0..max_buffer rows.

    A buffer of l rows softens the labels: a row i rows from a fault, i <= l // 2, counts as sqrt(1 - i / l) of a
    faulty one (overlaps add up to at most 1). With these labels L, the hard ones H, and A the alarmed rows:

        recall    = min(1, sum(L A) / (sum(H + L) / 2)) * share of the softened faults that contain an alarmed row
        precision = sum(L A) / sum(A)

    and the area is the trapezoid over every distinct score (the authors' code samples 250 thresholds), from recall 0,
    precision 1. 0..1, more is better. None without a faulty row.

    Source: J. Paparrizos, P. Boniol, T. Palpanas, R. S. Tsay, A. Elmore, M. J. Franklin, Volume under the surface: a
    new accuracy evaluation measure for time-series anomaly detection, PVLDB 15(11), 2022.
    """
    _check(labels, scores)
    if max_buffer < 0:
        raise ValueError(f"max_buffer must be 0 rows or more, got {max_buffer}")
    if not labels.any():
        return None
    surface = Surface(scores, by_score(scores), event_rows(labels), max_buffer)
    return float(np.mean(surface.areas(np.arange(max_buffer + 1))))


def event_rows(labels: Flags) -> NDArray[np.int64]:
    """Return the faults as int64 [e, 2]: first row, and the row after the last."""
    edges = np.flatnonzero(np.diff(labels.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).astype(np.int64)


def detection(
    labels: Flags,
    alarms: Flags,
    t_ns: Times,
    *,
    join_s: float,
    threshold: float | None = None,
    alarms_per_day_asked: float | None = None,
) -> Detection:
    """Count faults found, delays and false alarms. Any alarmed row of a fault finds it, at the time of that row.

    Alarmed rows no further apart than `join_s` are one alarm, false when none of its rows is faulty.
    """
    _check(labels, alarms, t_ns)
    faults = event_rows(labels)
    first = [start + int(np.argmax(alarms[start:stop])) for start, stop in faults.tolist()]
    delays = tuple(
        float(t_ns[row] - t_ns[start]) / NS
        for row, start in zip(first, faults[:, 0].tolist(), strict=True)
        if alarms[row]
    )
    false_alarms = _false_alarms(labels, alarms, t_ns, round(join_s * NS))
    days = _normal_days(labels, t_ns)
    return Detection(
        threshold=threshold,
        alarms_per_day_asked=alarms_per_day_asked,
        events=len(faults),
        detected=len(delays),
        event_recall=_ratio(len(delays), len(faults)),
        delays_s=delays,
        median_delay_s=float(np.median(delays)) if delays else None,
        false_alarms=false_alarms,
        false_alarms_per_day=false_alarms / days if days else None,
    )


def detection_at(
    labels: Flags, scores: Doubles, t_ns: Times, *, alarms_per_day: float, join_s: float, n: int = 1, m: int = 1
) -> Detection:
    """Event recall and delay at the lowest threshold with at most `alarms_per_day` false alarms on these normal rows.

    The threshold comes from the same rows, so this ranks detectors and promises no rate on new data. A row alarms when
    v, the N-th largest of the last M scores, is above it; no history reaches across a gap.

    Raises:
        ValueError: there is no normal row, or the rate is not above 0.
    """
    _check(labels, scores, t_ns)
    if labels.all() or not alarms_per_day > 0:
        raise ValueError(
            f"needs normal rows and a rate above 0, got {alarms_per_day} a day and labels that mark every row"
        )
    votes = _votes(scores, t_ns, join_s, n, m)
    _, levels = event_levels(np.where(labels, -np.inf, votes), t_ns, round(join_s * NS))
    allowed = int(alarms_per_day * _normal_days(labels, t_ns))
    threshold = float(levels[allowed] if allowed < len(levels) else np.nextafter(scores.min(), -np.inf))
    return detection(
        labels, votes > threshold, t_ns, join_s=join_s, threshold=threshold, alarms_per_day_asked=float(alarms_per_day)
    )


def choose_threshold(
    labels: Flags,
    scores: Doubles,
    *,
    false_alarm_weight: float = 1.0,
    miss_weight: float = 1.0,
    max_far_percent: float | None = None,
) -> ThresholdChoice:
    """Choose the threshold of the least weighted error, false_alarm_weight FAR + miss_weight MAR.

    Thresholds lie half-way between neighbouring scores; of equally good ones the highest is taken.

    Args:
        labels: bool [k], the row is faulty; both kinds must occur.
        scores: float64 [k], finite; a row alarms when its score is above the threshold.
        false_alarm_weight: cost of a false alarm rate of 1 (all normal rows), 0 or more.
        miss_weight: cost of a missed alarm rate of 1 (all faulty rows), 0 or more.
        max_far_percent: if given, the fewest misses among the thresholds with at most this false alarm rate, 0..100,
            whatever the weights.

    Raises:
        ValueError: labels of one kind only, or weights and cap out of range.
    """
    _check(labels, scores)
    if labels.all() or not labels.any():
        raise ValueError("choosing a threshold by the error rates needs both normal and faulty rows, got one kind only")
    if min(false_alarm_weight, miss_weight) < 0 or not 0 <= (max_far_percent or 0) <= 100:
        raise ValueError("weights must be 0 or more and max_far_percent 0..100")
    order, ends = by_score(scores)
    hits = np.concatenate([[0], np.cumsum(labels[order])[ends]])
    alarmed = np.concatenate([[0], ends + 1])
    missed, false = 1 - hits / hits[-1], (alarmed - hits) / (len(labels) - hits[-1])
    cost = false_alarm_weight * false + miss_weight * missed
    if max_far_percent is not None:
        cost = np.where(100 * false <= max_far_percent, missed, np.inf)
    best = int(np.argmin(cost))
    return ThresholdChoice(
        threshold=threshold_for(scores[order][ends], best),
        far_percent=100 * float(false[best]),
        mar_percent=100 * float(missed[best]),
    )


def by_score(scores: Doubles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return int64 [k] rows from the highest score down, int64 place in it of the last row of each distinct score."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)


def threshold_for(distinct: Doubles, alarmed: int) -> float:
    """Return a threshold that exactly the `alarmed` highest of the distinct scores, from the highest down, pass."""
    if alarmed == 0:
        return float(distinct[0])
    if alarmed == len(distinct):
        return float(np.nextafter(distinct[-1], -np.inf))
    low = float(distinct[alarmed])
    middle = low + (float(distinct[alarmed - 1]) - low) / 2
    return middle if middle < distinct[alarmed - 1] else low


def _votes(scores: Doubles, t_ns: Times, join_s: float, n: int, m: int) -> Doubles:
    """v, float64 [k]; -inf where there is no history of N yet."""
    return nth_largest(scores, run_starts(t_ns, unbroken_ns(t_ns, join_s)), n, m)


def _false_alarms(labels: Flags, alarms: Flags, t_ns: Times, join_ns: int) -> int:
    rows = np.flatnonzero(alarms)
    steps = np.diff(t_ns[rows])
    alarm = np.concatenate([[0], np.cumsum((steps > join_ns) | (steps < 0))]) if len(rows) else rows
    return len(np.unique(alarm)) - len(np.unique(alarm[labels[rows]]))


def _normal_days(labels: Flags, t_ns: Times) -> float:
    """Days covered by normal rows, each counted for the usual step."""
    return float(np.count_nonzero(~labels)) * usual_step_ns(t_ns) / NS / S_PER_DAY


def _check(labels: Flags, *others: NDArray[Any]) -> None:
    shapes = [list(array.shape) for array in (labels, *others)]
    if labels.ndim != 1 or not len(labels) or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"labels and what goes with them must be of one length, at least one row; got shapes {shapes}")
    if labels.dtype != np.bool_:
        raise ValueError(f"labels must be bool, got {labels.dtype}")
    for array in others:
        if not np.all(np.isfinite(array)):
            raise ValueError(f"scores must be finite, {np.count_nonzero(~np.isfinite(array))} of {len(array)} are not")


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
