"""DENCLUE: hills of a kernel density; a window is judged by how far below the top of its hill it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from edge_agent.contract.records import Doubles
from training.detectors.density import KernelDetector
from training.detectors.kernels import Kernels, LeftOut

CLIMBED = 1e-6
"""Relative rise of the density in a step below which a climb has ended."""

MOST_STEPS = 10_000
"""Steps of a climb at most: it slows down on a ridge, but the density rises in each."""

SAME_ATTRACTOR = 0.1
"""Bandwidths between two ends of climbs below which they are the same attractor: a climb ends near the top, not on it,
and a hill of the density is wider than a bandwidth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenclueSettings:
    """`[detector]` of type `denclue`."""

    kernels: int = 128
    """Most kernels in the graph."""
    noise: float = 0.05
    """Share of the training windows that may be noise: an attractor whose density is below that of all but so many
    windows is none."""

    def __post_init__(self) -> None:
        """Refuse what leaves no density."""
        if self.kernels < 1 or not 0 <= self.noise < 1:
            raise ValueError(
                f"kernels must be at least 1 and noise from 0 to below 1, got {self.kernels} and {self.noise}"
            )


class DenclueDetector(KernelDetector[DenclueSettings]):
    """Density attractors: the tops of the hills of a kernel density.

        score = -2 log max_c p_c(y) / p_c(a_c) + range term,   y as in `kde`

    Every kernel climbs to the attractor a_c of its hill c; p_c is the density by the kernels of that hill alone, so a
    rare kind of normal is as good as a common one. Hills with an attractor below the noise threshold are left out: what
    was rare and scattered in training stays strange. Far away the score grows like the squared distance to the nearest
    kernel.

    Sources: A. Hinneburg and D. A. Keim, "An efficient approach to clustering in large multimedia databases with
    noise", KDD 1998; A. Hinneburg and H.-H. Gabriel, "DENCLUE 2.0: fast clustering based on kernel density estimation",
    IDA 2007, for the climb without a step size. Bandwidth and reduced set as in `kde`.
    """

    Settings = DenclueSettings
    hills: Doubles
    """float64 [K, hills], 1 where the kernel belongs to the hill, else 0. The kernels' weights are over the density of
    their hill at its attractor."""

    def find_kernels(self, windows: LeftOut) -> Kernels:
        """Climb from every kernel, and keep the hills above the noise."""
        kernels = windows.kernels(windows.best_bandwidth()).reduced(self.settings.kernels, self.training.seed)
        tops = climb(kernels)
        heights = kernels.log_densities(tops)
        threshold = np.quantile(kernels.log_densities(windows.x), self.settings.noise)
        kept = heights >= min(threshold, heights.max())
        kernels, tops = replace(kernels, centres=kernels.centres[kept], weights=kernels.weights[kept]), tops[kept]
        attractor = same_attractors(tops, kernels.bandwidth)
        self.hills = (attractor[:, np.newaxis] == np.unique(attractor)).astype(np.float64)
        at_the_top = (kernels.peaks(tops) @ self.hills * self.hills).sum(axis=1)
        return replace(kernels, weights=kernels.weights / at_the_top)

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Twice the log of the density at the attractor over that at x, for the hill where it is least."""
        exponents = self.kernels.exponents(self.sphere.graph(x))
        largest = tf.reduce_max(exponents, axis=1, keepdims=True)
        by_hill = tf.matmul(tf.exp(exponents - largest), tf.constant(self.hills, tf.float32))
        return -2.0 * (largest + tf.math.log(tf.reduce_max(by_hill, axis=1, keepdims=True)))


def climb(kernels: Kernels) -> Doubles:
    """Tops [K, D] of the hills that the kernels' centres lie on.

    Each step goes to the mean of the kernels weighted by their density there, which raises the density, whatever the
    distance: no step size is chosen.
    """
    places = kernels.centres.copy()
    heights = kernels.log_densities(places)
    climbing = np.arange(len(places))
    for _ in range(MOST_STEPS):
        near = kernels.peaks(places[climbing])
        places[climbing] = near @ kernels.centres / near.sum(axis=1, keepdims=True)
        higher = kernels.log_densities(places[climbing])
        still = higher - heights[climbing] > CLIMBED
        heights[climbing] = higher
        climbing = climbing[still]
        if not len(climbing):
            break
    return places


def same_attractors(tops: Doubles, bandwidth: float) -> NDArray[np.int32]:
    """Number of the attractor [K] of each top [K, D]; ends of climbs that are close are one."""
    if len(tops) == 1:
        return np.ones(1, np.int32)
    return np.asarray(fcluster(linkage(tops, "single"), SAME_ATTRACTOR * bandwidth, "distance"))
