"""Figures of merit for images against cases worked by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluation.image_metrics import aupro, evaluate_images, pixel_auroc


def one(rows: list[list[float]]) -> np.ndarray:
    return np.array([rows], np.float32)


MASK = one([[1, 0, 0, 0, 0], [0, 0, 0, 1, 1]]) > 0
"""Two regions, of one and two pixels; seven normal pixels."""


def test_a_map_that_shows_the_regions_alone_has_1():
    assert aupro(MASK, MASK.astype(np.float32)) == pytest.approx(1)


def test_a_map_that_shows_nothing_has_half_of_the_limit():
    """The curve is the diagonal: PRO equals the false positive rate."""
    assert aupro(MASK, np.zeros(MASK.shape, np.float32)) == pytest.approx(0.15)


def test_a_case_worked_by_hand():
    """By falling value: the small region (PRO 1/2, FPR 0), a normal pixel (1/2, 1/7), half of the large region (3/4, 1/7),
    another normal pixel (3/4, 2/7), the rest at once (1, 1). Up to 0.3: 1/2 x 1/7 + 3/4 x 1/7, and from 2/7 to 0.3 on a
    line that rises from 3/4 by 1/4 over 5/7."""
    maps = one([[9, 8, 6, 0, 0], [0, 0, 0, 7, 0]])
    tail = 0.3 - 2 / 7
    area = 0.5 / 7 + 0.75 / 7 + tail * (0.75 + 0.5 * 0.25 * tail * 7 / 5)
    assert aupro(MASK, maps) == pytest.approx(area / 0.3)


def test_a_small_region_counts_as_much_as_a_large_one():
    small, large = (one(rows) for rows in ([[9, 0, 0, 0, 0], [0] * 5], [[0] * 5, [0, 0, 0, 9, 9]]))
    assert aupro(MASK, small) == pytest.approx(aupro(MASK, large))
    assert pixel_auroc(MASK, small) < pixel_auroc(MASK, large)


def test_pixels_that_touch_by_a_corner_are_one_region():
    """Half of its region is found first: were it two, one of them would be whole."""
    mask = one([[1, 1, 0], [0, 0, 1], [0, 0, 0]]) > 0
    maps = one([[0, 0, 0], [0, 0, 9], [0, 0, 0]])
    assert aupro(mask, maps, max_fpr=1.0) == pytest.approx((1 / 3 + 1) / 2)


def test_normal_images_count_as_false_positives():
    maps = np.concatenate([MASK.astype(np.float32), np.full(MASK.shape, 2, np.float32)])
    masks = np.concatenate([MASK, np.zeros_like(MASK)])
    assert aupro(masks, maps) == pytest.approx(0)


def test_up_to_1_of_single_pixel_regions_it_is_the_pixel_auroc():
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 9, 9), bool)
    masks[:, ::4, ::4] = True
    maps = (rng.integers(0, 20, masks.shape) + 4 * masks).astype(np.float32)
    assert aupro(masks, maps, max_fpr=1.0) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))


def test_pixel_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    masks = rng.random((2, 8, 8)) < 0.2
    maps = (rng.integers(0, 9, masks.shape) + 3 * masks).astype(np.float32)
    assert pixel_auroc(masks, maps) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))


def test_without_masks_images_alone_are_judged():
    figures = evaluate_images(np.array([False, True, True]), np.array([1.0, 3.0, 0.5]))
    assert (figures.image_auroc, figures.pixel_auroc, figures.aupro) == (0.5, None, None)


def test_without_a_defective_pixel_there_is_nothing_to_rank():
    empty = np.zeros((1, 4, 4), bool)
    figures = evaluate_images(np.array([False]), np.array([1.0]), np.ones(empty.shape, np.float32), empty)
    assert (figures.image_auroc, figures.pixel_auroc, figures.aupro) == (None, None, None)


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        aupro(MASK, np.zeros((1, 4, 4), np.float32))


@pytest.mark.parametrize("limit", [0.0, 1.1])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(ValueError, match="max_fpr"):
        aupro(MASK, MASK.astype(np.float32), max_fpr=limit)
