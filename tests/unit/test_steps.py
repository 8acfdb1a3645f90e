"""Steps of a recipe: each against a plain numpy computation, and the same on the device's runtimes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import Doubles, Floats
from training.recipe import RecipeError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

T, C = 16, 3
TFLITE_PYTHON = Path(__file__).parents[2] / ".venv-tflite" / "bin" / "python"
FLATTEN = {"type": "flatten"}


def windows(count: int = 40) -> Floats:
    rng = np.random.default_rng(5)
    return (rng.standard_normal((count, T, C)) * [1, 2, 0.1] + [0, 5, -3]).astype(np.float32)


def fitted(*tables: dict[str, Any], z: Floats | None = None) -> tuple[Any, Doubles]:
    from training.steps import make_steps

    steps = make_steps(tables, (T, C))
    x = steps.fit(windows() if z is None else z)
    assert x.shape[1] == steps.count
    return steps, x


def test_differences_are_taken_over_the_lag() -> None:
    z = windows()
    _, x = fitted({"type": "difference", "lag": 3}, FLATTEN)
    assert x == pytest.approx((z[:, 3:] - z[:, :-3]).reshape(len(z), -1))


def test_later_rows_of_every_channel_are_measured_against_the_mean_of_the_oldest_when_asked() -> None:
    z = windows()
    _, x = fitted({"type": "reference", "rows": 12, "drifting": 0.0}, FLATTEN)
    expected = z[:, 12:] - z[:, :12].mean(axis=1, keepdims=True)
    assert x == pytest.approx(expected.reshape(len(z), -1), abs=1e-5)


def test_only_channels_that_drift_lose_their_level() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((400, 3)).astype(np.float32)
    rows[:, 1] += np.linspace(0, 12, 400)
    rows[:, 2] = 0.0
    z = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(rows, T, axis=0).transpose(0, 2, 1))
    _, x = fitted({"type": "reference", "rows": 8}, FLATTEN, z=z)
    expected = z[:, 8:].copy()
    expected[:, :, 1] -= z[:, :8, 1].mean(axis=1, keepdims=True)
    assert x == pytest.approx(expected.reshape(len(z), -1), abs=1e-5)


@pytest.mark.parametrize("phase", np.arange(0, 2 * np.pi, np.pi / 4))
@pytest.mark.parametrize("period", [20, 57, 73])
def test_a_channel_in_a_cycle_of_up_to_an_eighth_of_the_training_keeps_its_level(period: int, phase: float) -> None:
    row = np.arange(600)
    cycle = np.sin(2 * np.pi * row / period + phase) + np.random.default_rng(5).normal(0, 0.1, 600)
    rows = np.stack([cycle, cycle + row / 200, np.zeros(600)], axis=1).astype(np.float32)
    z = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(rows, T, axis=0).transpose(0, 2, 1))
    _, x = fitted({"type": "reference", "rows": 8}, FLATTEN, z=z)
    by_channel = np.abs(x.reshape(len(z), -1, 3) - z[:, 8:]).max(axis=(0, 1))
    assert by_channel[0] == 0
    assert by_channel[1] > 0


def test_trailing_means_and_deviations_stand_side_by_side_each_ending_with_the_newest_row() -> None:
    z = windows().astype(np.float64)
    _, x = fitted({"type": "trailing_means", "rows": [1, 5]}, {"type": "trailing_deviations", "rows": [8]})
    expected = [z[:, -1], z[:, -5:].mean(axis=1), z[:, -8:].std(axis=1)]
    assert x == pytest.approx(np.concatenate(expected, axis=1), abs=1e-5)


@pytest.mark.parametrize("bands", [1, 3, 8])
def test_the_spectrum_is_the_amplitude_of_the_tapered_window_in_each_band(bands: int) -> None:
    z = windows().astype(np.float64)
    _, x = fitted({"type": "spectrum", "bands": bands})
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(T) / T)
    lines = np.fft.rfft((z - z.mean(axis=1, keepdims=True)) * taper[:, np.newaxis], axis=1)[:, 1:]
    parts = np.array_split(np.abs(lines) ** 2 / T, bands, axis=1) if bands != 3 else None
    parts = parts or [np.abs(lines[:, part]) ** 2 / T for part in (slice(0, 3), slice(3, 6), slice(6, 8))]
    expected = np.concatenate([np.sqrt(part.mean(axis=1)) for part in parts], axis=1)
    assert x == pytest.approx(expected, abs=1e-5)


def test_a_vibration_shows_in_its_band_and_channel() -> None:
    z = np.zeros((4, T, C), np.float32)
    z[:, :, 1] = np.sin(2 * np.pi * 5 / T * np.arange(T))
    _, x = fitted({"type": "spectrum", "bands": 4}, z=z)
    assert np.argmax(x[0]) == 2 * C + 1  # lines 5 and 6 of 8 are the third band


def test_scaled_features_have_centre_0_and_spread_1() -> None:
    _, x = fitted(FLATTEN, {"type": "scale", "method": "standard"})
    assert x.mean(axis=0) == pytest.approx(np.zeros(T * C), abs=1e-5)
    assert x.std(axis=0) == pytest.approx(np.ones(T * C), rel=1e-4)


def test_robust_scaling_is_not_moved_by_a_few_strange_windows() -> None:
    strange = windows(400)
    strange[::25] += 30
    steps, _ = fitted(FLATTEN, {"type": "scale", "method": "standard"}, z=strange)
    robust, _ = fitted(FLATTEN, {"type": "scale"}, z=strange)
    normal = windows(400)[1:20]
    assert np.abs(robust.features(normal)).max() > 3
    assert np.abs(steps.features(normal)).max() < 1


def test_whitened_features_are_uncorrelated_with_the_largest_component_first() -> None:
    z = windows(2000) * np.array([1, 1, 10], np.float32)
    z[:, :, 1] += 3 * z[:, :, 0]
    _, x = fitted({"type": "trailing_means", "rows": [1]}, {"type": "whiten"}, z=z)
    assert np.cov(x.T) == pytest.approx(np.eye(C), abs=0.15)
    correlation = np.corrcoef(x[:, 0], z[:, -1, 1])[0, 1]
    assert abs(correlation) > 0.99


def test_fewer_components_are_the_first_of_all() -> None:
    means = {"type": "trailing_means", "rows": [4]}
    _, every = fitted(means, {"type": "whiten"})
    steps, two = fitted(means, {"type": "whiten", "components": 2})
    assert two == pytest.approx(every[:, :2], abs=1e-5)
    assert not steps.by_channel


def test_until_features_are_mixed_each_belongs_to_a_channel() -> None:
    tables = (
        {"type": "difference"},
        {"type": "trailing_means", "rows": [1, 4]},
        {"type": "trailing_deviations", "rows": [4]},
        {"type": "spectrum", "bands": 2},
        FLATTEN,
        {"type": "scale"},
    )
    steps, normal = fitted(*tables)
    assert steps.by_channel
    for channel in range(C):
        other = windows()
        other[:, :, channel] += np.linspace(1, 9, T, dtype=np.float32) ** 2
        moved = np.flatnonzero(np.abs(steps.features(other) - normal).max(axis=0) > 1e-3)
        assert set(moved % C) == {channel}


EVERY_STEP = (
    {"type": "difference", "lag": 1},
    {"type": "reference", "rows": 3},
    {"type": "trailing_means", "rows": [1, 10]},
    {"type": "trailing_deviations", "rows": [5, 12]},
    {"type": "spectrum", "bands": 4},
    FLATTEN,
    {"type": "scale"},
    {"type": "whiten", "components": 7},
)


@pytest.mark.parametrize("level", [1e6, -1e6])
def test_the_largest_readings_that_the_front_lets_through_stay_finite(level: float) -> None:
    steps, _ = fitted(*EVERY_STEP)
    hostile = np.full((3, T, C), level, np.float32)
    hostile[1, ::2] *= -1
    hostile[2, -1] *= -1
    assert np.isfinite(steps.features(hostile)).all()


def test_channels_that_never_moved_in_training_stay_finite() -> None:
    steps, x = fitted(*EVERY_STEP, z=np.zeros((30, T, C), np.float32))
    assert np.isfinite(x).all()
    assert np.isfinite(steps.features(windows())).all()


def test_no_windows_give_no_features() -> None:
    steps, _ = fitted(*EVERY_STEP)
    assert steps.features(windows()[:0]).shape == (0, 7)


def test_features_are_taken_in_batches_of_any_number_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    import training.steps

    _, whole = fitted(*EVERY_STEP)
    monkeypatch.setattr(training.steps, "BATCH", 7)
    _, parts = fitted(*EVERY_STEP)
    assert parts == pytest.approx(whole, abs=1e-3)


RUN_TFLITE = """\
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
found = []
for window in np.load(sys.argv[2]):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window[np.newaxis])
    interpreter.invoke()
    found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
np.save(sys.argv[3], np.array(found))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Doubles]:
    """Every step in one file, and the features that training sees."""
    import tensorflow as tf

    steps, x = fitted(*EVERY_STEP)
    function = tf.function(steps.graph).get_concrete_function(tf.TensorSpec((1, T, C), tf.float32))
    path = tmp_path_factory.mktemp("steps") / "steps.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert())
    return path, x


def test_the_graph_of_every_step_gives_the_features_of_training_on_litert(converted: tuple[Path, Doubles]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path, x = converted
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    for window, expected in zip(windows()[:5], x[:5], strict=True):
        interpreter.set_tensor(given["index"], window[np.newaxis])
        interpreter.invoke()
        assert interpreter.get_tensor(found["index"])[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not TFLITE_PYTHON.exists(), reason="make device makes the environment of tflite-runtime")
def test_the_graph_of_every_step_runs_on_tflite_runtime(converted: tuple[Path, Doubles]) -> None:
    path, x = converted
    np.save(path.with_name("windows.npy"), windows())
    found = path.with_name("found.npy")
    subprocess.run(
        [TFLITE_PYTHON, "-c", RUN_TFLITE, path, path.with_name("windows.npy"), found],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert np.load(found) == pytest.approx(x, abs=1e-4)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ((), r"at least one \(trailing_means.*got none"),
        (({"type": "whiten"}, FLATTEN), r"features to features \(scale, whiten\); got whiten, flatten"),
        ((FLATTEN, {"type": "difference"}), "in this order: rows to rows .*got flatten, difference"),
        (({"type": "difference", "lag": 16}, FLATTEN), "lag must be below 16"),
        (({"type": "difference", "lag": 0}, FLATTEN), "lag must be at least 1"),
        (({"type": "reference", "rows": 16}, FLATTEN), "step reference: rows must be below 16"),
        (({"type": "reference", "drifting": 1.0}, FLATTEN), "drifting a share from 0 to below 1"),
        (({"type": "difference", "lag": 8}, {"type": "trailing_means", "rows": [9]}), "from 1 to 8"),
        (({"type": "trailing_means", "rows": []},), "different whole numbers"),
        (({"type": "trailing_deviations", "rows": [2, 2]},), "different whole numbers"),
        (({"type": "spectrum", "bands": 9},), "bands must be at most 8"),
        (({"type": "spectrum", "bands": 0},), "bands must be at least 1"),
        (({"type": "trailing_means", "rows": [2]}, {"type": "whiten", "components": 4}), "components must be at most 3"),
        ((FLATTEN, {"type": "whiten", "components": -1}), "components must be at least 1"),
        ((FLATTEN, {"type": "scale", "method": "minmax"}), "one of robust, standard"),
        (({"type": "spectre"},), "did you mean 'spectrum'"),
        (({"bands": 3},), "not known"),
        (({"type": "spectrum", "band": 3},), r"steps\[0\].*did you mean 'bands'"),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_are_refused_with_what_was_expected(
    tables: tuple[dict[str, Any], ...], words: str
) -> None:
    from training.steps import make_steps

    with pytest.raises(RecipeError, match=words):
        make_steps(tables, (T, C))
