"""From what a camera or decoder gives to RGB frames: channels, depth, limits, and what is counted on the way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.frames import Frame, Pixels
from edge_agent.contract.opencv import MOST_PIXELS
from edge_agent.errors import FrameError

log = logging.getLogger(__name__)

LEAST_SIDE = 8
"""Fewest pixels a side: a smaller picture shows nothing and is a decoder's mistake."""

Order = Literal["rgb", "bgr"]


def to_rgb(image: NDArray[Any], order: Order) -> Pixels:
    """Return a picture as uint8 [H, W, 3] RGB.

    Args:
        image: uint8 or uint16 [H, W] or [H, W, 1] grey, [H, W, 3] or [H, W, 4] with alpha, which is dropped.
        order: of its colours.

    Raises:
        FrameError: another type, another number of channels, too small or too large.
    """
    if image.ndim not in (2, 3) or image.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"expected a picture of 8 or 16 bits, got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE or height * width > MOST_PIXELS:
        raise FrameError(f"expected {LEAST_SIDE} pixels a side to {MOST_PIXELS:,} in all, got {width} x {height}")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = 1 if image.ndim == 2 else image.shape[2]  # noqa: PLR2004 - grey has no axis of channels
    if channels == 1:
        return np.ascontiguousarray(np.broadcast_to(image.reshape(height, width, 1), (height, width, 3)))
    if channels not in (3, 4):
        raise FrameError(f"expected 1, 3 or 4 channels, got {channels}")
    colours = image[..., :3] if order == "rgb" else image[..., 2::-1]
    return np.ascontiguousarray(colours)


@dataclass(slots=True)
class FrameCounters:
    """What came of the frames, and how the next is numbered."""

    source: str
    frames: int = 0
    frames_dropped: int = 0
    size_changes: int = 0
    last_error: str = ""
    size: tuple[int, int] | None = None

    def frame(self, pixels: Pixels, t_ns: int) -> Frame:
        """Number a frame, and note a size that is not that of the one before."""
        frame = Frame(pixels=pixels, t_ns=t_ns, number=self.frames, source=self.source)
        if self.size is not None and frame.size != self.size:
            self.size_changes += 1
            level = logging.WARNING if self.size_changes == 1 else logging.DEBUG
            log.log(level, "%s: frames changed from %d x %d to %d x %d", self.source, *self.size, *frame.size)
        self.size = frame.size
        self.frames += 1
        return frame

    def drop(self, why: str) -> None:
        """Count a frame that cannot be used."""
        self.frames_dropped += 1
        self.last_error = why
        level = logging.WARNING if self.frames_dropped == 1 else logging.DEBUG
        log.log(level, "%s: dropped %s", self.source, why)

    def status(self) -> dict[str, int | float | str]:
        """Counters as `FrameSource.status` gives them."""
        status: dict[str, int | float | str] = {
            "frames": self.frames,
            "frames_dropped": self.frames_dropped,
            "size_changes": self.size_changes,
        }
        if self.size is not None:
            status |= {"width": self.size[0], "height": self.size[1]}
        return status | ({"last_error": self.last_error} if self.last_error else {})
