"""One score graph on frames: uint8 RGB in, score out, a map of where, and which kind of defect.

The graph itself takes pixels to what its network wants, so nothing is computed here.
"""

from __future__ import annotations

import numpy as np

from edge_agent.contract.frame_manifest import MAX_CLASSES, MAX_MAP_CELLS, FrameFace
from edge_agent.contract.frames import FrameScore, Pixels
from edge_agent.errors import ScoringError
from edge_agent.scoring.loaded_graph import LoadedGraph


class FrameScorer(LoadedGraph):
    """Score frames with a TFLite graph; arguments and errors as `LoadedGraph`."""

    TAKES, TYPE, GIVES = "frame", np.uint8, ("map", "kinds")

    def __init__(
        self, model: bytes, spec: FrameFace, *, runtime: str = "auto", threads: int = 1, delegate: str = "auto"
    ) -> None:
        super().__init__(model, spec, runtime=runtime, threads=threads, delegate=delegate)
        _, height, width, _ = self.shape_of("frame", 1, "H", "W", 3)
        self.frame_shape = (height, width)
        """Pixels of the frames it takes, from top to bottom and from left to right."""
        self.map_shape: tuple[int, int] | None = None
        """Cells of its maps, from top to bottom and from left to right; None where it gives none."""
        if spec.map is not None:
            _, rows, columns = self.shape_of("map", 1, "h", "w")
            if not 0 < rows * columns <= MAX_MAP_CELLS:
                raise ScoringError(f"a map may have 1 to {MAX_MAP_CELLS} cells, the graph's has {rows} x {columns}")
            self.map_shape = (rows, columns)
        self.classes = 0
        """Kinds of defect that it tells apart; 0: it does not."""
        if spec.kinds is not None:
            *_, self.classes = self.shape_of("kinds", 1, *(self.map_shape or (1, 1)), "C")
            if not 2 <= self.classes <= MAX_CLASSES:  # noqa: PLR2004 - one kind tells nothing
                raise ScoringError(f"a graph tells 2 to {MAX_CLASSES} kinds of defect apart, got {self.classes}")

    def score(self, pixels: Pixels) -> FrameScore:
        """Score one frame, uint8 [H, W, 3] of `frame_shape`.

        Whether the map is finite where it is watched is for the one who looks at it (`Localiser`).

        Raises:
            ScoringError: the runtime failed, or the score is not finite.
        """
        value, further, took_ns = self.run(pixels)
        return FrameScore(value=value, map=further.get("map"), kinds=further.get("kinds"), took_ns=took_ns)
