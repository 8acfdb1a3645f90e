"""The score of an autoencoder: residual and T-squared, each over its limit."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import Doubles, Floats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

T, C = 16, 3


def windows(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, T, C)).astype(np.float32)


def index(*steps: dict[str, Any]) -> Any:
    """An index whose network answers 0 to every window."""
    from training.detectors.combined_index import CombinedIndex
    from training.detectors.residual import Residual
    from training.graph import Front
    from training.steps import make_steps

    z = windows(400)
    front = Front(centre=np.zeros(C), spread=np.ones(C), body_range=20.0)
    tables = steps or ({"type": "trailing_means", "rows": [T]},)
    return CombinedIndex.fit(Residual.fit(front, z), make_steps(tables, (T, C)), z, np.zeros_like)


def score(made: Any, window: Floats) -> tuple[float, Doubles]:
    outputs = made.graph(window[np.newaxis], np.zeros((1, T, C), np.float32))
    return float(outputs["score"][0]), np.asarray(outputs["contributions"][0], np.float64)


def test_a_normal_window_scores_about_twice_its_limit_at_most() -> None:
    made = index()
    scores = [score(made, window)[0] for window in windows(100, seed=1)]
    assert 0.5 < float(np.median(scores)) < 2


def test_a_shift_too_small_for_the_residual_is_seen_by_t_squared() -> None:
    made = index()
    window = windows(1, seed=2)[0]
    shifted = window + np.array([0, 1.2, 0], np.float32)
    of_residual = float(np.mean(shifted**2) / np.mean(window**2))
    higher, shares = score(made, shifted)
    assert higher > 1.5 * of_residual * score(made, window)[0]
    assert shares.argmax() == 1


def test_noise_without_a_shift_is_seen_by_the_residual() -> None:
    made = index()
    noisy = windows(1, seed=2)[0]
    noisy[:, 2] = np.tile([6, -6], T // 2)
    higher, shares = score(made, noisy)
    assert higher > 4 * score(made, windows(1, seed=2)[0])[0]
    assert shares.argmax() == 2


def test_the_steps_say_what_t_squared_sees() -> None:
    """Against the oldest rows a shift of the whole window is none."""
    against_oldest = {"type": "reference", "rows": 4, "drifting": 0.0}
    plain, relative = index(), index(against_oldest, {"type": "trailing_means", "rows": [8]})
    shifted = windows(1, seed=2)[0] + np.float32(1.2)
    assert score(plain, shifted)[0] > 2 * score(relative, shifted)[0]


def test_features_that_mix_channels_leave_the_contributions_to_the_residual() -> None:
    made = index({"type": "trailing_means", "rows": [T]}, {"type": "whiten"})
    noisy = windows(1, seed=2)[0]
    noisy[:, 2] = np.tile([6, -6], T // 2)
    _, shares = score(made, noisy)
    assert shares.argmax() == 2
    assert shares.sum() == pytest.approx(1)


def test_the_limit_is_what_the_next_readings_reach_and_not_those_it_was_fitted_on() -> None:
    """Eight smooth features have few independent samples: the next lie far outside an in-sample limit."""
    from training.detectors.combined_index import t_squared

    noise = np.random.default_rng(3).normal(size=(1000, 8))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(32) / 32, "valid"), 0, noise)
    train, after = smooth[:300], smooth[400:]
    form = t_squared(train, guard=32)
    assert np.quantile(form.squares(train), 0.99) < 0.5
    assert 0.1 < np.quantile(form.squares(after), 0.99) < 2


def test_a_recording_that_stands_still_gives_a_finite_score() -> None:
    from training.detectors.combined_index import t_squared

    form = t_squared(np.zeros((50, 2)), guard=16)
    assert np.isfinite(form.squares(np.array([[1.0, 0.0]]))).all()
