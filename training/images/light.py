"""Light evened out: a lamp that ages and a cloud change the picture, not the part.

    seen = g frame,    g = usual white / white of the frame, held within 1 / limit and limit

White is the mean luma of the brightest fifth of the picture's blocks: the mean of the whole picture changes with the
size of a part and with what it is of, and evening that out would make parts look alike that are not. Beyond the limit
something is wrong, and stays to be seen.

Source: of white taken for the light E. H. Land and J. J. McCann, "Lightness and retinex theory", J. Optical Society of
America 61 (1971).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.frames import LUMA_WEIGHTS
from training.graph import FRONT
from training.images.folders import Pixels

SAMPLE_STEP = 4
"""Pixels between those that tell the light, along each side: all of them tell no more and cost ten times as much."""

BLOCK = 4
"""Samples along each side of a block: glints of a few pixels are not the light."""

BRIGHTEST = 0.2
"""Share of the blocks that count as white."""

LEAST_WHITE = 1.0
"""Level, 0..255, of a frame without any light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """The light that frames are brought to."""

    usual: float
    """White of the median normal frame, levels of 0..255."""
    limit: float
    """Largest factor of the gain, above 1."""

    @classmethod
    def fit(cls, batches: Iterable[Pixels], limit: float) -> Light:
        """Learn what is usual from normal frames, batches uint8 [b, H, W, 3]."""
        whites = np.concatenate([white(tf.constant(batch)).numpy() for batch in batches])
        return cls(usual=max(float(np.median(whites)), LEAST_WHITE), limit=limit)

    def graph(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames [n, H, W, 3] of 0..255 in the usual light, float32, not limited to 255."""
        with tf.name_scope(FRONT):
            gain = self.usual / tf.maximum(white(frames), LEAST_WHITE)
            gain = tf.minimum(tf.maximum(gain, 1 / self.limit), self.limit)
            return tf.cast(frames, tf.float32) * tf.reshape(gain, (-1, 1, 1, 1))


def white(frames: tf.Tensor) -> tf.Tensor:
    """Mean luma of the brightest blocks, float32 [n], of frames [n, H, W, 3] of at least 16 x 16 pixels."""
    samples = tf.cast(frames[:, ::SAMPLE_STEP, ::SAMPLE_STEP], tf.float32)
    blocks = tf.nn.avg_pool2d(samples, BLOCK, BLOCK, "VALID")
    _, rows, columns, _ = blocks.shape
    luma = tf.reshape(tf.reduce_sum(blocks * tf.constant(LUMA_WEIGHTS), axis=3), (-1, rows * columns))
    return tf.reduce_mean(tf.math.top_k(luma, max(1, round(BRIGHTEST * rows * columns))).values, axis=1)
