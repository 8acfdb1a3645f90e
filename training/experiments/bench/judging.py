"""What a bundle, or row alarms from elsewhere, make of a trial: a score, an alarm and an event for every tested row.

Scores come from the shipped graph in the device's pipeline, fed in order: no row is judged by a later one. The pipeline
watches (`mode = watch`), so that every window has a score; what gating would hide is bounded by the converter (1 %).

    score of a row    of the newest window that is complete there; where there is none (warming up, a gap, a sensor
                      fault) the least score of the trial, or the normal median where that is less
    alarm             that window's score is above the threshold of the bundle
    event             the device's own: N-of-M opens it, quiet for a window and the hold-off closes it
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.replay import blocks, recordings
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import Decider, DecisionRule
from edge_agent.contract.manifest import GraphSpec, InputSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Decision, Doubles, EventKind, Floats, Score
from edge_agent.pipeline import Pipeline, PrefilterSettings, bundle_pipeline
from edge_agent.scoring.interpreter import TFLiteScorer
from training.experiments.bench.cases import Flags, Trial
from training.recipe import DecisionSettings, WindowSettings
from training.splits import Rows

Numbers = NDArray[np.int32]

DECISION = DecisionSettings()
"""What row alarms from elsewhere are decided by: the defaults of every recipe."""

HALF = 0.5
"""Between the scores 0 and 1 that stand for no alarm and an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What was said about the k tested rows of a trial."""

    scores: Doubles
    """float64 [k]: larger is stranger."""
    alarms: Flags
    """bool [k]."""
    event: Numbers
    """int32 [k]: number of the event that is on, 0 where none is."""
    relative: Doubles
    """float64 [k]: scores with the normal median at 0 and the threshold at 1, comparable between fits."""
    unscored: int = 0
    """Tested rows without a score."""


class TimedScorer(TFLiteScorer):
    """The device's scorer, with the time of every call kept."""

    def __init__(self, model: bytes, spec: GraphSpec) -> None:
        """Load the graph."""
        super().__init__(model, spec)
        self.took_ns: list[int] = []

    def score(self, window: Floats) -> Score:
        """Score one window; errors as the scorer's."""
        score = super().score(window)
        self.took_ns.append(score.took_ns)
        return score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """A trial run through the device's pipeline."""

    judged: Judged
    took_ns: list[int]
    """Of each call of the graph."""
    reasons: list[str]
    """Why stretches have no score, each once."""


def judge(bundle: Bundle, spec: GraphSpec, trial: Trial) -> Replayed:
    """Run one graph of a bundle over a trial."""
    scorer = TimedScorer(bundle.graph(spec.format), spec)
    numbers = itertools.count(1)
    pipeline = bundle_pipeline(
        bundle, spec, scorer, new_id=lambda: str(next(numbers)), prefilter=PrefilterSettings(mode=Mode.WATCH)
    )
    scores, event, reasons = _by_row(_decisions(pipeline, trial.rows), len(trial.rows))
    tested = _held(scores, trial.rows, bundle.manifest.input)[trial.tested]
    unscored, calibration = np.isnan(tested), spec.calibration
    known = np.where(unscored, np.min(tested, where=~unscored, initial=calibration.median), tested)
    judged = Judged(
        scores=known,
        alarms=known > calibration.threshold,
        event=event[trial.tested],
        relative=(known - calibration.median) / (calibration.threshold - calibration.median),
        unscored=int(unscored.sum()),
    )
    return Replayed(judged=judged, took_ns=scorer.took_ns, reasons=reasons)


def from_alarms(alarms: Flags, scores: Doubles, trial: Trial, rate_hz: float) -> Judged:
    """Row alarms of something that is no bundle, with events by the device's rule."""
    rule = DecisionRule(
        n=DECISION.n,
        m=DECISION.m,
        hysteresis=DECISION.hysteresis,
        hold_off_s=DECISION.hold_off_s,
        update_s=DECISION.update_s,
    )
    window_s = WindowSettings(rate_hz=rate_hz).rows / rate_hz
    calibration = calibrate(
        np.zeros(2),
        np.array([0, NS]),
        alarms_per_day=DECISION.alarms_per_day,
        n=rule.n,
        m=rule.m,
        join_s=window_s + rule.hold_off_s,
        k=DECISION.k,
    ).with_threshold(HALF)
    numbers = itertools.count(1)
    decider = Decider(rule, calibration, window_s, lambda: str(next(numbers)))
    t_ns = trial.rows.t_ns[trial.tested].tolist()
    decided = (
        (row, decider.window(t, score=float(alarm)))
        for row, (t, alarm) in enumerate(zip(t_ns, alarms.tolist(), strict=True))
    )
    _, event, _ = _by_row(decided, len(alarms))
    return Judged(scores=scores, alarms=alarms, event=event, relative=scores)


def _decisions(pipeline: Pipeline, rows: Rows) -> Iterator[tuple[int, Decision]]:
    """Feed a recording and give each decision with the row it was made at."""
    for part in recordings(rows.t_ns):
        start = part.start
        for block in blocks(rows.values[part], rows.t_ns[part]):
            for decision in pipeline.feed(block):
                yield start + min(int(np.searchsorted(block.t_ns, decision.t_ns)), len(block) - 1), decision
            start += len(block)


def _by_row(decided: Iterable[tuple[int, Decision]], rows: int) -> tuple[Doubles, Numbers, list[str]]:
    """Scores (NaN where there is none), numbers of the events that are on, and why stretches have no score."""
    scores, event = np.full(rows, np.nan), np.zeros(rows, np.int32)
    reasons: dict[str, None] = {}
    on, since = 0, 0
    for row, decision in decided:
        event[since:row] = on
        since = row
        for told in decision.transitions:
            if told.kind is EventKind.ANOMALY:
                on = int(told.id)
            elif told.kind is EventKind.ANOMALY_CLEARED:
                on = 0
        if decision.fault is not None:
            reasons[f"{decision.fault} {decision.detail}".strip()] = None
        elif decision.score is not None:
            scores[row] = decision.score
    event[since:] = on
    return scores, event, list(reasons)


def _held(scores: Doubles, rows: Rows, spec: InputSpec) -> Doubles:
    """Give rows between two windows (stride above 1) the score of the window before, never across a gap."""
    last = np.maximum.accumulate(np.where(np.isnan(scores), -1, np.arange(len(scores))))
    since = np.arange(len(scores)) - last
    gaps = np.cumsum(np.diff(rows.t_ns, prepend=rows.t_ns[:1]) > round(spec.max_gap_s * NS))
    held = (last >= 0) & (since < spec.stride) & (gaps == gaps[last])
    return np.where(held, scores[last], np.nan)
