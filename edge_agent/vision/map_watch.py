"""Score and map of each frame -> regions -> objects, each an event of its own. Pure.

Events are those of the objects (`objects.py`), found where the map is above its threshold (`regions.py`). A score above
its own threshold of a map in which no region stands out is a region over the whole frame: as far beyond the threshold
of maps as the score is beyond its own, in distances from median to threshold. It is none where the strongest cell of
the map is masked, or in a zone with a threshold of its own: there the map knows better than the score, which sees all
of the frame. A score without a map is taken as a map of one cell. Regions have the mean colour of the picture behind
their cells, so that objects that pass each other keep their events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import DecisionRule, OpenEvent
from edge_agent.contract.frames import Pixels
from edge_agent.contract.level import LevelScale
from edge_agent.contract.records import Floats, Stage, Transition, Unknown
from edge_agent.errors import ScoringError
from edge_agent.vision.objects import WHOLE, Objects
from edge_agent.vision.regions import LocalisationSettings, Localiser, Region

CLEAR_COLOUR: Final = 64.0
"""Levels of 0..255 in each channel by which things of another colour differ clearly; the same thing in a shadow differs
by about as much, and is known again where it overlaps with where it was."""

COLOUR_SAMPLES: Final = 4
"""Pixels along each side of a cell that its colour is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was found in one frame."""

    anomaly: bool = False
    """Whether an event is open."""
    score: float | None = None
    level: float | None = None
    """Of the score: 0..1, 0.5 at its threshold."""
    regions: tuple[Region, ...] = ()
    """What stands out, strongest first."""
    transitions: tuple[Transition, ...] = ()
    where: dict[str, Region] = field(default_factory=dict)
    """By the id of each event that has a transition: where its object is, or was last seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What scores and maps are held against."""

    score: Calibration
    map: Calibration
    """Of the largest cell of a map; that of the score where there is no map."""


class MapWatch:
    """Watches one camera by what one model says of its frames.

    Args:
        thresholds: made for the rule's N of M.
        rule: when the event of an object opens and closes.
        frame_s: seconds between frames, above 0.
        new_id: gives a fresh id for each event.
        settings: zones and masks.
        stage: what gives scores and maps.
        classes: kinds of defect that it tells apart, by name.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        rule: DecisionRule,
        frame_s: float,
        new_id: Callable[[], str],
        *,
        settings: LocalisationSettings,
        stage: Stage,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.stage = stage
        """What gives scores and maps."""
        self._settings, self._classes, self._rule = settings, classes, rule
        self._objects = Objects(rule, thresholds.map, frame_s, new_id, zones=settings.zones, stage=stage)
        self.recalibrate(thresholds)

    def recalibrate(self, thresholds: Thresholds) -> None:
        """Go on with other thresholds; open events stay open."""
        self.thresholds = thresholds
        self._objects.recalibrate(thresholds.map)
        self._level = LevelScale(thresholds.score).level
        self._localisers: dict[tuple[int, ...], Localiser] = {}

    def see(
        self,
        t_ns: int,
        score: float,
        values: Floats | None = None,
        kinds: Floats | None = None,
        pixels: Pixels | None = None,
    ) -> Sighting:
        """Find what stands out in a frame and follow it; arguments and errors as `find`, and its reading time."""
        return self.follow(t_ns, self.find(score, values, kinds, pixels), score)

    def find(
        self,
        score: float,
        values: Floats | None = None,
        kinds: Floats | None = None,
        pixels: Pixels | None = None,
    ) -> tuple[Region, ...]:
        """Find what stands out in a frame, strongest first.

        Args:
            score: of the whole frame.
            values: float32 [h, w], the map; None: there is none.
            kinds: float32 [h, w, C], without a map [1, 1, C], the probability of each class; None: not told.
            pixels: uint8 [H, W, 3], the frame as it came; None: objects are told apart by place and size alone.

        Raises:
            ScoringError: the map is not finite where it is watched, or the masks leave none of it.
        """
        cells = np.full((1, 1), score, np.float32) if values is None else values
        localiser = self._localiser(cells)
        of_cells = None if pixels is None else partial(colours, pixels, *cells.shape)
        regions = localiser.locate(cells, of_cells, kinds)
        if regions or score <= self.thresholds.score.threshold:
            return regions
        strongest = np.nanargmax(cells)
        if not localiser.is_usual(int(strongest)):
            return ()
        kind, kind_score = localiser.kind_of(kinds, np.array([strongest]))
        return (Region(box=WHOLE, score=self._on_map(score), area=1.0, kind=kind, kind_score=kind_score),)

    def strongest(self, score: float, values: Floats | None) -> float:
        """Return the largest watched cell of a map, or the score where there is none; errors as `find`.

        Where objects with open events are, or were last seen, does not count; -inf: nothing else is left.
        """
        boxes = [] if self._rule.by_part else [each.box for each in self.open_events() if each.box]
        if values is None:
            return -math.inf if boxes else score
        return self._localiser(values).strongest(values, boxes)

    def follow(self, t_ns: int, regions: tuple[Region, ...], score: float | None) -> Sighting:
        """Decide on what was found in a frame; `score` of the whole of it, None: it was not scored."""
        decided = self._objects.update(t_ns, regions)
        return Sighting(
            anomaly=any(each.decision.anomaly for each in decided),
            score=score,
            level=None if score is None else self._level(score),
            regions=regions,
            transitions=tuple(step for each in decided for step in each.decision.transitions),
            where={step.id: each.region for each in decided for step in each.decision.transitions},
        )

    def rest(self, t_ns: int) -> Sighting:
        """Take note of a frame in which nothing stands out."""
        return self.follow(t_ns, (), None)

    def unknown(self, unknown: Unknown) -> None:
        """Take note of a stretch that was not seen."""
        self._objects.unknown(unknown)

    def restore(self, events: Iterable[OpenEvent]) -> None:
        """Take over events that were open when the agent stopped."""
        self._objects.restore(events)

    def open_events(self) -> list[OpenEvent]:
        """Return what `restore` needs after a restart."""
        return self._objects.open_events()

    def _localiser(self, values: Floats) -> Localiser:
        shape = values.shape
        if shape not in self._localisers:
            settings = self._settings if values.size > 1 else LocalisationSettings()
            try:
                self._localisers = {shape: Localiser(settings, self.thresholds.map, *shape, classes=self._classes)}
            except ValueError as error:
                raise ScoringError(f"the map of the graph cannot be watched: {error}") from error
        return self._localisers[shape]

    def _on_map(self, score: float) -> float:
        """Bring a score to the scale of maps."""
        of_score, of_map = self.thresholds.score, self.thresholds.map
        distances = (score - of_score.median) / (of_score.threshold - of_score.median)
        return of_map.median + distances * (of_map.threshold - of_map.median)


def colours(pixels: Pixels, height: int, width: int) -> Floats:
    """Return the mean colour behind each cell of a map over a frame, float32 [height, width, 3], in `CLEAR_COLOUR`s.

    >>> colours(np.full((6, 8, 3), 128, np.uint8), 1, 2).tolist()
    [[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]
    """
    rows, columns = (
        (2 * np.arange(COLOUR_SAMPLES * cells) + 1) * size // (2 * COLOUR_SAMPLES * cells)
        for size, cells in zip(pixels.shape, (height, width), strict=False)
    )
    samples = pixels[rows[:, np.newaxis], columns].reshape(height, COLOUR_SAMPLES, width, COLOUR_SAMPLES, 3)
    mean: Floats = samples.mean(axis=(1, 3), dtype=np.float32)
    return mean / np.float32(CLEAR_COLOUR)
