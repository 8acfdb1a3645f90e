"""Two ways to be strange in one score: a window that cannot be rebuilt, and a window that lies far off.

A network looks at the shape of a window and may rebuild what is too high all along; T-squared looks at features, such
as levels, and is blind to shape. Their sum sees both.

Source: H. H. Yue, S. J. Qin, "Reconstruction-based fault identification using a combined index", Industrial &
Engineering Chemistry Research 40 (2001): squared residual and T-squared, each over its limit in training. The
limit of the residual is in-sample; that of T-squared may not be, see `t_squared`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training.covariance import shrunk_covariance
from training.detectors.on_features import Quadratic
from training.detectors.residual import Residual
from training.graph import HEAD, Outputs, score_and_contributions
from training.steps import Steps

LIMIT_QUANTILE = 0.99
"""Share of the training windows below the limit that each of the two is measured in."""

LEAST_LIMIT = 1e-4
"""Keeps a recording that stands still from making every change infinitely strange. Squared training spreads for the
residual; T-squared has no unit."""

MOST_WINDOWS = 4096
"""Most training windows that set the limit of the residual, evenly chosen: 40 of them lie above it."""

Rebuild = Callable[[Floats], Floats]
"""From normalised windows [n, T, C] to the network's answer [n, T, C], -1..1, oldest row first as they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CombinedIndex:
    """The score of an autoencoder.

        score = residual / its limit + (x - m)' S^-1 (x - m) / its limit

    x are the window's features, S their shrunk covariance.
    """

    residual: Residual
    scale: float
    """Of the residual, 1 / its limit."""
    steps: Steps
    """From z [b, T, C] to x [b, D]."""
    form: Quadratic
    """T-squared over its limit."""

    @classmethod
    def fit(cls, residual: Residual, steps: Steps, z: Floats, rebuild: Rebuild) -> CombinedIndex:
        """Learn what is usual.

        Args:
            residual: of the trained network.
            steps: fitted here.
            z: float32 [n, T, C] normalised training windows.
            rebuild: the trained network.
        """
        usual = z[np.linspace(0, len(z) - 1, min(MOST_WINDOWS, len(z))).astype(int)]
        parts = residual.parts(tf.constant(usual), tf.constant(rebuild(usual)))
        return cls(
            residual=residual,
            scale=1 / limit(np.asarray(tf.reduce_sum(parts, axis=1), np.float64)),
            steps=steps,
            form=t_squared(steps.fit(z), guard=z.shape[1]),
        )

    def graph(self, z: tf.Tensor, rebuilt: tf.Tensor) -> Outputs:
        """Score of z [1, T, C] and the network's answer [1, T, C], -1..1, oldest row first, in scope `head`."""
        with tf.name_scope(HEAD):
            strange = self.residual.parts(z, rebuilt) * self.scale
            x = self.steps.graph(z)
            parts = tf.concat([strange, self.form.parts(x)], axis=1)
            if not self.steps.by_channel:
                return score_and_contributions(parts, strange)
            pull = tf.reshape(tf.maximum(self.form.pull(x), 0.0), [1, -1, z.shape[2]])
            return score_and_contributions(parts, strange + tf.reduce_sum(pull, axis=1))


def t_squared(x: Doubles, guard: int, added: Doubles | float = 0.0) -> Quadratic:
    """T-squared over its limit.

    The limit is that of each half of the training under the Gaussian of the other: few independent windows always lie
    closer to their own mean than the next ones will.

    Args:
        x: float64 [n, D] in training, in time order.
        guard: entries between the halves, left out since they share rows; at most half of all.
        added: float64 [D, D], to their covariance: what else may blur them.
    """
    cut = min(guard, len(x) // 2) // 2
    older, newer = x[: len(x) // 2 - cut], x[len(x) // 2 + cut :]
    usual = [_gaussian(older, added).squares(newer), _gaussian(newer, added).squares(older)]
    return _gaussian(x, added).times(1 / limit(np.concatenate(usual)))


def _gaussian(x: Doubles, added: Doubles | float) -> Quadratic:
    """T-squared of mean and shrunk covariance of x [n, D]."""
    return Quadratic(x.mean(axis=0), np.linalg.cholesky(np.linalg.inv(shrunk_covariance(x) + added)))


def limit(usual: Doubles) -> float:
    """What a share `LIMIT_QUANTILE` of the figures [n] of training stays below, at least `LEAST_LIMIT`."""
    return max(float(np.quantile(usual, LIMIT_QUANTILE)), LEAST_LIMIT)
