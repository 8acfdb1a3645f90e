"""The drift experiment: where a slow fault of known speed must be found by a detector of known threshold."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.recipe import parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

T = 4
SPREAD = np.array([2.0, 5.0])


def largest_last(**changes: Any) -> Any:
    """A detector whose score is the largest |z| of the newest row."""
    from training.experiments.drift import Fitted

    front = SimpleNamespace(spread=SPREAD, normalise=lambda windows: windows / SPREAD)
    steps = SimpleNamespace(features=lambda z: np.abs(z[:, -1]).max(axis=1))
    detector: Any = SimpleNamespace(rows=T, channels=2, front=front, steps=steps, scores=lambda x: x)
    recipe = parse_recipe('name = "x"\n[windows]\nrate_hz = 1.0\n[detector]\ntype = "gaussian"')
    return Fitted(detector=detector, recipe=recipe, **{"threshold": 3.0} | changes)


def test_a_slow_fault_is_found_when_n_windows_have_passed_the_threshold() -> None:
    from training.experiments.drift import measure

    values = np.zeros((5000, 2), np.float32)
    alarmed, fast, medium, slow = measure(largest_last(), values, calibrated=False)
    assert alarmed == "0.0 %"
    assert fast == "0 % missed, found at 3.3"  # 0.1 spreads a row: the third row above 3
    assert medium == "0 % missed, found at 3.0"
    assert slow.startswith("0 % missed")


def test_a_threshold_that_no_fault_reaches_misses_all_and_one_in_vain_alarms_all() -> None:
    from training.experiments.drift import measure

    values = np.zeros((5000, 2), np.float32)
    assert measure(largest_last(threshold=11.0), values, calibrated=False)[1] == "100 % missed, found at above 10"
    assert measure(largest_last(threshold=-1.0), values, calibrated=False)[:2] == [
        "100.0 %",
        "100 % missed, found at above 10",
    ]


def test_a_calibrated_threshold_follows_a_normal_state_that_moved() -> None:
    from training.experiments.drift import measure

    values = np.random.default_rng(0).standard_normal((6000, 2)).astype(np.float32)
    values[:, 0] += 12
    fixed, moved = (measure(largest_last(), values, calibrated=calibrated) for calibrated in (False, True))
    assert fixed[0] == "100.0 %"
    assert float(moved[0].split()[0]) < 5
    assert moved[1].startswith("25 % missed")  # downwards the moved channel passes through 0


def test_a_recording_that_is_too_short_is_refused_in_words() -> None:
    from training.experiments.drift import measure

    with pytest.raises(SystemExit, match="record longer"):
        measure(largest_last(), np.zeros((1050, 2), np.float32), calibrated=False)


def test_calibration_takes_a_slow_fault_that_is_on_for_normal() -> None:
    from training.experiments.drift import measure

    noisy = np.random.default_rng(0).standard_normal((6000, 2)) * 1.5 * SPREAD
    slow = measure(largest_last(), noisy.astype(np.float32), calibrated=True)[3]
    assert slow.startswith("100 % missed")
