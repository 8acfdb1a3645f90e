"""What every detector is: settings, a fit on normal windows, and one score graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from edge_agent.contract.records import Floats
from training.graph import Front, ScoreGraph
from training.recipe import TrainingSettings
from training.steps import Steps, make_steps

S = TypeVar("S")

Curves = dict[str, list[float]]
"""Per name, one figure an epoch; empty for detectors that are solved, not trained."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormalData:
    """What a detector is fitted on: not the validation part, since thresholds are set on it."""

    windows: Floats
    """float32 [n, T, C] raw training windows in time order; a streaming detector's have T = 1."""
    sequences: tuple[Floats, ...] = ()
    """Streaming detectors: unbroken runs float32 [L, C] of the same readings."""
    faulty: Floats | None = None
    """float32 [m, T, C] raw windows of the training part that are labelled faulty; None: no labels there."""


class Detector(ABC, Generic[S]):
    """A way to score how strange a window is.

    The score is a distance, a squared distance, -log density or log-odds, perhaps over a limit: larger is stranger,
    finite for any finite or infinite reading, and it does not fall while a fault grows (see `training.graph`).
    """

    Settings: ClassVar[type[Any]]
    """Frozen dataclass of the recipe's `[detector]` table, without `type`."""
    kind: ClassVar[str] = "neural"
    """Family, as lists group it: density, clustering, classical, supervised, neural or ensemble."""
    needs_labels: ClassVar[bool] = False
    """It learns from faulty windows too."""
    uses_steps: ClassVar[bool] = False
    """It sees features made by the recipe's steps."""
    streaming: ClassVar[bool] = False
    """Takes one row at a time and carries state."""
    has_body: bool = False
    """There is a network to quantize."""

    def __init__(
        self,
        settings: S,
        training: TrainingSettings,
        front: Front,
        rows: int,
        tables: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Keep what the fit needs; nothing is computed yet. `rows` is T, `tables` the recipe's `[[steps]]`."""
        del tables  # for those that use steps
        self.settings, self.training, self.front, self.rows = settings, training, front, rows

    @property
    def channels(self) -> int:
        """C."""
        return len(self.front.centre)

    @classmethod
    def check(cls, settings: S, rows: int) -> None:
        """Refuse settings that do not go with windows of `rows` rows.

        Raises:
            ValueError: with what was expected and what came.
        """

    @classmethod
    def usual_steps(cls, rows: int) -> tuple[dict[str, Any], ...]:  # noqa: ARG003 - for those that use steps
        """Tables of the steps that a recipe without any gets, for windows of `rows` rows."""
        return ()

    @abstractmethod
    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Learn from normal windows; `progress` draws a bar on standard error."""

    @abstractmethod
    def score_graph(self) -> ScoreGraph:
        """The fitted detector as one graph with static shapes and constants only."""


class StepsDetector(Detector[S]):
    """A detector that makes features of a window by the recipe's steps, or else by its usual ones."""

    uses_steps = True
    steps: Steps

    def __init__(
        self, settings: S, training: TrainingSettings, front: Front, rows: int, tables: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Build the steps.

        Raises:
            RecipeError: they do not go together or with the window.
        """
        super().__init__(settings, training, front, rows, tables)
        self.steps = make_steps(tables or self.usual_steps(rows), (rows, self.channels))
