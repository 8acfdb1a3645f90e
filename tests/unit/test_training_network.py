"""What networks are trained on: nothing that early stopping watches, and fresh faults that they must leave out."""

import os

import numpy as np
import pytest

from edge_agent.contract.records import Floats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

T, BODY_RANGE = 8, 20.0
INPUT_NOISE = 0.05
"""Companded spreads, as in `training.detectors.denoising`."""


def windows(count: int) -> Floats:
    """Overlapping windows [count, T, 2] whose values are their row numbers."""
    rows = np.arange(count + T - 1, dtype=np.float32)
    view = np.lib.stride_tricks.sliding_window_view(rows, T)
    return np.repeat(view[:, :, np.newaxis], 2, axis=2)


def noise(count: int) -> Floats:
    """Normalised windows [count, T, 3]."""
    return np.random.default_rng(0).standard_normal((count, T, 3)).astype(np.float32)


def test_what_early_stopping_watches_shares_no_row_with_what_is_trained_on() -> None:
    from training.detectors.network import kept_apart
    from training.recipe import TrainingSettings

    trained, watched = kept_apart(windows(400), TrainingSettings(stopping=0.2), T - 1)
    assert len(watched) == 80
    assert trained.max() < watched.min()
    assert len(trained) == 400 - 80 - (T - 1)


def test_too_few_windows_or_no_patience_leave_nothing_to_watch() -> None:
    from training.detectors.network import kept_apart
    from training.recipe import TrainingSettings

    for count, settings in ((100, TrainingSettings(stopping=0.2)), (400, TrainingSettings(stopping=0.2, patience=0))):
        trained, watched = kept_apart(windows(count), settings, T - 1)
        assert len(trained) == count
        assert len(watched) == 0


def test_an_epoch_shows_every_window_once_in_an_order_of_its_own() -> None:
    from training.detectors.network import Batches

    batches = Batches(windows(10), lambda chosen, _: (chosen, chosen), batch=4, seed=1)
    epochs = []
    for _ in range(2):
        epochs.append([int(row) for index in range(len(batches)) for row in batches[index][0][:, 0, 0]])
        batches.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_a_fault_is_in_one_channel_of_each_window() -> None:
    from training.detectors.denoising import with_faults

    z = noise(90)
    changed = (with_faults(z, BODY_RANGE, np.random.default_rng(1)) != z).any(axis=1)
    assert (changed.sum(axis=1) == 1).all()
    assert changed.any(axis=0).all()


def test_faults_reach_from_one_spread_to_beyond_the_range_of_the_body() -> None:
    from training.detectors.denoising import with_faults

    z, rng = noise(8), np.random.default_rng(1)
    largest = [float(np.abs(with_faults(z, BODY_RANGE, rng) - z).max()) for _ in range(200)]
    assert min(largest) < 6
    assert max(largest) > BODY_RANGE


def test_an_autoencoder_must_answer_the_normal_window_behind_each_fault() -> None:
    from training.detectors.residual import Residual
    from training.graph import Front

    front = Front(centre=np.zeros(3), spread=np.ones(3), body_range=BODY_RANGE)
    z = noise(40)
    residual = Residual.fit(front, z)
    given, wanted = residual.examples(z, np.random.default_rng(1))
    assert np.array_equal(wanted, np.concatenate([z, z]))
    assert (given[:40] - residual.seen(z)).std() == pytest.approx(INPUT_NOISE, rel=0.1)
    assert (given[40:] - residual.seen(z)).std() > 4 * INPUT_NOISE
    again, _ = residual.examples(z, np.random.default_rng(2))
    assert not np.array_equal(again, given)
    assert np.array_equal(residual.examples(z, None)[0], residual.seen(z)), "nothing is left to chance when watched"


def test_an_autoencoder_sees_no_difference_beyond_the_reach_of_training() -> None:
    from training.detectors.residual import Residual
    from training.graph import Front

    residual = Residual.fit(Front(centre=np.zeros(3), spread=np.ones(3), body_range=BODY_RANGE), noise(40))
    far = np.full((1, T, 3), 15.0, np.float32)
    assert (residual.reach.high < 15).all()
    assert np.array_equal(residual.seen(far), residual.seen(2 * far))
    np.testing.assert_allclose(residual.body_input(far).numpy(), residual.seen(far), rtol=1e-6)


def test_a_forecaster_is_given_noise_in_training_alone() -> None:
    from training.detectors.lstm_forecaster import LstmForecaster, LstmForecasterSettings
    from training.graph import Front, Reach
    from training.recipe import TrainingSettings

    front = Front(centre=np.zeros(3), spread=np.ones(3), body_range=BODY_RANGE)
    forecaster = LstmForecaster(LstmForecasterSettings(), TrainingSettings(), front, 1)
    pieces = noise(200)
    forecaster.reach = Reach.fit(pieces, BODY_RANGE)
    watched, wanted = forecaster._next_rows(pieces, None)
    assert np.array_equal(watched, front.seen(pieces[:, :-1]))
    assert np.array_equal(wanted, pieces[:, 1:])
    given, wanted = forecaster._next_rows(pieces, np.random.default_rng(1))
    assert (given - watched).std() == pytest.approx(INPUT_NOISE, rel=0.05)
    assert np.array_equal(wanted, pieces[:, 1:])


def test_a_forecaster_sees_a_level_that_its_forecasts_follow() -> None:
    """With errors that count for nothing, what is left of the score is T-squared of the level."""
    from training.detectors.combined_index import t_squared
    from training.detectors.lstm_forecaster import LstmForecaster, LstmForecasterSettings, Weights
    from training.detectors.on_features import Quadratic
    from training.graph import Front, Reach
    from training.recipe import TrainingSettings

    front = Front(centre=np.zeros(3), spread=np.ones(3), body_range=BODY_RANGE)
    forecaster = LstmForecaster(LstmForecasterSettings(units=2), TrainingSettings(), front, 1)
    rows = noise(60).reshape(-1, 3)
    forecaster.reach = Reach.fit(rows, BODY_RANGE)
    shapes = {"kernel": (3, 8), "recurrent": (2, 8), "bias": (8,), "out": (2, 3), "out_bias": (3,)}
    forecaster.weights = Weights(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    forecaster.error = Quadratic(np.zeros(3), np.zeros((3, 3)))
    forecaster.level = t_squared(forecaster._smoothed(rows), guard=20)
    graph = forecaster.score_graph()
    states = {name: np.zeros(shape, np.float32) for name, shape in graph.inputs.items() if name != "window"}
    scores = []
    for _ in range(60):
        outputs = graph.function(window=np.array([[[0, 2, 0]]], np.float32), **states)
        states = {name: outputs[name] for name in states}
        scores.append(float(outputs["score"][0]))
    assert np.diff(scores[:40]).min() > 0
    assert scores[-1] > 3
    assert np.argmax(outputs["contributions"][0]) == 1
