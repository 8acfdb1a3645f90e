"""Pictures for people: frames as JPEG, and maps as colours, alone or over the frame.

A cell of a map is coloured by how far out it is. With s = (value - median) / (threshold - median), which is 0 where all
is as usual and 1 at the threshold, its heat is

    heat = s / (1 + s)        0 at the median and below, 1/2 at the threshold, below 1 however strong

so two heatmaps of one camera can be compared, and the strongest cell of a strong anomaly still stands out. The colours
are `inferno` (Smith and van der Walt 2015, "A better default colormap for Matplotlib"): lightness rises evenly with the
heat, so that the order is seen in grey and by the colour-blind, too.

OpenCV (the `camera` extra) does the work, imported where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.frames import Pixels
from edge_agent.contract.opencv import opencv
from edge_agent.contract.records import Floats
from edge_agent.errors import EdgeAgentError, FrameError
from edge_agent.vision.regions import Box

QUALITIES: Final = (90, 80, 65, 50)
"""JPEG qualities that are tried, in order: at 90 hardly anything is lost, below 50 blocks hide hairline defects."""

LEAST_SIDE: Final = 16
"""Pixels a side below which no smaller picture is tried: nothing would be seen in it."""

HEATMAP_SIDE: Final = 640
"""Longest side of a heatmap, pixels: a map has some 28 to 60 cells a side, more pixels show no more."""

CLEAR_BELOW: Final = 0.25
"""Heat up to which an overlay shows the frame untouched: a third of the way from the median to the threshold."""

OPAQUE_FROM: Final = 0.5
"""Heat from which an overlay shows the colour as strongly as it ever does: the threshold."""

MOST_OPAQUE: Final = 0.5
"""Largest share of the colour in an overlay: what is strange must still be seen below it."""

OVERLAY_SIDE: Final = 480
"""Shortest side of an overlay, pixels: a smaller frame is enlarged, so that boxes and figures can be read."""

TEXT_SIDE: Final = 720
"""Shortest side of a picture on which a label's letters are 1.0 of OpenCV's size, some 22 pixels."""

_DARK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatScale:
    """What the values of a map are held against."""

    median: float
    """Of normal maps."""
    threshold: float
    """Above the median."""

    def __post_init__(self) -> None:
        """Refuse a scale without length."""
        if not (math.isfinite(self.median) and math.isfinite(self.threshold) and self.median < self.threshold):
            raise ValueError(f"expected a median below the threshold, got {self.median} and {self.threshold}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A box to draw, with what stands at it."""

    box: Box
    label: str = ""


def encode_jpeg(pixels: Pixels, max_bytes: int) -> bytes:
    """Return a frame as JPEG of at most `max_bytes`: lower quality first, then half the size, until it fits.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        max_bytes: largest file.

    Raises:
        ValueError: not even a tiny picture fits.
        EdgeAgentError: OpenCV is not installed.
    """
    cv2 = _opencv()
    image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    while True:
        for quality in QUALITIES:
            done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and len(jpeg) <= max_bytes:
                return bytes(jpeg)
        height, width = image.shape[0] // 2, image.shape[1] // 2
        if min(height, width) < LEAST_SIDE:
            raise ValueError(f"no JPEG of {pixels.shape[1]} x {pixels.shape[0]} pixels fits {max_bytes} bytes")
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def decode_jpeg(data: bytes) -> Pixels:
    """Return a JPEG as uint8 [H, W, 3] RGB.

    Raises:
        FrameError: it is none, or damaged.
        EdgeAgentError: OpenCV is not installed.
    """
    cv2 = _opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise FrameError(f"a JPEG that does not decode: {error.err}") from error
    if image is None:
        raise FrameError("a file that is no JPEG" if data else "an empty file")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def heat(values: Floats, scale: HeatScale) -> Floats:
    """Return how far out each cell of a map is, float32 [h, w] in 0..1; what is not finite counts as farthest.

    >>> heat(np.array([[1, 2, 4, 9]], np.float32), HeatScale(median=2, threshold=4)).round(2).tolist()
    [[0.0, 0.0, 0.5, 0.78]]
    """
    with np.errstate(over="ignore"):
        strength = (values.astype(np.float64) - scale.median) / (scale.threshold - scale.median)
    out = 1 - 1 / (1 + np.clip(strength, 0, None))
    return np.nan_to_num(out, nan=1.0).astype(np.float32)


def heatmap(values: Floats, scale: HeatScale, height: int, width: int) -> Pixels:
    """Return a map in colours, uint8 [h, w, 3] RGB in the shape of a frame of that size, HEATMAP_SIDE at most.

    Raises:
        EdgeAgentError: OpenCV is not installed.
    """
    factor = min(1.0, HEATMAP_SIDE / max(height, width))
    return _coloured(_enlarged(heat(values, scale), max(1, round(height * factor)), max(1, round(width * factor))))


def overlay(pixels: Pixels, values: Floats | None, scale: HeatScale | None, marks: Sequence[Mark] = ()) -> Pixels:
    """Return a frame with its map in colours over it and its regions in boxes, uint8 [H, W, 3] RGB.

    Args:
        pixels: uint8 [H, W, 3] RGB; left as it is.
        values: float32 [h, w] map; None: boxes only.
        scale: of the map.
        marks: boxes in 0..1 with labels.

    Raises:
        EdgeAgentError: OpenCV is not installed.
    """
    cv2 = _opencv()
    height, width = pixels.shape[:2]
    factor = max(1.0, OVERLAY_SIDE / min(height, width))
    size = round(width * factor), round(height * factor)
    drawn: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR) if factor > 1 else pixels.copy()
    if values is not None and scale is not None:
        hot = _enlarged(heat(values, scale), *drawn.shape[:2])
        opaque = MOST_OPAQUE * np.clip((hot - CLEAR_BELOW) / (OPAQUE_FROM - CLEAR_BELOW), 0, 1)[..., np.newaxis]
        drawn = np.rint(drawn * (1 - opaque) + _coloured(hot) * opaque).astype(np.uint8)
    for mark in marks:
        _draw(drawn, mark)
    return drawn


def _enlarged(hot: Floats, height: int, width: int) -> Floats:
    """Bring heat to the size of a picture, float32 [height, width] in 0..1."""
    cv2 = _opencv()
    enlarged: Floats = cv2.resize(hot, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(enlarged, 0, 1), np.float32)


def _coloured(hot: Floats) -> Pixels:
    cv2 = _opencv()
    levels: NDArray[np.uint8] = np.rint(hot * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)


def _draw(pixels: Pixels, mark: Mark) -> None:
    """Draw a box, white with a dark rim, which shows on any ground, and its label above it, or inside at the top."""
    cv2 = _opencv()
    height, width = pixels.shape[:2]
    left, right = (round(x * (width - 1)) for x in mark.box[0::2])
    top, bottom = (round(y * (height - 1)) for y in mark.box[1::2])
    size = min(height, width) / TEXT_SIDE
    line = max(1, round(2 * size))
    for colour, thick in ((_DARK, 3 * line), (_WHITE, line)):
        cv2.rectangle(pixels, (left, top), (right, bottom), colour, thick)
    if not mark.label:
        return
    (wide, high), below = cv2.getTextSize(mark.label, cv2.FONT_HERSHEY_SIMPLEX, size, line)
    high += below + 2 * line
    x = max(0, min(left, width - wide))
    y = top - line if top - line >= high else top + line + high
    cv2.rectangle(pixels, (x, y - high), (x + wide, y), _DARK, cv2.FILLED)
    origin = x, y - below - line
    cv2.putText(pixels, mark.label, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _WHITE, line, cv2.LINE_AA)


def _opencv() -> ModuleType:
    """Import OpenCV.

    Raises:
        EdgeAgentError: it is not installed.
    """
    try:
        return opencv()
    except ImportError as error:
        raise EdgeAgentError(f"pictures cannot be drawn: {error}") from error
