"""Multivariate Gaussian: the squared Mahalanobis distance of the window's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_SHRINKAGE, shrunk_covariance
from training.detectors.base import Curves
from training.detectors.on_features import FeatureDetector, Quadratic


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSettings:
    """`[detector]` of type `gaussian`."""

    shrinkage: float | None = None
    """Share of the covariance replaced by its mean variance, 0.01 to 1; None: estimated (Ledoit and Wolf)."""

    def __post_init__(self) -> None:
        """Refuse what gives no covariance."""
        if self.shrinkage is not None and not LEAST_SHRINKAGE <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be {LEAST_SHRINKAGE} to 1, got {self.shrinkage}")


class GaussianDetector(FeatureDetector[GaussianSettings]):
    """Hotelling's T-squared, a multivariate Gaussian by maximum likelihood with a shrunk covariance.

        score = (x - m)' S^-1 (x - m) + range term

    Twice the negative log density up to a constant. It is convex in x, so past normal it rises with a growing fault.

    Sources: H. Hotelling, "Multivariate quality control", 1947; for the covariance see `shrunk_covariance`.
    """

    Settings = GaussianSettings
    kind = "density"
    form: Quadratic
    """Its root is the Cholesky factor L of the precision: S^-1 = L L'."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Estimate mean and shrunk covariance of the features."""
        precision = np.linalg.inv(shrunk_covariance(x, self.settings.shrinkage))
        self.form = Quadratic(x.mean(axis=0), np.linalg.cholesky(precision))
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Squares of the whitened features."""
        return self.form.parts(x)

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form."""
        return self.form.pull(x)
