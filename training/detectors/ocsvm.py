"""One-class support vector machine: normal windows inside a boundary that a few of them carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from sklearn.svm import OneClassSVM

from edge_agent.contract.records import Doubles
from training.detectors.base import Curves
from training.detectors.kernels import Kernels, Sphere, log_sum_exp
from training.detectors.nearest import thinned
from training.detectors.on_features import FeatureDetector


@dataclass(frozen=True, slots=True, kw_only=True)
class OcsvmSettings:
    """`[detector]` of type `ocsvm`."""

    nu: float = 0.05
    """Largest share of the training windows outside the boundary, and least share of them that carry it."""
    gamma: float | None = None
    """Inverse of twice the squared width of the kernels; in standard deviations of the features without
    their correlations; None: 1 / features."""
    points: int = 256
    """Support vectors in the graph at most; more are merged."""

    def __post_init__(self) -> None:
        """Refuse no boundary and no kernel."""
        if not 0 < self.nu < 1:
            raise ValueError(f"nu must be a share between 0 and 1, got {self.nu}")
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"gamma must be above 0, got {self.gamma}")
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")


class OcsvmDetector(FeatureDetector[OcsvmSettings]):
    """One-class SVM with Gaussian kernels, by the logarithm of its kernel sum.

        score = -2 log(sum_i a_i exp(-gamma ||y - s_i||^2) / sum_i a_i) + range term

    y are the features without their correlations. The SVM calls x faulty where the kernel sum is below rho, which is
    where the score is above -2 log(rho / sum a); alarms go by the calibrated threshold instead. Its decision function
    itself is flat some spreads away from all support vectors s_i; the logarithm goes on rising as a squared distance.

    Sources: B. Schoelkopf et al., "Estimating the support of a high-dimensional distribution", Neural Computation 13
    (2001), fitted by scikit-learn; where there are too many support vectors they are merged as in `Kernels.reduced`.
    """

    Settings = OcsvmSettings
    kind = "classical"
    sphere: Sphere
    kernels: Kernels
    """Of the support vectors; the weights sum to 1."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - no epochs
        """Find the support vectors and their weights."""
        self.sphere = Sphere(x)
        gamma = self.settings.gamma or 1 / x.shape[1]
        model = OneClassSVM(nu=self.settings.nu, gamma=gamma).fit(thinned(self.sphere.coordinates(x)))
        weights = model.dual_coef_[0]
        self.kernels = Kernels(
            centres=model.support_vectors_, weights=weights / weights.sum(), bandwidth=float(np.sqrt(0.5 / gamma))
        ).reduced(self.settings.points, self.training.seed)
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Twice the negative logarithm."""
        return -2.0 * log_sum_exp(self.kernels.exponents(self.sphere.graph(x)))

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared offset from the support vectors that count at x."""
        return self.sphere.pull(self.kernels.offset(self.sphere.graph(x)))
