"""Maps of errors in units of what is usual, and the score of a map.

    map(p)  = mean over terms k of e_k(p) / u_k(p), smoothed
    score   = mean of the largest share of the map

e_k are errors of a network, at least 0, at position p. Where an edge lies, a network that never saw a defect errs too:
u_k(p) is what it errs there in normal frames. From few frames that is hardly known for each position, so that the mean
of the frames is drawn towards the mean of all positions, as if `PRIOR_FRAMES` more had erred alike everywhere. And a
network errs less on the frames it was trained on: the pattern is that of all normal frames, its height that of frames
held back, such that `QUANTILE` of their errors lie below 1.

Source: of normalising by quantiles of frames held back K. Batzner, L. Heckler and R. Koenig, "EfficientAD: accurate
visual anomaly detection at millisecond-level latencies", WACV 2024 (there one pair of quantiles for all positions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.graph import HEAD
from training.images.gaussians import smoothing

PRIOR_FRAMES = 8.0
"""Weight of the mean of all positions, in frames."""

QUANTILE = 0.9
"""Share of the errors in frames held back that lie below 1 in the map."""

LEAST_ERROR = 1e-6
"""Smallest usual error, in squared half ranges of a pixel or squared deviations of a feature: less than int8 and
float32 tell apart; without it frames that are all alike would be divided by 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """`map` of a `[detector]` table: from errors at positions to the map and its score."""

    smoothing_px: float = 4.0
    """Standard deviation of the Gaussian that smooths the map, in pixels of the frame."""
    top_share: float = 0.01
    """Share of the positions whose mean is the score: steadier than the maximum, and still small."""

    def __post_init__(self) -> None:
        """Refuse what gives no map."""
        if self.smoothing_px < 0 or not 0 < self.top_share <= 1:
            raise ValueError(
                "smoothing_px must be 0 or more and top_share above 0 and at most 1, "
                f"got {self.smoothing_px} and {self.top_share}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """What errors are usual at each position."""

    usual: Floats
    """float32 [h, w, K], above 0."""

    @classmethod
    def fit(cls, normal: Floats, held_back: Floats) -> Levels:
        """Learn from errors of normal frames.

        Args:
            normal: float32 [n, h, w, K], of all of them.
            held_back: float32 [m, h, w, K], of those that the network was not trained on; without any, all count.
        """
        overall = normal.mean(axis=(0, 1, 2), dtype=np.float64)
        pattern = (normal.sum(axis=0, dtype=np.float64) + PRIOR_FRAMES * overall) / (len(normal) + PRIOR_FRAMES)
        pattern = np.maximum(pattern, LEAST_ERROR)
        judged = held_back if len(held_back) else normal
        height = np.quantile(judged / pattern, QUANTILE, axis=(0, 1, 2))
        return cls(usual=np.maximum(pattern * height, LEAST_ERROR).astype(np.float32))

    def graph(self, errors: tf.Tensor, stride: int, settings: MapSettings) -> tuple[tf.Tensor, tf.Tensor]:
        """Score [1] and map [1, h, w] of errors [1, h, w, K] of one frame, `stride` pixels apart, scope `head`."""
        with tf.name_scope(HEAD):
            ratios = tf.reduce_mean(errors * tf.constant(1 / self.usual), axis=3)
            return score_and_map(ratios, stride, settings)


def score_and_map(values: tf.Tensor, stride: int, settings: MapSettings) -> tuple[tf.Tensor, tf.Tensor]:
    """Smooth values [1, h, w], `stride` pixels apart, and take the mean of the largest; call it in scope `head`."""
    _, rows, columns = values.shape
    sigma = settings.smoothing_px / stride
    along_rows, along_columns = (tf.constant(smoothing(size, sigma), tf.float32) for size in (rows, columns))
    smooth = tf.matmul(tf.matmul(along_rows, tf.reshape(values, (rows, columns))), along_columns, transpose_b=True)
    counted = max(1, round(settings.top_share * rows * columns))
    largest = tf.math.top_k(tf.reshape(smooth, (1, rows * columns)), counted)
    return tf.reduce_mean(largest.values, axis=1), tf.reshape(smooth, (1, rows, columns))
