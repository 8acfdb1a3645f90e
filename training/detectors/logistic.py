"""Logistic regression that no growing deviation can fool, on labelled faults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from scipy.special import expit

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE
from training.detectors.classifier import Classifier, Covered


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticSettings:
    """`[detector]` of type `logistic`."""

    penalty: float = 0.01
    """Weight of the squared weights beside the mean loss: larger trusts the labels less and spreads over features."""

    def __post_init__(self) -> None:
        """Refuse what lets weights grow for ever where the classes are apart."""
        if not self.penalty > 0:
            raise ValueError(f"penalty must be above 0, got {self.penalty}")


class LogisticDetector(Classifier[LogisticSettings]):
    """L2 logistic regression on how far each feature is above and below its mean, with weights of at least 0.

        score = b + sum of w+_j max(x_j - m_j, 0) / s_j + w-_j max(m_j - x_j, 0) / s_j + beyond + range term
        minimise  mean of weight_i log(1 + exp(-y_i f(u_i))) + penalty |w|^2,   w >= 0

    m and s are mean and deviation of the normal windows. A feature that says nothing of the faults gets no weight, and
    its drift no score while it stays within what was learned, normal or faulty; beyond that, each deviation counts as
    much as deviations do on average. With weights of at least 0 the score is convex in x and so never falls as a fault
    grows, which plain logistic regression does on the side where no fault was labelled. Bounded weights are not in
    scikit-learn: scipy's L-BFGS-B.

    Sources: D. R. Cox, "The regression analysis of binary sequences", J. Royal Stat. Soc. B 20 (1958); G. King and
    L. Zeng, "Logistic regression in rare events data", Political Analysis 9 (2001), for the weights of the classes;
    R. H. Byrd et al., "A limited memory algorithm for bound constrained optimization", SIAM J. Sci. Comput. 16 (1995).
    """

    Settings = LogisticSettings
    weights: Doubles
    """float64 [2 D], at least 0: above the mean, then below it, per unit of the feature."""
    intercept: float

    def learn(self, normal: Doubles, faulty: Doubles) -> Covered:
        """Minimise the loss, both classes weighing the same."""
        deviation = np.maximum(normal.std(axis=0), np.sqrt(LEAST_VARIANCE))
        offset = (np.concatenate([normal, faulty]) - self.centre) / deviation
        sides = np.maximum(np.concatenate([offset, -offset], axis=1), 0)
        signs = np.repeat([-1.0, 1.0], [len(normal), len(faulty)])
        shares = np.repeat([0.5 / len(normal), 0.5 / len(faulty)], [len(normal), len(faulty)])

        def loss(solution: Doubles) -> tuple[float, Doubles]:
            weights, margin = solution[:-1], signs * (sides @ solution[:-1] + solution[-1])
            slope = -signs * shares * expit(-margin)
            value = shares @ np.logaddexp(0, -margin) + self.settings.penalty * weights @ weights
            return float(value), np.append(slope @ sides + 2 * self.settings.penalty * weights, slope.sum())

        count = sides.shape[1]
        found = minimize(
            loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count + [(None, None)]
        )
        self.weights = found.x[:-1] / np.tile(deviation, 2)
        self.intercept = float(found.x[-1])
        return Covered.fit(normal, faulty, slope=found.x[:-1].mean() / deviation)

    def _weighted(self, x: tf.Tensor) -> tf.Tensor:
        above, below = np.split(self.weights, 2)
        offset = x - tf.constant(self.centre, tf.float32)
        return tf.maximum(offset, 0.0) * tf.constant(above, tf.float32) - tf.minimum(offset, 0.0) * tf.constant(
            below, tf.float32
        )

    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """Weighted deviations and the intercept."""
        return tf.reduce_sum(self._weighted(x), axis=1, keepdims=True) + self.intercept

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's weighted deviation, and how far it is beyond what was learned."""
        return self._weighted(x) + self.covered.beyond(x)
