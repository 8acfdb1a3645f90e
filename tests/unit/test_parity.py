"""The figures of parity against known values, and the limits against graphs that are dead in the ways graphs die."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from converters.cases import Cases
from converters.parity import average_precision, compare, spearman

NORMAL, FAULTY, FAULTS, SEVERITIES, INSIDE = 100, 60, 3, 8, 4
CASES = Cases(
    inputs=np.zeros((NORMAL + FAULTY + FAULTS * SEVERITIES, 1, 1), np.float32),
    normal=NORMAL,
    faulty=FAULTY,
    growth=(FAULTS, SEVERITIES),
    growth_inside=INSIDE,
    warm_up=0,
)


def float_scores() -> np.ndarray:
    rng = np.random.default_rng(0)
    growing = np.tile(np.geomspace(3, 1e12, SEVERITIES), FAULTS)
    return np.concatenate([rng.gamma(4, size=NORMAL), 8 + rng.gamma(8, size=FAULTY), growing]).astype(np.float32)


REFERENCE = float_scores()


def test_the_float_model_equals_itself() -> None:
    figures = compare(REFERENCE, REFERENCE, CASES)
    assert figures.problems() == []
    assert (figures.ratio_change, figures.auc_pr_change, figures.largest_error) == (0.0, 0.0, 0.0)
    assert figures.rank_pooled == pytest.approx(1.0)


def test_small_noise_is_within_the_limits() -> None:
    noise = 1 + 0.002 * np.random.default_rng(1).standard_normal(len(REFERENCE)).astype(np.float32)
    judged = NORMAL + FAULTY
    scores = np.concatenate([(REFERENCE * noise)[:judged], REFERENCE[judged:]])
    assert compare(scores, REFERENCE, CASES).problems() == []


def test_a_score_that_saturates_on_faults_is_refused_by_its_ratio() -> None:
    problems = compare(np.minimum(REFERENCE, 9), REFERENCE, CASES).problems()
    assert any("fault-to-normal ratio" in problem for problem in problems)


def test_a_score_of_few_steps_is_refused_within_normals() -> None:
    judged = NORMAL + FAULTY
    scores = np.concatenate([np.round(REFERENCE[:judged] / 6) * 6, REFERENCE[judged:]]).astype(np.float32)
    assert any("within normals" in problem for problem in compare(scores, REFERENCE, CASES).problems())


def test_a_score_that_falls_with_a_growing_fault_is_refused() -> None:
    scores = REFERENCE.copy()
    scores[-1] = scores[-2] * 0.99
    assert compare(scores, REFERENCE, CASES).problems() == [
        "a growing fault lowers the score by 0.01 of itself, never allowed"
    ]


def test_a_fall_inside_the_range_is_allowed_where_the_float_model_falls_too() -> None:
    scores = REFERENCE.copy()
    scores[NORMAL + FAULTY + 2] = 0
    assert compare(scores, scores, CASES).problems() == []
    assert any(
        "0% in the float model, at most 5% more" in problem for problem in compare(scores, REFERENCE, CASES).problems()
    )


def test_a_fall_among_scores_that_normal_windows_have_is_no_fall() -> None:
    scores = REFERENCE.copy()
    scores[NORMAL + FAULTY] = scores[:NORMAL].max()
    scores[NORMAL + FAULTY + 1] = 0
    assert compare(scores, REFERENCE, CASES).growth_fall_inside == 0


def test_warm_up_scores_of_a_sequence_do_not_count() -> None:
    cases = Cases(
        inputs=CASES.inputs, normal=NORMAL, faulty=FAULTY, growth=CASES.growth, growth_inside=INSIDE, warm_up=2
    )
    rows = np.stack([np.full_like(REFERENCE, 7e7), np.zeros_like(REFERENCE), REFERENCE, REFERENCE], axis=1)
    other = rows.copy()
    other[:, :2] = -1
    assert compare(rows, other, cases).problems() == []


def test_the_spread_of_normal_sequences_is_that_of_all_their_steps() -> None:
    cases = Cases(inputs=np.zeros((5, 1, 1), np.float32), normal=3, faulty=2, growth=(0, 1), growth_inside=0, warm_up=0)
    normal = np.random.default_rng(2).gamma(4, size=(3, 200))
    faulty = np.full((2, 200), 40.0)
    centre = np.median(normal)
    wanted = (40 - centre) / np.median(np.abs(normal - centre))
    scores = np.concatenate([normal, faulty])
    assert compare(scores, scores, cases).ratio == pytest.approx(wanted, rel=1e-6)


@given(
    arrays(np.float64, 30, elements=st.integers(0, 12).map(float)),
    arrays(np.float64, 30, elements=st.integers(0, 12).map(float)),
)
def test_rank_correlation_is_that_of_scipy(a: np.ndarray, b: np.ndarray) -> None:
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)


def test_rank_correlation_of_constants_is_not_a_number_without_meaning() -> None:
    constant, rising = np.ones(5), np.arange(5.0)
    assert (spearman(constant, constant), spearman(constant, rising)) == (1.0, 0.0)


@given(arrays(np.float64, 30, elements=st.integers(0, 12).map(float)), arrays(np.bool_, 30))
def test_average_precision_is_that_of_scikit_learn(scores: np.ndarray, labels: np.ndarray) -> None:
    if labels.any():
        assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
