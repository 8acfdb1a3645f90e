"""Masked parts of the picture are black, for the fit and inside the graph: whatever moves there changes no score."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from edge_agent.contract.zones import Cells, Polygon, watched_cells
from training.graph import FRONT, Outputs, ScoreGraph
from training.images.folders import Pixels


def blackened(frames: Pixels, masks: tuple[Polygon, ...]) -> Pixels:
    """Frames [n, H, W, 3] with the masked pixels at 0."""
    if not masks:
        return frames
    _, height, width, _ = frames.shape
    return np.where(_watched(masks, height, width), frames, np.uint8(0))


def masked(graph: ScoreGraph, masks: tuple[Polygon, ...]) -> ScoreGraph:
    """The same graph, which sees masked pixels of its frame as 0."""
    if not masks:
        return graph
    _, height, width, _ = graph.inputs["frame"]
    watched = _watched(masks, height, width)

    def function(frame: tf.Tensor, **states: tf.Tensor) -> Outputs:
        with tf.name_scope(FRONT):
            # In float32: TFLite neither limits nor chooses among uint8. Detectors cast their frame, which this passes.
            seen = tf.cast(frame, tf.float32) * tf.constant(watched, tf.float32)
        return graph.function(frame=seen, **states)

    return ScoreGraph(function=function, inputs=graph.inputs)


def _watched(masks: tuple[Polygon, ...], height: int, width: int) -> Cells:
    """Which pixels are not masked, bool [1, H, W, 1]."""
    return np.asarray(watched_cells(masks, height, width)[np.newaxis, :, :, np.newaxis])
