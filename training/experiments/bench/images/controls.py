"""Controls: what needs no model. A detector that does not beat them has found nothing; they stand in every table.

control_always       every image alarms. Where most test images are defective, its F1 looks respectable
control_brightness   distance of the mean luma of an image from that of the normal ones, in their standard deviations;
threshold from normal images as that of a detector. It shows how much the exposure gives away
control_random       scores of a seeded generator, of which half alarm
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_agent.contract.calibration import calibrate
from edge_agent.contract.records import NS, Doubles
from training.experiments.bench.images.data import ImageSet
from training.experiments.bench.images.outcome import ImageOutcome, JudgedGraph, Said
from training.image_artifacts import JudgedImage
from training.images.folders import decoded
from training.images.parts import ImageParts, split_images
from training.images.recipe import FrameDecisionSettings, ImagesSettings
from training.images.stock import readable, take_stock

Control = Callable[[ImageParts], Said]
"""Given the parts of a folder, what it says about the test images."""

SEED = 1
HALF = 0.5

LEAST_SPREAD = 1e-6
"""Of mean lumas of normal images that are all alike, so that another one is still a finite number of spreads away."""


def judged(control: Control, data: ImageSet, seed: int) -> ImageOutcome:
    """What a control says, of the parts that a detector of normal images alone is given.

    Raises:
        DataError: the folder has too few readable images.
    """
    found, settings = data.folder, ImagesSettings()
    stock = take_stock([*found.train, *(image.path for image in found.test)], progress=False)
    parts = split_images(
        readable(found, stock),
        seed=seed,
        validation_share=settings.validation_share,
        stopping_share=0.0,
        test_share=settings.test_share,
        needs_labels=False,
        folds=settings.folds,
    )
    images = tuple(
        JudgedImage(
            file=image.path.relative_to(found.path).as_posix(), kind=image.kind, defective=image.defective, mask=None
        )
        for image in parts.test
    )
    return ImageOutcome(
        images=images,
        fitted=len(parts.training),
        validation=len(parts.validation),
        graphs=(JudgedGraph(said=control(parts)),),
    )


def _always(parts: ImageParts) -> Said:
    return _said(np.ones(len(parts.test)), 0.0, HALF)


def _random(parts: ImageParts) -> Said:
    return _said(np.random.default_rng(SEED).random(len(parts.test)), 0.0, HALF)


def _brightness(parts: ImageParts) -> Said:
    usual, folds = _lumas(parts.training), np.array(parts.folds)
    scores = _spreads_away(_lumas([image.path for image in parts.test]), usual)
    if parts.folds:
        turns = [_spreads_away(usual[folds == fold], usual[folds != fold]) for fold in np.unique(folds)]
        normal = np.concatenate(turns)
    else:
        normal = _spreads_away(_lumas(parts.validation), usual)
    decision, interval_s = FrameDecisionSettings(), ImagesSettings().interval_s
    found = calibrate(
        normal,
        np.round(np.arange(len(normal)) * interval_s * NS).astype(np.int64),
        alarms_per_day=decision.alarms_per_day,
        n=decision.n,
        m=decision.m,
        join_s=decision.spec().rule.joined_s(interval_s),
        k=decision.k,
    )
    return _said(scores, found.median, found.threshold)


def _spreads_away(lumas: Doubles, usual: Doubles) -> Doubles:
    """Distance of each from the mean of the usual ones, in their standard deviations."""
    return np.asarray(np.abs(lumas - usual.mean()) / max(float(usual.std()), LEAST_SPREAD))


def _lumas(paths: Sequence[Path]) -> Doubles:
    """Mean luma of each image, float64 [n], 0..255."""
    return np.array([cv2.cvtColor(decoded(path), cv2.COLOR_RGB2GRAY).mean() for path in paths], np.float64)


def _said(scores: Doubles, median: float, threshold: float) -> Said:
    return Said(
        scores=tuple(scores.tolist()),
        relative=tuple(((scores - median) / (threshold - median)).tolist()),
        alarmed=tuple((scores > threshold).tolist()),
    )


CONTROLS: dict[str, Control] = {
    "control_always": _always,
    "control_brightness": _brightness,
    "control_random": _random,
}
