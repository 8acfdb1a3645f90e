"""One Gaussian peak over a flat floor: outliers in training belong to the floor and do not widen the peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.special import expit
from scipy.stats import chi2

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE, best_shrinkage
from training.detectors.base import Curves
from training.detectors.density import DensityDetector
from training.detectors.on_features import Quadratic

MOST_STEPS = 1_000
"""Steps of EM at most; clean recordings took some 5, the more outliers the more."""

SETTLED = 1e-9
"""Rise of the objective, in nats a window, below which EM has ended."""

LEAST_OUTLIERS = 1e-6
"""Smallest share of outliers: keeps its logarithm finite on clean data, where EM drives it towards 0."""

MOST_SHRINKAGE = 0.5
"""Largest share of the prior in the covariance: where all directions are alike nothing speaks against 1, but the
windows shall still be heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BsmleSettings:
    """`[detector]` of type `bsmle`."""

    outliers: float = 0.05
    """Share of outliers among the training windows that EM starts from; it finds its own."""

    reach: float = 5.0
    """Training spreads on either side over which outliers are taken to lie evenly, at least 1. Less takes more windows
    for outliers: 3 bears more contamination, but normal windows of real recordings begin to be among them."""

    def __post_init__(self) -> None:
        """Refuse what is no share and no range."""
        if not LEAST_OUTLIERS <= self.outliers < 0.5 or self.reach < 1:
            raise ValueError(
                f"outliers must be a share from {LEAST_OUTLIERS} to below 0.5 and reach at least 1 spread, "
                f"got {self.outliers} and {self.reach}"
            )


class PeakAndFloor:
    """Maximum-likelihood fit of (1 - s) N(x; m, S) + s / V, with V = (2 R)^D the volume of the range -R to R.

    S has an inverse-Wishart prior around a sphere, worth so many windows as `best_shrinkage` says.
    """

    def __init__(self, x: Doubles, outliers: float, reach: float) -> None:
        """Start from the half of the windows [n, D] that is nearest to their median, a share of outliers, and R."""
        self.x = x
        self.log_volume = x.shape[1] * float(np.log(2 * reach))
        offsets = x - np.median(x, axis=0)
        distances = (offsets**2).sum(axis=1)
        usual = float(chi2.median(x.shape[1]))
        self.sphere = max(float(np.median(distances)) / usual, LEAST_VARIANCE)
        inner = distances <= np.median(distances)
        shrinkage = min(best_shrinkage(x[inner]), MOST_SHRINKAGE)
        self.prior = shrinkage / (1 - shrinkage) * len(x)
        """Windows that the prior is worth."""
        self._move(inner.astype(np.float64))
        self.covariance *= max(float(np.median(self.distances(x))) / usual, 1.0)
        self.outliers = outliers

    def fit(self) -> list[float]:
        """Climb by EM; returns the objective before each step, in nats a window."""
        course = [self.objective()]
        for _ in range(MOST_STEPS):
            self._move(expit(-self.log_odds(self.x)))
            course.append(self.objective())
            if course[-1] - course[-2] < SETTLED:
                break
        return course

    def log_odds(self, x: Doubles) -> Doubles:
        """Of being an outlier, [n, D] to [n]."""
        return self.constant + self.distances(x) / 2

    @property
    def constant(self) -> float:
        """Log-odds at the peak."""
        peak = -(len(self.mean) * np.log(2 * np.pi) + np.linalg.slogdet(self.covariance)[1]) / 2
        return float(np.log(self.outliers) - np.log1p(-self.outliers) - self.log_volume - peak)

    def distances(self, x: Doubles) -> Doubles:
        """Squared Mahalanobis distances to the peak, [n, D] to [n]."""
        offset = x - self.mean
        return np.asarray((offset * np.linalg.solve(self.covariance, offset.T).T).sum(axis=1))

    def objective(self) -> float:
        """Mean log likelihood plus the log prior, in nats a window."""
        log_floor = np.log(self.outliers) - self.log_volume
        likelihood = float(np.logaddexp(log_floor, log_floor - self.log_odds(self.x)).mean())
        inverse = np.linalg.inv(self.covariance)
        prior = float(np.linalg.slogdet(self.covariance)[1]) + self.sphere * float(np.trace(inverse))
        return likelihood - self.prior / len(self.x) * prior / 2

    def _move(self, normal: Doubles) -> None:
        """Maximise, given the probability [n] that each window is normal."""
        count = normal.sum()
        self.mean = normal @ self.x / count
        offset = self.x - self.mean
        scatter = (offset * normal[:, np.newaxis]).T @ offset
        self.covariance = (scatter + self.prior * self.sphere * np.eye(len(scatter))) / (count + self.prior)
        self.outliers = float(np.clip(1 - float(count) / len(self.x), LEAST_OUTLIERS, 1 - LEAST_OUTLIERS))


class BsmleDetector(DensityDetector[BsmleSettings]):
    """A single peak by maximum likelihood: one Gaussian, and a uniform component for outliers, fitted together by EM.

        score = log s / (1 - s) + log 1/V - log N(x; m, S) + range term

    The log-odds of being an outlier, s their share and V = (2 reach)^D: above 0 an outlier is the more probable
    explanation. Never the probability, which rounds to 1 soon. The floor is taken to go on outside its reach, so the
    score grows like the squared distance. Outliers in the training part land on the floor instead of widening the peak.
    The reach is not the range of the training windows: without outliers that is so narrow that the floor took a third
    of the normal windows of real recordings.

    Sources: J. D. Banfield and A. E. Raftery, "Model-based Gaussian and non-Gaussian clustering", Biometrics 49 (1993);
    A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J.
    Royal Stat. Soc. B 39 (1977).
    """

    Settings = BsmleSettings
    form: Quadratic
    """Its squares sum to half the squared Mahalanobis distance."""
    constant: float
    """Log-odds at the peak."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Fit peak and floor."""
        model = PeakAndFloor(x, self.settings.outliers, self.settings.reach)
        model.fit()
        precision = np.linalg.inv(model.covariance)
        self.form = Quadratic(model.mean, np.asarray(np.linalg.cholesky(precision / 2)))
        self.constant = model.constant
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Half the squared distance to the peak, and the log-odds there."""
        return tf.reduce_sum(self.form.parts(x), axis=1, keepdims=True) + self.constant

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form."""
        return self.form.pull(x)
