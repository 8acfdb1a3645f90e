"""Scores of readings by the float graph of a run: one window after the other, as the device does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.contract.records import Doubles, Times
from training.artifacts import Run, RunFolder
from training.splits import Rows, rows_of, windows_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Windows that count, with their scores; each stands for the reading it ends with."""

    t_ns: Times
    """int64 [k] reading time of the last row."""
    scores: Doubles
    """float64 [k]."""
    contributions: Doubles | None
    """float64 [k, C], share of the score; None where the graph has none."""
    row: NDArray[np.int64]
    """int64 [k] index of the last row among the readings given."""
    unknown: tuple[str, ...]
    """Why stretches of the readings have no score, once per change."""


class FloatScorer:
    """The SavedModel of a run behind one call; carries the states of a streaming graph."""

    def __init__(self, run: RunFolder) -> None:
        """Load the graph of a run of readings or of images."""
        self._model = tf.saved_model.load(str(run.graph))
        self._function = self._model.signatures["serving_default"]
        shapes = self._function.structured_input_signature[1]
        self._input = "frame" if "frame" in shapes else "window"
        self._start = {name: tf.zeros(spec.shape) for name, spec in shapes.items() if name.startswith("state_")}
        self.reset()

    def reset(self) -> None:
        """Forget the carried state."""
        self._states = dict(self._start)

    def __call__(self, window: NDArray[np.float32 | np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Score one window float32 [T, C] or frame uint8 [H, W, 3]; outputs by name."""
        outputs = self._function(**{self._input: tf.constant(window[np.newaxis])}, **self._states)
        self._states = {name: outputs[name] for name in self._states}
        return {name: value.numpy() for name, value in outputs.items()}


def score_readings(run: Run, parts: Iterable[Rows], *, progress: bool = False) -> Scored:
    """Cut readings into windows and score them.

    Args:
        run: whose graph.
        parts: stretches of readings; no window spans two.
        progress: draw a bar.
    """
    parts = tuple(parts)
    windows = windows_of(parts, run.input.rule())
    scorer = FloatScorer(run)
    scores, contributions = np.empty(len(windows.t_ns)), np.empty((len(windows.t_ns), len(run.input.channels)))
    explained, last_run = True, -1
    for index in tqdm(range(len(scores)), unit="window", leave=False, disable=not progress):
        if windows.run[index] != last_run:
            scorer.reset()
            last_run = windows.run[index]
        outputs = scorer(windows.values[index])
        scores[index] = outputs["score"][0]
        explained = "contributions" in outputs
        contributions[index] = outputs["contributions"][0] if explained else 0
    counted = ~windows.warming
    t_ns = np.concatenate([np.empty(0, np.int64), *(part.t_ns for part in parts)])
    return Scored(
        t_ns=windows.t_ns[counted],
        scores=scores[counted],
        contributions=contributions[counted] if explained else None,
        row=rows_of(windows.t_ns[counted], t_ns),
        unknown=windows.unknown,
    )
