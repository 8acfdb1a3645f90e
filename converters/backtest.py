"""A bundle over recorded readings, through the device's own pipeline: what would have been alarmed, and when.

Counted is what the device shows, so a row is in alarm while an event is open: from N of M scores above the threshold,
or a `gross` window, until a window and the hold-off were quiet. A fault is found when a row of it is in alarm, at the
time of the first; an event is a false alarm when it touches no fault (nor the window and the N-of-M delay after one, in
which windows still hold faulty rows).

`training evaluate` counts otherwise: there a row is alarmed where N of M scores of the float graph are above the
threshold, without prefilter, hold-off and allowance after a fault. Both tell false alarms by the day of normal time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from converters.replay import blocks, recordings
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import HOURS_PER_DAY
from edge_agent.contract.records import NS, Decision, EventKind, Floats, Life, Times
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.scoring.interpreter import TFLiteScorer

NS_PER_HOUR = 3600 * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What the pipeline did with a recording."""

    hours: float
    """Reading time, gaps excluded."""
    normal_hours: float
    """Of these, up to a row that is not labelled faulty."""
    windows: int
    scored: int
    """Windows that the network was run on."""
    unknown: int
    """Stretches that could not be scored: gaps, sensor faults."""
    events: int
    """Anomalies opened."""
    false_alarms: int
    """Of these, touching no labelled fault; all of them where the data are normal."""
    faults: int = 0
    """Labelled faults: runs of labelled rows."""
    detected: int = 0
    """Faults with a row in alarm."""
    median_delay_s: float | None = None
    """From the first row of a detected fault to its first row in alarm."""
    normal_in_alarm: float | None = None
    """Share of the decided windows with a normal last row that are in alarm; None where there are none."""
    faulty_silent: float | None = None
    """Share of the decided windows with a faulty last row that are not; None where there are none."""

    @property
    def false_alarms_per_day(self) -> float:
        """False alarms per day of normal reading time."""
        return self.false_alarms * HOURS_PER_DAY / self.normal_hours if self.normal_hours else 0.0

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
    pipeline, spec = _pipeline(bundle, graph_format), bundle.manifest.input
    labelled = np.zeros(len(t_ns), bool) if labels is None else labels
    decided = list(_decisions(pipeline, values, t_ns))
    alarmed = np.array([row for row, decision in decided if decision.anomaly], np.int64)
    faults = _faults(labelled)
    slack = spec.window + bundle.manifest.decision.rule.m * spec.stride
    events = _events(decided)
    false = sum(not any(start < stop + slack and end >= begin for begin, stop in faults) for start, end in events)
    firsts = [_first(alarmed, begin, stop) for begin, stop in faults]
    delays = [t_ns[row] - t_ns[begin] for row, (begin, _) in zip(firsts, faults, strict=True) if row is not None]
    steps = np.diff(t_ns)
    seen = (steps > 0) & (steps <= spec.max_gap_s * NS)
    return Backtest(
        hours=float(steps[seen].sum()) / NS_PER_HOUR,
        normal_hours=float(steps[seen & ~labelled[1:]].sum()) / NS_PER_HOUR,
        windows=pipeline.counts.windows,
        scored=pipeline.counts.scored,
        unknown=sum(decision.anomaly is None for _, decision in decided),
        events=len(events),
        false_alarms=false,
        faults=len(faults),
        detected=len(delays),
        median_delay_s=float(np.median(delays)) / NS if delays else None,
        **_shares(decided, labelled),
    )


Decided = list[tuple[int, Decision]]
"""Decisions, each with the row of the recording that it was made at."""


def _pipeline(bundle: Bundle, graph_format: str) -> Pipeline:
    graph, numbers = bundle.manifest.graph(graph_format), itertools.count(1)
    scorer = TFLiteScorer(bundle.graph(graph_format), graph, runtime="litert")
    return bundle_pipeline(bundle, graph, scorer, new_id=lambda: f"event-{next(numbers)}")


def _decisions(pipeline: Pipeline, values: Floats, t_ns: Times) -> Iterator[tuple[int, Decision]]:
    """Feed the recording and give each decision with its row."""
    for part in recordings(t_ns):
        times = t_ns[part]
        for block in blocks(values[part], times):
            for decision in pipeline.feed(block):
                yield part.start + min(int(np.searchsorted(times, decision.t_ns)), len(times) - 1), decision


def _events(decided: Decided) -> list[tuple[int, int]]:
    """First and last alarmed row of every anomaly, the last one perhaps still open."""
    events: list[tuple[int, int]] = []
    for row, decision in decided:
        if any(t.kind is EventKind.ANOMALY and t.life is Life.OPEN for t in decision.transitions):
            events.append((row, row))
        elif decision.anomaly and events:
            events[-1] = (events[-1][0], row)
    return events


def _faults(labels: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row of every labelled run, and the row after its last."""
    edges = np.flatnonzero(np.diff(labels.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(stop)) for begin, stop in edges.reshape(-1, 2)]


def _first(alarmed: NDArray[np.int64], begin: int, stop: int) -> int | None:
    inside = alarmed[(alarmed >= begin) & (alarmed < stop)]
    return int(inside[0]) if len(inside) else None


def _shares(decided: Decided, labels: NDArray[np.bool_]) -> dict[str, float | None]:
    known = [(row, decision.anomaly) for row, decision in decided if decision.anomaly is not None]
    faulty = labels[[row for row, _ in known]]
    alarm = np.array([anomaly for _, anomaly in known], bool)
    return {
        "normal_in_alarm": float(alarm[~faulty].mean()) if not faulty.all() else None,
        "faulty_silent": float((~alarm[faulty]).mean()) if faulty.any() else None,
    }
