"""Pictures of a report: test images with their heatmaps, the best, the worst and those on the border."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.records import Doubles, Floats
from training.evaluation.frames import FrameEvaluation, strength
from training.image_artifacts import FrameRun
from training.images.folders import Mask, Pixels, read_image, read_mask

OF_A_SORT = 6
"""Pictures of a sort: two rows on a page; what they show repeats soon."""

SIDE_PX = 224
"""Longest side of a picture in the report."""

JPEG_QUALITY = 80
"""Of 100: some 8 kB a picture, so that a report stays below a megabyte."""

MOST_COLOUR = 0.6
"""Share of the heatmap's colour where it is hottest: the picture below stays visible."""

OUTLINE_RGB = (230, 0, 230)
"""Colour of the outline of a mask, magenta: no heatmap has it, and few pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One test image of the sheet."""

    file: str
    kind: str
    strength: float
    """0: a usual normal image; above 1 it alarms."""
    right: bool
    """Alarmed and defective, or neither."""
    clean: str
    """JPEG as a data address."""
    heat: str
    """The same with the heatmap over it and its mask outlined; empty where there is no map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """Pictures of one sort."""

    title: str
    words: str
    pictures: tuple[Picture, ...]


def sheet(run: FrameRun, evaluation: FrameEvaluation) -> list[Sort]:
    """The pictures worth a look, sort by sort; a picture is in one sort only."""
    judged = evaluation.float_graph
    if judged.test is None:
        return []
    strengths, truth = strength(judged.test.scores, judged.calibration), evaluation.truth
    right = judged.alarmed == truth
    margin = np.where(truth, strengths - 1, 1 - strengths)
    sorts = [
        ("Worst: missed defects", "Defective, not alarmed; the least strange first.", strengths, truth & ~right),
        ("Worst: false alarms", "Normal, alarmed; the strangest first.", -strengths, ~truth & ~right),
        ("Borderline", "Judged rightly, closest to the threshold first.", margin, right),
        ("Best: defects", "Defective, alarmed; the strangest first.", -strengths, truth & right),
        ("Best: normal", "Normal, not alarmed; the most usual first.", strengths, ~truth & right),
    ]
    found, shown = [], np.zeros(len(truth), bool)
    for title, words, order, among in sorts:
        places = [at for at in np.argsort(order, kind="stable").tolist() if among[at] and not shown[at]][:OF_A_SORT]
        shown[places] = True
        if places:
            pictures = tuple(_pictures(run, evaluation, places, strengths, right))
            found.append(Sort(title=title, words=words, pictures=pictures))
    return found


def _pictures(
    run: FrameRun, evaluation: FrameEvaluation, places: Sequence[int], strengths: Doubles, right: NDArray[np.bool_]
) -> Iterable[Picture]:
    judged, folder = evaluation.float_graph, Path(run.parts.folder)
    size = fitted(run.input.height, run.input.width)
    for at in places:
        image = evaluation.images[at]
        pixels = read_image(folder / image.file, height=size[0], width=size[1])
        heat = ""
        if judged.test is not None and judged.test.maps is not None and judged.map_calibration is not None:
            mask = read_mask(folder / image.mask, height=size[0], width=size[1]) if image.mask else None
            heat = jpeg(overlaid(pixels, judged.test.maps[at], judged.map_calibration, mask))
        yield Picture(
            file=image.file,
            kind=image.kind,
            strength=float(strengths[at]),
            right=bool(right[at]),
            clean=jpeg(pixels),
            heat=heat,
        )


def fitted(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture of this shape whose longest side is `SIDE_PX`."""
    scale = SIDE_PX / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def overlaid(pixels: Pixels, area: Floats, calibration: Calibration, mask: Mask | None) -> Pixels:
    """Lay a map [h, w] over a picture uint8 [H, W, 3]: clear where it is usual, half hot on the threshold.

    The scale is the same for all pictures of a run: that of the largest cells of normal maps.
    """
    height, width = pixels.shape[:2]
    usual = strength(cv2.resize(area, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float64), calibration)
    heat = np.clip(usual / 2, 0, 1)
    colours = cv2.cvtColor(cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    share = (MOST_COLOUR * np.minimum(2 * heat, 1))[..., np.newaxis]
    shown = np.asarray(np.rint(pixels * (1 - share) + colours * share), np.uint8)
    if mask is not None:
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outlines, -1, OUTLINE_RGB, 1)
    return shown


def jpeg(pixels: Pixels) -> str:
    """A picture as a data address that a page can hold."""
    data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
