"""Support vector machine on labelled faults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import tensorflow as tf
from scipy.optimize import lsq_linear
from scipy.spatial.distance import cdist
from sklearn.svm import SVC

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE
from training.detectors.classifier import Classifier, Covered, prototypes
from training.detectors.on_features import squared_distances

RIDGE = 1e-6
"""Weight of the squared weights beside the mean squared error of a reduced machine: of the many solutions that differ
by less than 0.001 it takes one whose weights do not cancel."""


class Kernel(StrEnum):
    """How two windows are compared."""

    RBF = "rbf"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class SvmSettings:
    """`[detector]` of type `svm`."""

    kernel: Kernel = Kernel.RBF
    """rbf bends around the known faults; linear takes one direction, for few faults or many features."""
    cost: float = 30.0
    """Price of a whole class on the wrong side of the margin, shared by its examples: larger follows the labels more
    closely. It bounds the weights of the vectors: beyond some 60, float32 loses digits of their sum."""
    length: float | None = None
    """Length of the RBF kernel in units of the features; None: from the variance of the examples, as scikit-learn."""
    vectors: int = 128
    """Most support vectors in the graph, which grows with them; a machine that has more is approximated."""

    def __post_init__(self) -> None:
        """Refuse what separates nothing."""
        if not self.cost > 0 or self.vectors < 2 or not (self.length is None or self.length > 0):
            raise ValueError(
                "cost and length must be above 0 and vectors at least 2, "
                f"got {self.cost}, {self.length} and {self.vectors}"
            )


class SvmDetector(Classifier[SvmSettings]):
    """Support vector machine, its decision value: -1 and 1 are the edges of the margin between normal and faulty.

        score = b + sum of a_i exp(-|x - v_i|^2 / (2 length^2)) + beyond + range term,   or   b + w'x + ...

    The decision value stands for log-odds (Platt scales it to them by one factor, which labels of overlapping windows
    are too alike to tell). Both classes weigh the same. Where there are more support vectors than the setting allows,
    the centres of k-means on those of each class take their place, with weights that give the same decision values on
    the examples as nearly as can be (least squares, each class keeping its sign, so that large weights do not cancel).
    Beyond is measured from the normal windows and is as steep as the decision value falls anywhere around the vectors.

    Sources: C. Cortes and V. Vapnik, "Support-vector networks", Machine Learning 20 (1995); C. J. C. Burges,
    "Simplified support vector decision rules", ICML 1996; J. Platt, "Probabilistic outputs for support vector
    machines", 1999.
    """

    Settings = SvmSettings
    vectors: Doubles
    """float64 [K, D]; of the linear machine none."""
    weights: Doubles
    """float64 [K], or [D] of the linear machine."""
    intercept: float
    gamma: float
    """1 / (2 length^2)."""

    def learn(self, normal: Doubles, faulty: Doubles) -> Covered:
        """Fit, and reduce the support vectors."""
        x = np.concatenate([normal, faulty])
        labels = np.repeat([0, 1], [len(normal), len(faulty)])
        self.gamma = (
            0.5 / self.settings.length**2 if self.settings.length else 1 / (x.shape[1] * max(x.var(), LEAST_VARIANCE))
        )
        shares = np.repeat([1 / len(normal), 1 / len(faulty)], [len(normal), len(faulty)])
        machine = SVC(kernel=self.settings.kernel.value, C=self.settings.cost, gamma=self.gamma)
        machine.fit(x, labels, sample_weight=shares)
        self.intercept = float(machine.intercept_[0])
        if self.settings.kernel is Kernel.LINEAR:
            self.weights = machine.coef_[0]
            return Covered.fit(normal, slope=np.abs(self.weights))
        self.vectors, self.weights = machine.support_vectors_, machine.dual_coef_[0]
        if len(self.vectors) > self.settings.vectors:
            self._reduce(x, machine.decision_function(x))
        return Covered.fit(normal, slope=self._steepest())

    def _reduce(self, x: Doubles, values: Doubles) -> None:
        """Replace the vectors by fewer that give about the same decision values [n] on the examples [n, D]."""
        share = self.settings.vectors / len(self.vectors)
        normal, faulty = (
            prototypes(side, max(1, int(share * len(side))), self.training.seed)
            for side in (self.vectors[self.weights < 0], self.vectors[self.weights > 0])
        )
        self.vectors = np.concatenate([normal, faulty])
        kernel = np.column_stack([self._kernel(x), np.ones(len(x))])
        most = np.repeat([0.0, np.inf], [len(normal), len(faulty) + 1])
        least = np.repeat([-np.inf, 0.0, -np.inf], [len(normal), len(faulty), 1])
        ridge = np.sqrt(RIDGE * len(x)) * np.eye(kernel.shape[1])
        orthogonal, triangle = np.linalg.qr(np.concatenate([kernel, ridge]))
        found = lsq_linear(triangle, orthogonal[: len(x)].T @ values, (least, most), method="bvls")
        *weights, self.intercept = map(float, found.x)
        self.weights = np.array(weights)

    def _kernel(self, x: Doubles) -> Doubles:
        """Similarity [n, K] of features [n, D] to the vectors."""
        return np.asarray(np.exp(-self.gamma * cdist(x, self.vectors, "sqeuclidean")))

    def _steepest(self) -> Doubles:
        """Largest slope [D] of the decision value, of each feature.

        Measured at the vectors and one kernel length from each to both sides along every feature, where a single
        vector's own slope is largest.
        """
        length, count = (2 * self.gamma) ** -0.5, self.vectors.shape[1]
        steps = np.concatenate([np.zeros((1, count)), length * np.eye(count), -length * np.eye(count)])
        steepest = np.zeros(count)
        for step in steps:
            at = self.vectors + step
            pulls = self._kernel(at) * self.weights
            slopes = 2 * self.gamma * (pulls @ self.vectors - pulls.sum(axis=1, keepdims=True) * at)
            np.maximum(steepest, np.abs(slopes).max(axis=0), out=steepest)
        return steepest

    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """The decision value."""
        weights = tf.constant(self.weights[:, np.newaxis], tf.float32)
        if self.settings.kernel is Kernel.LINEAR:
            return tf.matmul(x, weights) + self.intercept
        kernel = tf.exp(-self.gamma * squared_distances(x, self.vectors))
        return tf.matmul(kernel, weights) + self.intercept
