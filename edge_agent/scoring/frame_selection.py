"""Which of a camera bundle's graphs runs here: the rules of `selection.py`, with frames and maps.

The cells of a map are held to their golden values as scores are, so that a graph whose score is right and whose map is
not never runs. Of kinds of defect the mean over the cells of a frame is: a single cell in which there is no defect may
go either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameGraphSpec
from edge_agent.contract.frames import FrameScore
from edge_agent.contract.records import Floats
from edge_agent.errors import ScoringError
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.selection import Trial, attempt, fastest, golden_error, median_us
from edge_agent.scoring.settings import ScoringSettings

TIMED_FRAMES: Final = 8
"""Scored frames whose median is the time of a graph: 8 of a slow one (200 ms) are a fraction of the start-up budget.
The golden frames have warmed it."""


def golden_results(scorer: FrameScorer, golden: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Score the golden inputs.

    Args:
        scorer: of the graph.
        golden: with `frames` uint8 [g, H, W, 3], of a streaming graph with `sequences` uint8 [g, L, H, W, 3].

    Returns:
        `score` float32 [g] or [g, L]; of the frames, of each sequence's last, where the graph has them, `map` float32
        [g, h, w] and `kinds` float32 [g, h, w, C].

    Raises:
        ScoringError: the runtime failed, or a score is not finite.
    """
    if scorer.streaming:
        results = [_along(scorer, sequence) for sequence in golden["sequences"]]
        found = {"score": np.array([[result.value for result in each] for each in results], np.float32)}
    else:
        results = [[scorer.score(frame)] for frame in golden["frames"]]
        found = {"score": np.array([each[0].value for each in results], np.float32)}
    if scorer.map_shape:
        found["map"] = np.array([each[-1].map for each in results], np.float32)
    if scorer.classes:
        found["kinds"] = np.array([each[-1].kinds for each in results], np.float32)
    return found


def kinds_error(given: Floats, wanted: Floats) -> float:
    """Return the largest difference of the mean probabilities of kinds over the cells of a frame, of [g, h, w, C].

    Raises:
        ScoringError: they have not the same shape, or there are none.
    """
    if given.shape != wanted.shape or not given.size:
        raise ScoringError(f"the golden kinds have the shape {list(wanted.shape)}, the graph's {list(given.shape)}")
    return float(np.abs(given.mean(axis=(1, 2)) - wanted.mean(axis=(1, 2))).max())


def try_frame_graph(
    bundle: FrameBundle, spec: FrameGraphSpec, settings: ScoringSettings, *, timed: bool = True
) -> tuple[Trial[FrameGraphSpec], FrameScorer | None]:
    """Load one graph, replay its golden data and, if asked, time it; the scorer is None where it may not run."""
    golden = bundle.golden()

    def load() -> FrameScorer:
        model, runtime = bundle.graph(spec.format), settings.runtime
        return FrameScorer(model, spec, runtime=runtime, threads=settings.threads, delegate=settings.delegate)

    def error_of(scorer: FrameScorer) -> float:
        errors = [
            (kinds_error if name == "kinds" else golden_error)(
                values, golden[f"{name}_{spec.format}"].astype(np.float32)
            )
            for name, values in golden_results(scorer, golden).items()
        ]
        return float(np.max(errors))

    def us_of(scorer: FrameScorer) -> float:
        frame = golden["sequences"][0, 0] if scorer.streaming else golden["frames"][0]
        return median_us(scorer, frame, warm=0, timed=TIMED_FRAMES)

    return attempt(spec, settings, load=load, error_of=error_of, us_of=us_of if timed else None)


def choose_frame_graph(
    bundle: FrameBundle, settings: ScoringSettings
) -> tuple[Trial[FrameGraphSpec], FrameScorer, list[Trial[FrameGraphSpec]]]:
    """Return the graph to run, its scorer, and every trial made; errors as `fastest`."""
    return fastest(
        bundle.manifest.graphs, settings, lambda spec, timed: try_frame_graph(bundle, spec, settings, timed=timed)
    )


def _along(scorer: FrameScorer, sequence: NDArray[np.uint8]) -> list[FrameScore]:
    """Score a sequence from a fresh state."""
    scorer.reset()
    results = [scorer.score(frame) for frame in sequence]
    scorer.reset()
    return results
