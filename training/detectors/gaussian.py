"""Multivariate Gaussian: the squared Mahalanobis distance of the window's trailing means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.contract.records import Doubles
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.trailing import (
    LEAST_SHRINKAGE,
    check_lengths,
    quadratic_score_graph,
    shrunk_covariance,
    trailing_means,
)
from training.graph import ScoreGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSettings:
    """`[detector]` of type `gaussian`."""

    mean_rows: tuple[int, ...] = (10,)
    """Lengths of the trailing means, in rows: short ones see spikes, long ones see small lasting shifts."""
    shrinkage: float | None = None
    """Share of the covariance replaced by its mean variance, 0.01 to 1; None: estimated (Ledoit and Wolf)."""

    def __post_init__(self) -> None:
        """Refuse what gives no covariance."""
        check_lengths(self.mean_rows)
        if self.shrinkage is not None and not LEAST_SHRINKAGE <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be {LEAST_SHRINKAGE} to 1, got {self.shrinkage}")


class GaussianDetector(Detector[GaussianSettings]):
    """Hotelling's T-squared, a multivariate Gaussian by maximum likelihood with a shrunk covariance.

        score = (f - m)' S^-1 (f - m) + range term,    f = trailing means of z

    f [D] holds, for each length in `mean_rows`, the mean over the last rows of every channel. The score is twice the
    negative log density up to a constant. It is convex in f, so past normal it rises with a growing fault.

    Sources: H. Hotelling, "Multivariate quality control", 1947; for the covariance see `shrunk_covariance`.
    """

    Settings = GaussianSettings
    mean: Doubles
    """float64 [D]."""
    whiten: Doubles
    """float64 [D, D], the Cholesky factor L of the precision: S^-1 = L L'."""

    @classmethod
    def check(cls, settings: GaussianSettings, rows: int) -> None:
        """Refuse means longer than the window."""
        check_lengths(settings.mean_rows, rows)

    def fit(self, data: NormalData, *, progress: bool) -> Curves:  # noqa: ARG002 - solved at once
        """Estimate mean and shrunk covariance of the features."""
        features = trailing_means(self.front.normalise(data.windows), self.settings.mean_rows)
        self.mean = features.mean(axis=0)
        self.whiten = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(features, self.settings.shrinkage)))
        return {}

    def score_graph(self) -> ScoreGraph:
        """T-squared."""
        return quadratic_score_graph(self.front, self.rows, self.settings.mean_rows, self.mean, self.whiten)
