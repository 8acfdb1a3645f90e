"""Thresholds from the device's own scorer over normal readings that nothing was fitted to.

Each shipped graph has its own: int8 noise shifts scores by a small positive bias, so an int8 graph on the threshold
of the float one would alarm too often. The prefilter's upper limit is set first: of the false alarms asked for, a share
is its `gross` alarms', and the network's threshold is set for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters.refusal import Refused
from converters.replay import Stretch, stretches
from edge_agent.contract.calibration import GROSS_SHARE, Calibration, calibrate
from edge_agent.contract.prefilter import Prefilter
from edge_agent.contract.records import Doubles, Times
from edge_agent.scoring.interpreter import TFLiteScorer
from training.artifacts import Run

GROSS_MARGIN = 2.0
"""The upper limit stands at least this factor above the largest d2 of normal validation data: 1.4 times its
distance."""

S_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normal:
    """The device's windows of the validation data."""

    stretches: list[Stretch]
    t_ns: Times
    """int64 [k], of the windows that count."""
    d2: Doubles
    """float64 [k]."""


def normal_windows(run: Run, prefilter: Prefilter) -> Normal:
    """Pass the validation readings through the device's windower and prefilter.

    Raises:
        Refused: they give no window that counts.
    """
    found = [stretch for stretch in stretches(run.input.rule(), *run.validation) if len(stretch.t_ns) > stretch.warming]
    if not found:
        raise Refused("the validation data give no window that counts: record more normal data")
    return Normal(
        stretches=found,
        t_ns=np.concatenate([stretch.t_ns[stretch.warming :] for stretch in found]),
        d2=np.concatenate([prefilter.distances(stretch.windows)[stretch.warming :] for stretch in found]),
    )


def normal_scores(normal: Normal, scorer: TFLiteScorer) -> Doubles:
    """Scores float64 [k] of the windows that count; state starts anew at every break."""
    scores: list[float] = []
    for stretch in normal.stretches:
        scorer.reset()
        scores += [scorer.score(window).value for window in stretch.windows][stretch.warming :]
    scorer.reset()
    return np.array(scores)


def upper_limit(run: Run, prefilter: Prefilter, normal: Normal, alarms_per_day: float) -> float:
    """The d2 above which a window is `gross`: an alarm at once.

    The Bayesian predictive of the training windows gives the d2 that independent windows with Gaussian features pass
    `GROSS_SHARE` of the asked alarms a day; overlapping windows count once. Features of short windows have longer tails
    (white noise in windows of 8 rows passes it 6 times as often), and real data longer ones yet: hence the margin above
    all normal data that were seen.
    """
    p = GROSS_SHARE * alarms_per_day * run.input.window_s / S_PER_DAY
    return max(prefilter.gaussian.predictive().limit(min(p, 0.5)), GROSS_MARGIN * float(normal.d2.max()))


def calibrate_graph(run: Run, normal: Normal, scores: Doubles, *, upper: float, alarms_per_day: float) -> Calibration:
    """Derive a graph's threshold, the gross alarms included."""
    rule = run.info.decision.rule
    return calibrate(
        scores,
        normal.t_ns,
        alarms_per_day=alarms_per_day,
        n=rule.n,
        m=rule.m,
        join_s=run.input.window_s + rule.hold_off_s,
        k=run.info.k,
        gross=normal.d2 > upper,
        gap_s=run.input.stride / run.input.rate_hz + run.input.max_gap_s,
    )
