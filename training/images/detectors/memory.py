"""Nearest neighbours of pretrained features: a patch is as strange as it is far from every normal one that is kept.

    map(p)  = min_k |x_p - q_k|, smoothed
    score   = mean of the largest share of the map

x_p is the average of a position and its neighbours, whitened by the covariance of all normal patches; q_k are normal
patches chosen one after the other, each the farthest from those chosen before, so that a few cover rare kinds too. It
does not matter where a patch lies: for parts that lie anywhere, and for several kinds of parts in one model.

Source: K. Roth, L. Pemula, J. Zepeda, B. Schoelkopf, T. Brox and P. Gehler, "Towards total recall in industrial
anomaly detection", CVPR 2022 (PatchCore; there patches are not whitened).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training.detectors.on_features import squared_distances
from training.graph import HEAD, Outputs
from training.images.detector import Curves, FrameSet, ImageData
from training.images.gaussians import random_projection, whitening_of
from training.images.levels import MapSettings, score_and_map
from training.images.patch_detector import FORMATS, PatchDetector
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
    """Features that are left by a random projection behind the whitening; time and memory grow with it."""
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
    _projection: Doubles
    _kept: Doubles

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Whiten the patches and choose those to keep.

        Raises:
            ValueError: too few normal frames.
            DataError: the weights of the backbone are not installed.
        """
        self._begin(data.normal)
        rng = np.random.default_rng(self.training.seed)
        patches = self._normal_patches(data.normal, rng, progress=progress)
        self._projection = whitening_of(np.cov(patches.T, dtype=np.float64))
        channels, dimensions = len(self._projection), self.settings.dimensions
        if dimensions < channels:
            self._projection = self._projection @ random_projection(np.ones(channels), dimensions, self.training.seed)
        projected = patches @ self._projection.astype(np.float32)
        self._kept = projected[farthest(projected, self.settings.size, rng)].astype(np.float64)
        return {}

    def _normal_patches(self, frames: FrameSet, rng: np.random.Generator, *, progress: bool) -> Floats:
        """Patches float32 [N, channels], the same share of each frame and format."""
        a_frame = self._patches.positions * self.settings.features.tiles**2
        share = min(1.0, MOST_PATCHES / (FORMATS * a_frame * len(frames)))
        found = []
        for batch in self._seen(frames, progress=progress):
            averaged = self._averaged(tf.constant(batch, tf.float32)).numpy().reshape(-1, batch.shape[2])
            found.append(averaged[rng.random(len(averaged)) < share] if share < 1 else averaged)
        return np.concatenate(found)

    def _averaged(self, features: tf.Tensor) -> tf.Tensor:
        """Features [b, P, c] with those of their neighbours, at the rim of as many as there are."""
        on_grid = tf.reshape(features, (-1, *self._patches.grid, self.settings.features.channels))
        return tf.reshape(tf.nn.avg_pool2d(on_grid, NEIGHBOURS, 1, "SAME"), tf.shape(features))

    def _score(self, frame: tf.Tensor) -> Outputs:
        features = self._patches.graph(frame)
        with tf.name_scope(HEAD):
            averaged = tf.reshape(self._averaged(features), (-1, self.settings.features.channels))
            projected = tf.matmul(averaged, tf.constant(self._projection, tf.float32))
            nearest = tf.sqrt(tf.reduce_min(squared_distances(projected, self._kept), axis=1))
            distances = self._patches.map(tf.reshape(nearest, (-1, self._patches.positions)))
            score, smooth = score_and_map(distances, self.settings.features.grid_stride, self.settings.map)
            return {"score": score, "map": smooth}


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
