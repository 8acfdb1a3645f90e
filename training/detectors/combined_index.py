"""Two ways to be strange in one score: a window that cannot be rebuilt, and a window that lies far off.

A network looks at the shape of a window and may rebuild what is too high all along; T-squared looks at levels and is
blind to shape. Their sum detects more than either, and is steadier: T-squared is convex, so it rises where the residual
of a growing fault falls for a moment.

Source: H. H. Yue, S. J. Qin, "Reconstruction-based fault identification using a combined index", Industrial &
Engineering Chemistry Research 40 (2001): squared residual and T-squared, each over its limit in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from edge_agent.contract.faults import inject
from edge_agent.contract.records import Doubles, Floats
from training.covariance import shrunk_covariance
from training.detectors.denoising import KINDS
from training.detectors.on_features import Quadratic
from training.detectors.residual import Residual
from training.graph import HEAD, Outputs, score_and_contributions

LIMIT = 0.99
"""Share of the training windows below the limit that each of the two is measured in."""

LEAST_LIMIT = 1e-4
"""Squared training spreads; keeps a recording that stands still from making every change infinitely strange."""

WEIGHTS = tuple(2.0**power for power in range(7))
"""Of T-squared over its limit beside the residual over its own, tried in this order; 1 is that of the source."""

USUAL = 4096
"""Most training windows whose scores set limits and tell what is normal."""

GROWING = 128
"""Most training windows in which a fault of every kind grows to find the weight."""

SEVERITY_STEPS = 24
"""Severities of a growing fault, from no fault to beyond the body's range: each some fifth larger than the last."""

LEAST_SEVERITY, LARGEST_SEVERITY = 0.5, 1.5
"""Training spreads, and body ranges."""

ROUNDING = 1e-4
"""Share of a score by which it may seem to fall in float32."""

Rebuild = Callable[[Floats], Floats]
"""From normalised windows [n, T, C] to the network's answer [n, T, C], -1..1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CombinedIndex:
    """The score of an autoencoder.

        score = residual / its limit + weight (x - m)' S^-1 (x - m) / its limit

    x is the mean row of the window, S the shrunk covariance. The weight is the smallest of `WEIGHTS` with which no
    fault that grows in a training window lowers a score that is above all normal ones.
    """

    residual: Residual
    scale: float
    """Of the residual, 1 / its limit."""
    level: Quadratic
    """T-squared of the mean row over its limit, times the weight."""

    @classmethod
    def fit(cls, residual: Residual, z: Floats, rebuild: Rebuild) -> CombinedIndex:
        """Learn levels, limits and weight.

        Args:
            residual: of the trained network.
            z: float32 [n, T, C] normalised training windows.
            rebuild: the trained network.
        """
        level = t_squared(z.mean(axis=1, dtype=np.float64), guard=z.shape[1])
        usual = _evenly(z, USUAL)
        scale = 1 / limit(_sums(residual.parts(tf.constant(usual), tf.constant(rebuild(usual)))))
        plain = cls(residual=residual, scale=scale, level=level)
        growing = _growing(z, residual.front.body_range)
        grown = np.stack([plain._terms(windows, rebuild) for windows in growing], axis=1)
        weight = _smallest_weight(plain._terms(usual, rebuild), grown)
        return replace(plain, level=level.times(weight))

    def graph(self, z: tf.Tensor, rebuilt: tf.Tensor) -> Outputs:
        """Score of z [1, T, C] and the network's answer [1, T, C], -1..1, in scope `head`."""
        with tf.name_scope(HEAD):
            strange = self.residual.parts(z, rebuilt) * self.scale
            x = tf.reduce_mean(z, axis=1)
            parts = tf.concat([strange, self.level.parts(x)], axis=1)
            return score_and_contributions(parts, strange + tf.maximum(self.level.pull(x), 0.0))

    def _terms(self, z: Floats, rebuild: Rebuild) -> Doubles:
        """Residual and T-squared of windows [n, T, C], each over its limit, float64 [2, n]."""
        strange = self.residual.parts(tf.constant(z), tf.constant(rebuild(z))) * self.scale
        return np.stack([_sums(strange), self.level.squares(z.mean(axis=1, dtype=np.float64))])


def t_squared(x: Doubles, guard: int, added: Doubles | float = 0.0) -> Quadratic:
    """T-squared over its limit.

    The limit is that of each half of the training under the Gaussian of the other: few independent windows always lie
    closer to their own mean than the next ones will.

    Args:
        x: float64 [n, D] in training, in time order.
        guard: windows between the halves, left out, since they share rows.
        added: to their covariance, [D, D]: what else may blur them.
    """
    cut = min(guard, len(x) // 2) // 2
    older, newer = x[: len(x) // 2 - cut], x[len(x) // 2 + cut :]
    usual = [_gaussian(older, added).squares(newer), _gaussian(newer, added).squares(older)]
    return _gaussian(x, added).times(1 / limit(np.concatenate(usual)))


def _gaussian(x: Doubles, added: Doubles | float) -> Quadratic:
    """T-squared of mean and shrunk covariance of x [n, D]."""
    return Quadratic(x.mean(axis=0), np.linalg.cholesky(np.linalg.inv(shrunk_covariance(x) + added)))


def limit(usual: Doubles) -> float:
    """What `LIMIT` of the figures [n] of training stay below."""
    return max(float(np.quantile(usual, LIMIT)), LEAST_LIMIT)


def _sums(parts: tf.Tensor) -> Doubles:
    """Of [n, k] over k, float64 [n]."""
    return np.asarray(tf.reduce_sum(parts, axis=1), np.float64)


def _evenly(z: Floats, most: int) -> Floats:
    """At most so many of the windows, evenly chosen."""
    return np.asarray(z[np.linspace(0, len(z) - 1, min(most, len(z))).astype(int)])


def _growing(z: Floats, body_range: float) -> Iterator[Floats]:
    """The same windows with the same faults, larger each time."""
    bases, one_spread = _evenly(z, GROWING), np.ones(z.shape[2])
    for severity in np.geomspace(LEAST_SEVERITY, LARGEST_SEVERITY * body_range, SEVERITY_STEPS):
        rng = np.random.default_rng(0)
        yield np.concatenate([inject(bases, kind, float(severity), one_spread, rng) for kind in KINDS])


def _smallest_weight(usual: Doubles, grown: Doubles) -> float:
    """Weight of the second term with which no growing fault lowers a score; the largest there is where none will do.

    Args:
        usual: float64 [2, n], both terms of normal windows.
        grown: float64 [2, s, k], of k faults at s growing severities.
    """
    for weight in WEIGHTS:
        normal, scores = usual[0] + weight * usual[1], grown[0] + weight * grown[1]
        above = np.maximum(scores, normal.max())
        if (above >= np.maximum.accumulate(above) * (1 - ROUNDING)).all():
            return weight
    return WEIGHTS[-1]
