"""Detectors by the distance to the nearest of a set of points, and how a set is made small enough for a graph."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE
from training.detectors.base import Curves
from training.detectors.kernels import Sphere
from training.detectors.on_features import FeatureDetector, squared_distances

S = TypeVar("S")

MOST_CLUSTERED = 4000
"""Windows that are clustered: a matrix of all pairs takes 128 MB in float64, and none of the methods more than some
seconds. More are thinned evenly, which loses little as neighbouring windows overlap."""

BORROWED_MEMBERS = 10
"""Members of usual spread that every cluster is given besides its own, so that a cluster of a few windows, which
overlap, is not taken for a very tight one."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The smallest squared distance to any point, each in units of its own spread.

        min over i of ||x - p_i||^2 / s_i^2

    Far from all points it rises with every step away; between two of them it rises and falls again.
    """

    points: Doubles
    """float64 [K, D]."""
    variances: Doubles
    """float64 [K], s_i^2, above 0."""

    def scaled(self, x: tf.Tensor) -> tf.Tensor:
        """All of them, [b, D] to [b, K], in the graph; rounded as `squared_distances` says."""
        return squared_distances(x, self.points) * tf.constant(1 / self.variances, tf.float32)

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """The smallest, [b, D] to [b, 1], in the graph: computed anew from the one point, so that it is exact."""
        nearest = self._nearest(x)
        squares = tf.reduce_sum(self._offset(x, nearest) ** 2, axis=1, keepdims=True)
        return squares * tf.gather(tf.constant(1 / self.variances[:, np.newaxis], tf.float32), nearest)

    def offset(self, x: tf.Tensor) -> tf.Tensor:
        """From the nearest point to x, [b, D], in the graph."""
        return self._offset(x, self._nearest(x))

    def _nearest(self, x: tf.Tensor) -> tf.Tensor:
        return tf.argmin(self.scaled(x), axis=1, output_type=tf.int32)

    def _offset(self, x: tf.Tensor, nearest: tf.Tensor) -> tf.Tensor:
        return x - tf.gather(tf.constant(self.points, tf.float32), nearest)


class NearestDetector(FeatureDetector[S]):
    """A detector that knows points of normal behaviour, in coordinates in which features have no correlations.

        score = min over i of ||y - p_i||^2 / s_i^2 + range term,   y = (x - m) R,   R R' = S^-1

    S is the shrunk covariance of the training windows, so that ||y - p|| is Mahalanobis's distance and depends neither
    on units nor on how many channels say the same. Outside the normal windows the score rises with a growing fault; one
    that crosses from one normal state to another is seen on the way, not when it has arrived.
    """

    kind: ClassVar[str] = "clustering"
    sphere: Sphere
    nearest: Nearest

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - no epochs
        """Find the coordinates, then the points."""
        self.sphere = Sphere(x)
        self.nearest = self.find(self.sphere.coordinates(x))
        return {}

    @abstractmethod
    def find(self, y: Doubles) -> Nearest:
        """The points that stand for training windows [n, D], in coordinates without correlations."""

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """The smallest scaled squared distance."""
        return self.nearest.parts(self.sphere.graph(x))

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared distance to the nearest point."""
        return self.sphere.pull(self.nearest.offset(self.sphere.graph(x)))


def thinned(x: Doubles, most: int = MOST_CLUSTERED) -> Doubles:
    """At most so many of the windows' features [n, D], evenly spaced in time."""
    return x if len(x) <= most else x[np.linspace(0, len(x) - 1, most).round().astype(np.int64)]


def spread_out(points: Doubles, most: int) -> Indices:
    """Pick at most so many of the points [n, D] that none of the others is far from all of them: a k-centre coreset.

    Greedy: the point nearest to the mean first, then always the one farthest from those picked; no point is left more
    than twice as far as by the best choice. Points that are there twice are picked once.

    Sources: T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer Science 38
    (1985); O. Sener and S. Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR
    2018; as a memory of normal data, K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022.
    """
    picked = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    squares = np.full(len(points), np.inf)
    while len(picked) < most:
        squares = np.minimum(squares, ((points - points[picked[-1]]) ** 2).sum(axis=1))
        farthest = int(squares.argmax())
        if squares[farthest] == 0:
            break
        picked.append(farthest)
    return np.array(picked)


def cluster_variances(x: Doubles, labels: Indices, centres: Doubles) -> Doubles:
    """Mean over the members of each cluster of ||x - c||^2 / D, float64 [K], with BORROWED_MEMBERS of the mean of all.

    Args:
        x: features [n, D].
        labels: the cluster of each, [n], 0..K-1.
        centres: [K, D].
    """
    squares = ((x - centres[labels]) ** 2).mean(axis=1)
    sums, members = np.bincount(labels, squares, len(centres)), np.bincount(labels, minlength=len(centres))
    return floored((sums + BORROWED_MEMBERS * squares.mean()) / (members + BORROWED_MEMBERS))


def floored(variances: Doubles) -> Doubles:
    """Squared spreads, none below LEAST_VARIANCE: points that are all the same have none of their own."""
    return np.asarray(np.maximum(variances, LEAST_VARIANCE))


def large_clusters(x: Doubles, labels: Indices, smallest_share: float) -> tuple[Doubles, Indices]:
    """Features [m, D] and labels [m] of the windows in clusters of at least that share, numbered 0.. anew.

    Label -1 is noise and left out. The largest cluster is kept whatever its share.
    """
    sizes = np.bincount(labels[labels >= 0])
    large = (sizes >= smallest_share * len(x)) & (sizes > 0)
    large[sizes.argmax()] = True
    kept = (labels >= 0) & large[labels]
    return x[kept], (np.cumsum(large) - 1)[labels[kept]]


def k_distances(x: Doubles, k: int) -> Doubles:
    """Distance of each of the windows' features [n, D] to the k-th nearest, itself the first, float64 [n]."""
    return np.asarray(NearestNeighbors(n_neighbors=min(k, len(x))).fit(x).kneighbors(x)[0][:, -1])


def knee(values: Doubles) -> float:
    """The value where the sorted values begin to rise steeply: farthest below the chord from the least to the largest.

    Source: V. Satopaa et al., "Finding a 'kneedle' in a haystack: detecting knee points in system behavior", ICDCS
    Workshops 2011.
    """
    rising = np.sort(values)
    chord = np.linspace(rising[0], rising[-1], len(rising))
    return float(rising[int((chord - rising).argmax())])
