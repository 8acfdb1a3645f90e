"""Gaussian mixture: a few kinds of normal, each with its own relations between features."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import tensorflow as tf
from sklearn.mixture import GaussianMixture

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE, best_shrinkage
from training.detectors.base import Curves
from training.detectors.density import DensityDetector
from training.detectors.kernels import log_sum_exp, usual_windows

STARTS = 3
"""Runs of EM from different k-means clusters; the most likely is taken."""

MOST_STEPS = 1_000
"""Steps of EM at most; it settles within some 100."""


class Covariance(StrEnum):
    """What the components' covariances have in common."""

    FULL = "full"
    TIED = "tied"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureSettings:
    """`[detector]` of type `mixture`."""

    components: int = 8
    """Most components; as many are taken as the data support."""
    covariance: Covariance = Covariance.FULL
    """full: every component has its own; tied: one for all, which few data support better."""

    def __post_init__(self) -> None:
        """Refuse none."""
        if self.components < 1:
            raise ValueError(f"components must be at least 1, got {self.components}")


class MixtureDetector(DensityDetector[MixtureSettings]):
    """A mixture of Gaussians by EM.

        score = -2 log sum_k a_k exp(-(x - m_k)' P_k (x - m_k) / 2) + range term,   a_k ~ w_k |P_k|^1/2, sum a_k = 1

    The number of components has the lowest Bayesian information criterion, counting only windows that share no rows:
    what overlaps proves little. Far windows of the training part are left out, since a component of their own would
    make them normal.

    Sources: A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM
    algorithm", J. Royal Stat. Soc. B 39 (1977); G. Schwarz, "Estimating the dimension of a model", Ann. Statist. 6
    (1978).
    """

    Settings = MixtureSettings
    means: Doubles
    """float64 [K, D]."""
    roots: Doubles
    """float64 [K, D, D], P_k = R_k R_k'."""
    log_heights: Doubles
    """float64 [K], log a_k."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Fit mixtures of 1 to `components` and keep the best."""
        usual = x[usual_windows(x, self.apart)]
        most = min(self.settings.components, len(np.unique(usual, axis=0)) // 2)
        found = [self._mixture(usual, k) for k in range(1, max(most, 1) + 1)]
        best = min(found, key=lambda mixture: self.criterion(mixture, usual))
        self.means = best.means_
        self.roots = np.broadcast_to(best.precisions_cholesky_, (len(best.means_), x.shape[1], x.shape[1]))
        heights = np.log(best.weights_) + np.linalg.slogdet(self.roots)[1]
        self.log_heights = heights - np.logaddexp.reduce(heights)
        return {}

    def _mixture(self, x: Doubles, components: int) -> GaussianMixture:
        floor = best_shrinkage(x) * max(float(x.var(axis=0).mean()), LEAST_VARIANCE)
        return GaussianMixture(
            components,
            covariance_type=self.settings.covariance.value,
            reg_covar=floor,
            n_init=STARTS,
            max_iter=MOST_STEPS,
            random_state=self.training.seed,
        ).fit(x)

    def criterion(self, mixture: GaussianMixture, x: Doubles) -> float:
        """Bayesian information criterion, of as many windows as do not overlap."""
        worth = min(self.independent, float(len(x)))
        components, dimensions = mixture.means_.shape
        triangles = 1 if self.settings.covariance is Covariance.TIED else components
        parameters = components - 1 + components * dimensions + triangles * dimensions * (dimensions + 1) / 2
        return float(parameters * np.log(worth) - 2 * worth * mixture.score(x))

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Twice the negative log density, from the highest that the components could reach."""
        return -2.0 * log_sum_exp(self._exponents(self._projected(x)))

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form of the components that are responsible for x."""
        projected = self._projected(x)
        exponents = self._exponents(projected)
        shares = tf.exp(exponents - log_sum_exp(exponents))
        offset = x - tf.matmul(shares, tf.constant(self.means, tf.float32))
        weighted = tf.reshape(projected * tf.expand_dims(shares, 2), [-1, self.means.size])
        roots = self.roots.transpose(0, 2, 1).reshape(self.means.size, -1)
        return offset * tf.matmul(weighted, tf.constant(roots, tf.float32))

    def _projected(self, x: tf.Tensor) -> tf.Tensor:
        """(x - m_k)' R_k, [b, D] to [b, K, D], as one matrix product."""
        middle = self.means.mean(axis=0)
        roots = self.roots.transpose(1, 0, 2).reshape(x.shape[1], -1)
        shift = np.einsum("kd,kde->ke", self.means - middle, self.roots).reshape(-1)
        product = tf.matmul(x - tf.constant(middle, tf.float32), tf.constant(roots, tf.float32))
        return tf.reshape(product - tf.constant(shift, tf.float32), [-1, *self.means.shape])

    def _exponents(self, projected: tf.Tensor) -> tf.Tensor:
        """Exponents log a_k - (x - m_k)' P_k (x - m_k) / 2, [b, K, D] to [b, K]."""
        return tf.constant(self.log_heights, tf.float32) - tf.reduce_sum(projected * projected, axis=2) * 0.5
