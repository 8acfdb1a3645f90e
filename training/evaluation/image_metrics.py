"""Figures of merit for images: does the score rank the defective ones first, and does the map show where.

All are areas under curves, from scores alone: 0..1, more is better, no threshold chosen. None where there is nothing to
rank, such as no mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from edge_agent.contract.records import Doubles, Floats
from training.evaluation.metrics import auc_roc, by_score

Flags = NDArray[np.bool_]

MAX_FPR = 0.3
"""False positive rate up to which AUPRO counts, as in its paper: beyond, a map marks so much that it shows nothing."""

TOUCHING = np.ones((3, 3), bool)
"""Defective pixels that touch, corners included, are one region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetrics:
    """How well images, and where there are masks their pixels, are ranked."""

    image_auroc: float | None
    """P(a defective image scores higher than a normal one), ties half."""
    pixel_auroc: float | None
    """The same for pixels."""
    aupro: float | None
    """See `aupro`."""


def evaluate_images(
    defective: Flags, scores: Doubles, maps: Floats | None = None, masks: Flags | None = None
) -> ImageMetrics:
    """Compute every figure.

    Args:
        defective: bool [n], of each image.
        scores: float64 [n], finite; larger is stranger.
        maps: float32 [n, H, W] at the resolution of the masks; None: not judged.
        masks: bool [n, H, W], the pixel is defective; None: there are none.

    Raises:
        ValueError: shapes that do not match, or a value that is not finite.
    """
    ranked = auc_roc(defective, scores)
    if maps is None or masks is None:
        return ImageMetrics(image_auroc=ranked, pixel_auroc=None, aupro=None)
    return ImageMetrics(image_auroc=ranked, pixel_auroc=pixel_auroc(masks, maps), aupro=aupro(masks, maps))


def pixel_auroc(masks: Flags, maps: Floats) -> float | None:
    """AUROC of all pixels of masks and maps [n, H, W]; large defects count by their area. None unless of both kinds."""
    _check(masks, maps)
    return auc_roc(masks.ravel(), maps.ravel().astype(np.float64))


def aupro(masks: Flags, maps: Floats, max_fpr: float = MAX_FPR) -> float | None:
    """Area under the per-region overlap curve up to a false positive rate, divided by that rate.

    At a threshold, the overlap of a region (a connected component of a mask) is the share of its pixels above it; PRO
    is the mean over all regions of all images, so that a small defect counts as much as a large one. The false positive
    rate is the share of all pixels outside regions, normal images included, above the threshold. The area is the
    trapezoid over every distinct value, from no pixel on, and interpolated at `max_fpr`. A random map gives some
    max_fpr / 2.

    Args:
        masks: bool [n, H, W].
        maps: float32 [n, H, W], finite; larger is stranger.
        max_fpr: above 0, at most 1.

    Source: P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger and C. Steger, "The MVTec anomaly detection dataset: a
    comprehensive real-world dataset for unsupervised anomaly detection", Int. J. Computer Vision 129 (2021), there the
    normalised area under the PRO curve.
    """
    _check(masks, maps)
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must be above 0 and at most 1, got {max_fpr}")
    if masks.all() or not masks.any():
        return None
    order, ends = by_score(maps.ravel().astype(np.float64))
    overlap = np.cumsum(_shares(masks).ravel()[order])[ends]
    normal = np.cumsum(~masks.ravel()[order])[ends]
    rates = np.concatenate([[0.0], normal / normal[-1]])
    return _area(rates, np.concatenate([[0.0], overlap / overlap[-1]]), max_fpr) / max_fpr


def _shares(masks: Flags) -> Doubles:
    """For each pixel [n, H, W] its share of its region, 0 outside: over a region they sum to 1."""
    shares = np.zeros(masks.shape)
    for image, mask in zip(shares, masks, strict=True):
        regions, _ = ndimage.label(mask, TOUCHING)
        image[mask] = 1 / np.bincount(regions.ravel())[regions[mask]]
    return shares


def _area(x: Doubles, y: Doubles, limit: float) -> float:
    """Trapezoid under y over rising x, from 0 to the limit."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < len(x):
        (x0, x1), (y0, y1) = x[inside - 1 : inside + 1], y[inside - 1 : inside + 1]
        x = np.append(x[:inside], limit)
        y = np.append(y[:inside], y0 + (y1 - y0) * (limit - x0) / (x1 - x0))
    return float(np.trapezoid(y, x))


def _check(masks: Flags, maps: Floats) -> None:
    if masks.shape != maps.shape or masks.ndim != 3 or masks.dtype != np.bool_:
        raise ValueError(
            f"masks and maps must be bool and float of one shape [n, H, W], "
            f"got {masks.dtype} {list(masks.shape)} and {list(maps.shape)}"
        )
