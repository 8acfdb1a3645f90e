"""What every step is: settings, a shape it takes and a shape it gives, perhaps a fit, and a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Any, ClassVar, Generic, TypeVar

import tensorflow as tf

from edge_agent.contract.records import Doubles

S = TypeVar("S")

Shape = tuple[int, ...]
"""Of one example, without the batch: (T, C) rows of the window, or (D,) features."""


class Stage(IntEnum):
    """What a step takes and gives; steps stand in this order."""

    ROWS = 0
    """Rows to rows, (T, C) to (T', C)."""
    FEATURES = 1
    """Rows to features, (T, C) to (m C,): feature j belongs to channel j modulo C."""
    REDUCTION = 2
    """Features to features, (D,) to (D',), fitted on the training windows."""


class Step(ABC, Generic[S]):
    """One step between the normalised window and the detector, the same in training and in the graph."""

    Settings: ClassVar[type[Any]]
    """Frozen dataclass of the recipe's `[[steps]]` table, without `type`."""
    stage: ClassVar[Stage]

    def __init__(self, settings: S) -> None:
        """Keep the settings; nothing is computed yet."""
        self.settings = settings

    @abstractmethod
    def shape(self, given: Shape) -> Shape:
        """Shape of an example after the step.

        Raises:
            ValueError: the step does not go with an example of the given shape.
        """

    def fit(self, x: Doubles) -> None:
        """Learn from training examples float64 [n, *shape]."""

    @abstractmethod
    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """The step in the graph, float32 [b, *shape] to float32 [b, *new shape]."""
