"""What the densities share: how much overlapping windows are worth, and kernels in coordinates without correlations."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, TypeVar

import tensorflow as tf

from edge_agent.contract.prefilter import independent_windows
from edge_agent.contract.records import Doubles
from training.detectors.base import Curves, NormalData
from training.detectors.kernels import Kernels, LeftOut, Sphere, log_sum_exp, usual_windows
from training.detectors.on_features import FeatureDetector

S = TypeVar("S")

MOST_APART = 0.25
"""Share of the training windows on either side that may count as neighbours, so that half of them never do."""


class DensityDetector(FeatureDetector[S]):
    """A detector that knows how probable features are: it scores the logarithm of their density.

    Mostly twice the logarithm, from the highest density there can be: of a single Gaussian that is the squared
    Mahalanobis distance. Nothing is rounded off far away, where the density itself is 0 in any float.
    """

    kind: ClassVar[str] = "density"
    independent: float
    """How many windows without shared rows the training windows are worth."""
    apart: int
    """Training windows from one to the next that shares no rows with it."""

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Measure the overlap, then fit."""
        count = len(data.windows)
        self.independent = independent_windows(data.windows)
        self.apart = min(math.ceil(count / self.independent), max(1, int(MOST_APART * count)))
        return super().fit(data, progress=progress)


class KernelDetector(DensityDetector[S]):
    """A density of kernels, in coordinates without correlations that outliers in training do not bend."""

    sphere: Sphere
    kernels: Kernels

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Leave out outliers, find coordinates, then kernels."""
        places = usual_windows(x, self.apart)
        self.sphere = Sphere(x[places])
        self.kernels = self.find_kernels(LeftOut(self.sphere.coordinates(x[places]), places, self.apart))
        return {}

    @abstractmethod
    def find_kernels(self, windows: LeftOut) -> Kernels:
        """Learn kernels from windows in coordinates."""

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Twice the log density below the highest that the kernels could reach."""
        return -2.0 * log_sum_exp(self.kernels.exponents(self.sphere.graph(x)))

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared distance to the responsible kernels."""
        return self.sphere.pull(self.kernels.offset(self.sphere.graph(x)))
