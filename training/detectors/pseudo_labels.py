"""A classifier without labels: the stranger windows of a first detector stand for faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from training.data import DataError
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.members import make_member, window_scores
from training.graph import Front, ScoreGraph
from training.recipe import RecipeError, TrainingSettings


class Labelled(StrEnum):
    """Detectors that learn two classes."""

    SVM = "svm"
    KNN_CLASSIFIER = "knn_classifier"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelsSettings:
    """`[detector]` of type `pseudo_labels`."""

    first: str = "gaussian"
    """Detector, with its usual settings, whose mean score splits the training windows."""
    classifier: Labelled = Labelled.SVM
    """Classifier, with its usual settings, that learns the two halves."""


class PseudoLabelsDetector(Detector[PseudoLabelsSettings]):
    """A classifier of what a first detector finds stranger than average.

        faulty = windows with first(window) > mean of first over the training windows,   score = classifier's

    For recordings that nobody has labelled and that hold faults, where the strange part is of one kind: the mean then
    lies above most normal windows. Where all is normal it tells one normal half from the other, so take the first
    detector alone. What it gains over that on labelled data: `python -m training bench --detectors
    gaussian,pseudo_labels --contaminate 0.05`.

    Source: D.-H. Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural
    networks", ICML workshop 2013, for labels by a first model.
    """

    Settings = PseudoLabelsSettings
    kind = "supervised"
    uses_steps = True

    def __init__(
        self,
        settings: PseudoLabelsSettings,
        training: TrainingSettings,
        front: Front,
        rows: int,
        tables: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Build both detectors.

        Raises:
            RecipeError: the first detector is not known, takes one row at a time or needs labels.
        """
        super().__init__(settings, training, front, rows, tables)
        self.first, self.classifier = (
            make_member({"type": name}, tables, f"detector.{role}", training=training, front=front, rows=rows)
            for role, name in (("first", settings.first), ("classifier", settings.classifier.value))
        )
        if self.first.needs_labels:
            raise RecipeError(f"detector.first: a {settings.first} needs labels, which are what is missing here")

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Split the windows, then learn the halves.

        Raises:
            DataError: the first detector scores all windows alike.
        """
        curves = self.first.fit(NormalData(windows=data.windows), progress=progress)
        scores = window_scores(self.first.score_graph(), data.windows)
        strange = scores > scores.mean()
        if not strange.any():
            raise DataError(
                f"training: all {len(scores)} windows have the {self.settings.first} score {scores[0]:g}, so there are "
                "no two halves to learn; the channels do not move"
            )
        halves = NormalData(windows=data.windows[~strange], faulty=data.windows[strange])
        return curves | self.classifier.fit(halves, progress=progress)

    def score_graph(self) -> ScoreGraph:
        """The classifier's."""
        return self.classifier.score_graph()
