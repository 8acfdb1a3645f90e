"""From a map to regions: which cells stand out, which belong together, where they are, how strong and of which kind.

    map [h, w] > threshold of the cell's zone, masks left out -> connected components -> regions, strongest first

A map that is not finite where it is watched is a failure of the graph and raises: it is never "nothing there". The kind
of a region is the likeliest in the mean over its cells; where kinds are not told, or not finite, it has none. The
number of regions is bounded, so that a map gone wild costs no more than a busy one: the strongest are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.frame_manifest import MAX_MAP_CELLS
from edge_agent.contract.records import Floats
from edge_agent.contract.zones import Cells, Polygon, Zone, cells_in, check_masks, check_zones, watched_cells
from edge_agent.errors import ScoringError

MOST_REGIONS: Final = 32
"""Regions of one frame that are kept, the strongest: nobody looks at more, and matching them takes less than a
frame."""

Box = tuple[float, ...]
"""(left, top, right, bottom), each 0..1 of the image, left < right and top < bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalisationSettings:
    """What of a map counts, and how a region is scored."""

    zones: tuple[Zone, ...] = ()
    """Parts with a threshold of their own; where they overlap the first holds, outside all the model's own does."""
    masks: tuple[Polygon, ...] = ()
    """Parts left out, each a list of corners [x, y] in 0..1 from the upper left."""
    top_share: float = 0.0
    """Share of a region's cells, the strongest, whose mean is its score; 0: the strongest alone. 0..1."""
    least_area: float = 0.0
    """Smallest region that counts, as a share of the image, 0..1."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and two zones of one name."""
        for name in ("top_share", "least_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0..1, got {getattr(self, name)}")
        check_zones(self.zones)
        check_masks(self.masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of one frame that stands out."""

    box: Box
    score: float
    """In the unit of the map."""
    area: float
    """Share of the image, 0..1, above 0."""
    zone: str = ""
    """Where its strongest cell lies; empty: in none."""
    features: tuple[float, ...] = ()
    """Mean of what was given with the map, such as colours: tells objects apart that come close to each other."""
    kind: str = ""
    """The likeliest kind of defect; empty: not told."""
    kind_score: float = 0.0
    """Its probability among the kinds that the graph knows, 0..1."""


class Localiser:
    """Finds the regions of maps of one size."""

    def __init__(
        self,
        settings: LocalisationSettings,
        calibration: Calibration,
        height: int,
        width: int,
        *,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Lay out zones and masks.

        Args:
            settings: zones, masks and scores.
            calibration: of the largest cell of normal maps: a region is found only where that would alarm.
            height: cells of a map from top to bottom.
            width: cells from left to right.
            classes: kinds of defect that are told apart, by name.

        Raises:
            ValueError: the masks leave nothing to watch, or the map has no cells or too many.
        """
        if not (height > 0 and width > 0 and height * width <= MAX_MAP_CELLS):
            raise ValueError(f"expected a map of 1..{MAX_MAP_CELLS} cells, got {height} x {width}")
        self._settings, self._classes = settings, classes
        self._watched = watched_cells(settings.masks, height, width)
        self._zone = np.full((height, width), -1)
        self._threshold = np.full((height, width), calibration.threshold)
        for i in reversed(range(len(settings.zones))):
            cells = cells_in(settings.zones[i].polygon, height, width)
            self._zone[cells] = i
            self._threshold[cells] = in_zone(calibration, settings.zones[i]).threshold
        self._threshold[~self._watched] = np.inf

    def locate(
        self, values: Floats, features: Callable[[], Floats] | None = None, kinds: Floats | None = None
    ) -> tuple[Region, ...]:
        """Return the regions of a map, strongest first, at most MOST_REGIONS.

        Args:
            values: float32 [h, w], larger is stranger.
            features: gives float32 [h, w, d] of each cell, in units of which 1 is a clear difference; asked only where
                something stands out. None: without.
            kinds: float32 [h, w, C], the probability of each class; None: not told.

        Raises:
            ScoringError: the map is not of the expected size, or not finite where it is watched.
        """
        self._check(values)
        strange = values > self._threshold
        if not strange.any():
            return ()
        labels = components(strange)
        order = np.argsort(labels, axis=None, kind="stable")[np.count_nonzero(labels == 0) :]
        starts = np.flatnonzero(np.diff(labels.ravel()[order], prepend=0))
        parts = [part for part in np.split(order, starts[1:]) if len(part) >= self._settings.least_area * values.size]
        parts.sort(key=lambda part: -float(values.ravel()[part].max()))
        of_cells = None if features is None else features()
        found = [self._region(values, of_cells, kinds, part) for part in parts[:MOST_REGIONS]]
        found.sort(key=lambda region: -region.score)
        return tuple(found)

    def strongest(self, values: Floats, without: Iterable[Box] = ()) -> float:
        """Return the largest watched cell of a map that no box touches, -inf where none is left; errors as `locate`."""
        self._check(values)
        counts, (height, width) = self._watched.copy(), values.shape
        for left, top, right, bottom in without:
            rows = slice(max(math.floor(top * height) - 1, 0), math.ceil(bottom * height) + 1)
            counts[rows, max(math.floor(left * width) - 1, 0) : math.ceil(right * width) + 1] = False
        return float(values.max(where=counts, initial=-np.inf))

    def _check(self, values: Floats) -> None:
        if values.shape != self._threshold.shape:
            raise ScoringError(f"the graph gave a map of {list(values.shape)}, expected {list(self._threshold.shape)}")
        broken = np.count_nonzero(self._watched & ~np.isfinite(values))
        if broken:
            raise ScoringError(f"the graph gave a map with {broken} of {values.size} cells that are not finite")

    def is_usual(self, cell: int) -> bool:
        """Return whether the model's own threshold holds for a cell of the flat map: no mask, no zone of another."""
        zone = int(self._zone.ravel()[cell])
        return bool(self._watched.ravel()[cell]) and (zone < 0 or self._settings.zones[zone].factor == 1)

    def kind_of(self, kinds: Floats | None, cells: NDArray[np.intp]) -> tuple[str, float]:
        """Return the likeliest kind of defect in cells of the flat map, and its probability; "", 0 where not told.

        What is no probability tells nothing: a defect is alarmed without a name rather than not at all.
        """
        if kinds is None or not self._classes:
            return "", 0.0
        shares = kinds.reshape(-1, len(self._classes))[cells].mean(axis=0, dtype=np.float64)
        likeliest = float(shares.max())
        if not 0 < likeliest < math.inf:
            return "", 0.0
        return self._classes[int(shares.argmax())], min(likeliest, 1.0)

    def _region(self, values: Floats, features: Floats | None, kinds: Floats | None, cells: NDArray[np.intp]) -> Region:
        height, width = values.shape
        y, x = np.divmod(cells, width)
        strengths = np.sort(values.ravel()[cells].astype(np.float64))[::-1]
        top = max(math.ceil(self._settings.top_share * len(cells)), 1)
        zone = int(self._zone.ravel()[cells[np.argmax(values.ravel()[cells])]])
        kind, kind_score = self.kind_of(kinds, cells)
        of_cells = () if features is None else features[y, x].mean(axis=0, dtype=np.float64).tolist()
        return Region(
            box=(int(x.min()) / width, int(y.min()) / height, int(x.max() + 1) / width, int(y.max() + 1) / height),
            score=float(strengths[:top].mean()),
            area=len(cells) / values.size,
            zone=self._settings.zones[zone].name if zone >= 0 else "",
            features=tuple(of_cells),
            kind=kind,
            kind_score=kind_score,
        )


def in_zone(calibration: Calibration, zone: Zone) -> Calibration:
    """Return the calibration with the threshold of a zone; its own grade where the zone does not change it."""
    if zone.factor == 1:
        return calibration
    return calibration.with_threshold(calibration.median + zone.factor * (calibration.threshold - calibration.median))


def components(mask: Cells) -> NDArray[np.int64]:
    """Return the 8-connected components of true cells, int64 [h, w]: 1, 2, ... in reading order, 0 where false.

    Every cell begins as a component of its own and points at itself. In each round a component takes the lowest that it
    touches (hooking) and pointers are followed to their ends (shortcutting), so that their number at least halves
    (Shiloach and Vishkin 1982, "An O(log n) parallel connectivity algorithm", J. Algorithms 3).
    """
    parent = np.arange(mask.size, dtype=np.int64)
    one, other = _neighbours(mask)
    while len(one):
        low, high = np.minimum(parent[one], parent[other]), np.maximum(parent[one], parent[other])
        np.minimum.at(parent, high, low)
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
        apart = parent[one] != parent[other]
        one, other = one[apart], other[apart]
    labels = np.zeros(mask.size, np.int64)
    cells = mask.ravel()
    labels[cells] = np.unique(parent[cells], return_inverse=True)[1] + 1
    return labels.reshape(mask.shape)


def _neighbours(mask: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of true cells that touch, sideways, downwards and across, each as places in the flat map."""
    places = np.arange(mask.size, dtype=np.int64).reshape(mask.shape)
    pairs = (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1, :], np.s_[1:, :]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    )
    both = [(places[one], places[other], mask[one] & mask[other]) for one, other in pairs]
    return np.concatenate([one[here] for one, _, here in both]), np.concatenate(
        [other[here] for _, other, here in both]
    )
