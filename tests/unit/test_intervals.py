"""Bootstrap intervals over files."""

from collections.abc import Sequence

import numpy as np
import pytest

from training.evaluation.intervals import bootstrap_interval


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400).tolist()
    low, high = bootstrap_interval(values, mean)
    half = 1.96 * np.std(values) / np.sqrt(400)
    assert low == pytest.approx(mean(values) - half, abs=0.1 * half)
    assert high == pytest.approx(mean(values) + half, abs=0.1 * half)


def test_it_covers_the_truth_as_often_as_asked() -> None:
    rng = np.random.default_rng(2)
    intervals = [bootstrap_interval(rng.normal(size=30).tolist(), mean, rounds=200, share=0.8) for _ in range(200)]
    covered = sum(low <= 0.0 <= high for low, high in intervals)
    assert 0.7 < covered / 200 < 0.88  # 0.8, less some for 30 files; standard error 0.03


def test_two_files_give_the_draws_of_both() -> None:
    # Means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([0.0, 1.0], mean, share=0.95) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], mean, share=0.4) == (0.5, 0.5)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(3).normal(size=20).tolist()
    assert bootstrap_interval(values, mean, seed=7) == bootstrap_interval(values, mean, seed=7)
    assert bootstrap_interval(values, mean, seed=7) != bootstrap_interval(values, mean, seed=8)


def test_draws_without_a_statistic_are_left_out() -> None:
    def positive_mean(values: Sequence[float]) -> float | None:
        return mean(values) if max(values) > 0 else None

    assert bootstrap_interval([-1.0, 1.0], positive_mean) == (0.0, 1.0)
    with pytest.raises(ValueError, match="undefined for every draw"):
        bootstrap_interval([-1.0, -2.0], positive_mean)


def test_one_file_gives_a_point() -> None:
    assert bootstrap_interval([3.0], mean) == (3.0, 3.0)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0 files"):
        bootstrap_interval([], mean)
    with pytest.raises(ValueError, match="share of 1"):
        bootstrap_interval([1.0], mean, share=1.0)
    with pytest.raises(ValueError, match="0 rounds"):
        bootstrap_interval([1.0], mean, rounds=0)
