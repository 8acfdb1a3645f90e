"""Which kind of defect test images are called, held against the kind that their folder says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.contract.records import Doubles
from training.evaluation.frame_scoring import Scored
from training.image_artifacts import JudgedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How often the kind of defective images is named rightly, whether they are alarmed or not."""

    classes: tuple[str, ...]
    """Kinds that the graph tells apart; images of others do not count."""
    confusion: tuple[tuple[int, ...], ...]
    """Images: a row for each kind that they are of, a column for each that they are called."""
    images: int
    accuracy: float
    """Share that is named rightly."""
    commonest: float
    """What always naming the commonest kind would reach."""


def naming(
    images: Sequence[JudgedImage], test: Scored, classes: Sequence[str], threshold: float | None
) -> Naming | None:
    """Name the defective images by the mean of the probabilities over the cells above the threshold.

    Where none is above, by the strongest cell. A device names each region by itself, and leaves out masked cells.

    Args:
        images: n test images.
        test: what a graph made of them.
        classes: kinds that it tells apart.
        threshold: of its map; None where it has none.

    Returns:
        None where the graph tells no kinds apart, or no image is of one of them.
    """
    of_kind = [at for at, image in enumerate(images) if image.defective and image.kind in classes]
    if test.kinds is None or not of_kind:
        return None
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for at in of_kind:
        confusion[classes.index(images[at].kind), int(_shares(test, at, threshold).argmax())] += 1
    return Naming(
        classes=tuple(classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        images=len(of_kind),
        accuracy=float(np.trace(confusion) / len(of_kind)),
        commonest=float(confusion.sum(axis=1).max() / len(of_kind)),
    )


def _shares(test: Scored, at: int, threshold: float | None) -> Doubles:
    """Mean probabilities [C] of an image where it is strange."""
    assert test.kinds is not None  # noqa: S101 - the caller has seen to it
    shares = test.kinds[at].reshape(-1, test.kinds.shape[-1])
    if test.maps is not None and threshold is not None:
        cells = test.maps[at].ravel()
        shares = shares[cells > threshold] if cells.max() > threshold else shares[[cells.argmax()]]
    return np.asarray(shares.mean(axis=0), np.float64)
