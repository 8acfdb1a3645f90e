"""Kinds of defect are learned where the defect is, each with the same weight, and from enough frames alone."""

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from training.images.kinds import FEWEST_OF_KIND, KindHead, told_apart

CLASSES = ("dent", "hole", "scratch")
FRAMES, POSITIONS = 30, 12


def made(classes: tuple[str, ...] = CLASSES, seed: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Frames with a defect at the first position: features of its kind there, noise elsewhere, and log-odds."""
    rng = np.random.default_rng(seed)
    kinds = [classes[number % len(classes)] for number in range(FRAMES)]
    features = rng.normal(0, 1, (FRAMES, POSITIONS, 4))
    features[:, 0, :3] += 6 * np.eye(3)[[CLASSES.index(kind) for kind in kinds]]
    log_odds = np.full((FRAMES, POSITIONS), -8.0)
    log_odds[:, 0] = 4.0
    return features.astype(np.float16), log_odds, tuple(kinds)


def told(head: KindHead, features: np.ndarray) -> np.ndarray:
    return head.graph(tf.constant(features, tf.float32)).numpy()


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[1:]], ids=["three", "two"])
def test_the_kind_is_told_with_probabilities_where_the_defect_is(classes: tuple[str, ...]) -> None:
    head = KindHead.fit(*made(classes), classes, 1e-3)
    features, _, kinds = made(classes, seed=1)
    shares = told(head, features[:, 0])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert [classes[at] for at in shares.argmax(axis=1)] == list(kinds)
    assert shares.max(axis=1).mean() > 0.9


def test_what_is_normal_around_a_defect_does_not_count() -> None:
    features, log_odds, kinds = made()
    around = np.array([CLASSES.index(kind) for kind in kinds])[:, np.newaxis] * 3.0
    features[:, 1:, 3] += around
    features[:, 0, 3] = 0
    weights = KindHead.fit(features, log_odds, kinds, CLASSES, 1e-3).weights
    assert np.abs(weights[3]).max() < 0.1 * np.abs(weights[:3]).max()


def test_each_kind_weighs_the_same_however_many_frames_there_are_of_it() -> None:
    rng = np.random.default_rng(0)
    kinds = ("dent",) * 24 + ("hole",) * 6
    head = KindHead.fit(rng.normal(0, 1e-4, (30, 1, 2)), np.zeros((30, 1)), kinds, ("dent", "hole"), 1.0)
    np.testing.assert_allclose(told(head, np.zeros((1, 2))), 0.5, atol=0.01)


def test_without_decay_kinds_are_told_all_the_same() -> None:
    features, log_odds, kinds = made()
    shares = told(KindHead.fit(features, log_odds, kinds, CLASSES, 0.0), features[:, 0])
    assert [CLASSES[at] for at in shares.argmax(axis=1)] == list(kinds)


def test_frames_of_other_kinds_are_left_out() -> None:
    features, log_odds, kinds = made()
    mixed = tuple("" if number < 3 else kind for number, kind in enumerate(kinds))
    rest = KindHead.fit(features[3:], log_odds[3:], kinds[3:], CLASSES, 1e-3)
    np.testing.assert_allclose(KindHead.fit(features, log_odds, mixed, CLASSES, 1e-3).weights, rest.weights)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"dent": 9, "hole": FEWEST_OF_KIND}, ("dent", "hole")),
        ({"dent": 9, "hole": FEWEST_OF_KIND - 1}, ()),
        ({"dent": 9}, ()),
        ({"dent": 9, "anomaly": 9}, ()),
        ({"hole": 9, "dent": 9, "anomaly": 9, "": 9, "chip": 1}, ("dent", "hole")),
        ({}, ()),
    ],
    ids=["two", "too few of one", "one", "one and not told", "two among others", "none"],
)
def test_kinds_are_told_apart_where_there_are_two_with_enough_frames(
    counts: dict[str, int], expected: tuple[str, ...]
) -> None:
    assert told_apart([kind for kind, count in counts.items() for _ in range(count)]) == expected
