"""One converted graph on frames judged: operators, runtimes, parity of score and map, golden tolerance."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from converters import flatbuffer
from converters.edgetpu.compiler import Report
from converters.frames.cases import FrameCases
from converters.frames.golden import frame_tolerances, golden_index
from converters.frames.parity import FrameParity, compare_frames
from converters.judging import Judge, refuse_different
from converters.running import Outputs
from converters.runtimes import Measured, frame_face_of, measure_here, measure_tflite, median_us
from edge_agent.contract.frame_manifest import FrameFace
from edge_agent.contract.zones import Cells, watched_cells
from edge_agent.scoring.frame_interpreter import FrameScorer
from training.image_artifacts import FrameRun


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameGraph:
    """One format, converted and found equal to the float model."""

    model: bytes
    """What is shipped."""
    face: FrameFace
    """How it is called."""
    runnable: tuple[bytes, FrameFace]
    """What this machine runs of it: the same, but for an Edge TPU the graph before it was compiled."""
    facts: flatbuffer.GraphFacts
    measured: tuple[Measured, ...]
    """Of what this machine runs; the first is ai-edge-litert."""
    parity: dict[str, FrameParity]
    """By runtime."""
    tolerance: dict[str, float]
    """By runtime, of golden scores and cells."""
    us: float
    """Microseconds of a `score` call here."""
    compiled: Report | None = field(default=None)
    """What the compiler of the Edge TPU said."""

    def scorer(self) -> FrameScorer:
        """The device's scorer of what this machine runs."""
        return FrameScorer(*self.runnable, runtime="litert")


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameJudge(Judge[FrameGraph]):
    """Judges graphs on frames."""

    run: FrameRun
    cases: FrameCases

    @cached_property
    def reference(self) -> Outputs:
        """What the float model makes of the cases."""
        made = self.conversion
        return Outputs(scores=made.reference_scores(), maps=made.reference_map, kinds=made.reference_kinds)

    @cached_property
    def golden(self) -> NDArray[np.intp]:
        """Which of the cases are golden."""
        return golden_index(self.cases, self.reference.scores)

    @cached_property
    def watched(self) -> Cells | None:
        """The cells of maps that no mask leaves out; None without a map."""
        maps = self.reference.maps
        return None if maps is None else watched_cells(self.run.input.masks, *maps.shape[-2:])

    def judged(self, graph_format: str, model: bytes) -> FrameGraph:
        """As `Judge.judged`."""
        facts = flatbuffer.check(model, graph_format)
        info = self.run.info
        face = frame_face_of(graph_format, facts, info.input, has_map=info.has_map, tells_kinds=info.tells_kinds)
        inputs = self.cases.inputs
        there = measure_tflite(self.tflite_python, model, face, inputs, self.run.path / "build")
        measured = (measure_here(model, face, inputs), *([there] if there else []))
        parity = {
            each.runtime: compare_frames(self.cases, self.watched, each.usual, self.reference) for each in measured
        }
        refuse_different(graph_format, parity)
        return FrameGraph(
            model=model,
            face=face,
            runnable=(model, face),
            facts=facts,
            measured=measured,
            parity=parity,
            tolerance=frame_tolerances(face.format, measured, self.golden),
            us=median_us(model, face, inputs[0, -1] if face.states else inputs[0]),
        )
