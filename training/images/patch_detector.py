"""What detectors on features of the pretrained backbone are built on.

    frames -> features, once -> fit on all ------------------------------> graph
                                fit on all but a fold, for each fold ----> what the fold's frames score unseen

A fit on features takes seconds, so no frame has to be kept from it for the thresholds: see `Optimism`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.contract.records import Floats
from training.graph import HEAD, Outputs, ScoreGraph
from training.image_artifacts import Optimism
from training.images.backbone import EfficientNetLite0
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.frame_features import FrameFeatures
from training.images.patches import FeatureSettings, Patches


class HasFeatures(Protocol):
    """Settings that say which features."""

    @property
    def features(self) -> FeatureSettings:
        """Of each position."""


S = TypeVar("S", bound=HasFeatures)


class PatchDetector(ImageDetector[S]):
    """A detector fitted on features of normal frames."""

    kind = "pretrained"
    least_frames: ClassVar[int]
    """Normal frames that a fit needs."""
    backbone: EfficientNetLite0 | None = None
    """Made where it is needed, with the installed weights."""
    _patches: Patches

    @classmethod
    def check(cls, settings: S, height: int, width: int) -> None:
        """Refuse frames that the grid does not fit."""
        settings.features.check(height, width)

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Learn from the features of the normal frames and, with folds, find out what seeing them is worth.

        Raises:
            ValueError: too few normal frames.
            DataError: the weights of the backbone are not installed.
        """
        frames = data.normal
        if len(frames) < self.least_frames:
            raise ValueError(f"expected {self.least_frames} normal frames or more, got {len(frames)}")
        self._patches = Patches(self.settings.features, self.height, self.width, self.backbone, frames.batches())
        features = FrameFeatures(self._patches, frames, progress=progress)
        self.learn(features)
        if data.folds:
            self.optimism = self._crossed(features, np.array(data.folds), progress=progress)
        return {}

    @abstractmethod
    def learn(self, features: FrameFeatures) -> None:
        """Learn what is normal from nothing else, so that a copy can learn from other frames."""

    @abstractmethod
    def _judge(self, features: tf.Tensor) -> Outputs:
        """`score` [1], and `map` [1, h, w] where there is one, of one frame's features [tiles^2, P, c]; in `head`."""

    def score_graph(self) -> ScoreGraph:
        """The fitted detector as one graph."""
        return ScoreGraph(function=self._score, inputs={"frame": (1, self.height, self.width, 3)})

    def _score(self, frame: tf.Tensor) -> Outputs:
        features = self._patches.graph(frame)
        with tf.name_scope(HEAD):
            return self._judge(features)

    def _crossed(self, features: FrameFeatures, folds: NDArray[np.int64], *, progress: bool) -> Optimism:
        """What a fit without a frame gives for it, above what this one gives."""
        above = {name: -seen for name, seen in self.judged(features).items()}
        for fold in tqdm(np.unique(folds), "folds", leave=False, disable=not progress):
            without = copy.copy(self)
            without.learn(features.part(np.flatnonzero(folds != fold)))
            left_out = np.flatnonzero(folds == fold)
            for name, unseen in without.judged(features.part(left_out)).items():
                above[name][left_out] += unseen
        return Optimism(scores=above["score"], maps=above.get("map"))

    def judged(self, features: FrameFeatures) -> dict[str, Floats]:
        """Scores [n] and maps [n, h, w] of frames, as the float graph gives them."""
        shape = self._patches.shape
        outputs = [
            self._judge(tf.constant(each, tf.float32))
            for batch in features.exact()
            for each in batch.reshape(shape[0], -1, *shape[1:]).swapaxes(0, 1)
        ]
        return {name: np.concatenate([each[name].numpy() for each in outputs]) for name in outputs[0]}
