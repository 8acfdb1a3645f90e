"""What every image detector is: settings, a fit on normal frames, and one graph from `frame` to `score` and `map`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from edge_agent.contract.zones import Polygon
from training.graph import ScoreGraph
from training.image_artifacts import Optimism
from training.images.folders import BATCH, Pixels, read_image
from training.images.masking import blackened
from training.recipe import TrainingSettings

S = TypeVar("S")

Curves = dict[str, list[float]]
"""Per name, one figure an epoch; empty for detectors that are solved, not trained."""


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Images of a folder as frames of one size, read when asked for, so that memory does not grow with the folder."""

    paths: tuple[Path, ...]
    """In order; for streaming detectors in order of time, one unbroken run."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    masks: tuple[Polygon, ...] = ()
    """Parts of the picture that are black here, as the graph makes them (`training.images.masking`)."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.paths)

    def part(self, places: Iterable[int]) -> FrameSet:
        """Some of the frames, in the order given."""
        return replace(self, paths=tuple(self.paths[place] for place in places))

    def batches(self, size: int = BATCH) -> Iterator[Pixels]:
        """Frames in order, uint8 [b, H, W, 3] with at most `size` a batch.

        Raises:
            DataError: one cannot be read as an image.
        """
        for start in range(0, len(self), size):
            yield self._read(self.paths[start : start + size])

    def array(self) -> Pixels:
        """All frames at once, uint8 [n, H, W, 3]: 150 kB each at 224 x 224.

        Raises:
            DataError: one cannot be read as an image.
        """
        return self._read(self.paths)

    def _read(self, paths: Sequence[Path]) -> Pixels:
        frames = np.empty((len(paths), self.height, self.width, 3), np.uint8)
        for frame, path in zip(frames, paths, strict=True):
            frame[...] = read_image(path, height=self.height, width=self.width)
        return blackened(frames, self.masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData:
    """What a detector is fitted on."""

    normal: FrameSet
    """Normal frames."""
    stopping: FrameSet
    """Normal frames held back for early stopping; empty where nothing stops early or where they are too few."""
    defective: FrameSet | None = None
    """Defective frames of the training part, for detectors that need labels."""
    kinds: tuple[str, ...] = ()
    """Of each of these frames, the kind of its defect; empty: not told."""
    folds: tuple[int, ...] = ()
    """Of each normal frame, the fold that it is left out with (`ImageDetector.crossed`); empty: thresholds come from
    frames that are not here."""


class ImageDetector(ABC, Generic[S]):
    """A way to score how strange a frame is, and where.

    The score is a distance, an error or log-odds: larger is stranger, finite for every frame. The map has the same unit
    as far as the method allows.
    """

    Settings: ClassVar[type[Any]]
    """Frozen dataclass of the recipe's `[detector]` table, without `type`."""
    kind: ClassVar[str] = "neural"
    """Family, as lists group it: pretrained, neural, supervised or time. For all but pretrained ones, frames
    are held back for early stopping."""
    needs_labels: ClassVar[bool] = False
    """It learns from defective frames too."""
    streaming: ClassVar[bool] = False
    """Scores how frames follow each other: carries state from frame to frame."""
    has_map: ClassVar[bool] = True
    """It tells where in the frame."""
    crossed: ClassVar[bool] = False
    """A fit takes so little that it is repeated without each fold, so that no frame has to be held back."""
    optimism: Optimism | None = None
    """Of the normal frames of a fit with folds."""
    kinds: tuple[str, ...] = ()
    """Kinds of defect that the fitted detector tells apart, in the order of its output; empty: it does not."""

    def __init__(self, settings: S, training: TrainingSettings, height: int, width: int) -> None:
        """Keep what the fit needs; nothing is computed yet. `height` and `width` are those of the frame in pixels."""
        self.settings, self.training, self.height, self.width = settings, training, height, width

    @classmethod
    def check(cls, settings: S, height: int, width: int) -> None:
        """Refuse settings that do not go with frames of this size.

        Raises:
            ValueError: with what was expected and what came.
        """

    @property
    def warm_up(self) -> int:
        """Frames after a reset before the score of a streaming detector counts."""
        return 0

    @abstractmethod
    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Learn from frames; `progress` draws a bar on standard error.

        Raises:
            ValueError: the data cannot be learned from: too few frames.
        """

    @abstractmethod
    def score_graph(self) -> ScoreGraph:
        """The fitted detector as one graph with static shapes and constants only.

        `frame` uint8 [1, H, W, 3] to `score` [1], `map` [1, h, w] where it has one, `kinds` [1, h, w, C] where it
        tells C of them apart (without a map [1, 1, 1, C]), and its `state_<name>`. The function gets its values as
        float32 where parts of the picture are masked, so it begins with a cast.
        """
