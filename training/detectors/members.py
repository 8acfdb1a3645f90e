"""Detectors inside other detectors: built from a table of the recipe, and scored window by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training import detectors
from training.detectors.base import Detector
from training.graph import Front, ScoreGraph
from training.recipe import RecipeError, TrainingSettings


def make_member(
    table: dict[str, Any],
    steps: Sequence[dict[str, Any]],
    place: str,
    *,
    training: TrainingSettings,
    front: Front,
    rows: int,
) -> Detector[Any]:
    """Build a detector that scores windows of `rows` rows for another.

    Args:
        table: `type` and settings.
        steps: tables of its steps; none: its usual ones.
        place: where the table stands, for messages.
        training: seed, and how networks are trained.
        front: the normalisation that all members share.
        rows: T.

    Raises:
        RecipeError: the type or a setting is not known or not possible, or it takes one row at a time.
    """
    cls, settings = detectors.read_settings(table, place, rows)
    if cls.streaming:
        raise RecipeError(f"{place}: a {table['type']} takes one row at a time and cannot stand beside others")
    try:
        return cls(settings, training, front, rows, steps)
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from error


def window_scores(graph: ScoreGraph, windows: Floats) -> Doubles:
    """Scores float64 [n] of windows float32 [n, T, C], by the graph that ships."""
    function = graph.concrete()
    return np.array([function(window=tf.constant(window[np.newaxis]))["score"][0] for window in windows], np.float64)
