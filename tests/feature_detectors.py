"""Detectors on features fitted without a recording: on a table of two features, in front of which nothing is changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_agent.contract.records import Doubles
from training.detectors.on_features import FeatureDetector
from training.graph import Front
from training.recipe import TrainingSettings

D = 2
"""Features."""

ROWS = 4
"""T of the windows that the features would be of."""


def fitted(cls: type[FeatureDetector[Any]], x: Doubles, **settings: Any) -> Any:
    """The detector fitted on features [n, D]."""
    front = Front(centre=np.zeros(D), spread=np.ones(D), body_range=20.0)
    detector = cls(cls.Settings(**settings), TrainingSettings(), front, ROWS)
    detector.fit_features(x, None, progress=False)
    return detector


def noise(n: int, seed: int = 0) -> Doubles:
    """Independent features [n, D] of variance 1, as float32 holds them."""
    return np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32).astype(np.float64)
