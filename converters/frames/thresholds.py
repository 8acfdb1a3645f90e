"""Thresholds of score and map from the device's own scorer over normal frames that nothing was fitted to.

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
from edge_agent.contract.records import Floats
from edge_agent.contract.zones import watched_cells
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
    """Score the validation frames, for a streaming graph one after the other, and derive the thresholds."""
    frames: Inputs = run.validation[np.newaxis] if run.input.streaming else run.validation
    given = run_cases(graph.scorer(), frames)
    scores, peaks = given.scores.reshape(-1)[run.input.warm_up :], None
    if given.maps is not None:
        maps = given.maps.reshape(-1, *given.maps.shape[-2:])[run.input.warm_up :]
        peaks = maps[:, watched_cells(run.input.masks, *maps.shape[1:])].max(axis=1)

    def calibrated(values: Floats) -> Calibration:
        made = run.calibrate(values.astype(np.float64), alarms_per_day)
        return made.with_threshold(made.threshold) if graph.face.format is GraphFormat.EDGETPU else made

    return FrameThresholds(score=calibrated(scores), map=None if peaks is None else calibrated(peaks))


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
