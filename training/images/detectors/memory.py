"""Nearest neighbours of pretrained features: a patch is as strange as it is far from every normal one that is kept.

    map(p)  = min_k |x_p - q_k|, smoothed
    score   = mean of the largest share of the map

x_p is the average of a position and its neighbours, whitened by the covariance of all normal patches, in the directions
that int8 rounds least: it tells them as float32 does. q_k are normal patches chosen one after the other, each the
farthest from those chosen before, so that a few cover rare kinds too. It does not matter where a patch lies: for parts
that lie anywhere, and for several kinds of parts in one model.

The nearest is found by the products q_k . x_p, and the distance is that of the difference: |x|^2 - 2 q . x + |q|^2
would be made of rounding alone where a patch is as one that is kept, which a black rim of the picture always is.

Source: K. Roth, L. Pemula, J. Zepeda, B. Schoelkopf, T. Brox and P. Gehler, "Towards total recall in industrial
anomaly detection", CVPR 2022 (PatchCore; there patches are neither whitened nor chosen by what int8 tells).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training.graph import Outputs
from training.images.frame_features import FORMATS, FrameFeatures
from training.images.gaussians import steadiest
from training.images.levels import MapSettings, score_and_map
from training.images.patch_detector import PatchDetector
from training.images.patches import FeatureSettings

NEIGHBOURS = 3
"""Positions a side of the neighbourhood that is averaged, as in the source."""

MOST_PATCHES = 100_000
"""Normal patches that are chosen from, drawn at random where there are more: each choice is a pass over all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """`[detector]` of type `memory`."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    dimensions: int = 96
    """Directions of the features that are kept, those that int8 rounds least; time and memory grow with it."""
    size: int = 1000
    """Normal patches that are kept; time and memory grow with it."""
    map: MapSettings = field(default_factory=lambda: MapSettings(smoothing_px=8.0))

    def __post_init__(self) -> None:
        """Refuse an empty memory."""
        if self.dimensions < 1 or self.size < 1:
            raise ValueError(f"dimensions and size must be at least 1, got {self.dimensions} and {self.size}")


class Memory(PatchDetector[MemorySettings]):
    """See the module."""

    Settings = MemorySettings
    least_frames = 2
    """Normal frames that a fit needs."""
    _mean: Doubles
    """Of the features of normal patches, [channels]."""
    _projection: Doubles
    """From features around it to white directions, [channels, d]."""
    _kept: Doubles
    """q, [K, d]."""

    def learn(self, features: FrameFeatures) -> None:
        """Whiten the patches and choose those to keep."""
        rng = np.random.default_rng(self.training.seed)
        exact, rounded = self._normal_patches(features, rng)
        patches, errors = np.concatenate([exact, rounded]), (rounded - exact).astype(np.float64)
        self._mean = patches.mean(axis=0, dtype=np.float64)
        self._projection = steadiest(
            np.cov(patches.T, dtype=np.float64), errors.T @ errors / len(errors), self.settings.dimensions
        )
        projected = (patches - self._mean.astype(np.float32)) @ self._projection.astype(np.float32)
        self._kept = projected[farthest(projected, self.settings.size, rng)].astype(np.float64)

    def _normal_patches(self, features: FrameFeatures, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """The same patches float32 [N, channels] in both formats, the same share of each frame."""
        a_frame = self._patches.positions * self.settings.features.tiles**2
        share = min(1.0, MOST_PATCHES / (FORMATS * a_frame * len(features)))
        found = []
        for both in zip(features.exact(), features.rounded(), strict=True):
            averaged = np.array([self._averaged(tf.constant(each, tf.float32)) for each in both])
            averaged = averaged.reshape(FORMATS, -1, averaged.shape[-1])
            found.append(averaged[:, rng.random(averaged.shape[1]) < share] if share < 1 else averaged)
        exact, rounded = np.concatenate(found, axis=1)
        return exact, rounded

    def _averaged(self, features: tf.Tensor) -> tf.Tensor:
        """Features [b, P, c] with those of their neighbours, at the rim of as many as there are."""
        on_grid = tf.reshape(features, (-1, *self._patches.grid, self.settings.features.channels))
        return tf.reshape(tf.nn.avg_pool2d(on_grid, NEIGHBOURS, 1, "SAME"), tf.shape(features))

    def _judge(self, features: tf.Tensor) -> Outputs:
        averaged = tf.reshape(self._averaged(features), (-1, self.settings.features.channels))
        around = averaged - tf.constant(self._mean, tf.float32)
        projected = tf.matmul(around, tf.constant(self._projection, tf.float32))
        apart = projected - nearest(projected, tf.constant(self._kept, tf.float32))
        distances = tf.reshape(tf.sqrt(tf.reduce_sum(apart * apart, axis=1)), (-1, self._patches.positions))
        distances = self._patches.map(distances)
        score, smooth = score_and_map(distances, self.settings.features.grid_stride, self.settings.map)
        return {"score": score, "map": smooth}


def nearest(x: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Of the points [K, d], that which is nearest to each x [b, d]: max_k of q_k . x - |q_k|^2 / 2, in the graph."""
    closeness = tf.matmul(x, points, transpose_b=True) - 0.5 * tf.reduce_sum(points * points, axis=1)
    return tf.gather(points, tf.argmax(closeness, axis=1, output_type=tf.int32))


def farthest(points: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Places of at most `count` of the points [N, d]: one at random, then always the farthest from those there are.

    Source: T. Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer Science 38
    (1985).
    """
    chosen = [int(rng.integers(len(points)))]
    squares = (points**2).sum(axis=1)
    apart = np.full(len(points), np.inf, np.float32)
    while len(chosen) < min(count, len(points)):
        latest = chosen[-1]
        apart = np.minimum(apart, squares - 2 * (points @ points[latest]) + squares[latest])
        chosen.append(int(apart.argmax()))
    return chosen
