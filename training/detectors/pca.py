"""Principal components: T-squared inside the plane of normal variation and Q off it, on one scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.covariance import shrunk_covariance
from training.detectors.base import Curves
from training.detectors.on_features import FeatureDetector, Quadratic

LIMIT_QUANTILE = 0.99
"""Of the training windows: T-squared and Q are each measured in units of this quantile, so that they can be added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PcaSettings:
    """`[detector]` of type `pca`."""

    variance: float = 0.9
    """Share of the variance that the kept components hold."""

    def __post_init__(self) -> None:
        """Refuse what keeps nothing."""
        if not 0 < self.variance < 1:
            raise ValueError(f"variance must be a share between 0 and 1, got {self.variance}")


class PcaDetector(FeatureDetector[PcaSettings]):
    """The combined index of a principal component model.

        score = T2 / T2_limit + Q / Q_limit + range term
        T2 = sum over kept components of t_i^2 / lambda_i,   Q = ||x - m||^2 - sum of t_i^2

    Both parts are convex in x, so past normal the score rises with a growing fault. As many components are kept as hold
    the asked share of the variance, and at least one is left to Q.

    Sources: J. E. Jackson and G. S. Mudholkar, "Control procedures for residuals associated with principal component
    analysis", Technometrics 21 (1979); H. H. Yue and S. J. Qin, "Reconstruction-based fault identification using a
    combined index", Ind. Eng. Chem. Res. 40 (2001).
    """

    Settings = PcaSettings
    kind = "classical"
    form: Quadratic
    """Its root holds all components, scaled so that the squares of the projections sum to the score."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Find the components and put T-squared and Q on one scale."""
        mean = x.mean(axis=0)
        variances, components = np.linalg.eigh(shrunk_covariance(x))
        variances, components = variances[::-1], components[:, ::-1]
        kept = int(np.searchsorted(np.cumsum(variances) / variances.sum(), self.settings.variance)) + 1
        kept = min(kept, len(variances) - 1) or 1
        squares = ((x - mean) @ components) ** 2
        scale = np.empty_like(variances)
        limit = np.quantile((squares[:, :kept] / variances[:kept]).sum(axis=1), LIMIT_QUANTILE)
        scale[:kept] = variances[:kept] * (limit or 1.0)  # windows that are all the same have no limit
        scale[kept:] = (
            max(np.quantile(squares[:, kept:].sum(axis=1), LIMIT_QUANTILE), variances[-1]) if kept < len(scale) else 1
        )
        self.form = Quadratic(mean, components / np.sqrt(scale))
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Squares of the scaled projections."""
        return self.form.parts(x)

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form."""
        return self.form.pull(x)
