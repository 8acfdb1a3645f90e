"""The parts that pass the camera of a demonstration, and what came of them.

They are pictures that the model never saw. Good parts come first, then defective ones among as many good ones, in an
order that chance has drawn. Some defective parts follow each other, and each must raise an alert of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_agent.cli.frame_recording import QUALITY
from edge_agent.contract.records import NS
from edge_agent.contract.wire import ImageKind
from edge_agent.sources.inspection import DEFECTS, InspectionScene, SceneFault, SceneFaultKind
from edge_agent.sources.times import to_ns
from training.experiments.demo_subscriber import Payload
from training.image_artifacts import JudgedImage, Parts, spread
from training.images.folders import ANOMALY

LEAD = 6
"""Good parts before the first defective one: what normal looks like on the timeline."""
MOST_DEFECTIVE = 10
"""Defective parts at most: with the good ones a watch of 40 s."""

SCENE_SEED = 7
"""Of the simulated station."""
SEVERITIES = (0.25, 0.5, 1.0, 2.0)
"""Of its scratches: from what is hardly seen to what nobody would miss; a technician would notice 1."""
OF_EACH = 2
"""Defective parts of each kind and severity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part, as the camera shows it."""

    number: int
    """In the order of the watch, from 0."""
    picture: Path
    name: str
    """File of the picture, relative to its folder."""
    defective: bool

    @property
    def words(self) -> str:
        """What is known of it."""
        return f"part {self.number}, {self.name}, {'defective' if self.defective else 'good'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was watched, and what came through the broker."""

    parts: tuple[Part, ...]
    interval_s: float
    """Reading time between two of them."""
    alerts: tuple[Payload, ...]
    scores: tuple[Payload, ...]
    pictures: dict[str, dict[ImageKind, bytes]]
    """JPEGs by the id of their event."""

    def first_alerts(self) -> dict[int, Payload]:
        """The alert that opened an anomaly at each part, by its number; where there are several, the first."""
        opened = [alert for alert in self.alerts if alert["event_type"] == "anomaly" and alert["window"]]
        return {part_number(alert["window"]["end"], self.interval_s): alert for alert in reversed(opened)}

    def judged(self, *, defective: bool, alarmed: bool) -> list[Part]:
        """The parts that are defective or not and raised an alert or not."""
        told = self.first_alerts()
        return [part for part in self.parts if part.defective == defective and (part.number in told) == alarmed]


def part_number(time: str, interval_s: float) -> int:
    """Return the number of the part that is before the camera at a reading time, which counts from 1970."""
    return round(to_ns(time) / NS / interval_s)


def draw_defective(folder: Path, first: int) -> None:
    """Draw defective parts of the simulated station into `anomaly` of a folder, with their masks.

    They are compressed as `edge-agent record` compresses good ones: else that alone would tell them apart.

    Args:
        folder: where `normal` is.
        first: number of the first frame that is free: numbers decide light, noise and how the part lies.
    """
    faults = [(SceneFaultKind.SCRATCH, severity) for severity in SEVERITIES] + [(SceneFaultKind.MISSING, 1.0)]
    told = [
        SceneFault(kind=kind, start=first + number, frames=1, severity=severity)
        for number, (kind, severity) in enumerate(faults * OF_EACH)
    ]
    scene = InspectionScene(SCENE_SEED, faults=tuple(told))
    for fault in told:
        assert fault.kind in DEFECTS  # noqa: S101 - a defect has a mask
        name = f"{fault.kind}-{fault.severity:g}-{fault.start}"
        picture, mask = folder / ANOMALY / f"{name}.jpg", folder / "ground_truth" / ANOMALY / f"{name}.png"
        for path in (picture, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.cvtColor(scene.pixels(fault.start), cv2.COLOR_RGB2BGR)
        picture.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
        mask.write_bytes(cv2.imencode(".png", 255 * scene.defect(fault.start).astype(np.uint8))[1].tobytes())


def line_up(tested: Sequence[JudgedImage], seed: int = 0) -> list[JudgedImage]:
    """Return tested images in the order in which they pass the camera, as the module says; the seed draws it.

    Where there are many, defective ones are taken evenly, so that every kind comes.
    """
    good = [image for image in tested if not image.defective]
    bad = [image for image in tested if image.defective]
    some = [bad[at] for at in spread(len(bad), max(min(len(bad), len(good), MOST_DEFECTIVE), 1))]
    lead = min(len(good) - len(some), LEAD) if len(good) > len(some) else 0
    mixed = some + good[lead : lead + len(some)]
    return good[:lead] + [mixed[at] for at in np.random.default_rng(seed).permutation(len(mixed))]


def lay_out(parts: Parts, target: Path) -> list[Part]:
    """Copy the pictures of a watch into a folder, in the order of their names."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    laid = []
    for number, image in enumerate(line_up(parts.test)):
        picture = target / f"{number:03d}{Path(image.file).suffix}"
        shutil.copyfile(Path(parts.folder) / image.file, picture)
        laid.append(Part(number=number, picture=picture, name=image.file, defective=image.defective))
    return laid
