"""What comes of a detector on a folder of images: what is kept of it, and the figures are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract import strict_json
from training.experiments.bench.keeping import is_kept, seal
from training.image_artifacts import JudgedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said about the n test images that count."""

    scores: tuple[float, ...]
    """Larger is stranger."""
    relative: tuple[float, ...]
    """Scores with the median of normal images at 0 and the threshold at 1."""
    alarmed: tuple[bool, ...]
    """By the threshold of the score; of a sequence by N of M."""
    pixel_auroc: float | None = None
    aupro: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedGraph:
    """What was measured of one graph of the bundle."""

    format: str
    bytes: int
    parity: float
    """Largest relative error of the graph's scores against the float model's (`converters.parity`)."""
    rank_correlation: float
    """Of the same scores."""
    map_correlation: float | None
    """Of the cells of the maps; None without a map."""
    ms_per_frame: float
    """Median milliseconds of the fastest quarter of the calls of the device's scorer, one thread."""
    grade: str
    """How well the normal images support the threshold: counted, extrapolated or provisional."""
    alarmed: tuple[bool, ...]
    """As the device decides the images, by score and map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedGraph:
    """A graph on a folder; a control ships none."""

    said: Said
    shipped: ShippedGraph | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutcome:
    """What came of a detector on a folder."""

    images: tuple[JudgedImage, ...] = ()
    """Test images that count: those that a detector did not learn from, and after its warm-up."""
    fitted: int = 0
    """Images that it learned from."""
    validation: int = 0
    """Normal images that set its thresholds."""
    graphs: tuple[JudgedGraph, ...] = ()
    """The one that ships where nothing is asked first; empty where it failed."""
    refused: dict[str, str] = field(default_factory=dict)
    """Formats that the converter does not ship, and why."""
    device_frames: float | None = None
    """Share of these images that the device's source and `resize` make the same frame of as was scored."""
    seconds: float = 0.0
    """Fit, conversion and scoring."""
    reason: str = ""
    """Why it failed."""

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Which of `images` are defective, bool [n]."""
        return np.array([image.defective for image in self.images], bool)


def kept(folder: Path, key: str) -> ImageOutcome | None:
    """The result in a folder, if it is the one of this key."""
    if not is_kept(folder, key):
        return None
    text = (folder / "outcome.json").read_text(encoding="utf-8")
    return strict_json.read(ImageOutcome, json.loads(text), str(folder / "outcome.json"))


def keep(folder: Path, key: str, outcome: ImageOutcome) -> None:
    """Write a result."""
    (folder / "outcome.json").write_text(json.dumps(strict_json.plain(outcome), indent=1), encoding="utf-8")
    seal(folder, key)
