"""Thresholds of score and map from the device's own scorer over normal frames, as if no fit had seen them.

Where the fit learned from all frames, what having seen them is worth is added (`training.image_artifacts.Optimism`).
Each graph has its own, since int8 moves scores a little. The threshold of maps is that of their largest watched cell.
An Edge TPU rounds in ways that no other machine shows, so a graph for it gets the thresholds of its integers on the
CPU, and these are provisional, however many frames set them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters.frames.judging import FrameGraph
from converters.refusal import Refused
from converters.running import Inputs, run_cases
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.zones import watched_cells
from edge_agent.scoring.frame_interpreter import FrameScorer
from training.image_artifacts import FrameRun


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameThresholds:
    """What scores and maps of one graph are held against."""

    score: Calibration
    map: Calibration | None
    """None without a map."""

    def both(self) -> tuple[Calibration, ...]:
        """Those that there are."""
        return (self.score,) if self.map is None else (self.score, self.map)


def calibrate_graph(run: FrameRun, graph: FrameGraph, alarms_per_day: float) -> FrameThresholds:
    """The thresholds that a graph ships with."""
    found = calibrate_scorer(run, graph.scorer(), alarms_per_day)
    if graph.face.format is not GraphFormat.EDGETPU:
        return found
    return FrameThresholds(score=_provisional(found.score), map=found.map and _provisional(found.map))


def calibrate_scorer(run: FrameRun, scorer: FrameScorer, alarms_per_day: float) -> FrameThresholds:
    """Score the validation frames, for a streaming graph one after the other, and derive the thresholds."""
    frames: Inputs = run.validation[np.newaxis] if run.input.streaming else run.validation
    given = run_cases(scorer, frames)
    scores, peaks = given.scores.reshape(-1)[run.input.warm_up :].astype(np.float64), None
    maps = None if given.maps is None else given.maps.reshape(-1, *given.maps.shape[-2:])[run.input.warm_up :]
    if run.optimism is not None:
        scores, maps = run.optimism.unseen(scores, maps)
    if maps is not None:
        peaks = maps[:, watched_cells(run.input.masks, *maps.shape[1:])].max(axis=1).astype(np.float64)
    return FrameThresholds(
        score=run.calibrate(scores, alarms_per_day),
        map=None if peaks is None else run.calibrate(peaks, alarms_per_day),
    )


def _provisional(calibration: Calibration) -> Calibration:
    """The same threshold, without a promise."""
    return calibration.with_threshold(calibration.threshold)


def time_covered(run: FrameRun, alarms_per_day: float) -> Calibration:
    """A calibration of any scores: the time that the validation frames cover, and the grade that it allows at best.

    Raises:
        Refused: there is no frame that counts.
    """
    count = len(run.validation) - run.input.warm_up
    if count < 1:
        raise Refused(
            f"{len(run.validation)} validation frames, of which {run.input.warm_up} warm up, leave none to set "
            "thresholds on: record more normal frames"
        )
    return run.calibrate(np.arange(count, dtype=np.float64), alarms_per_day)
