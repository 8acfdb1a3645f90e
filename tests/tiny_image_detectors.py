"""The smallest image detectors there are, so that what surrounds detectors is tested without training any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from training.graph import Outputs, ScoreGraph
from training.image_artifacts import Optimism
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.detectors import IMAGE_DETECTORS
from training.images.kinds import told_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceSettings:
    """Settings of all of them."""

    cell_px: int = 4
    """Side of a cell of the map in pixels."""


class Difference(ImageDetector[DifferenceSettings]):
    """Distance from the mean image."""

    Settings = DifferenceSettings
    kind = "pretrained"

    @classmethod
    def check(cls, settings: DifferenceSettings, height: int, width: int) -> None:
        if height % settings.cell_px or width % settings.cell_px:
            raise ValueError(f"height and width must be multiples of {settings.cell_px}, got {height} and {width}")

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        self.mean = data.normal.array().astype(np.float32).mean(axis=0)
        self.seen = data
        return {}

    def score_graph(self) -> ScoreGraph:
        return ScoreGraph(function=self._score, inputs={"frame": (1, self.height, self.width, 3)})

    def _score(self, frame: tf.Tensor) -> Outputs:
        return self._outputs(tf.abs(tf.cast(frame, tf.float32) - self.mean))

    def _outputs(self, difference: tf.Tensor) -> Outputs:
        cell = self.settings.cell_px
        area = tf.reduce_mean(tf.nn.avg_pool2d(difference, cell, cell, "VALID"), axis=3)
        return {"score": tf.reduce_max(area, axis=[1, 2]), "map": area}


class CrossedDifference(Difference):
    """The same, fitted once more without each fold."""

    crossed = True

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        super().fit(data, progress=progress)
        if data.folds:
            frames, folds = data.normal.array().astype(np.float32), np.array(data.folds)
            without = np.array([frames[folds != fold].mean(axis=0) for fold in folds])
            unseen, seen = (self._outputs(tf.abs(frames - mean)) for mean in (without, self.mean))
            above = {name: (unseen[name] - seen[name]).numpy() for name in seen}
            self.optimism = Optimism(scores=above["score"], maps=above["map"])
        return {}


class TrainedDifference(Difference):
    """The same, as one that is trained: frames are held back for early stopping."""

    kind = "neural"

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        super().fit(data, progress=progress)
        return {"loss": [1.0, 0.5], "stopping_loss": [1.0, 0.6]}


class LabelledDifference(Difference):
    """The same, without a map, as one that learns from defective images too."""

    kind = "supervised"
    needs_labels = True
    has_map = False

    def _score(self, frame: tf.Tensor) -> Outputs:
        return {"score": super()._score(frame)["score"]}


class NamingDifference(Difference):
    """The same, which tells defects that are brighter than normal from those that are darker."""

    kind = "supervised"
    needs_labels = True

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        self.kinds = told_apart(data.kinds)
        return super().fit(data, progress=progress)

    def _score(self, frame: tf.Tensor) -> Outputs:
        outputs, cell = super()._score(frame), self.settings.cell_px
        if not self.kinds:
            return outputs
        signed = tf.cast(frame, tf.float32) - self.mean
        brighter = tf.reduce_mean(tf.nn.avg_pool2d(signed, cell, cell, "VALID"), axis=3, keepdims=True)
        return outputs | {"kinds": tf.nn.softmax(tf.concat([brighter, -brighter], axis=3) / 20)}


class Change(Difference):
    """Distance from the frame before."""

    kind = "time"
    streaming = True

    @property
    def warm_up(self) -> int:
        return 1

    def score_graph(self) -> ScoreGraph:
        shape = (1, self.height, self.width, 3)
        return ScoreGraph(function=self._change, inputs={"frame": shape, "state_before": shape})

    def _change(self, frame: tf.Tensor, state_before: tf.Tensor) -> Outputs:
        now = tf.cast(frame, tf.float32)
        return self._outputs(tf.abs(now - state_before)) | {"state_before": now}


CLASSES = {
    "difference": Difference,
    "crossed": CrossedDifference,
    "trained": TrainedDifference,
    "labelled": LabelledDifference,
    "naming": NamingDifference,
    "change": Change,
}


def let_recipes_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add them to the registry for one test."""
    for name, cls in CLASSES.items():
        monkeypatch.setitem(IMAGE_DETECTORS, name, f"{__name__}:{cls.__name__}")
