"""The upper tail of a distribution: generalized Pareto above a start, with its shape held in 0..0.3.

Peaks over threshold (S. Coles, An Introduction to Statistical Modeling of Extreme Values, Springer 2001, chapter 4):
above a high start u the excess y = x - u of almost any distribution follows
P(Y > y) = (1 + shape y / scale) ** (-1 / shape), an exponential where the shape is 0. The shape decides what is said
beyond the data and is badly known from few of them, so it is held: below 0 the tail would end, and nothing beyond its
end could be told apart; above 0.3 a hundred windows that promise one alarm a day may give thousands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_agent.contract.records import Doubles

MAX_SHAPE = 0.3
"""Largest shape, no unit: free fits to 100 windows gave 0 to 2,246 alarms a day where one was asked."""

_SHAPES = np.linspace(0.0, MAX_SHAPE, 31)
"""Shapes whose likelihoods are compared: steps of 0.01, a tenth of what 200 excesses can tell apart."""

_HALVINGS = 60
"""Bisection steps for the scale: its bracket spans 14 factors of e, so the last step is below float64's resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How much lies beyond a value, from `start` upwards; falls strictly towards 0 and never reaches it.

    beyond(x) = mass (1 + shape (x - start) / scale) ** (-1 / shape), or mass exp(-(x - start) / scale) where shape = 0.
    """

    start: float
    """Where the tail begins, in the unit of the scores."""
    mass: float
    """What lies beyond the start: a probability, or a number of peaks."""
    shape: float
    """0 (exponential) to 0.3 (heavy)."""
    scale: float
    """Above 0, in the unit of the scores."""

    def __post_init__(self) -> None:
        """Refuse what does not fall."""
        if not all(map(math.isfinite, (self.start, self.mass, self.shape, self.scale))):
            raise ValueError(f"a tail's numbers must be finite, got {self}")
        if not (self.mass > 0 and self.scale > 0 and 0 <= self.shape <= MAX_SHAPE):
            raise ValueError(f"a tail needs mass > 0, scale > 0 and a shape in 0..{MAX_SHAPE}, got {self}")

    def log_beyond(self, value: float) -> float:
        """Return the natural logarithm of what lies beyond `value`, which must not be below the start."""
        excess = (value - self.start) / self.scale
        fall = math.log1p(self.shape * excess) / self.shape if self.shape else excess
        return math.log(self.mass) - fall

    def value(self, beyond: float) -> float:
        """Return the value beyond which `beyond` lies (0 < beyond <= mass): the inverse of `log_beyond`."""
        fall = math.log(self.mass / beyond)
        return self.start + self.scale * (math.expm1(self.shape * fall) / self.shape if self.shape else fall)


def fit_tail(excesses: Doubles, *, start: float, mass: float, least_scale: float) -> Tail:
    """Fit by profile likelihood: for each shape the best scale, then the best shape (Coles 2001, section 4.3.2).

    For a given shape the scale solves mean((1 + shape) y / (scale + shape y)) = 1; the left side falls with the scale.

    Args:
        excesses: float64 [n], values minus `start`, each >= 0.
        start: where the tail begins.
        mass: what lies beyond it.
        least_scale: the scale never falls below this; stands in where there are no excesses or all are 0.
    """
    mean = float(np.mean(excesses)) if len(excesses) else 0.0
    if mean <= least_scale:
        return Tail(start=start, mass=mass, shape=0.0, scale=least_scale)
    relative, shapes = excesses / mean, _SHAPES[:, None]
    low, high = np.full(len(_SHAPES), math.exp(-14)), 1 + _SHAPES
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        too_small = np.mean((1 + shapes) * relative / (middle[:, None] + shapes * relative), axis=1) > 1
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    best = int(np.argmax(_log_likelihood(relative, high)))
    return Tail(start=start, mass=mass, shape=float(_SHAPES[best]), scale=max(mean * float(high[best]), least_scale))


def _log_likelihood(excesses: Doubles, scales: Doubles) -> Doubles:
    """Mean log likelihood for each of `_SHAPES` with its scale (Coles 2001, equations 4.10 and 4.11)."""
    shapes = _SHAPES[1:, None]
    heavy = (1 + 1 / shapes) * np.log1p(shapes * excesses / scales[1:, None])
    exponential = np.mean(excesses) / scales[0]
    result: Doubles = -np.log(scales) - np.concatenate([[exponential], heavy.mean(axis=1)])
    return result
