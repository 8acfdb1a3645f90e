"""Features of normal frames, computed once and learned from many times: by passes, and by fits that leave frames out.

Every frame is there twice: as float32 sees it and as int8 does (`training.images.rounding`), so that both are normal to
the one head of all formats.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Doubles, Floats
from training.images.detector import FrameSet
from training.images.patches import Patches

logger = logging.getLogger(__name__)

FORMATS = 2
"""Times that a frame is learned from, though it tells of the covariance but once."""

MOST_KEPT = 4_000_000_000
"""Bytes of features that are kept, of some 11,000 frames at 224 x 224; those of more are computed anew each time."""

LEARNED = 64
"""Frames of a batch of kept features: the larger, the less often sums of squares are written."""


class FrameFeatures:
    """Of some frames, batch by batch: memory does not grow with their number beyond `MOST_KEPT`."""

    def __init__(self, patches: Patches, frames: FrameSet, *, progress: bool) -> None:
        """Compute them unless they are too many; `progress` draws bars.

        Raises:
            DataError: a frame cannot be read.
        """
        self._patches, self._frames, self._progress = patches, frames, progress
        self.places: NDArray[np.intp] = np.arange(len(frames))
        """Which of the frames."""
        self._kept: list[Floats] | None = None
        shape = (len(frames), *patches.shape)
        size = FORMATS * int(np.prod(shape, dtype=np.int64)) * np.float32().itemsize
        if size <= MOST_KEPT:
            self._kept = [_gathered(shape, batches) for batches in (self.exact(), self.rounded())]
        else:
            logger.warning(
                "features of %d frames would take %.1f GB and are computed anew for each pass: folds = 0 is five times "
                "as quick, so are smaller frames",
                len(frames),
                size / 1e9,
            )

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.places)

    def part(self, places: NDArray[np.intp]) -> FrameFeatures:
        """Of some of the frames, in the order given."""
        other = copy.copy(self)
        other.places = self.places[places]
        return other

    def exact(self) -> Iterator[Doubles]:
        """Features float64 [tiles^2 b, P, c] as float32 gives them, of b frames after the other, tile by tile."""
        if self._kept is not None:
            return self._batches(self._kept[0])
        return self._patches.batches(self._frames.part(self.places), progress=self._progress)

    def rounded(self) -> Iterator[Doubles]:
        """The same as int8 gives them, in the same batches."""
        if self._kept is not None:
            return self._batches(self._kept[1])
        return self._patches.rounded_batches(self._frames.part(self.places), progress=self._progress)

    def both(self) -> Iterator[Doubles]:
        """All batches in the one format, then in the other."""
        yield from self.exact()
        yield from self.rounded()

    def _batches(self, kept: Floats) -> Iterator[Doubles]:
        for start in range(0, len(self), LEARNED):
            by_tile = kept[self.places[start : start + LEARNED]].swapaxes(0, 1)
            yield by_tile.reshape(-1, *by_tile.shape[2:]).astype(np.float64)


def _gathered(shape: tuple[int, ...], batches: Iterator[Doubles]) -> Floats:
    """Batches [tiles^2 b, P, c] in one array float32 [n, tiles^2, P, c]."""
    gathered, done = np.empty(shape, np.float32), 0
    for batch in batches:
        frames = batch.reshape(shape[1], -1, *shape[2:]).swapaxes(0, 1)
        gathered[done : done + len(frames)] = frames
        done += len(frames)
    return gathered
