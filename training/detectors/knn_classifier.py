"""Nearest labelled fault against nearest normal window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE
from training.detectors.classifier import Classifier, Covered, prototypes


@dataclass(frozen=True, slots=True, kw_only=True)
class KnnClassifierSettings:
    """`[detector]` of type `knn_classifier`."""

    prototypes: int = 64
    """Most prototypes of each class: the graph grows with them."""

    def __post_init__(self) -> None:
        """Refuse classes of nothing."""
        if self.prototypes < 1:
            raise ValueError(f"prototypes must be at least 1, got {self.prototypes}")


class KnnClassifierDetector(Classifier[KnnClassifierSettings]):
    """Nearest neighbours among prototypes of both classes, as smoothed log-odds.

        score = log((d_n^2 + r^2) / (d_f^2 + r^2)) + 2/D log(K_n / K_f) + beyond + range term

    d_n and d_f are the distances from the nearest of K_n normal and of K_f faulty prototypes, the centres of k-means on
    each class. r^2 is the mean squared distance of a window from its nearest prototype, of the wider class; without it
    the score would jump at a prototype. Up to the factor D / 2, which would multiply it, this is the ratio of two
    nearest-neighbour densities in which both classes weigh the same, however few the faults are. Beyond is measured
    from the normal windows and is as steep as the logarithm can fall, 1 / r.

    Sources: T. M. Cover and P. E. Hart, "Nearest neighbor pattern classification", IEEE Trans. Inf. Theory 13 (1967);
    T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical Learning", 2009, 13.2 (prototypes).
    """

    Settings = KnnClassifierSettings
    normal: Doubles
    """float64 [K, D], prototypes."""
    faulty: Doubles
    """float64 [K', D], prototypes."""
    smoothing: float
    """r^2."""

    def learn(self, normal: Doubles, faulty: Doubles) -> Covered:
        """Find the prototypes."""
        self.normal, self.faulty = (
            prototypes(x, self.settings.prototypes, self.training.seed) for x in (normal, faulty)
        )
        scatter = [
            cdist(x, centres, "sqeuclidean").min(axis=1).mean()
            for x, centres in ((normal, self.normal), (faulty, self.faulty))
        ]
        self.smoothing = float(max(*scatter, LEAST_VARIANCE))
        return Covered.fit(normal, slope=np.full(normal.shape[1], self.smoothing**-0.5))

    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """Difference of the logarithms; of plain differences, since a product would round small distances away."""

        def log_distance(prototypes: Doubles) -> tf.Tensor:
            offset = x[:, tf.newaxis] - tf.constant(prototypes, tf.float32)
            nearest = tf.reduce_min(tf.reduce_sum(offset * offset, axis=2), axis=1, keepdims=True)
            return tf.math.log(nearest + self.smoothing)

        balance = 2 / self.normal.shape[1] * np.log(len(self.normal) / len(self.faulty))
        return log_distance(self.normal) - log_distance(self.faulty) + float(balance)
