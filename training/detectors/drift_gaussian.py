"""Drift-aware Gaussian: slow wander of the normal state counts less than a broken relation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_SHRINKAGE, shrunk_covariance
from training.detectors.base import Curves
from training.detectors.on_features import FeatureDetector, Quadratic

BORROWED_CORRELATIONS = 0.5
"""Share of the drift covariance whose correlations are not its own but those of the training windows: a handful of
blocks cannot tell how all features drift together, and directions in which they happened not to would be taken for
fixed. No correlations instead of borrowed ones would forgive broken relations as readily as wander."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftGaussianSettings:
    """`[detector]` of type `drift_gaussian`."""

    horizon: float = 2.0
    """How long the detector is used before it is fitted or calibrated again, in lengths of the training part; the
    state may wander as far as it would in that time. 0: no drift, a plain Gaussian."""
    blocks: int = 8
    """Blocks of equal length that the training part is seen as; what lasts as long as a block is taken for drift."""
    shrinkage: float | None = None
    """Share of the covariance replaced by its mean variance, 0.01 to 1; None: estimated (Ledoit and Wolf)."""

    def __post_init__(self) -> None:
        """Refuse what gives no covariance."""
        if self.horizon < 0:
            raise ValueError(f"horizon must be 0 or more lengths of the training part, got {self.horizon}")
        if self.blocks < 2:
            raise ValueError(f"blocks must be at least 2, got {self.blocks}")
        if self.shrinkage is not None and not LEAST_SHRINKAGE <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be {LEAST_SHRINKAGE} to 1, got {self.shrinkage}")


class DriftGaussianDetector(FeatureDetector[DriftGaussianSettings]):
    """T-squared with a covariance that is widened along the directions in which the training part drifts.

        score = (x - m)' (S + horizon n Q)^-1 (x - m) + range term

    S is the shrunk covariance of the n training windows; Q, the covariance of one window's step of a random walk, comes
    from their Allan covariance (see `drift_per_window`). The score is convex in x, so past normal it rises with a
    growing fault.

    The price is paid by slow faults that go the way the normal state drifts: they are seen later or not at all, which
    `python -m training.experiments.drift` measures on a long normal recording.

    Sources: H. Hotelling, "Multivariate quality control", 1947; D. W. Allan, "Statistics of atomic frequency
    standards", Proc. IEEE 54 (1966), for every pair of features instead of one. To widen a covariance by what a walk
    adds until it is used is the prediction step of R. E. Kalman, "A new approach to linear filtering and prediction
    problems", J. Basic Engineering 82 (1960).
    """

    Settings = DriftGaussianSettings
    kind = "classical"
    form: Quadratic
    """Its root is the Cholesky factor L of the precision: (S + horizon n Q)^-1 = L L'."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Estimate mean, covariance and drift of the features."""
        reach = self.settings.horizon * len(x)
        covariance = shrunk_covariance(x, self.settings.shrinkage) + reach * drift_per_window(x, self.settings.blocks)
        self.form = Quadratic(x.mean(axis=0), np.linalg.cholesky(np.linalg.inv(covariance)))
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Squares of the whitened features."""
        return self.form.parts(x)

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form."""
        return self.form.pull(x)


def drift_per_window(x: Doubles, blocks: int) -> Doubles:
    """Covariance Q [D, D] of the steps of a random walk that drifts as features [n, D], in time order, do.

        A = 3 / (2 b) mean of d d',   d_t = mean of x_t+b..x_t+2b-1 - mean of x_t..x_t+b-1,   b = n // blocks

    over all t. For a random walk the mean is 2 b Q / 3. Half of Q is A itself, half (BORROWED_CORRELATIONS) has A's
    variances and the correlations of x. Noise adds to A, the less the longer the blocks, so a steady state is widened a
    little too; the thresholds, set with the same scores, make up for that.
    """
    length = max(1, min(len(x) // blocks, len(x) // 2))
    sums = np.cumsum(np.concatenate([np.zeros((1, x.shape[1])), x - x.mean(axis=0)]), axis=0)
    means = (sums[length:] - sums[:-length]) / length
    steps = means[length:] - means[:-length]
    own = 1.5 / length * (steps.T @ steps) / len(steps)
    covariance = shrunk_covariance(x)
    scale = np.sqrt(np.diag(own) / np.diag(covariance))
    borrowed = covariance * np.outer(scale, scale)
    return np.asarray((1 - BORROWED_CORRELATIONS) * own + BORROWED_CORRELATIONS * borrowed)
