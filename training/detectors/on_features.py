"""Detectors that see a window as features, made by the recipe's steps; all head, float32, a few microseconds."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.detectors.base import Curves, NormalData, StepsDetector
from training.graph import HEAD, Outputs, ScoreGraph, score_and_contributions

S = TypeVar("S")

USUAL_MEAN_ROWS = 10
"""Rows of the trailing mean that detectors have without steps of their own: it leaves a third (1 / sqrt(10)) of noise
without memory, and sees a lasting shift whole after as few rows."""


class FeatureDetector(StepsDetector[S]):
    """A detector on features x [D].

        score = sum of parts(x) + range term

    A subclass learns from the features of the training windows and says what a score is made of, in operators that all
    TFLite runtimes have. Its `parts` must not fall while x moves away from normal; the range term grows beyond
    `body_range` whatever they do.
    """

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Fit the steps, then the detector on what they give."""
        x = self.steps.fit(self.front.normalise(data.windows))
        faulty = None if data.faulty is None else self.steps.features(self.front.normalise(data.faulty))
        return self.fit_features(x, faulty, progress=progress)

    @classmethod
    def usual_steps(cls, rows: int) -> tuple[dict[str, Any], ...]:
        """Tables of the steps that a recipe without any gets, for windows of `rows` rows."""
        return ({"type": "trailing_means", "rows": [min(USUAL_MEAN_ROWS, rows)]},)

    @abstractmethod
    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:
        """Learn from features of normal windows [n, D] and, where there are labels, of faulty ones [m, D]."""

    @abstractmethod
    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """What a score is the sum of, [b, D] to [b, k], float32, in the graph."""

    def pull(self, x: tf.Tensor) -> tf.Tensor | None:  # noqa: ARG002 - for those that know
        """Share of each feature [b, D] in the score, on any scale, where it can tell; negative counts as 0."""
        return None

    def range_term(self, z: tf.Tensor) -> tf.Tensor:
        """What readings [b, T, C] outside `body_range` add to the score, [b, C]: in the unit of squared distances."""
        return tf.reduce_mean(self.front.range_term(z), axis=1)

    def scores(self, x: Doubles) -> Doubles:
        """Scores float64 [n] of features [n, D], without the range term: what the graph gives within the range."""
        return np.asarray(tf.reduce_sum(self.parts(tf.constant(x, tf.float32)), axis=1), np.float64)

    def score_graph(self) -> ScoreGraph:
        """Steps and detector as one graph."""

        def function(window: tf.Tensor) -> Outputs:
            z = self.front.graph(window)
            with tf.name_scope(HEAD):
                x = self.steps.graph(z)
                beyond = self.range_term(z)
                parts = tf.concat([self.parts(x), beyond], axis=1)
                pull = self.pull(x) if self.steps.by_channel else None
                if pull is None:
                    return {"score": tf.reduce_sum(parts, axis=1)}
                share = tf.reduce_sum(tf.reshape(tf.maximum(pull, 0.0), [1, -1, self.channels]), axis=1)
                return score_and_contributions(parts, share + beyond)

        return ScoreGraph(function=function, inputs={"window": (1, self.rows, self.channels)})


def squared_distances(x: tf.Tensor, points: Doubles) -> tf.Tensor:
    """Squared Euclidean distances [b, K] of features [b, D] to points [K, D], in the graph.

    By |x|^2 - 2 x.p + |p|^2 around the mean of the points: one matrix product, and rounding stays some 1e-7 of the
    larger squared norm.
    """
    middle = points.mean(axis=0)
    around = points - middle
    offset = x - tf.constant(middle, tf.float32)
    norms = tf.reduce_sum(offset * offset, axis=1, keepdims=True) + tf.constant((around**2).sum(axis=1), tf.float32)
    return tf.maximum(norms - 2.0 * tf.matmul(offset, tf.constant(around.T, tf.float32)), 0.0)


class Quadratic:
    """||(x - mean) root||^2 in the graph, and what each feature has of it."""

    def __init__(self, mean: Doubles, root: Doubles) -> None:
        """Take mean [D] and root [D, k]."""
        self.mean, self.root = mean, root

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Squares [b, k]."""
        projected = tf.matmul(x - tf.constant(self.mean, tf.float32), tf.constant(self.root, tf.float32))
        return projected * projected

    def squares(self, x: Doubles) -> Doubles:
        """The form of features [n, D] in numpy, float64 [n]."""
        return np.asarray((((x - self.mean) @ self.root) ** 2).sum(axis=1))

    def times(self, factor: float) -> Quadratic:
        """A form as many times as large."""
        return Quadratic(self.mean, self.root * np.sqrt(factor))

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the quadratic form [b, D]."""
        offset = x - tf.constant(self.mean, tf.float32)
        return offset * tf.matmul(offset, tf.constant(self.root @ self.root.T, tf.float32))
