"""From the regions of each frame to objects that go on: one object, one event with one id, several at once. Pure.

    regions of a frame -> similarity with known objects -> best pairing (`assignment.py`) -> one Decider for each object

Similarity of a region and an object is the mean of their overlap (intersection over union) and their likeness,
exp(-D / 2): D sums the squared distance of the centres in sizes of the boxes and that of the logarithms of width and
height. It says which may be one. Of these, pairs are chosen by similarity times exp(-F / 2), where F is the mean
squared difference of their features: colours tell apart things that pass each other, and what turns pale in a shadow
stays what it was.

A region that is left over joins an object as a part of it if it lies mostly where that just was and is still near it: a
head that the map shows apart from its body is no event of its own. Else it begins a new object. The price is that a
second thing is not told apart before it has left the first.

Events are those of `contract/decision.py`: N of M frames open one, hysteresis and hold-off close it. An object that is
not seen counts as quiet, and while its event is open it is known again where it was last seen. A region in a zone with
a threshold of its own is decided by that threshold.

Where each frame shows another part (1 of 1 frames, no hold-off), nothing goes on from one to the next: whatever was
seen is over with the first frame that is half the usual time later. Frames that come faster show one part.

While its event is open an object is of the kind that its strongest region was of, so that one event does not go by many
names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import Decider, DecisionRule, OpenEvent
from edge_agent.contract.records import NS, Decision, Doubles, Fault, Stage, Unknown
from edge_agent.contract.zones import Zone
from edge_agent.vision.assignment import cheapest_pairs
from edge_agent.vision.regions import MOST_REGIONS, Box, Region, in_zone

LEAST_SIMILARITY: Final = 0.15
"""Similarity from which a region may be a known object: without any overlap, a box of the same size is one object with
that of the frame before if it went one and a half times its own size, and another if it went twice that."""

PART: Final = 0.5
"""Share of a region's box inside that of a known object from which it may be a part of it."""

NEAR: Final = 0.5
"""Sizes of its own that a part may be away from the rest: less than one goes away in a step that is still paired."""

MOST_OBJECTS: Final = 2 * MOST_REGIONS
"""Objects known at a time: those of a full frame, and as many that were just there."""

WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)
"""The box of the whole image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDecision:
    """What was decided of one object in one frame."""

    region: Region
    """Where it is, or was last seen."""
    decision: Decision


@dataclass(slots=True)
class _Object:
    region: Region
    decider: Decider
    unseen: int = 0
    """Frames since it was last seen."""
    clearest: Region | None = None
    """Its strongest region while its event is open, which says of which kind it is."""


class Objects:
    """Follows the objects of one camera, in order of frames."""

    def __init__(
        self,
        rule: DecisionRule,
        calibration: Calibration,
        frame_s: float,
        new_id: Callable[[], str],
        *,
        zones: tuple[Zone, ...] = (),
        stage: Stage = Stage.NETWORK,
    ) -> None:
        """Begin without objects.

        Args:
            rule: when the event of an object opens and closes.
            calibration: as the regions are found with, made for the rule's N of M. Outside zones no object opens an
                event unless the largest cells of N of M frames are above the threshold, too.
            frame_s: seconds between frames, above 0.
            new_id: gives a fresh id for each event.
            zones: as the regions are found with.
            stage: what finds the regions.

        Raises:
            ValueError: the calibration is for another N of M, or `frame_s` is not above 0.
        """
        self._rule, self._frame_s, self._new_id = rule, frame_s, new_id
        self._zones, self._stage = zones, stage
        self._objects: list[_Object] = []
        self._last_ns: int | None = None
        self.recalibrate(calibration)
        self._decider(zone="")

    def recalibrate(self, calibration: Calibration) -> None:
        """Go on with another threshold; open events stay open.

        Raises:
            ValueError: the calibration is for another N of M.
        """
        zones = {zone.name: in_zone(calibration, zone) for zone in self._zones}
        self._calibrations = {"": calibration} | zones
        self._quiet = calibration.median
        for each in self._objects:
            each.decider.recalibrate(self._calibrations[each.region.zone])

    def update(self, t_ns: int, regions: Iterable[Region]) -> list[ObjectDecision]:
        """Decide one frame.

        Args:
            t_ns: its reading time.
            regions: what stands out in it; more than MOST_REGIONS are not followed.

        Returns:
            A decision for each object, oldest object first; one that was forgotten comes no more.
        """
        passed = self._passed(t_ns)
        fresh = list(regions)[:MOST_REGIONS]
        known = self._objects[:]
        places = [each.region for each in known]
        of_object = dict(_pairs(places, fresh))
        parts = _parts(places, fresh, of_object)
        taken = {*of_object.values(), *parts}
        decided = []
        for i, each in enumerate(known):
            seen = [fresh[of_object[i]], *(fresh[j] for j in parts if parts[j] == i)] if i in of_object else []
            decided.append(self._decide(each, _joined(seen) if seen else None, t_ns))
        decided += [one for i, region in enumerate(fresh) if i not in taken and (one := self._begin(region, t_ns))]
        self._objects = [each for each in self._objects if each.unseen < self._rule.m or each.decider.open_events()]
        return [*passed, *decided]

    def unknown(self, unknown: Unknown) -> None:
        """Take note of a stretch without frames: objects are kept as they are, and N of M begins anew.

        The fault itself is the stream's event, not one of each object.
        """
        for each in self._objects:
            each.decider.unknown(replace(unknown, fault=Fault.NOT_READY))

    def restore(self, events: Iterable[OpenEvent]) -> None:
        """Take over events that were open when the agent stopped; each goes on if its object is seen where it was."""
        for event in events:
            decider, box = self._decider(zone=""), event.box or WHOLE
            decider.restore([event])
            region = Region(
                box=box, score=self._quiet, area=_area(box), kind=event.class_, kind_score=event.class_score
            )
            clearest = replace(region, score=event.score) if event.class_ and event.score is not None else None
            self._objects.append(_Object(region, decider, clearest=clearest))

    def open_events(self) -> list[OpenEvent]:
        """Return what `restore` needs after a restart."""
        return [
            replace(event, box=each.region.box, class_=each.region.kind, class_score=each.region.kind_score)
            for each in self._objects
            for event in each.decider.open_events()
        ]

    def _passed(self, t_ns: int) -> list[ObjectDecision]:
        """Let go of what was seen where a frame shows the next part."""
        last_ns, self._last_ns = self._last_ns, t_ns
        same = last_ns is not None and 0 <= t_ns - last_ns < self._frame_s * NS / 2
        if same or not self._rule.by_part:
            return []
        gone, self._objects = self._objects, []
        return [_told(each, each.decider.leave(t_ns)) for each in gone]

    def _decider(self, zone: str) -> Decider:
        return Decider(self._rule, self._calibrations[zone], self._frame_s, self._new_id)

    def _begin(self, region: Region, t_ns: int) -> ObjectDecision | None:
        if len(self._objects) >= MOST_OBJECTS:
            return None
        self._objects.append(_Object(region, self._decider(region.zone)))
        return self._decide(self._objects[-1], region, t_ns)

    def _decide(self, each: _Object, region: Region | None, t_ns: int) -> ObjectDecision:
        if region is None:
            each.unseen += 1
            decision = each.decider.window(t_ns, score=self._quiet, stage=self._stage)
        else:
            if region.zone != each.region.zone:
                each.decider.recalibrate(self._calibrations[region.zone])
            each.region, each.unseen = _of_kind(each, region), 0
            decision = each.decider.window(t_ns, score=region.score, stage=self._stage)
        return _told(each, decision)


def _told(each: _Object, decision: Decision) -> ObjectDecision:
    """Return what was decided of an object, its steps with where it is."""
    steps = tuple(replace(step, box=each.region.box) for step in decision.transitions)
    return ObjectDecision(region=each.region, decision=replace(decision, transitions=steps))


def _of_kind(each: _Object, region: Region) -> Region:
    """Return a region of an object with the kind that its strongest one was of, while its event is open."""
    if each.clearest is None or not each.decider.open_events() or region.score > each.clearest.score:
        each.clearest = region
    return replace(region, kind=each.clearest.kind, kind_score=each.clearest.kind_score)


def similarity(known: list[Region], fresh: list[Region]) -> Doubles:
    """Return how alike in place and size each known region is to each fresh one, float64 [known, fresh] in 0..1."""
    one, other = _boxes(known)[:, np.newaxis], _boxes(fresh)[np.newaxis]
    sizes, other_sizes = one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2]
    both = _shared(one, other)
    overlap = both / (sizes.prod(axis=-1) + other_sizes.prod(axis=-1) - both)
    way = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / (sizes + other_sizes)
    distance = (way**2).sum(axis=-1) + (np.log(sizes / other_sizes) ** 2).sum(axis=-1)
    alike: Doubles = (overlap + np.exp(-distance / 2)) / 2
    return alike


def _pairs(known: list[Region], fresh: list[Region]) -> list[tuple[int, int]]:
    """Return which known region is which fresh one: the pairing of the greatest similarity in all."""
    if not known or not fresh:
        return []
    alike = similarity(known, fresh)
    alike[alike < LEAST_SIMILARITY] = 0.0
    apart = np.array([[_difference(a.features, b.features) for b in fresh] for a in known])
    return [(i, j) for i, j in cheapest_pairs(-alike * np.exp(-apart / 2)) if alike[i, j] > 0]


def _parts(known: list[Region], fresh: list[Region], of_known: dict[int, int]) -> dict[int, int]:
    """Return which of the fresh regions that are left over is a part of which known one: the one it lies in most."""
    left = [j for j in range(len(fresh)) if j not in of_known.values()]
    if not left or not of_known:
        return {}
    places = list(of_known)
    before, rest = _boxes([known[i] for i in places]), _boxes([fresh[j] for j in of_known.values()])
    parts = {}
    for j in left:
        one = _boxes([fresh[j]])
        size = one[:, 2:] - one[:, :2]
        gap = np.maximum(rest[:, :2] - one[:, 2:], one[:, :2] - rest[:, 2:])
        inside = np.where((gap <= NEAR * size).all(axis=1), _shared(one, before) / size.prod(), 0.0)
        if inside.max() >= PART:
            parts[j] = places[int(np.argmax(inside))]
    return parts


def _joined(parts: list[Region]) -> Region:
    """Return the first region with its parts: a box around all, score and kind of the strongest, the whole area."""
    boxes = _boxes(parts)
    box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    strongest, area = max(parts, key=lambda part: part.score), sum(part.area for part in parts)
    return replace(strongest, box=box, area=area, zone=parts[0].zone, features=parts[0].features)


def _boxes(regions: list[Region]) -> Doubles:
    """Return the boxes, float64 [n, 4]."""
    return np.array([region.box for region in regions], np.float64).reshape(-1, 4)


def _shared(one: Doubles, other: Doubles) -> Doubles:
    """Return the area that boxes [..., 4] share."""
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared: Doubles = np.clip(sides, 0.0, None).prod(axis=-1)
    return shared


def _difference(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    if not one or len(one) != len(other):
        return 0.0
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)


def _area(box: Box) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)
