"""From a recipe for images to a run folder.

    folder -> stock of readable images -> parts -> detector -> score graph, blind where the picture is masked
    all of it -> run folder, complete only when run.json is there

The same recipe, images and versions give the same weights: every source of chance is seeded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.contract import strict_json
from edge_agent.contract.frame_manifest import FrameSpec
from edge_agent.errors import ManifestError
from training.artifacts import write_info, write_json
from training.data import DataError
from training.image_artifacts import (
    MOST_CALIBRATION,
    MOST_TEST,
    MOST_VALIDATION,
    FrameRun,
    FrameRunInfo,
    JudgedImage,
    Parts,
    spread,
    write_frames,
)
from training.images.detector import Curves, FrameSet, ImageData, ImageDetector
from training.images.detectors import make_image_detector
from training.images.folders import ANOMALY, ImageFolder, Layout, TestImage, read_folder
from training.images.masking import masked
from training.images.parts import FEW_VALIDATION, ImageParts, split_images
from training.images.recipe import ImageRecipe
from training.images.stock import Stock, readable, repeated, take_stock
from training.recipe import RecipeError
from training.run_folder import check_place, finish, fresh_folder, seed_everything, tool_versions

logger = logging.getLogger(__name__)


def fit_images(recipe: ImageRecipe, text: str, folder: Path, out: Path, *, progress: bool = True) -> FrameRun:
    """Fit the recipe's detector on a folder and write the run folder `out`, replacing a run that is there.

    Args:
        recipe: what is asked for.
        text: of its file.
        folder: of the images.
        out: run folder to write.
        progress: draw bars.

    Raises:
        RecipeError: a setting does not go with the detector.
        DataError: the images cannot be used; the message says where and what to do.
    """
    check_place(out)
    seed_everything(recipe.training.seed)
    detector = make_image_detector(recipe)
    found = read_folder(folder, seed=recipe.images.seed, test_share=recipe.images.test_share, labelled=False)
    check_layout(found, detector)
    info = _info(recipe, detector, found)
    stock = take_stock([*found.train, *(image.path for image in found.test)], progress=progress)
    for remark in filter(None, [stock.remark(), repeated(found, stock)]):
        logger.warning("%s", remark)
    parts = _split(readable(found, stock), recipe, detector)
    if len(parts.validation) < FEW_VALIDATION:
        logger.warning(
            "thresholds stand on %d normal images: they are rough; some hundred are good", len(parts.validation)
        )
    curves = _fit(detector, parts, recipe, progress=progress)
    unnamed = {image.kind for image in parts.defective} - {*detector.kinds, ANOMALY}
    if detector.kinds and unnamed:
        logger.warning("too few images to tell these defects from others by name: %s", ", ".join(sorted(unnamed)))
    unfinished = fresh_folder(out)
    masked(detector.score_graph(), recipe.images.masks).save(unfinished / "graph")
    _write_frames(unfinished, parts, recipe, detector)
    write_json(unfinished / "images.json", strict_json.plain(_told(found, parts, stock)))
    (unfinished / "recipe.toml").write_text(text, encoding="utf-8")
    write_json(unfinished / "metrics.json", {"fit": _figures(parts, stock, curves)})
    write_json(unfinished / "provenance.json", _provenance(recipe, stock))
    write_info(unfinished, with_kinds(info, detector.kinds))
    finish(unfinished, out)
    return FrameRun.read(out)


def check_layout(folder: ImageFolder, detector: ImageDetector[Any]) -> None:
    """Refuse a folder that a detector cannot learn from.

    Raises:
        DataError: with the layout that it needs.
    """
    if detector.streaming and folder.layout is not Layout.SEQUENCE:
        raise DataError(
            f"{folder.path}: the detector learns how frames follow each other, so it needs frames in order of time: "
            f"train/0001.png and so on, and perhaps test and labels.csv; got the {folder.layout} layout"
        )


def _split(folder: ImageFolder, recipe: ImageRecipe, detector: ImageDetector[Any]) -> ImageParts:
    stops_early = detector.kind != "pretrained" and recipe.training.patience > 0
    return split_images(
        folder,
        seed=recipe.images.seed,
        validation_share=recipe.images.validation_share,
        stopping_share=recipe.training.stopping if stops_early else 0.0,
        test_share=recipe.images.test_share,
        needs_labels=detector.needs_labels,
        folds=recipe.images.folds if detector.crossed else 0,
    )


def _fit(detector: ImageDetector[Any], parts: ImageParts, recipe: ImageRecipe, *, progress: bool) -> Curves:
    try:
        return detector.fit(
            ImageData(
                normal=_frames(parts.training, recipe, blind=True),
                stopping=_frames(parts.stopping, recipe, blind=True),
                defective=_frames(_paths(parts.defective), recipe, blind=True) if detector.needs_labels else None,
                kinds=tuple(image.kind for image in parts.defective),
                folds=parts.folds,
            ),
            progress=progress,
        )
    except ValueError as error:
        raise DataError(f"the {recipe.detector['type']} detector cannot be fitted: {error}") from error


def _frames(paths: Sequence[Path], recipe: ImageRecipe, *, blind: bool = False) -> FrameSet:
    """Images as frames of the detector's size, as a camera gives them or, `blind`, with masked parts black."""
    return FrameSet(tuple(paths), recipe.frame.height, recipe.frame.width, recipe.images.masks if blind else ())


def _paths(images: Sequence[TestImage]) -> tuple[Path, ...]:
    return tuple(image.path for image in images)


def _write_frames(folder: Path, parts: ImageParts, recipe: ImageRecipe, detector: ImageDetector[Any]) -> None:
    training, streaming = (*parts.training, *_paths(parts.defective)), detector.streaming
    choose = stretch if streaming else spread
    labels = np.array([image.defective for image in parts.test], bool)
    tested = list(most_mixed(labels, MOST_TEST) if streaming else spread(len(labels), MOST_TEST))
    kept = choose(len(parts.validation), MOST_VALIDATION)
    write_frames(
        folder,
        calibration=_frames([training[at] for at in choose(len(training), MOST_CALIBRATION)], recipe).array(),
        validation=_frames([parts.validation[at] for at in kept], recipe).array(),
        test=_frames([parts.test[at].path for at in tested], recipe).array(),
        test_labels=labels[tested],
        optimism=detector.optimism and detector.optimism.of(kept),
        test_kinds=np.array([_class(parts.test[at], detector.kinds) for at in tested], np.int64),
    )


def _class(image: TestImage, kinds: tuple[str, ...]) -> int:
    """Place of its kind among these; -1: normal, or of none of them."""
    return kinds.index(image.kind) if image.defective and image.kind in kinds else -1


def stretch(count: int, most: int) -> Sequence[int]:
    """Places of the last `most` of `count` items."""
    return range(max(count - most, 0), count)


def most_mixed(labels: np.ndarray[Any, np.dtype[np.bool_]], most: int) -> Sequence[int]:
    """Places of `most` neighbours of bool [n], of which as close to half as can be are True."""
    if len(labels) <= most:
        return range(len(labels))
    marked = np.concatenate([[0], np.cumsum(labels)])
    start = int(np.argmin(np.abs(marked[most:] - marked[:-most] - most / 2)))
    return range(start, start + most)


def _told(folder: ImageFolder, parts: ImageParts, stock: Stock) -> Parts:
    """The parts as names relative to the folder."""

    def names(paths: Sequence[Path]) -> tuple[str, ...]:
        return tuple(path.relative_to(folder.path).as_posix() for path in paths)

    def judged(image: TestImage) -> JudgedImage:
        mask = image.mask.relative_to(folder.path).as_posix() if image.mask else None
        return JudgedImage(file=names([image.path])[0], kind=image.kind, defective=image.defective, mask=mask)

    return Parts(
        folder=str(folder.path.resolve()),
        sequence=folder.layout is Layout.SEQUENCE,
        training=names(parts.training),
        stopping=names(parts.stopping),
        defective=names(_paths(parts.defective)),
        validation=names(parts.validation),
        test=tuple(map(judged, parts.test)),
        unreadable=names(list(stock.unreadable)),
    )


def _figures(parts: ImageParts, stock: Stock, curves: Curves) -> dict[str, object]:
    names = ("training", "stopping", "defective", "validation", "test")
    return {
        "images": {name: len(getattr(parts, name)) for name in names},
        "unreadable": {str(path): why for path, why in stock.unreadable.items()},
        "curves": curves,
    }


def _provenance(recipe: ImageRecipe, stock: Stock) -> dict[str, object]:
    return {
        "data": [{"images": len(stock.sha256), "sha256": stock.digest()}],
        "seed": recipe.training.seed,
        "versions": tool_versions("opencv-python-headless"),
    }


def with_kinds(info: FrameRunInfo, kinds: tuple[str, ...]) -> FrameRunInfo:
    """Say which kinds of defect the fitted detector tells apart, if any."""
    return replace(info, tells_kinds=True, input=replace(info.input, classes=kinds)) if kinds else info


def _info(recipe: ImageRecipe, detector: ImageDetector[Any], folder: ImageFolder) -> FrameRunInfo:
    classes = sorted({image.kind for image in folder.test if image.defective}) if detector.needs_labels else ()
    try:
        frame = FrameSpec(
            width=recipe.frame.width,
            height=recipe.frame.height,
            interval_s=recipe.images.interval_s,
            streaming=detector.streaming,
            warm_up=detector.warm_up,
            masks=recipe.images.masks,
            classes=tuple(classes),
        )
    except (ManifestError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: {error}") from error
    return FrameRunInfo(
        name=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        detector=recipe.detector["type"],
        has_map=detector.has_map,
        input=frame,
        decision=recipe.decision.spec(),
        k=recipe.decision.k,
        prefilter_mode=recipe.prefilter.mode,
        max_skip_s=recipe.prefilter.max_skip_s,
    )
