"""Steps from features to features, fitted on the training windows: one scale for all, or fewer of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE, shrunk_covariance
from training.graph import centre_and_spread
from training.recipe import Scaling
from training.steps.base import Shape, Stage, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSettings:
    """`[[steps]]` of type `scale`."""

    method: Scaling = Scaling.ROBUST
    """robust: median and quartiles, which a few strange windows do not move; standard: mean and standard deviation."""


class Scale(Step[ScaleSettings]):
    """Each feature minus its centre, over its spread: one scale for features of different kinds."""

    Settings = ScaleSettings
    stage = Stage.REDUCTION
    centre: Doubles
    """float64 [D]."""
    spread: Doubles
    """float64 [D], above 0."""

    def shape(self, given: Shape) -> Shape:
        """As given."""
        return given

    def fit(self, x: Doubles) -> None:
        """Learn centre and spread."""
        self.centre, spread = centre_and_spread(x, self.settings.method)
        self.spread = np.maximum(spread, np.sqrt(LEAST_VARIANCE))

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Subtract and multiply."""
        return (x - tf.constant(self.centre, tf.float32)) * tf.constant(1 / self.spread, tf.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhitenSettings:
    """`[[steps]]` of type `whiten`."""

    components: int = 0
    """Principal components that are kept, those of the largest variance; 0: all. Fewer are blind to the rest."""

    def __post_init__(self) -> None:
        """Refuse a negative count."""
        if self.components < 0:
            raise ValueError(f"components must be at least 1, or 0 for all, got {self.components}")


class Whiten(Step[WhitenSettings]):
    """Principal components scaled to variance 1: the Euclidean distance becomes Mahalanobis's.

        x' = (x - m) V diag(lambda)^-1/2,   S = V diag(lambda) V' the shrunk covariance

    Sources: see `shrunk_covariance`; K. Pearson, "On lines and planes of closest fit", Phil. Mag. 2 (1901).
    """

    Settings = WhitenSettings
    stage = Stage.REDUCTION
    mean: Doubles
    """float64 [D]."""
    basis: Doubles
    """float64 [D, D']."""

    def shape(self, given: Shape) -> Shape:
        """(D',)."""
        if self.settings.components > given[0]:
            raise ValueError(f"components must be at most {given[0]}, the features, got {self.settings.components}")
        return (self.settings.components or given[0],)

    def fit(self, x: Doubles) -> None:
        """Learn mean and components."""
        self.mean = x.mean(axis=0)
        variances, vectors = np.linalg.eigh(shrunk_covariance(x))
        kept = slice(None, None, -1) if not self.settings.components else slice(None, -self.settings.components - 1, -1)
        self.basis = (vectors / np.sqrt(variances))[:, kept]

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Project."""
        return tf.matmul(x - tf.constant(self.mean, tf.float32), tf.constant(self.basis, tf.float32))
