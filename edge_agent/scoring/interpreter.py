"""One score graph on windows: float32 window in, score out, and what each channel contributes."""

from __future__ import annotations

import numpy as np

from edge_agent.contract.manifest import GraphFace
from edge_agent.contract.records import Floats, Score
from edge_agent.scoring.loaded_graph import LoadedGraph


class TFLiteScorer(LoadedGraph):
    """Score windows with a TFLite graph; arguments and errors as `LoadedGraph`."""

    TAKES, TYPE, GIVES = "window", np.float32, ("contributions",)

    def __init__(
        self, model: bytes, spec: GraphFace, *, runtime: str = "auto", threads: int = 1, delegate: str = "auto"
    ) -> None:
        super().__init__(model, spec, runtime=runtime, threads=threads, delegate=delegate)
        _, rows, channels = self.shape_of("window", 1, "T", "C")
        self.window_shape = (rows, channels)
        """T and C."""
        if spec.contributions is not None:
            self.shape_of("contributions", 1, channels)

    def score(self, window: Floats) -> Score:
        """Score one window, float32 [T, C] (a streaming graph: the newest row, [1, C]).

        Raises:
            ScoringError: the runtime failed, or the score is not finite.
        """
        value, further, took_ns = self.run(window)
        return Score(value=value, contributions=further.get("contributions"), took_ns=took_ns)
