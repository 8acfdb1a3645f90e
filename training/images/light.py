"""Light evened out: a lamp that ages and a cloud change the picture, not the part.

    seen = g frame,    g = usual white / white of the frame, held within 1 / limit and limit

White is the luma that a tenth of the picture's blocks exceed. The mean of the whole picture changes with the size of a
part and with what it is of, and evening that out would make parts look alike that are not; a mean of the brightest
would let one bright defect darken all the rest. Beyond the limit something is wrong, and stays to be seen.

Source: of white taken for the light E. H. Land and J. J. McCann, "Lightness and retinex theory", J. Optical Society of
America 61 (1971).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.frames import LUMA_WEIGHTS
from training.images.folders import Pixels

BLOCK_PX = 16
"""Pixels along each side of a block; all count, for single ones of a regular texture would show its phase. The rim that
fills no block is left out."""

BRIGHTER = 0.1
"""Share of the blocks that are brighter than white: what is in them, a glint or a bright defect, is no light."""

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
        """Learn what is usual from normal frames, batches uint8 [b, H, W, 3], one or more."""
        whites = np.concatenate([white(tf.constant(batch)).numpy() for batch in batches])
        return cls(usual=max(float(np.median(whites)), LEAST_WHITE), limit=limit)

    def graph(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames [n, H, W, 3] of 0..255 in the usual light, float32, not limited to 255; call it in scope `front`."""
        gain = self.usual / tf.maximum(white(frames), LEAST_WHITE)
        gain = tf.minimum(tf.maximum(gain, 1 / self.limit), self.limit)
        return tf.cast(frames, tf.float32) * tf.reshape(gain, (-1, 1, 1, 1))


def white(frames: tf.Tensor) -> tf.Tensor:
    """Luma that `BRIGHTER` of the blocks exceed, float32 [n], of frames [n, H, W, 3] of at least 16 x 16 pixels."""
    blocks = tf.nn.avg_pool2d(tf.cast(frames, tf.float32), BLOCK_PX, BLOCK_PX, "VALID")
    _, rows, columns, _ = blocks.shape
    luma = tf.reshape(tf.reduce_sum(blocks * tf.constant(LUMA_WEIGHTS), axis=3), (-1, rows * columns))
    return tf.math.top_k(luma, int(BRIGHTER * rows * columns) + 1).values[:, -1]
