"""Which images of a folder are for what: fitting, early stopping, thresholds, testing.

    train ─┬─ validation   normal, never seen by the fit: thresholds come from these alone
           ├─ stopping     normal, watched by early stopping; empty for detectors that are solved, not trained
           └─ training
    test  ─┬─ defective    for detectors that learn from labelled defects: a share of each kind; the fit sees them
           └─ test

A detector that takes seconds to fit has all normal images for training and validation: each belongs to a fold, and a
threshold comes from the fits that have not seen it.

Parts are drawn by the seed. Those of a sequence are cut in order of time instead, since neighbouring frames are alike:
training, stopping, validation; of anomalous frames the first are learned from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.words import counted
from training.data import DataError
from training.image_artifacts import MOST_VALIDATION
from training.images.folders import ImageFolder, Layout, TestImage, drawn

FEWEST_TRAINING = 4
"""Images of the training part: fewer say nothing of how normal ones differ."""

FEWEST_VALIDATION = 2
"""Images that a threshold can be set on at all; it takes some hundred to set it well."""

FEW_VALIDATION = 100
"""Validation images below which the 0.99 quantile of their scores, which a threshold stands on, is the largest."""

FEWEST_STOPPING = 4
"""Images that early stopping watches: the loss of fewer is chance, so every epoch is run instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """Images by what they are for."""

    training: tuple[Path, ...]
    stopping: tuple[Path, ...]
    validation: tuple[Path, ...]
    defective: tuple[TestImage, ...]
    test: tuple[TestImage, ...]
    folds: tuple[int, ...] = ()
    """Of each training image, the fold that it is left out with; training and validation are the same then."""


def split_images(
    folder: ImageFolder,
    *,
    seed: int,
    validation_share: float,
    stopping_share: float,
    test_share: float,
    needs_labels: bool,
    folds: int = 0,
) -> ImageParts:
    """Split the images of a folder.

    Args:
        folder: readable images only.
        seed: of the draws.
        validation_share: of the normal images to fit on, above 0 and below 1.
        stopping_share: of the rest, 0 or more and below 1; 0: nothing is held back.
        test_share: of the defective images, kept for the test where others are learned from.
        needs_labels: defective images are learned from.
        folds: parts of the normal images that are left out in turn, so that no validation part is held back; 0: none.
            Held back it is all the same of a sequence, whose neighbours are alike, of more than `MOST_VALIDATION`
            images, and where others are held back, too, or defective ones learned from.

    Raises:
        DataError: a part would be too small; the message says of what there must be more.
    """
    if in_folds(folder, folds) and not (stopping_share or needs_labels):
        return _in_folds(folder, seed, folds)
    take = _last if folder.layout is Layout.SEQUENCE else drawn
    validation = take(len(folder.train), validation_share, seed + 1)
    if validation.sum() < FEWEST_VALIDATION and len(folder.train) >= FEWEST_TRAINING + FEWEST_VALIDATION:
        validation = take(len(folder.train), FEWEST_VALIDATION / len(folder.train), seed + 1)
    rest = _chosen(folder.train, ~validation)
    stopping = take(len(rest), stopping_share, seed + 2)
    if stopping.sum() < FEWEST_STOPPING or len(rest) - stopping.sum() < FEWEST_TRAINING:
        stopping[:] = False
    parts = ImageParts(
        training=_chosen(rest, ~stopping),
        stopping=_chosen(rest, stopping),
        validation=_chosen(folder.train, validation),
        defective=_to_learn(folder, seed, test_share) if needs_labels else (),
        test=folder.test,
    )
    _check(folder, parts)
    learned = {image.path for image in parts.defective}
    return ImageParts(
        training=parts.training,
        stopping=parts.stopping,
        validation=parts.validation,
        defective=parts.defective,
        test=tuple(image for image in folder.test if image.path not in learned),
    )


def in_folds(folder: ImageFolder, folds: int) -> bool:
    """Whether all normal images can be learned from and left out in turn, and a part of them would not do as well."""
    return (
        bool(folds) and folder.layout is not Layout.SEQUENCE and FEWEST_TRAINING < len(folder.train) <= MOST_VALIDATION
    )


def _in_folds(folder: ImageFolder, seed: int, folds: int) -> ImageParts:
    """All normal images for the fit and for thresholds."""
    count = len(folder.train)
    turns = np.arange(count) % max(folds, math.ceil(count / (count - FEWEST_TRAINING)))
    return ImageParts(
        training=folder.train,
        stopping=(),
        validation=folder.train,
        defective=(),
        test=folder.test,
        folds=tuple(np.random.default_rng(seed + 1).permutation(turns).tolist()),
    )


def _last(count: int, share: float, seed: int) -> NDArray[np.bool_]:  # noqa: ARG001 - the face of `drawn`
    """Mark the last share of `count` items."""
    return np.arange(count) >= count - round(share * count)


def _chosen(paths: Sequence[Path], chosen: NDArray[np.bool_]) -> tuple[Path, ...]:
    return tuple(path for path, of_part in zip(paths, chosen, strict=True) if of_part)


def _to_learn(folder: ImageFolder, seed: int, test_share: float) -> tuple[TestImage, ...]:
    """Of each kind of defect those that the fit sees; of a sequence the first.

    Raises:
        DataError: none is left to learn from, or to test on.
    """
    defective = [image for image in folder.test if image.defective]
    learned: list[TestImage] = []
    for kind in sorted({image.kind for image in defective}):
        of_kind = [image for image in defective if image.kind == kind]
        tested = (_last if folder.layout is Layout.SEQUENCE else drawn)(len(of_kind), test_share, seed + 3)
        learned += [image for image, kept in zip(of_kind, tested, strict=True) if not kept]
    if not learned or len(learned) == len(defective):
        raise DataError(
            f"{folder.path}: the detector learns from defective images and is tested on others, so it needs two "
            f"or more of a kind, got {counted(len(defective), 'defective image')}: add some, or take a detector that "
            "learns from normal images alone"
        )
    return tuple(learned)


def _check(folder: ImageFolder, parts: ImageParts) -> None:
    if len(parts.training) < FEWEST_TRAINING or len(parts.validation) < FEWEST_VALIDATION:
        raise DataError(
            f"{folder.path}: {counted(len(folder.train), 'readable normal image')} to fit on give "
            f"{len(parts.training)} for training and {len(parts.validation)} for thresholds, expected at least "
            f"{FEWEST_TRAINING} and {FEWEST_VALIDATION}: add normal images, some hundred are good"
        )
