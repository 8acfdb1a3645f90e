"""The alarms that the device would have raised: its decision rules over the scores of a recording."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import Decider
from edge_agent.contract.records import NS, Life
from training.artifacts import Run
from training.evaluation.scoring import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An event from opening to closing."""

    start: str
    end: str
    level: float
    """Highest level told, 0.5 at the threshold to 1."""
    channel: str
    """With the largest share of the score when it opened; empty where the graph gives no contributions."""
    labelled: bool
    """A labelled fault was on at some time of it."""


def decide(
    run: Run, calibration: Calibration, scored: Scored, labels: NDArray[np.bool_]
) -> tuple[list[Alarm], NDArray[np.bool_]]:
    """Run the decision rules over the scores; what the prefilter alone would do is left to the converter's backtest.

    Returns:
        The alarms, and for each reading, bool [n] as `labels`, whether one was on.
    """
    ids = map(str, itertools.count())
    decider = Decider(run.info.decision.rule, calibration, run.input.window_s, lambda: next(ids))
    on = np.zeros(len(labels), bool)
    spans: list[tuple[int, int, float]] = []
    opened, level = 0, 0.0
    for index, (t_ns, score) in enumerate(zip(scored.t_ns.tolist(), scored.scores.tolist(), strict=True)):
        decision = decider.window(t_ns, score=score)
        on[scored.row[index]] = bool(decision.anomaly)
        for step in decision.transitions:
            if step.life is Life.OPEN:
                opened, level = index, 0.0
            level = max(level, step.level or 0.0)
            if step.life is Life.CLOSE:
                spans.append((opened, index, level))
    if decider.open_events():
        spans.append((opened, len(scored.t_ns) - 1, level))
    return [_alarm(run, scored, labels, span) for span in spans], on


def _alarm(run: Run, scored: Scored, labels: NDArray[np.bool_], span: tuple[int, int, float]) -> Alarm:
    first, last, level = span
    channel = ""
    if scored.contributions is not None:
        channel = run.input.channels[int(scored.contributions[first].argmax())].name
    return Alarm(
        start=_clock(scored.t_ns[first]),
        end=_clock(scored.t_ns[last]),
        level=level,
        channel=channel,
        labelled=bool(labels[scored.row[first] : scored.row[last] + 1].any()),
    )


def _clock(t_ns: np.int64) -> str:
    return datetime.fromtimestamp(int(t_ns) / NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
