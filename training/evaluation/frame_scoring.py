"""Scores of frames by the graph of a run, in their order, as the device does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from edge_agent.contract.frames import FrameScore
from edge_agent.contract.records import Doubles, Floats
from training.data import DataError
from training.evaluation.scoring import FloatScorer
from training.image_artifacts import FrameRun
from training.images.detector import FrameSet
from training.images.folders import Pixels


class FrameGraph(Protocol):
    """A graph that scores frames."""

    def reset(self) -> None:
        """Forget the frames before."""

    def __call__(self, pixels: Pixels) -> FrameScore:
        """Score, map and kinds of one frame uint8 [H, W, 3]."""


class FloatGraph:
    """The SavedModel of a run."""

    def __init__(self, run: FrameRun) -> None:
        """Load it."""
        self._scorer = FloatScorer(run)

    def reset(self) -> None:
        """Forget the frames before."""
        self._scorer.reset()

    def __call__(self, pixels: Pixels) -> FrameScore:
        """Score, map and kinds of one frame uint8 [H, W, 3]."""
        outputs = self._scorer(pixels)
        cells, kinds = (outputs[name][0] if name in outputs else None for name in ("map", "kinds"))
        return FrameScore(value=float(outputs["score"][0]), map=cells, kinds=kinds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What a graph made of frames, in their order; those of a streaming graph's warm-up are left out."""

    scores: Doubles
    """float64 [n]."""
    maps: Floats | None
    """float32 [n, h, w]; None where the graph has none."""
    kinds: Floats | None
    """float32 [n, h, w, C], without a map [n, 1, 1, C]; None where the graph tells no kinds apart."""

    @property
    def peaks(self) -> Doubles | None:
        """The largest cell of each map, float64 [n]."""
        return None if self.maps is None else self.maps.max(axis=(1, 2)).astype(np.float64)


def frames_of(run: FrameRun, files: tuple[str, ...]) -> FrameSet:
    """Images of the run's folder as its camera would give them.

    Raises:
        DataError: one is not there any more.
    """
    paths = tuple(Path(run.parts.folder) / file for file in files)
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(
            f"{len(missing)} of {len(paths)} images of the run are not there any more, the first is {missing[0]}: put "
            "them back, or fit again"
        )
    return FrameSet(paths, run.input.height, run.input.width)


def score_frames(
    graph: FrameGraph, frames: FrameSet, *, warm_up: int = 0, name: str = "", progress: bool = False
) -> Scored:
    """Score frames in order; those of the warm-up are left out.

    Raises:
        DataError: a score is not finite.
    """
    graph.reset()
    scored = list[FrameScore]()
    bar = tqdm(total=len(frames), desc=f"scoring {name}", unit="frame", leave=False, disable=not progress)
    with bar:
        for pixels in (each for batch in frames.batches() for each in batch):
            scored.append(graph(pixels))
            bar.update()
    scores = np.array([each.value for each in scored])
    if not np.isfinite(scores).all():
        bad = frames.paths[int(np.argmin(np.isfinite(scores)))]
        raise DataError(f"the {name} graph gives no finite score for {bad}: fit again with other settings")
    maps = [each.map for each in scored[warm_up:] if each.map is not None]
    kinds = [each.kinds for each in scored[warm_up:] if each.kinds is not None]
    return Scored(
        scores=scores[warm_up:],
        maps=np.array(maps, np.float32) if maps else None,
        kinds=np.array(kinds, np.float32) if kinds else None,
    )
