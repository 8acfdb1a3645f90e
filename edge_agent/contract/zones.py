"""Parts of an image, as polygons in relative coordinates: what is left out, and where another threshold holds.

A point is (x, y) with 0..1 from left to right and from top to bottom, so that a polygon means the same on a frame, on a
map of 28 x 28 and on a grid of blocks. Inside is what the even-odd rule says. A cell of a grid belongs to a polygon
that it shares any area with, as far as `SAMPLES` points a side see, so that a mask rather leaves out too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Polygon = tuple[tuple[float, ...], ...]
"""Corners (x, y) in 0..1, in order; the last is joined to the first."""

Cells = NDArray[np.bool_]

SAMPLES: Final = 4
"""Points a side of a cell that are tried: a corner of a polygon that reaches less than a quarter into one is missed."""

LEAST_CORNERS: Final = 3
"""Corners of a triangle: fewer have no area."""

MOST_CORNERS: Final = 64
"""Corners of one polygon; a hand-drawn outline has a dozen, and each costs a pass over the grid."""

MOST_ZONES: Final = 64
"""Zones or masks of one camera; beyond, a drawing program has exported something else."""

LONGEST_NAME: Final = 64
"""Characters of the name of a zone: it stands in the sentence of an alert."""

MOST_FACTOR: Final = 1000.0
"""Largest factor of a zone: a thousand times the threshold is never reached, a mask says so better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A part of the image with a threshold of its own."""

    name: str
    polygon: Polygon
    factor: float = 1.0
    """How far its threshold lies from the median of normal scores, in the model's own distance of threshold and median;
    above 0 and at most 1000. 2 is less sensitive, 0.5 more. A factor outlives a new model, a raw threshold does not."""

    def __post_init__(self) -> None:
        """Refuse what is no part of an image."""
        if not 0 < len(self.name) <= LONGEST_NAME:
            raise ValueError(f"a zone needs a name of 1 to {LONGEST_NAME} characters, got {self.name[:80]!r}")
        check_polygon(self.polygon, f"zone {self.name}")
        if not 0 < self.factor <= MOST_FACTOR:
            raise ValueError(f"zone {self.name}: factor must be above 0 and at most {MOST_FACTOR:g}, got {self.factor}")


def check_polygon(polygon: Polygon, place: str) -> None:
    """Refuse what is no polygon inside the image.

    Raises:
        ValueError: too few or too many corners, a corner that is not two numbers in 0..1, or no area.
    """
    if not LEAST_CORNERS <= len(polygon) <= MOST_CORNERS:
        raise ValueError(f"{place}: expected {LEAST_CORNERS}..{MOST_CORNERS} corners [x, y], got {len(polygon)}")
    for corner in polygon:
        if len(corner) != 2 or not all(math.isfinite(value) and 0 <= value <= 1 for value in corner):  # noqa: PLR2004
            raise ValueError(f"{place}: a corner is [x, y] with both in 0..1 of the image, got {list(corner)}")
    if len(set(polygon)) < LEAST_CORNERS:
        raise ValueError(f"{place}: needs {LEAST_CORNERS} different corners, got {[list(c) for c in polygon]}")


def check_masks(masks: tuple[Polygon, ...]) -> None:
    """Refuse masks that are no polygons inside the image, or too many.

    Raises:
        ValueError: naming the mask by its place in the list.
    """
    if len(masks) > MOST_ZONES:
        raise ValueError(f"at most {MOST_ZONES} masks are supported, got {len(masks)}: join neighbours")
    for i, mask in enumerate(masks):
        check_polygon(mask, f"masks[{i}]")


def check_zones(zones: tuple[Zone, ...]) -> None:
    """Refuse too many zones, and two of one name.

    Raises:
        ValueError: with their names.
    """
    names = [zone.name for zone in zones]
    if len(names) > MOST_ZONES or len(set(names)) < len(names):
        raise ValueError(f"expected at most {MOST_ZONES} zones of different names, got {names}")


def cells_in(polygon: Polygon, rows: int, columns: int) -> Cells:
    """Return which cells of a grid over the image share area with a polygon, bool [rows, columns]; one at least."""
    y = (np.arange(rows * SAMPLES) + 0.5)[:, np.newaxis] / (rows * SAMPLES)
    x = (np.arange(columns * SAMPLES) + 0.5)[np.newaxis, :] / (columns * SAMPLES)
    inside = np.zeros((rows * SAMPLES, columns * SAMPLES), np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    cells = np.asarray(inside.reshape(rows, SAMPLES, columns, SAMPLES).any(axis=(1, 3)), np.bool_)
    if not cells.any():
        middle_x, middle_y = np.mean(polygon, axis=0)
        cells[min(int(middle_y * rows), rows - 1), min(int(middle_x * columns), columns - 1)] = True
    return cells


def watched_cells(masks: tuple[Polygon, ...], rows: int, columns: int) -> Cells:
    """Return the cells of a grid that no mask touches, bool [rows, columns].

    Raises:
        ValueError: the masks leave nothing to watch.
    """
    watched = np.ones((rows, columns), np.bool_)
    for mask in masks:
        watched &= ~cells_in(mask, rows, columns)
    if not watched.any():
        raise ValueError(f"the masks cover the whole image of {columns} x {rows} cells: leave something to watch")
    return watched
