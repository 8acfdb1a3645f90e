"""How well images are told apart, and where: a detector on image folders, judged by the graphs that ship.

    python -m training.experiments.images --data weld --data aliens
    python -m training.experiments.images --data weld --settings '{"rank": 0}'

A folder is in MVTec layout (train/good, test/<kind>, ground_truth/<kind>) or holds normal and anomaly; of the normal
images of the latter 70 % are fitted on, drawn by the seed. The fitted graph is converted, and every test image is
scored by the device's runtime, one thread. Printed is a line for each format:

    image_auroc, pixel_auroc, aupro     see `training.evaluation.image_metrics`; pixels at the size of the frame
    ms_per_frame                        from frame in to score and map out: median of the fastest quarter of the images,
                                        since the slow ones measure what else runs on a workstation
    bytes                               of the graph
    parity                              rank correlation of its scores with those of the float model in TensorFlow
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import spearmanr

from converters.conversion import Conversion, convert
from converters.flatbuffer import check
from converters.refusal import Refused
from edge_agent.contract.records import Doubles, Floats
from edge_agent.scoring.runtime import find_runtime
from training.data import DataError
from training.evaluation.image_metrics import ImageMetrics, evaluate_images
from training.images.detector import FrameSet, ImageData, ImageDetector
from training.images.detectors import make_image_detector
from training.images.folders import ImageFolder, read_folder, read_image, read_mask
from training.images.recipe import FrameSettings, ImageRecipe
from training.images.torch_file import TorchFileError
from training.recipe import RecipeError, TrainingSettings

FORMATS = ("float32", "int8")

SAMPLES = 64
"""Most training images that set the ranges of int8: 10 MB, and as many as change them no more."""

CASES = 64
"""Most test images that parity is measured on, evenly over the folder: TensorFlow takes some 20 ms each."""

COLUMNS = ("data", "format", "image_auroc", "pixel_auroc", "aupro", "ms_per_frame", "bytes", "parity")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What a graph made of the test images."""

    scores: Doubles
    """float64 [n]."""
    maps: Floats
    """float32 [n, h, w]."""
    ms_per_frame: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, convert and judge on every folder."""
    options = _parser().parse_args(arguments)
    try:
        made = functools.partial(_made, options)
        made()
        print(_line(COLUMNS), _line(["---"] * len(COLUMNS)), sep="\n")
        for path in options.data:
            for cells in judge(read_folder(path, seed=options.seed), made(), options.formats):
                print(_line(cells), flush=True)
    except (DataError, RecipeError, TorchFileError, Refused, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.images", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, action="append", required=True, help="image folder; may be repeated")
    parser.add_argument("--detector", default="padim", help="name of an image detector (default: padim)")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON object of those that are not as usual")
    parser.add_argument("--size", type=int, default=224, help="pixels a side of the frame (default: 224)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the detector (default: 0)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="graphs to judge")
    return parser


def _made(options: argparse.Namespace) -> ImageDetector[Any]:
    recipe = ImageRecipe(
        name="judged",
        frame=FrameSettings(height=options.size, width=options.size),
        detector={"type": options.detector} | options.settings,
        training=TrainingSettings(seed=options.seed),
    )
    return make_image_detector(recipe)


def judge(folder: ImageFolder, detector: ImageDetector[Any], formats: Sequence[str]) -> list[list[str]]:
    """Cells of a line for each format; what could not be converted has its reason instead of figures."""
    frames = functools.partial(FrameSet, height=detector.height, width=detector.width)
    detector.fit(ImageData(normal=frames(folder.train), stopping=frames(())), progress=False)
    cases = _spread(len(folder.test), CASES)
    with tempfile.TemporaryDirectory(prefix="images-") as name:
        work = Path(name)
        detector.score_graph().save(work / "graph")
        converted = convert(
            work / "graph",
            formats=formats,
            samples=frames(tuple(folder.train[at] for at in _spread(len(folder.train), SAMPLES))).array(),
            cases=frames(tuple(folder.test[at].path for at in cases)).array(),
            streaming=False,
            out=work / "converted",
        )
    return [[folder.path.name, name, *_figures(folder, detector, converted, name, cases)] for name in formats]


def _figures(
    folder: ImageFolder, detector: ImageDetector[Any], converted: Conversion, graph_format: str, cases: list[int]
) -> list[str]:
    if graph_format not in converted.models:
        return [f"refused: {converted.refused[graph_format]}", *["-"] * 5]
    model = converted.models[graph_format]
    scored = score(model, graph_format, folder, detector)
    figures = _metrics(folder, detector, scored)
    parity = spearmanr(scored.scores[cases], converted.reference_scores()).statistic
    areas = [figures.image_auroc, figures.pixel_auroc, figures.aupro]
    cells = ["-" if area is None else f"{area:.3f}" for area in areas]
    return [*cells, f"{scored.ms_per_frame:.1f}", f"{len(model):,}", f"{parity:.4f}"]


def score(model: bytes, graph_format: str, folder: ImageFolder, detector: ImageDetector[Any]) -> Scored:
    """Score the test images of a folder with the device's runtime.

    Raises:
        Refused: no device could run the graph.
    """
    facts = check(model, graph_format)
    interpreter, _ = find_runtime().interpreter(model, threads=1, delegate="auto")
    scores, maps, times_ns = [], [], []
    for image in folder.test:
        frame = read_image(image.path, height=detector.height, width=detector.width)[np.newaxis]
        start_ns = time.perf_counter_ns()
        interpreter.set_tensor(facts.inputs["frame"].index, frame)
        interpreter.invoke()
        scores.append(float(interpreter.get_tensor(facts.outputs["score"].index)[0]))
        maps.append(interpreter.get_tensor(facts.outputs["map"].index)[0])
        times_ns.append(time.perf_counter_ns() - start_ns)
    fastest_ns = np.sort(times_ns)[: max(1, len(times_ns) // 4)]
    return Scored(scores=np.array(scores), maps=np.array(maps), ms_per_frame=float(np.median(fastest_ns)) / 1e6)


def _metrics(folder: ImageFolder, detector: ImageDetector[Any], scored: Scored) -> ImageMetrics:
    """Maps are brought to the size of the frame, bilinear, and judged there where there are masks."""
    defective = np.array([image.defective for image in folder.test])
    if not folder.has_masks:
        return evaluate_images(defective, scored.scores)
    height, width = detector.height, detector.width
    masks = np.zeros((len(folder.test), height, width), bool)
    for mask, image in zip(masks, folder.test, strict=True):
        if image.mask is not None:
            mask[...] = read_mask(image.mask, height=height, width=width)
    maps = np.array([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in scored.maps])
    return evaluate_images(defective, scored.scores, maps, masks)


def _spread(count: int, most: int) -> list[int]:
    """Places of at most `most` of `count` items, evenly apart."""
    return [round(at) for at in np.linspace(0, count - 1, min(count, most)).tolist()]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
