"""How long a channel stays at one value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.stuck import MIN_STUCK_SAMPLES, constant_runs, longest_constant_run, stuck_limits

NAN = math.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, np.newaxis]


@pytest.mark.parametrize(
    ("values", "longest"),
    [
        (column(1, 2, 2, 2, 3), 3),
        (column(1, 1, NAN, 1, 2), 3),
        (column(NAN, NAN), 0),
        (column(NAN, 4, math.inf), 1),
        (column(0.0, -0.0), 2),
        (np.zeros((0, 1), np.float32), 0),
    ],
)
def test_the_longest_constant_run_counts_samples_and_skips_missing_ones(values: np.ndarray, longest: int) -> None:
    assert longest_constant_run(values) == (longest,)


@given(st.lists(st.sampled_from([0.0, 0.0, 1.0, NAN]), min_size=2, max_size=30), st.integers(1, 29))
def test_runs_go_on_from_block_to_block(values: list[float], at: int) -> None:
    readings = column(*values)
    nothing, none = np.array([NAN], np.float32), np.zeros(1, np.int64)
    whole = constant_runs(readings, nothing, none)
    present = readings[:at][np.isfinite(readings[:at])]
    last = present[-1:] if len(present) else nothing
    if at < len(readings):
        assert np.array_equal(constant_runs(readings[at:], last, whole[at - 1]), whole[at:])


def test_the_limit_is_three_times_the_longest_run_of_training() -> None:
    assert stuck_limits(column(*[1.0] * 50, 2.0, 3.0), window=8) == (150,)


def test_the_limit_is_at_least_the_window_and_what_a_coarse_signal_needs() -> None:
    assert stuck_limits(column(1, 2, 3), window=60) == (60,)
    assert stuck_limits(column(1, 2, 3), window=8) == (MIN_STUCK_SAMPLES,)


@pytest.mark.parametrize("values", [column(5, 5, 5), column(5), column(NAN, NAN), column(NAN, 5, 5, NAN)])
def test_a_channel_constant_throughout_training_is_never_stuck(values: np.ndarray) -> None:
    assert stuck_limits(values, window=2) == (None,)
