"""Steps from rows to rows: changes instead of levels."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from training.steps.base import Shape, Stage, Step


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

    rows: int = 16
    """Oldest rows of the window whose mean the later rows are measured against."""
    share: float = 1.0
    """How much of that mean is taken off: 1 forgets every level older than the window, 0 none."""

    def __post_init__(self) -> None:
        """Refuse what refers to nothing."""
        if self.rows < 1 or not 0 < self.share <= 1:
            raise ValueError(
                f"rows must be at least 1 and share above 0 and at most 1, got {self.rows} and {self.share}"
            )


class Reference(Step[ReferenceSettings]):
    """The later rows of the window against the mean of its oldest: a trailing reference for a normal state that drifts.

    The price: a lasting fault is seen only while the oldest rows are from before it, and a fault that grows more slowly
    than the window forgets is never seen.
    """

    Settings = ReferenceSettings
    stage = Stage.ROWS

    def shape(self, given: Shape) -> Shape:
        """T is shorter by the reference."""
        rows, channels = given
        if self.settings.rows >= rows:
            raise ValueError(f"rows must be below {rows}, the rows of a window, got {self.settings.rows}")
        return rows - self.settings.rows, channels

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Subtract the mean of the oldest rows."""
        oldest = tf.reduce_mean(x[:, : self.settings.rows], axis=1, keepdims=True)
        return x[:, self.settings.rows :] - self.settings.share * oldest
