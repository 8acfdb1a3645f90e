"""Covariance of features of overlapping windows: few independent samples, so it is shrunk."""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from edge_agent.contract.records import Doubles

LEAST_SHRINKAGE = 0.01
"""Overlapping windows are far fewer independent samples than the shrinkage formula believes, so it gives too little."""

LEAST_VARIANCE = 1e-4
"""In squared training spreads; keeps features that never moved in training from making the covariance singular."""


def shrunk_covariance(features: Doubles, shrinkage: float | None = None) -> Doubles:
    """Covariance [D, D] of features [n, D], shrunk towards its mean variance.

    `shrinkage` None: by `best_shrinkage`.
    """
    covariance = np.cov(features.T, bias=True).reshape(features.shape[1], -1)
    share = best_shrinkage(features) if shrinkage is None else shrinkage
    target = max(float(np.trace(covariance)) / len(covariance), LEAST_VARIANCE)
    return np.asarray((1 - share) * covariance + share * target * np.eye(len(covariance)))


def best_shrinkage(features: Doubles) -> float:
    """Share of the covariance of features [n, D] to replace by its mean variance, LEAST_SHRINKAGE to 1.

    By O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Analysis 88 (2004).
    """
    return max(float(ledoit_wolf_shrinkage(features)), LEAST_SHRINKAGE)
