"""Isolation forest: how few random splits set a window apart from the normal ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from edge_agent.contract.records import Doubles
from training.detectors.base import Curves
from training.detectors.kernels import Sphere
from training.detectors.on_features import FeatureDetector

NEVER = np.finfo(np.float32).max
"""Threshold that no feature is above: a finished branch goes on to the left, to the lowest level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationSettings:
    """`[detector]` of type `isolation`."""

    trees: int = 64
    """Trees whose path lengths are averaged; each adds some 1.5 kB at 128 samples."""
    samples: int = 128
    """Training windows that each tree sees; its depth is the logarithm to base 2. More hardly help: a tree separates
    outliers best where normal windows are few."""

    def __post_init__(self) -> None:
        """Refuse what splits nothing."""
        if self.trees < 1:
            raise ValueError(f"trees must be at least 1, got {self.trees}")
        if not 2 <= self.samples <= 1024:
            raise ValueError(f"samples must be 2 to 1024, got {self.samples}")


class IsolationDetector(FeatureDetector[IsolationSettings]):
    """Isolation forest, with what lies outside its training range added.

        score = c - mean over trees of h(y) + sum over coordinates of e_j + range term

    h is the depth of the leaf that y falls into, plus c(n) where n > 1 training windows share it, and c = c(samples)
    the usual depth. c - E(h) puts windows in the same order as the well-known 2^(-E(h) / c), not squeezed into 0..1.
    Beyond the training range of a coordinate a forest is flat, however far away y is; so e_j, the distance to that
    range in standard deviations, goes on from there. The coordinates are those of the features without their
    correlations, as splits along the features themselves do not see a broken relation.

    A fault that stays within the range of all coordinates moves the score by steps, which may go down as well as up.

    Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation-based anomaly detection", ACM Trans. Knowledge Discovery from
    Data 6 (2012), grown by scikit-learn.
    """

    Settings = IsolationSettings
    kind = "classical"
    sphere: Sphere
    forest: Forest
    low: Doubles
    """float64 [D], the least of each coordinate in training."""
    high: Doubles
    """float64 [D], the largest."""

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - no steps
        """Grow the trees."""
        self.sphere = Sphere(x)
        y = self.sphere.coordinates(x)
        model = IsolationForest(
            n_estimators=self.settings.trees,
            max_samples=min(self.settings.samples, len(y)),
            random_state=self.training.seed,
        )
        self.forest = Forest(model.fit(y))
        self.low, self.high = y.min(axis=0), y.max(axis=0)
        return {}

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """The missing depth, and each coordinate's distance to its training range."""
        y = self.sphere.graph(x)
        low, high = tf.constant(self.low, tf.float32), tf.constant(self.high, tf.float32)
        return tf.concat([self.forest.missing_depth(y), tf.maximum(tf.maximum(low - y, y - high), 0.0)], axis=1)

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared distance to the middle of the training range.

        Only near to what the trees went by, which is nothing that adds up over features.
        """
        return self.sphere.pull(self.sphere.graph(x) - tf.constant((self.low + self.high) / 2, tf.float32))


class Forest:
    """The trees as tables, one pair a level: all trees go down a level at once, in seven operators.

    Every tree is filled up to the same depth. In level l, node p of tree t stands at t 2^l + p, so the children of the
    one at i stand at 2 i and 2 i + 1 of the next level.
    """

    features: list[NDArray[np.int32]]
    """Per level, which feature each node asks for, [trees 2^l]."""
    thresholds: list[NDArray[np.float32]]
    """Per level, above what the right child is next, [trees 2^l]."""
    missing: NDArray[np.float32]
    """Usual depth minus that of the leaf, [trees 2^levels]."""

    def __init__(self, model: IsolationForest) -> None:
        """Read the trees of scikit-learn."""
        trees = [each.tree_ for each in model.estimators_]
        levels = max(1, *(tree.max_depth for tree in trees))  # windows that are all the same split nowhere
        found = [_tables(tree, levels) for tree in trees]
        self.features = [np.concatenate([each[0][level] for each in found]) for level in range(levels)]
        self.thresholds = [np.concatenate([each[1][level] for each in found]) for level in range(levels)]
        usual = _usual_depth(np.array([model.max_samples_]))[0]
        self.missing = np.concatenate([usual - each[2] for each in found]).astype(np.float32)

    def missing_depth(self, x: tf.Tensor) -> tf.Tensor:
        """Mean over the trees, [b, D] to [b, 1], in the graph."""
        at = tf.range(len(self.missing) >> len(self.features))
        for level, (features, thresholds) in enumerate(zip(self.features, self.thresholds, strict=True)):
            if level == 0:
                value, threshold = tf.gather(x, features, axis=1), tf.constant(thresholds)
            else:
                value = tf.gather(x, tf.gather(features, at), axis=1, batch_dims=1)
                threshold = tf.gather(thresholds, at)
            at = at + at + tf.cast(value > threshold, tf.int32)
        return tf.reduce_mean(tf.gather(self.missing, at), axis=1, keepdims=True)


Levels = tuple[list[NDArray[np.int32]], list[NDArray[np.float32]], Doubles]


def _tables(tree: Any, levels: int) -> Levels:
    """Features and thresholds of each level of a `tree_` of scikit-learn, and the depth of each leaf."""
    left, right, samples = tree.children_left, tree.children_right, tree.n_node_samples
    nodes, depths = np.zeros(1, np.int64), np.zeros(1)
    features, thresholds = [], []
    for _ in range(levels):
        leaf = left[nodes] < 0
        features.append(np.where(leaf, 0, tree.feature[nodes]).astype(np.int32))
        thresholds.append(np.where(leaf, NEVER, tree.threshold[nodes]).astype(np.float32))
        below = np.stack([np.where(leaf, nodes, left[nodes]), np.where(leaf, nodes, right[nodes])], axis=1)
        nodes, depths = below.ravel(), np.repeat(depths + ~leaf, 2)
    return features, thresholds, depths + _usual_depth(samples[nodes])


def _usual_depth(samples: NDArray[np.int64]) -> Doubles:
    """c(n), the mean depth at which one of n windows is alone: 2 H(n - 1) - 2 (n - 1) / n, and 0 for one."""
    n = np.maximum(samples, 2).astype(np.float64)
    harmonic = np.log(n - 1) + np.euler_gamma
    usual = np.where(n > 2, 2 * harmonic - 2 * (n - 1) / n, 1.0)
    return np.asarray(np.where(samples > 1, usual, 0.0))
