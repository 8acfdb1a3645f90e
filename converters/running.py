"""Run cases through the device's own scorer, of windows or of frames; in any environment with a runtime and numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.frame_manifest import FrameFace
from edge_agent.contract.manifest import GraphFace
from edge_agent.contract.records import Floats
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.loaded_graph import LoadedGraph

Inputs = Floats | NDArray[np.uint8]
"""Windows float32 [k, T, C] or frames uint8 [k, H, W, 3]; for streaming graphs sequences [k, L, C], [k, L, H, W, 3]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What a graph made of the cases."""

    scores: Floats
    """float32 [k], or [k, L] along sequences."""
    maps: Floats | None = None
    """float32 [k, h, w] or [k, L, h, w]; None where the graph has none."""
    kinds: Floats | None = None
    """float32 [k, h, w, C] or [k, L, h, w, C]; None where the graph tells no kinds apart."""


def load(model: bytes, face: GraphFace | FrameFace, *, runtime: str = "litert", delegate: str = "auto") -> LoadedGraph:
    """The device's scorer for a graph that is not in a bundle yet."""
    if isinstance(face, FrameFace):
        return FrameScorer(model, face, runtime=runtime, delegate=delegate)
    return TFLiteScorer(model, face, runtime=runtime, delegate=delegate)


def run_cases(graph: LoadedGraph, inputs: Inputs) -> Outputs:
    """Score every case, sequences each from a fresh state."""
    scores: list[list[float]] = []
    further: list[list[dict[str, Floats]]] = []
    for case in inputs:
        graph.reset()
        given = [graph.run(one) for one in steps_of(graph, case)]
        scores.append([score for score, _, _ in given])
        further.append([outputs for _, outputs, _ in given])
    graph.reset()
    kept = slice(None) if graph.streaming else 0

    def of(name: str) -> Floats | None:
        if not further or name not in further[0][0]:
            return None
        return np.array([[outputs[name] for outputs in given] for given in further], np.float32)[:, kept]

    return Outputs(scores=np.array(scores, np.float32)[:, kept], maps=of("map"), kinds=of("kinds"))


def steps_of(graph: LoadedGraph, case: Inputs) -> Inputs:
    """What the graph takes one after the other: the case itself, or the rows [1, C] or frames of a sequence."""
    if not graph.streaming:
        return case[np.newaxis]
    return case if isinstance(graph, FrameScorer) else case[:, np.newaxis]
