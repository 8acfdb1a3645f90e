"""Bayesian Gaussian: how improbable a window is to somebody who has seen only so many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.gaussian import BayesianGaussian, Gaussian
from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE
from training.detectors.base import Curves
from training.detectors.density import DensityDetector
from training.detectors.on_features import Quadratic

MOST_SAMPLES = 1e4
"""Independent windows from which on more make no difference: the Student-t is a Gaussian to 0.1 % at the distances
where alarms are, and float32 would lose the digits of log(1 + d2 / n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BayesianGaussianSettings:
    """`[detector]` of type `bayesian_gaussian`: nothing to set, the data say how much they are worth."""


class BayesianGaussianDetector(DensityDetector[BayesianGaussianSettings]):
    """Posterior predictive of a Gaussian with a normal-inverse-Wishart prior, which is a Student-t.

        score = (nu + D) log(1 + (x - m)' S^-1 (x - m) / (n + 1)) + range term

    Twice the negative log density, from its highest. n counts windows that share no rows; S, mean and degrees of
    freedom nu are those of `edge_agent.contract.gaussian`, shrunk the more the fewer windows there are. With few of
    them the score grows slowly: what was seen seldom is not yet strange. With many it is the squared Mahalanobis
    distance.

    Sources: K. P. Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007, section 8; A. Gelman et
    al., "Bayesian Data Analysis", 3rd ed., section 3.6.
    """

    Settings = BayesianGaussianSettings
    form: Quadratic
    predictive: BayesianGaussian

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Learn the Gaussian and what it is worth."""
        samples = min(max(self.independent, 2.0), float(len(x)), MOST_SAMPLES)
        gaussian = Gaussian.fit(x, samples=samples, scale_floor=float(np.sqrt(LEAST_VARIANCE)))
        self.form = Quadratic(gaussian.mean, gaussian.whiten)
        self.predictive = gaussian.predictive()
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Twice the negative log density of the Student-t."""
        distance = tf.reduce_sum(self.form.parts(x), axis=1, keepdims=True)
        return self.steepness * tf.math.log(1.0 + distance * (1 / (self.predictive.samples + 1)))

    def score_of(self, distance: float) -> float:
        """Score at a squared distance, such as a limit that `predictive` gives."""
        return self.steepness * math.log1p(distance / (self.predictive.samples + 1))

    @property
    def steepness(self) -> float:
        """Factor nu + D of the logarithm."""
        return self.predictive.freedom + self.predictive.dimensions

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form."""
        return self.form.pull(x)
