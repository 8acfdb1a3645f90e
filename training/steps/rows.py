"""Steps from rows to rows: changes instead of levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.graph import QUARTILE_RANGE
from training.steps.base import Shape, Stage, Step

MEDIAN_SQUARE = 0.4549
"""Median of the square of a standard Gaussian."""

PARTS = 4
"""Parts of the training windows, in time order, between which drift shows and a cycle does not."""

LASTING_SHARE = 0.1
"""Least share of a channel's wander that lies between the parts. A sine of up to half a part has less, whatever its
phase; one of half a part to a whole may have more by its phase, and passes for drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceSettings:
    """`[[steps]]` of type `difference`."""

    lag: int = 1
    """Rows between the two readings that are subtracted."""

    def __post_init__(self) -> None:
        """Refuse the difference of a row with itself."""
        if self.lag < 1:
            raise ValueError(f"lag must be at least 1 row, got {self.lag}")


class Difference(Step[DifferenceSettings]):
    """Every row minus the one `lag` rows before: blind to levels and slow drift, sharp on changes."""

    Settings = DifferenceSettings
    stage = Stage.ROWS

    def shape(self, given: Shape) -> Shape:
        """T is shorter by the lag."""
        rows, channels = given
        if self.settings.lag >= rows:
            raise ValueError(f"lag must be below {rows}, the rows of a window, got {self.settings.lag}")
        return rows - self.settings.lag, channels

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Subtract."""
        return x[:, self.settings.lag :] - x[:, : -self.settings.lag]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSettings:
    """`[[steps]]` of type `reference`."""

    rows: int = 10
    """Oldest rows of the window whose mean the later rows are measured against."""
    drifting: float = 0.7
    """Only channels that drift: those whose wander is at least this share of the variance of that mean; 0: all."""

    def __post_init__(self) -> None:
        """Refuse what refers to nothing."""
        if self.rows < 2 or not 0 <= self.drifting < 1:
            raise ValueError(
                f"rows must be at least 2 and drifting a share from 0 to below 1, got {self.rows} and {self.drifting}"
            )


class Reference(Step[ReferenceSettings]):
    """The later rows of the window against the mean of its oldest, in channels that drift: a trailing reference.

        x_c -> x_c - mean of the oldest rows of x_c
        where 1 - noise_c / variance_c >= drifting   and   between_c / (between_c + within_c) >= LASTING_SHARE

    `variance_c` is that of the mean of the oldest rows over the training windows, and `noise_c` what of it the scatter
    within those rows explains: a quarter of the squared difference of their two halves, as for independent readings. A
    channel that wanders and comes back within an eighth of the training windows is in a cycle, not drifting (a slower
    cycle may pass for drift): `between_c` is the variance of the medians of the quarters, `within_c` the mean of the
    variances within them. All are taken from medians and quartiles, so that a fault in a few training rows does not
    pass for drift. A temperature that creeps through training loses its level, which will be another tomorrow; a flow
    that stays keeps it.

    The price: in a channel that drifts a lasting fault is seen only while the oldest rows are from before it, and one
    that grows more slowly than the window forgets is never seen.

    Source: the two halves are the mean square successive difference of J. von Neumann, "Distribution of the ratio of
    the mean square successive difference to the variance", Ann. Math. Statist. 12 (1941).
    """

    Settings = ReferenceSettings
    stage = Stage.ROWS
    weights: Doubles
    """float64 [C], 1 for channels that drift and 0 for the others."""

    def shape(self, given: Shape) -> Shape:
        """T is shorter by the reference."""
        rows, channels = given
        if self.settings.rows >= rows:
            raise ValueError(f"rows must be below {rows}, the rows of a window, got {self.settings.rows}")
        return rows - self.settings.rows, channels

    def fit(self, x: Doubles) -> None:
        """Find the channels that drift."""
        if not self.settings.drifting:
            self.weights = np.ones(x.shape[2])
            return
        half = self.settings.rows // 2
        older, newer = x[:, :half].mean(axis=1), x[:, half : 2 * half].mean(axis=1)
        level, noise = (older + newer) / 2, np.median((older - newer) ** 2, axis=0) / (4 * MEDIAN_SQUARE)
        parts = np.array_split(level, PARTS)
        between = np.var([np.median(part, axis=0) for part in parts], axis=0)
        within = np.mean([_variance(part) for part in parts], axis=0)
        variance = _variance(level)
        wanders = variance - noise >= self.settings.drifting * variance
        lasting = between >= LASTING_SHARE * (between + within)
        self.weights = ((variance > 0) & wanders & lasting).astype(np.float64)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Subtract the mean of the oldest rows."""
        oldest = tf.reduce_mean(x[:, : self.settings.rows], axis=1, keepdims=True)
        return x[:, self.settings.rows :] - oldest * tf.constant(self.weights, tf.float32)


def _variance(x: Doubles) -> Doubles:
    """Variance [C] of rows [n, C], from their quartiles, which less than a quarter of faulty rows leave in place."""
    low, high = np.percentile(x, [25, 75], axis=0)
    return np.asarray(((high - low) / QUARTILE_RANGE) ** 2)
