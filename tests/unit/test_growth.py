"""Falls of a growing score, as the growth experiment counts them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.records import Channel

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

INPUT = InputSpec(
    channels=tuple(Channel(name=name) for name in "abc"),
    rate_hz=1.0,
    window=8,
    max_gap_s=3.5,
    stuck_samples=(None, None, None),
)


@pytest.mark.parametrize(
    ("scores", "fall"),
    [
        ([1, 2, 3, 4], 0),
        ([1, 4, 3, 8], 1 / 4),
        ([0.5, 0.2, 3, 4], 0),
        ([1, 8, 1, 9], 3 / 4),
        ([0.5, 1.9, 1, 0], np.nan),
    ],
    ids=["grows", "falls", "falls before it alarms", "falls to the threshold at most", "never alarms"],
)
def test_a_fall_counts_from_the_threshold_on(scores: list[float], fall: float) -> None:
    from training.experiments.growth import largest_falls

    np.testing.assert_allclose(largest_falls(np.array([scores], float), 2.0), [fall])


def test_a_fall_of_scores_below_zero_counts_too() -> None:
    from training.experiments.growth import largest_falls

    np.testing.assert_allclose(largest_falls(np.array([[-9.0, -2.0, -3.0, -1.0]]), -5.0), [1 / 2])


def test_faults_lie_in_rows_that_were_held_out_and_have_no_missing_value() -> None:
    from training.experiments.growth import HELD_OUT, _pieces

    rows = np.arange(300, dtype=np.float32).reshape(100, 3)
    rows[80, 1] = np.nan
    pieces, start = _pieces(INPUT, rows)
    assert start == 0
    assert pieces.shape[1:] == (8, 3)
    assert pieces.min() >= rows[round((1 - HELD_OUT) * 100)].min()
    assert np.isfinite(pieces).all()
