"""Nearest neighbours: the distance to the normal windows that are most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.detectors.nearest import Nearest, NearestDetector, floored, k_distances, spread_out

MOST_LONELY = 3.0
"""Usual distances to the neighbours that local scaling allows at most: a single faulty window in the training part
would otherwise excuse as much around it as it is lonely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnnSettings:
    """`[detector]` of type `knn`."""

    k: int = 3
    """Neighbours whose distances are averaged: more are steadier where single training windows were faulty."""
    points: int = 256
    """Training windows kept in the graph at most."""
    local_scaling: bool = False
    """Measure the distance to each window in units of its own distance to its neighbours, for normal states of
    different spread."""

    def __post_init__(self) -> None:
        """Refuse more neighbours than are kept."""
        if not 1 <= self.k <= self.points:
            raise ValueError(f"k must be 1 to points = {self.points}, got {self.k}")


class KnnDetector(NearestDetector[KnnSettings]):
    """Mean distance to the k nearest of a coreset of the training windows.

        score = mean over the k nearest of ||y - p_i|| / s_i + range term

    y are the features without their correlations. The coreset (see `spread_out`) covers all normal windows evenly, the
    rare ones too, and so faulty ones that are in the training part by mistake. s_i is 1, or with local scaling the
    distance of p_i to the k-th nearest other training window, between once and MOST_LONELY times the median of those.

    Sources: S. Ramaswamy, R. Rastogi, K. Shim, "Efficient algorithms for mining outliers from large data sets", SIGMOD
    2000; F. Angiulli and C. Pizzuti, "Fast outlier detection in high dimensional spaces", PKDD 2002, for the mean;
    L. Zelnik-Manor and P. Perona, "Self-tuning spectral clustering", NIPS 2004, for local scaling.
    """

    Settings = KnnSettings
    kind = "classical"
    k: int
    """Neighbours there are."""

    def find(self, y: Doubles) -> Nearest:
        """Pick the coreset."""
        picked = spread_out(y, self.settings.points)
        variances = np.ones(len(picked))
        if self.settings.local_scaling:
            distances = k_distances(y, self.settings.k + 1)
            usual = float(np.median(distances))
            variances = floored(np.clip(distances[picked], usual, MOST_LONELY * usual) ** 2)
        self.k = min(self.settings.k, len(picked))
        return Nearest(points=y[picked], variances=variances)

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """The mean distance, computed anew from the k points, so that small ones are exact."""
        y = self.sphere.graph(x)
        nearest = tf.math.top_k(-self.nearest.scaled(y), self.k, sorted=False).indices
        offsets = y[:, tf.newaxis] - tf.gather(tf.constant(self.nearest.points, tf.float32), nearest)
        distances = tf.sqrt(tf.reduce_sum(offsets * offsets, axis=2))
        scale = tf.gather(tf.constant(1 / np.sqrt(self.nearest.variances), tf.float32), nearest)
        return tf.reduce_mean(distances * scale, axis=1, keepdims=True)
