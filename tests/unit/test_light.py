"""Light that is evened out: what counts as white, how far it goes, and that a darker frame scores as the usual one."""

import numpy as np
import pytest
import tensorflow as tf

from training.graph import ScoreGraph
from training.images.light import Light, white
from training.images.masking import masked


def picture(level: float = 100.0, size: int = 64) -> np.ndarray:
    """A bright left quarter on a darker ground, uint8 [1, size, size, 3]."""
    frame = np.full((1, size, size, 3), level / 2)
    frame[:, :, : size // 4] = level
    return frame.astype(np.uint8)


def test_white_is_the_luma_that_a_tenth_of_the_blocks_exceed():
    frame = np.repeat(np.repeat(np.arange(100, 200).reshape(10, 10), 16, axis=0), 16, axis=1)
    frame = np.stack([frame] * 3, axis=2)[np.newaxis].astype(np.uint8)
    assert white(tf.constant(frame)).numpy() == pytest.approx([189], rel=1e-5)
    frame[..., 0] = 0
    assert white(tf.constant(frame)).numpy() == pytest.approx([189 * (1 - 0.299)], rel=1e-5)


def test_something_bright_is_no_light():
    frame = picture(100, size=160)
    frame[:, :48, :32] = 255
    assert white(tf.constant(frame)).numpy() == pytest.approx([100], rel=1e-5)


@pytest.mark.parametrize("period", [2, 3, 4, 6, 8])
def test_white_does_not_depend_on_the_phase_of_a_regular_texture(period):
    columns = np.arange(64)
    for shift in range(period):
        stripes = np.where((columns + shift) % period < period // 2, 200, 40).astype(np.uint8)
        frame = np.broadcast_to(stripes[np.newaxis, np.newaxis, :, np.newaxis], (1, 64, 64, 3))
        usual = 40 + 160 * (period // 2) / period
        assert white(tf.constant(frame)).numpy() == pytest.approx([usual], rel=0.15)


def test_what_moves_under_a_mask_changes_no_light():
    graph = ScoreGraph(
        function=lambda frame: {"seen": Light(usual=100.0, limit=1.25).graph(frame)}, inputs={"frame": (1, 64, 64, 3)}
    )
    seen = masked(graph, (((0.0, 0.0), (0.4, 0.0), (0.4, 1.0), (0.0, 1.0)),))
    frame = picture(90)[:, :, ::-1].copy()
    moved = frame.copy()
    moved[:, :, :24] = 255
    one, other = (seen.function(frame=tf.constant(each))["seen"].numpy() for each in (frame, moved))
    np.testing.assert_array_equal(one, other)


def test_white_of_a_batch_is_that_of_each_frame():
    frames = np.concatenate([picture(level) for level in (40, 80, 240)])
    np.testing.assert_allclose(white(tf.constant(frames)).numpy(), [40, 80, 240], rtol=1e-5)


def test_the_usual_light_is_that_of_the_median_frame_over_all_batches():
    light = Light.fit([np.concatenate([picture(90), picture(100)]), picture(200)], limit=1.25)
    assert light.usual == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize(("level", "gain"), [(100, 1.0), (90, 100 / 90), (120, 100 / 120), (50, 1.25), (240, 1 / 1.25)])
def test_light_is_evened_out_up_to_the_limit(level, gain):
    frame = picture(level)
    seen = Light(usual=100.0, limit=1.25).graph(tf.constant(frame)).numpy()
    np.testing.assert_allclose(seen, frame * gain, rtol=1e-5)


def test_each_frame_of_a_batch_has_its_own_gain():
    frames = np.concatenate([picture(90), picture(110)])
    seen = Light(usual=100.0, limit=1.25).graph(tf.constant(frames)).numpy()
    np.testing.assert_allclose(seen[:, 0, 0, 0], [100, 100], rtol=1e-5)


def test_a_black_frame_stays_black():
    black = np.zeros((1, 32, 32, 3), np.uint8)
    assert not Light(usual=100.0, limit=1.25).graph(tf.constant(black)).numpy().any()
    assert Light.fit([black], limit=1.25).usual == 1


def test_what_is_brighter_than_white_is_not_cut_off():
    frame = picture(200)
    frame[:, -4:, -4:] = 255
    assert Light(usual=250.0, limit=1.25).graph(tf.constant(frame)).numpy().max() == pytest.approx(255 * 1.25, rel=1e-5)
