"""Gaussian kernels: a density as a weighted sum of them, and how windows explain each other while it is made.

Neighbouring windows share rows, so a window always lies close to its neighbours, at any bandwidth: a likelihood that
leaves out the window alone would choose kernels that explain nothing new. So all that share rows with it are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE, shrunk_covariance
from training.detectors.on_features import squared_distances

MOST_WINDOWS = 1000
"""Training windows that kernels are made of, evenly spaced in time: distances between all pairs take 8 MB."""

BANDWIDTHS = np.geomspace(0.05, 2.0, 25)
"""That are tried, in standard deviations of the features. 0.05 is finer than a thousand windows resolve even in one
dimension, at 2 the kernels blur everything; steps of 17 % change the likelihood by less than its sampling error."""

TRIMMED = 0.1
"""Share of the training windows, the least likely ones, that have no say in the bandwidth by which outliers are told:
twice the contamination that detectors must bear. A far window would blur all kernels until one reaches it."""

FENCE_QUARTILES = 3.0
"""Quartile distances above the upper quartile from where on a training window is taken for an outlier, Tukey's outer
fence, on the root of how far its log likelihood is below the highest: of a Gaussian that is a distance from the mean,
beyond the fence by chance in 3 of 10,000 windows in one dimension and in 1 of 70,000 in 8."""

Places = NDArray[np.int64]


class Sphere:
    """Coordinates in which the windows have no correlations and variance 1: y = (x - m) R, R R' = S^-1."""

    def __init__(self, x: Doubles) -> None:
        """Learn mean and shrunk covariance of features [n, D]."""
        self.mean: Doubles = x.mean(axis=0)
        self.root: Doubles = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(x)))

    def coordinates(self, x: Doubles) -> Doubles:
        """Of features [n, D], [n, D]."""
        return np.asarray((x - self.mean) @ self.root)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """The same in the graph."""
        return tf.matmul(x - tf.constant(self.mean, tf.float32), tf.constant(self.root, tf.float32))

    def pull(self, offset: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared length of an offset in these coordinates, [b, D] to [b, D]."""
        by_feature = tf.matmul(offset, tf.constant(np.linalg.inv(self.root), tf.float32))
        return by_feature * tf.matmul(offset, tf.constant(self.root.T, tf.float32))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kernels:
    """A weighted sum of Gaussian kernels.

    p(x) = sum_k w_k (2 pi h^2)^(-D/2) exp(-|x - c_k|^2 / 2 h^2)
    """

    centres: Doubles
    """c, float64 [K, D]."""
    weights: Doubles
    """w, float64 [K], above 0; they sum to 1 where it is a density."""
    bandwidth: float
    """h, in the coordinates' unit."""

    def exponents(self, x: tf.Tensor) -> tf.Tensor:
        """Exponents log w_k - |x - c_k|^2 / 2 h^2, [b, D] to [b, K], in the graph."""
        squares = squared_distances(x, self.centres) * (0.5 / self.bandwidth**2)
        return tf.constant(np.log(self.weights), tf.float32) - squares

    def offset(self, x: tf.Tensor) -> tf.Tensor:
        """From the mean of the kernels, each as much as it is responsible for x, to x, [b, D], in the graph."""
        exponents = self.exponents(x)
        shares = tf.exp(exponents - log_sum_exp(exponents))
        return x - tf.matmul(shares, tf.constant(self.centres, tf.float32))

    def peaks(self, x: Doubles) -> Doubles:
        """Kernels w_k exp(-|x - c_k|^2 / 2 h^2), float64 [n, D] to [n, K]."""
        return np.asarray(self.weights * np.exp(-cdist(x, self.centres, "sqeuclidean") / (2 * self.bandwidth**2)))

    def log_densities(self, x: Doubles) -> Doubles:
        """Log p, float64 [n, D] to [n]."""
        return log_densities(cdist(x, self.centres, "sqeuclidean"), self.bandwidth, x.shape[1], self.weights)

    def reduced(self, count: int, seed: int) -> Kernels:
        """At most `count` kernels in their place: k-means clusters, wider by the spread within them.

        So the mean and the total variance stay.
        """
        if len(self.centres) <= count:
            return self
        distinct = len(np.unique(self.centres, axis=0))
        clusters = KMeans(min(count, distinct), n_init=1, random_state=seed)
        clusters.fit(self.centres, sample_weight=self.weights)
        within = clusters.inertia_ / self.weights.sum() / self.centres.shape[1]
        return Kernels(
            centres=clusters.cluster_centers_,
            weights=np.bincount(clusters.labels_, self.weights).astype(np.float64),
            bandwidth=float(np.sqrt(self.bandwidth**2 + within)),
        )


class LeftOut:
    """How training windows lie to each other, and how well those that share no rows explain each."""

    def __init__(self, x: Doubles, places: Places, apart: int) -> None:
        """Take windows [m, D], the place in time of each [m], and from how many places on they share no rows."""
        self.x = x
        self.squares: Doubles = cdist(x, x, "sqeuclidean")
        """Squared distances [m, m] of windows (rows) to kernels at windows (columns), infinite where left out."""
        self.squares[np.abs(places[:, np.newaxis] - places) < apart] = np.inf
        self.bandwidths: Doubles = BANDWIDTHS * np.sqrt(max(float(x.var(axis=0).mean()), LEAST_VARIANCE))

    def kernels(self, bandwidth: float) -> Kernels:
        """Equal kernels at all windows."""
        return Kernels(centres=self.x, weights=np.full(len(self.x), 1 / len(self.x)), bandwidth=bandwidth)

    def log_likelihoods(self, bandwidth: float) -> Doubles:
        """Log density of each window [m] by equal kernels at those that share no rows with it."""
        return log_densities(self.squares, bandwidth, self.x.shape[1], np.full(len(self.x), 1 / len(self.x)))

    def best_bandwidth(self, trimmed: float = 0.0) -> float:
        """The bandwidth that makes the windows most likely, but for a share of them, the least likely."""
        kept = slice(int(trimmed * len(self.x)), None)
        found = [float(np.sort(self.log_likelihoods(h))[kept].mean()) for h in self.bandwidths]
        return float(self.bandwidths[int(np.argmax(found))])

    def usual(self) -> NDArray[np.bool_]:
        """Which windows are no outliers, bool [m]."""
        likelihoods = self.log_likelihoods(self.best_bandwidth(TRIMMED))
        distances = np.sqrt(likelihoods.max() - likelihoods)
        low, high = np.quantile(distances, [0.25, 0.75])
        return np.asarray(distances <= high + FENCE_QUARTILES * (high - low))


def usual_windows(x: Doubles, apart: int) -> Places:
    """Places int64 [m] of at most MOST_WINDOWS features [n, D] in time order that are no outliers."""
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_WINDOWS)).round().astype(np.int64))
    return np.asarray(places[LeftOut(x[places], places, apart).usual()])


def log_densities(squares: Doubles, bandwidth: float, dimensions: int, weights: Doubles) -> Doubles:
    """Log density [n] from squared distances to kernels [n, K]."""
    exponents = np.log(weights) - squares / (2 * bandwidth**2)
    largest = exponents.max(axis=1)
    exponents -= largest[:, np.newaxis]
    total = largest + np.log(np.exp(exponents, out=exponents).sum(axis=1))
    return np.asarray(total - dimensions * np.log(bandwidth * np.sqrt(2 * np.pi)))


def log_sum_exp(a: tf.Tensor) -> tf.Tensor:
    """Logarithm of sum_k exp(a_k), [b, K] to [b, 1], in the graph.

    The largest is taken out first: nothing overflows, and far away, where all underflow, the largest stays.
    """
    largest = tf.reduce_max(a, axis=1, keepdims=True)
    return largest + tf.math.log(tf.reduce_sum(tf.exp(a - largest), axis=1, keepdims=True))
