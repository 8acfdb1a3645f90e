"""Trailing means of the window: the features of the distance detectors, in numpy and in the graph, and their score.

Averaging over the last rows lowers the noise of a reading but not a lasting shift, which is what most faults are.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sklearn.covariance import ledoit_wolf

from edge_agent.contract.records import Doubles, Floats
from training.graph import HEAD, Front, Outputs, ScoreGraph, score_and_contributions

LEAST_SHRINKAGE = 0.01
"""Overlapping windows are far fewer independent samples than the shrinkage formula believes, so it gives too little."""

LEAST_VARIANCE = 1e-4
"""In squared training spreads; keeps channels that never moved in training from making the covariance singular."""


def check_lengths(lengths: tuple[int, ...], rows: int | None = None) -> None:
    """Refuse lengths of trailing means that no window of `rows` rows has.

    Raises:
        ValueError: none given, twice the same, or out of range.
    """
    longest = f"to {rows}, the rows of a window" if rows else "or more"
    if (
        not lengths
        or len(set(lengths)) != len(lengths)
        or any(n < 1 or (rows is not None and n > rows) for n in lengths)
    ):
        raise ValueError(f"mean_rows must be different whole numbers from 1 {longest}, got {list(lengths)}")


def trailing_means(z: Floats, lengths: tuple[int, ...]) -> Doubles:
    """Means over the last rows of z [k, T, C], float64 [k, len(lengths) * C]."""
    return np.concatenate([z[:, -length:].mean(axis=1, dtype=np.float64) for length in lengths], axis=1)


def trailing_means_graph(z: tf.Tensor, lengths: tuple[int, ...]) -> tf.Tensor:
    """The same of z [1, T, C] in the graph: [1, len(lengths) * C]."""
    rows = z.shape[1]
    return tf.concat([tf.reduce_mean(z[:, rows - length :], axis=1) for length in lengths], axis=1)


def quadratic_score_graph(
    front: Front, rows: int, lengths: tuple[int, ...], mean: Doubles, root: Doubles
) -> ScoreGraph:
    """Graph of ||(f - mean) root||^2 + range term, where f [D] are the trailing means of the window.

    A channel's contribution is its part of the quadratic form, where that is above 0.

    Args:
        front: normalises the window.
        rows: T.
        lengths: of the trailing means, in rows.
        mean: float64 [D].
        root: float64 [D, D].
    """
    channels = len(front.centre)

    def function(window: tf.Tensor) -> Outputs:
        z = front.graph(window)
        with tf.name_scope(HEAD):
            offset = trailing_means_graph(z, lengths) - tf.constant(mean, tf.float32)
            projected = tf.matmul(offset, tf.constant(root, tf.float32))
            pull = offset * tf.matmul(projected, tf.constant(root.T, tf.float32))
            beyond = tf.reduce_mean(front.range_term(z), axis=1)
            share = per_channel(tf.maximum(pull, 0.0), channels) + beyond
            return score_and_contributions(tf.concat([projected * projected, beyond], axis=1), share)

    return ScoreGraph(function=function, inputs={"window": (1, rows, channels)})


def per_channel(values: tf.Tensor, channels: int) -> tf.Tensor:
    """Sum of feature values [1, D] by channel: [1, C]."""
    return tf.reduce_sum(tf.reshape(values, [1, -1, channels]), axis=1)


def shrunk_covariance(features: Doubles, shrinkage: float | None) -> Doubles:
    """Covariance [D, D] of features [n, D], shrunk towards its mean variance.

    `shrinkage` None: by O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", J. Multivariate Analysis 88 (2004), but at least LEAST_SHRINKAGE.
    """
    covariance = np.cov(features.T, bias=True).reshape(features.shape[1], -1)
    share = max(ledoit_wolf(features)[1], LEAST_SHRINKAGE) if shrinkage is None else shrinkage
    target = max(float(np.trace(covariance)) / len(covariance), LEAST_VARIANCE)
    return np.asarray((1 - share) * covariance + share * target * np.eye(len(covariance)))
