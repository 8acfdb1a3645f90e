"""Masked parts of the picture are black, for the fit and inside the graph: whatever moves there changes no score."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.zones import Polygon, watched_cells
from training.graph import FRONT, Outputs, ScoreGraph
from training.images.folders import Pixels


def blackened(frames: Pixels, masks: tuple[Polygon, ...]) -> Pixels:
    """Frames [n, H, W, 3] with the masked pixels at 0."""
    if not masks:
        return frames
    _, height, width, _ = frames.shape
    return np.minimum(frames, _most(masks, height, width))


def masked(graph: ScoreGraph, masks: tuple[Polygon, ...]) -> ScoreGraph:
    """The same graph, which sees masked pixels of its frame as 0."""
    if not masks:
        return graph
    _, height, width, _ = graph.inputs["frame"]
    most = _most(masks, height, width)

    def function(frame: tf.Tensor, **states: tf.Tensor) -> Outputs:
        with tf.name_scope(FRONT):
            seen = tf.minimum(frame, tf.constant(most))
        return graph.function(frame=seen, **states)

    return ScoreGraph(function=function, inputs=graph.inputs)


def _most(masks: tuple[Polygon, ...], height: int, width: int) -> NDArray[np.uint8]:
    """The largest value that each pixel may have, uint8 [1, H, W, 1]: 255 or, where it is masked, 0."""
    return np.where(watched_cells(masks, height, width), np.uint8(255), np.uint8(0))[np.newaxis, :, :, np.newaxis]
