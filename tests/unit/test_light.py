"""Light that is evened out: what counts as white, how far it goes, and that a darker frame scores as the usual one."""

import numpy as np
import pytest
import tensorflow as tf

from training.images.light import Light, white


def picture(level: float = 100.0, size: int = 64) -> np.ndarray:
    """A bright left quarter on a darker ground, uint8 [1, size, size, 3]."""
    frame = np.full((1, size, size, 3), level / 2)
    frame[:, :, : size // 4] = level
    return frame.astype(np.uint8)


def test_white_is_the_luma_of_the_brightest_fifth_of_the_blocks():
    frame = picture(200)
    frame[..., 0] = 0
    assert white(tf.constant(frame)).numpy() == pytest.approx([200 * (1 - 0.299)], rel=1e-5)


def test_a_glint_is_no_light():
    frame = picture(100)
    frame[:, 32:36, 32:36] = 255
    assert white(tf.constant(frame)).numpy()[0] < 105


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
