"""What an alert of a camera says and keeps: what is where in the picture, and the very frame that fired.

The frame goes to disk clean, as JPEG, with its map as numbers and in colours and what was found in it; what is drawn
over it is drawn when somebody asks (`edge-agent evidence`). Frame and colours are published, too, as small as the topic
wants them. Several events of one frame share its pictures. A fault that is in no frame has none, and neither has a
model that fails: a picture explains nothing of it.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from edge_agent.account import Explained, Span, closing_words, with_level
from edge_agent.alerts.evidence import FrameNote, NotedRegion
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.frames import Pixels
from edge_agent.contract.records import Decision, EventKind, Floats, Life, Stage, Transition
from edge_agent.contract.wire import MAX_IMAGE_BYTES, ImageKind
from edge_agent.contract.wire import Region as WireRegion
from edge_agent.contract.zones import Zone
from edge_agent.vision.frame_pipeline import FrameDecision
from edge_agent.vision.pictures import HeatScale, encode_jpeg, heatmap
from edge_agent.vision.regions import Box, Region, in_zone

_log = logging.getLogger(__name__)

MAX_KEPT_BYTES: Final = 1 << 20
"""Largest JPEG on disk: 1920 x 1080 at quality 90 takes some 500 kB, and 256 MiB of evidence hold 200 of these."""

MOST_OF: Final = 2 / 3
"""Share of width and height from which a region is across the picture rather than somewhere in it."""

LIKELY: Final = 0.5
"""Probability from which the kind of a defect stands in the text: it is then likelier than all others together."""

ACROSS: Final = "across the picture"
"""Where such a region is."""

_STRANGE = frozenset({EventKind.ANOMALY, EventKind.ANOMALY_UPDATE})
_ROWS, _COLUMNS = ("upper", "", "lower"), ("left", "", "right")
_EDGES = {"upper": "top", "lower": "bottom"}


class FrameKeeper(Protocol):
    """The evidence folder, as the account of frames needs it."""

    def keep_frame(self, note: FrameNote, *, image: bytes, heatmap: bytes | None, values: Floats | None) -> Path | None:
        """Write frame, map and what was found; None where the disk does not take it."""


class Thresholds(Protocol):
    """What decides, as the account of frames needs it."""

    def thresholds(self, stage: Stage) -> Calibration:
        """Return what the scores of events of a stage, and the cells of its map, are held against."""


class _Pictures:
    """The JPEGs of one frame, each made when it is first asked for."""

    def __init__(self, pixels: Pixels, values: Floats | None, scale: HeatScale | None) -> None:
        self._pixels, self._values, self.scale = pixels, values, scale

    @cached_property
    def kept(self) -> bytes:
        return encode_jpeg(self._pixels, MAX_KEPT_BYTES)

    @cached_property
    def image(self) -> bytes:
        return self.kept if len(self.kept) <= MAX_IMAGE_BYTES else encode_jpeg(self._pixels, MAX_IMAGE_BYTES)

    @cached_property
    def heatmap(self) -> bytes | None:
        if self._values is None or self.scale is None:
            return None
        return encode_jpeg(heatmap(self._values, self.scale, *self._pixels.shape[:2]), MAX_IMAGE_BYTES)


class FrameAccount:
    """The account of one camera.

    Args:
        stream: its name.
        keeper: the evidence folder.
    """

    def __init__(self, stream: str, keeper: FrameKeeper) -> None:
        self._stream, self._keeper = stream, keeper
        self._pipeline: Thresholds | None = None
        self._zones: dict[str, Zone] = {}
        self._seen: FrameDecision | None = None
        self._pictures: _Pictures | None = None

    def use(self, pipeline: Thresholds, zones: tuple[Zone, ...] = ()) -> None:
        """Explain the decisions of this pipeline from now on, made with these zones."""
        self._pipeline, self._zones = pipeline, {zone.name: zone for zone in zones}

    def remember(self, item: FrameDecision) -> None:
        """Take the frame whose decision is told next."""
        self._seen, self._pictures = item, None

    def explain(self, transition: Transition, decision: Decision) -> Explained:
        """Return what an alert says; its evidence is on disk then."""
        region = self._seen.where.get(transition.id) if self._seen else None
        text = _words(transition, region, self._seen.map if self._seen else None)
        calibration = self._calibration(transition, region)
        snapshot, images = self._evidence(transition, decision, text)
        return Explained(
            text=text,
            calibration=calibration,
            window=self._span(decision),
            region=_on_wire(region) if region else None,
            snapshot=snapshot,
            images=images,
        )

    def _span(self, decision: Decision) -> Span | None:
        """Return the time of the frame that an alert rests on; None where it rests on none."""
        if self._seen is None or self._seen.pixels is None or self._seen.decision.t_ns != decision.t_ns:
            return None
        return Span(start_ns=decision.t_ns, end_ns=decision.t_ns, samples=1)

    def _calibration(self, transition: Transition, region: Region | None) -> Calibration | None:
        if self._pipeline is None or transition.fault is not None:
            return None
        own = self._pipeline.thresholds(transition.stage)
        zone = self._zones.get(region.zone) if region else None
        return in_zone(own, zone) if zone else own

    def _evidence(
        self, transition: Transition, decision: Decision, text: str
    ) -> tuple[str | None, dict[ImageKind, bytes]]:
        """Keep the frame of an alert; return its name in the folder and what is to be published."""
        if transition.life is not Life.OPEN or transition.kind is EventKind.MODEL_FAULT:
            return None, {}
        if self._seen is None or self._seen.pixels is None or self._span(decision) is None:
            return None, {}
        strange = transition.kind is EventKind.ANOMALY
        try:
            pictures = self._pictures or _Pictures(self._seen.pixels, self._seen.map, self._scale(self._seen))
            self._pictures = pictures
            images = {ImageKind.IMAGE: pictures.image}
            if strange and pictures.heatmap is not None:
                images[ImageKind.HEATMAP] = pictures.heatmap
            kept = self._keeper.keep_frame(
                self._note(transition, self._seen, text, pictures.scale),
                image=pictures.kept,
                heatmap=images.get(ImageKind.HEATMAP),
                values=self._seen.map if strange else None,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs the evidence and never the alert
            _log.warning("stream %s: no evidence of alert %s: %r", self._stream, transition.id, error)
            return None, {}
        return None if kept is None else str(kept), images

    def _note(self, transition: Transition, seen: FrameDecision, text: str, scale: HeatScale | None) -> FrameNote:
        own = seen.where.get(transition.id)
        return FrameNote(
            id=transition.id,
            stream=self._stream,
            event_type=str(transition.kind),
            t_ns=seen.decision.t_ns,
            text=text,
            score=transition.score,
            level=transition.level,
            median=scale.median if scale else None,
            threshold=scale.threshold if scale else None,
            box=own.box if own else None,
            class_=own.kind or None if own else None,
            relative=self._relative(transition, own),
            regions=tuple(
                NotedRegion(
                    box=each.box,
                    score=each.score,
                    area=each.area,
                    zone=each.zone,
                    class_=each.kind or None,
                    class_score=each.kind_score if each.kind else None,
                    relative=self._relative(transition, each),
                )
                for each in seen.regions
            ),
        )

    def _relative(self, transition: Transition, region: Region | None) -> float | None:
        """Return how strange a region is, between what is usual (0) and the threshold where it is (1)."""
        held = self._calibration(transition, region)
        if held is None or region is None:
            return None
        return round((region.score - held.median) / (held.threshold - held.median), 3)

    def _scale(self, seen: FrameDecision) -> HeatScale | None:
        """Return what the map of a frame is held against: of what gave it; None without a map."""
        if self._pipeline is None or seen.map is None:
            return None
        own = self._pipeline.thresholds(seen.decision.stage)
        return HeatScale(median=own.median, threshold=own.threshold)


def place(box: Box) -> str:
    """Return where in the picture a box is, in words.

    >>> place((0.0, 0.1, 0.2, 0.3)), place((0.4, 0.8, 0.6, 1.0)), place((0.1, 0.0, 1.0, 0.9))
    ('at the upper left', 'at the bottom', 'across the picture')
    """
    left, top, right, bottom = box
    if min(right - left, bottom - top) > MOST_OF:
        return ACROSS
    row, column = (min(int(3 * (low + high) / 2), 2) for low, high in ((top, bottom), (left, right)))
    names = _ROWS[row], _COLUMNS[column]
    if all(names):
        return f"at the {' '.join(names)}"
    edge = _EDGES.get(names[0], names[0]) or names[1]
    return f"at the {edge}" if edge else "in the middle"


def _strongest(values: Floats) -> str:
    """Return where the strongest cell of a map [h, w] is, in words."""
    height, width = values.shape
    row, column = divmod(int(np.nanargmax(values)), width)
    return place((column / width, row / height, (column + 1) / width, (row + 1) / height))


def _words(transition: Transition, region: Region | None, values: Floats | None) -> str:
    if transition.life is Life.CLOSE:
        return closing_words(transition)
    if transition.kind not in _STRANGE:
        return transition.detail
    if region is None:
        return with_level("unlike what is normal", transition)
    kind = region.kind.replace("_", " ") if region.kind_score >= LIKELY else ""
    if region.area >= 1:
        whole = f"{kind} in the picture" if kind else "the picture as a whole is unlike what is normal"
        return with_level(f"{whole}, most of all {_strongest(values)}" if values is not None else whole, transition)
    percent = 100 * region.area
    share = f"{percent:.0f}" if percent >= 10 else f"{max(percent, 0.1):.1f}"  # noqa: PLR2004 - two figures
    zone = f" (zone {region.zone})" if region.zone else ""
    what = kind or "something strange"
    where = place(region.box)
    return with_level(f"{what} {where}, {share} % of {'it' if where == ACROSS else 'the picture'}{zone}", transition)


def _on_wire(region: Region) -> WireRegion:
    left, top, right, bottom = (round(min(max(side, 0.0), 1.0), 4) for side in region.box)
    return WireRegion(
        x=left,
        y=top,
        w=round(right - left, 4),
        h=round(bottom - top, 4),
        class_=region.kind or None,
        class_score=round(region.kind_score, 4) if region.kind else None,
    )
