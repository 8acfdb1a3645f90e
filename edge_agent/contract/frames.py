"""What a frame is, and the small luma image that camera health and prefilter look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Floats

Pixels = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB, full range 0..255."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luma: ITU-R BT.601, the matrix of JPEG and of most cameras."""

SAMPLES = 2
"""Pixels taken along each side of a cell where it has more: four a cell halve the noise, all of them cost several times
more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture of a camera."""

    pixels: Pixels
    """uint8 [H, W, 3] RGB; never written to."""
    t_ns: int
    """Reading time, nanoseconds since the Unix epoch."""
    number: int
    """Counts from 0 what its source has given since the agent started; a step above 1 is frames that were dropped."""
    source: str
    """Where it comes from, in words: a device, an address without its password, a file."""

    def __post_init__(self) -> None:
        """Refuse shapes and types that would fail later, far from their cause."""
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:  # noqa: PLR2004 - RGB
            raise ValueError(f"frame pixels must be uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameScore:
    """What a graph said about one frame."""

    value: float
    """Raw score in the detector's own unit; larger is stranger; finite."""
    map: Floats | None = None
    """float32 [h, w] where in the frame; None where the graph has none."""
    kinds: Floats | None = None
    """float32 [h, w, C] probability of each kind of defect where there is one, [1, 1, C] without a map; None where the
    graph tells none apart."""
    took_ns: int = 0
    """Nanoseconds the call took; 0: not measured."""


def small_luma(pixels: Pixels, height: int, width: int) -> Floats:
    """Mean luma of the cells of a grid over the picture, whatever its size: float32 [height, width], 0..255.

    A cell's mean is taken over `SAMPLES` x `SAMPLES` pixels, evenly spread. A picture smaller than the grid has its
    pixels repeated.

    >>> small_luma(np.full((6, 8, 3), 100, dtype=np.uint8), 3, 4).round().tolist()[0]
    [100.0, 100.0, 100.0, 100.0]
    """
    rows, columns = (
        max(1, size // (SAMPLES * cells)) for size, cells in zip(pixels.shape, (height, width), strict=False)
    )
    weights = np.array(LUMA_WEIGHTS, np.float32) / SAMPLES**2
    luma: Floats = np.matmul(pixels[::rows, ::columns], weights, dtype=np.float32)
    return _pair_sums(_pair_sums(luma, height, 0), width, 1)


def _pair_sums(values: Floats, cells: int, axis: int) -> Floats:
    """Sum of the two samples of each of `cells` stretches along one axis of float32 [n, m]."""
    places = (2 * np.arange(SAMPLES * cells) + 1) * values.shape[axis] // (2 * SAMPLES * cells)
    sums: Floats = values.take(places[0::SAMPLES], axis) + values.take(places[1::SAMPLES], axis)
    return sums
