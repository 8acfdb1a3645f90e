"""Clip detectors: faults of order and pace that no single frame shows, and steps that equal what was trained."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import tensorflow as tf

from training.experiments.belt import Belt, Order
from training.experiments.clips import Amounts, Scorer, fitted, judge
from training.images.detectors.clip_convolution import ClipConvolution, ClipConvolutionSettings
from training.images.detectors.clip_lstm import ClipLstm, ClipLstmSettings
from training.recipe import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

SIZE, CELLS, CODE, HIDDEN = 32, 4, 5, 6
AMOUNTS = Amounts(size=SIZE, frames=100, stopping=30, clips=3)
TRAINING = TrainingSettings(epochs=12, learning_rate=5e-3)
SMALL = {"code": CODE, "hidden": HIDDEN}


@pytest.fixture(scope="module")
def convolution():
    return trained(ClipConvolution)


@pytest.fixture(scope="module")
def lstm():
    return trained(ClipLstm)


@pytest.fixture(params=["convolution", "lstm"])
def detector(request):
    return request.getfixturevalue(request.param)


def trained(cls):
    return fitted(cls, cls.Settings(code=8, hidden=16, sequence_frames=8), TRAINING, AMOUNTS)


def belt_frames(count: int, first: float = 100) -> np.ndarray:
    """Normal frames uint8 [count, SIZE, SIZE, 3] of a belt that was not trained on."""
    belt = Belt(seed=9, size=SIZE)
    return np.array([belt.pixels(first + at, (at,)) for at in range(count)])


def codes(count: int) -> np.ndarray:
    """Codes of frames, float32 [1, count, CELLS, CELLS, CODE]."""
    return np.random.default_rng(0).standard_normal((1, count, CELLS, CELLS, CODE)).astype(np.float32)


def stepped(detector, given: np.ndarray) -> np.ndarray:
    """What the steps of a detector give along codes, float32 [n, CELLS, CELLS, HIDDEN]."""
    states = {name: tf.zeros(shape) for name, shape in detector.temporal_states.items()}
    found = []
    for code in given[0]:
        hidden, states = detector.step(tf.constant(code[np.newaxis]), states)
        found.append(hidden[0])
    return np.array(found)


def untrained(cls, settings):
    """A detector with a layer of random weights, and that layer."""
    keras.utils.set_random_seed(0)
    made = cls(settings, TRAINING, SIZE, SIZE)
    layer = made.temporal_layer()
    layer.build((None, None, CELLS, CELLS, CODE))
    layer.set_weights([np.random.default_rng(1).normal(0, 0.2, w.shape) for w in layer.get_weights()])
    made.temporal = layer.get_weights()
    return made, layer


def test_order_and_pace_are_seen_where_each_frame_alone_is_normal(detector):
    found = judge(detector, AMOUNTS)
    slowed = found.pop(Order.SLOWED)  # half a pixel or so a frame: the least of the faults
    assert slowed > 0.7
    assert min(found.values()) > 0.93


def test_the_frames_alone_tell_nothing():
    """The largest deviation of a block from its own mean, in its own spreads: what a Gaussian a position sees."""
    belt = Belt(seed=1, size=SIZE)
    known = ClipConvolution(ClipConvolutionSettings(), TRAINING, SIZE, SIZE)
    normal = known.blocks(np.array([belt.pixels(at, (at,)) for at in range(200)]))
    mean, spread = normal.mean(axis=0), normal.std(axis=0)

    def score(frame):
        return {"score": np.abs((known.blocks(frame.numpy()) - mean) / spread).max(axis=(1, 2, 3))}

    graph = SimpleNamespace(inputs={"frame": (1, SIZE, SIZE, 3)}, concrete=lambda: score)
    framewise = SimpleNamespace(score_graph=lambda: graph)
    assert all(0.35 < area < 0.65 for area in judge(framewise, Amounts(size=SIZE, clips=8)).values())


def test_a_convolution_frame_by_frame_is_that_over_windows():
    made, layer = untrained(ClipConvolution, ClipConvolutionSettings(frames=3, **SMALL))
    given = codes(7)
    np.testing.assert_allclose(stepped(made, given)[2:], layer(given)[0], atol=1e-5)


def test_an_lstm_step_by_step_is_the_trained_one_over_the_whole_history():
    made, layer = untrained(ClipLstm, ClipLstmSettings(**SMALL))
    given = codes(7)
    np.testing.assert_allclose(stepped(made, given), layer(given)[0], atol=1e-5)


def test_a_convolution_forgets_what_is_older_than_its_warm_up(convolution):
    frames, scorer = belt_frames(12), Scorer(convolution)
    assert scorer.scores(frames)[-1] == pytest.approx(scorer.scores(frames[-1 - convolution.warm_up :])[-1], rel=1e-4)
    assert scorer.scores(frames)[-1] != pytest.approx(scorer.scores(frames[-convolution.warm_up :])[-1], rel=1e-4)


def test_what_was_not_announced_is_shown_where_it_is(detector):
    frames = belt_frames(detector.warm_up + 1)
    frames[-1, 16:24, 8:16] = (250, 250, 60)
    graph = detector.score_graph()
    states = {name: tf.zeros(shape) for name, shape in graph.inputs.items() if name != "frame"}
    for frame in frames:
        outputs = graph.function(frame=tf.constant(frame[np.newaxis]), **states)
        states = {name: outputs[name] for name in states}
    strange_map = outputs["map"].numpy()
    assert strange_map.shape == (1, CELLS, CELLS)
    assert np.unravel_index(np.argmax(strange_map[0]), (CELLS, CELLS)) == (2, 1)


def test_scores_are_finite_from_the_first_frame_on_and_whatever_it_shows(detector):
    black, white = (np.full((SIZE, SIZE, 3), value, np.uint8) for value in (0, 255))
    assert np.isfinite(Scorer(detector).scores([black, white, white, black, *belt_frames(3)])).all()


def test_errors_are_measured_in_those_of_normal_frames(detector):
    scores = Scorer(detector).scores(belt_frames(60))[detector.warm_up :]
    assert 0.5 < np.median(scores) < 6


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="learned from 14 frames or more in order of time, got 13"):
        fitted(ClipLstm, ClipLstmSettings(), TRAINING, Amounts(size=SIZE, frames=13, stopping=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell_px": 5}, r"cell_px must be one of \[4, 8, 16\] pixels, got 5"),
        ({"code": 0}, "code and hidden must be at least 1"),
        ({"frames": 13}, r"frames must be 2 to sequence_frames \(12\), got 13"),
    ],
)
def test_settings_that_build_no_network_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClipConvolutionSettings(**settings)


def test_frames_that_blocks_do_not_fill_are_refused():
    with pytest.raises(ValueError, match="multiples of 8 pixels, got 36 x 32"):
        ClipConvolution.check(ClipConvolutionSettings(), 36, 32)
