"""A bundle over recorded readings, through the device's own pipeline: what would have been alarmed, and when.

Events are counted, not windows. On labelled data an event that begins inside a labelled interval (or within one
window and the N-of-M delay after it) detects it; any other is a false alarm.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from converters.replay import blocks
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.records import NS, Decision, EventKind, Floats, Life, Times
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.scoring.interpreter import TFLiteScorer

HOURS_PER_DAY = 24.0
NS_PER_HOUR = 3600 * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What the pipeline did with a recording."""

    hours: float
    """Reading time from first to last row."""
    windows: int
    scored: int
    """Windows that the network was run on."""
    unknown: int
    """Stretches that could not be scored: gaps, sensor faults."""
    events: int
    """Anomalies opened."""
    false_alarms: int
    """Of these, outside every labelled interval; all of them where the data are normal."""
    faults: int = 0
    """Labelled intervals."""
    detected: int = 0
    """Labelled intervals with an event."""
    median_delay_s: float | None = None
    """From the start of a detected interval to its first event."""
    f1: float | None = None
    """Point-wise over decided windows, each against its last row's label; None without labels."""
    far: float | None = None
    """Share of normal windows in alarm."""
    mar: float | None = None
    """Share of faulty windows not in alarm."""

    @property
    def false_alarms_per_day(self) -> float:
        """False alarms per day of reading time."""
        return self.false_alarms * HOURS_PER_DAY / self.hours if self.hours else 0.0

    def figures(self) -> dict[str, float | int | None]:
        """As the manifest keeps them: six decimals."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def backtest(
    bundle: Bundle,
    graph_format: str,
    values: Floats,
    t_ns: Times,
    labels: NDArray[np.bool_] | None = None,
) -> Backtest:
    """Run one graph of a bundle over a recording.

    Args:
        bundle: as the device reads it.
        graph_format: which of its graphs.
        values: float32 [n, C].
        t_ns: int64 [n] reading time.
        labels: bool [n] faulty rows; None: all normal.
    """
    pipeline = _pipeline(bundle, graph_format)
    decisions = [decision for block in blocks(values, t_ns) for decision in pipeline.feed(block)]
    opened = [t.t_ns for d in decisions for t in d.transitions if t.kind is EventKind.ANOMALY and t.life is Life.OPEN]
    spec, rule = bundle.manifest.input, bundle.manifest.decision.rule
    slack_ns = int((spec.window_s + rule.m * spec.stride / spec.rate_hz) * NS)
    intervals = _intervals(t_ns, labels) if labels is not None else []
    firsts = [next((t - start for t in opened if start <= t <= end + slack_ns), None) for start, end in intervals]
    inside = [any(start <= t <= end + slack_ns for start, end in intervals) for t in opened]
    delays = [delay for delay in firsts if delay is not None]
    return Backtest(
        hours=float(t_ns[-1] - t_ns[0]) / NS_PER_HOUR,
        windows=pipeline.counts.windows,
        scored=pipeline.counts.scored,
        unknown=sum(decision.anomaly is None for decision in decisions),
        events=len(opened),
        false_alarms=inside.count(False),
        faults=len(intervals),
        detected=len(delays),
        median_delay_s=float(np.median(delays)) / NS if delays else None,
        **_points(decisions, t_ns, labels),
    )


def _pipeline(bundle: Bundle, graph_format: str) -> Pipeline:
    graph, numbers = bundle.manifest.graph(graph_format), itertools.count(1)
    scorer = TFLiteScorer(bundle.graph(graph_format), graph, runtime="litert")
    return bundle_pipeline(bundle, graph, scorer, new_id=lambda: f"event-{next(numbers)}")


def _intervals(t_ns: Times, labels: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last time of every labelled run of rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(np.int8)))
    return [(int(t_ns[start]), int(t_ns[end - 1])) for start, end in edges.reshape(-1, 2)]


def _points(decisions: list[Decision], t_ns: Times, labels: NDArray[np.bool_] | None) -> dict[str, float]:
    if labels is None:
        return {}
    known = [decision for decision in decisions if decision.anomaly is not None]
    alarm = np.array([decision.anomaly for decision in known], bool)
    faulty = labels[np.clip(np.searchsorted(t_ns, [decision.t_ns for decision in known]), 0, len(labels) - 1)]
    hits, misses, false = (alarm & faulty).sum(), (~alarm & faulty).sum(), (alarm & ~faulty).sum()
    return {
        "f1": float(2 * hits / max(2 * hits + misses + false, 1)),
        "far": float(false / max((~faulty).sum(), 1)),
        "mar": float(misses / max(faulty.sum(), 1)),
    }
