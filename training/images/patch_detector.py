"""What detectors on features of the pretrained backbone are built on.

Every frame is learned from twice: as float32 sees it and as int8 does (`training.images.rounding`), so that both are
normal to the one head of all formats.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol, TypeVar

import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.graph import Outputs, ScoreGraph
from training.images.backbone import EfficientNetLite0
from training.images.detector import FrameSet, ImageDetector
from training.images.patches import FeatureSettings, Patches

FORMATS = 2
"""Times that a frame is learned from, though it tells of the covariance but once."""


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

    def _begin(self, frames: FrameSet) -> None:
        """Make the features, once there are frames enough.

        Raises:
            ValueError: there are too few.
            DataError: the weights of the backbone are not installed.
        """
        if len(frames) < self.least_frames:
            raise ValueError(f"expected {self.least_frames} normal frames or more, got {len(frames)}")
        self._patches = Patches(self.settings.features, self.height, self.width, self.backbone, frames.batches())

    def _seen(self, frames: FrameSet, *, progress: bool) -> Iterator[Doubles]:
        """Features of the frames as float32 gives them, then as int8 does, in the same batches."""
        yield from self._patches.batches(frames, progress=progress)
        yield from self._patches.rounded_batches(frames, progress=progress)

    def _compared(self, frames: FrameSet, *, progress: bool) -> Iterator[tuple[Doubles, Doubles]]:
        """Features of the same frames in float32 and in int8, batch by batch."""
        exact = self._patches.batches(frames, progress=progress)
        return zip(exact, self._patches.rounded_batches(frames, progress=progress), strict=True)

    def score_graph(self) -> ScoreGraph:
        """The fitted detector as one graph."""
        return ScoreGraph(function=self._score, inputs={"frame": (1, self.height, self.width, 3)})

    @abstractmethod
    def _score(self, frame: tf.Tensor) -> Outputs:
        """`score` [1], and `map` [1, h, w] where there is one, of one frame."""
