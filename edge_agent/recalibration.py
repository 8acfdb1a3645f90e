"""Prefilter and threshold of a bundle, fitted to normal readings of its site; the bundle itself is not touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.prefilter import Mode, Prefilter, independent_windows
from edge_agent.contract.records import Block, Floats
from edge_agent.on_site import MIN_WINDOWS, windows_of
from edge_agent.pipeline import PrefilterSettings, bundle_pipeline
from edge_agent.ports import Scorer
from edge_agent.site_model import SiteModel

LEAST_P = 1e-12
"""Smallest probability that a limit of the prefilter is carried over with."""


def recalibrate(bundle: Bundle, spec: GraphSpec, scorer: Scorer, blocks: Sequence[Block], created: str) -> SiteModel:
    """Fit prefilter and threshold of a bundle to normal readings of this site.

    Args:
        bundle: the stream's.
        spec: the graph of it that runs here.
        scorer: that graph, loaded.
        blocks: normal readings, oldest first.
        created: UTC, ISO 8601.

    Raises:
        ValueError: too few usable windows; the message says what was wrong with the rest.
    """
    decision, old = bundle.manifest.decision, bundle.prefilter()
    windows, _, problems = windows_of(bundle.manifest.input, blocks)
    pipeline = bundle_pipeline(
        bundle, spec, scorer, new_id=lambda: "calibration", prefilter=PrefilterSettings(mode=Mode.WATCH)
    )
    decided = [one for block in blocks for one in pipeline.feed(block) if one.fault is None and one.score is not None]
    if independent_windows(windows) < MIN_WINDOWS or not decided:
        why = f": {problems[0]}" if problems else ""
        usable = f"{len(decided)} usable windows came from {sum(map(len, blocks))} readings"
        raise ValueError(f"only {usable}; {MIN_WINDOWS} that do not overlap are needed{why}")
    prefilter = refit(old, windows)
    calibration = calibrate(
        np.array([one.score for one in decided], np.float64),
        np.array([one.t_ns for one in decided], np.int64),
        alarms_per_day=decision.alarms_per_day,
        n=decision.rule.n,
        m=decision.rule.m,
        join_s=bundle.manifest.input.window_s + decision.rule.hold_off_s,
        k=spec.calibration.k,
    )
    return SiteModel(
        input=bundle.manifest.input,
        calibration=calibration,
        prefilter=prefilter,
        graph_sha256=spec.sha256,
        created=created,
    )


def refit(old: Prefilter, windows: Floats) -> Prefilter:
    """Fit the prefilter anew; its limits keep the probability under the predictive distribution that they had."""
    fresh = Prefilter.fit(windows, names=old.names).with_mode(old.mode)
    before, now = old.gaussian.predictive(), fresh.gaussian.predictive()
    lower, upper = (
        now.limit(min(max(before.survival(limit), LEAST_P), 1 - LEAST_P)) for limit in (old.lower, old.upper)
    )
    highest = float(np.max(fresh.distances(windows)))
    return fresh.with_limits(lower, max(upper, highest))


def figures(calibration: Calibration) -> dict[str, Any]:
    """Return what a person compares of two calibrations."""
    return {
        "grade": str(calibration.grade),
        "threshold": calibration.threshold,
        "median": calibration.median,
        "alarms_per_day": calibration.alarms_per_day,
        "normal_days": calibration.normal_days,
        "hours_needed": calibration.hours_needed,
    }
