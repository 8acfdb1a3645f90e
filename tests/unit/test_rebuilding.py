"""Errors of rebuilt frames: what they are by their definition, to digits that float32 must not lose."""

from __future__ import annotations

import os

import numpy as np
import pytest

from edge_agent.contract.records import Floats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SIDE = 32


def chequered(mean: float, deviation: float) -> Floats:
    """A grey frame [1, SIDE, SIDE, 3] of -1..1, every pixel `deviation` off its mean: that of every window, too."""
    sign = 1 - 2 * (np.indices((SIDE, SIDE)).sum(axis=0) % 2)
    return np.repeat((mean + deviation * sign)[np.newaxis, :, :, np.newaxis], 3, axis=3).astype(np.float32)


def errors(frame: Floats, rebuilt: Floats) -> Floats:
    from training.images.rebuilding import rebuilding_errors

    return np.asarray(rebuilding_errors(frame, rebuilt))


@pytest.mark.parametrize(
    ("frame", "rebuilt"),
    [((0.9, 0.004), (0.9, -0.002)), ((0.9, 0.004), (0.88, 0.003)), ((-0.1, 0.2), (0.1, 0.1)), ((0.5, 0.0), (0.5, 0.0))],
    ids=["plain, other texture", "plain, other light", "textured", "the same"],
)
def test_errors_are_squared_difference_and_one_minus_ssim(
    frame: tuple[float, float], rebuilt: tuple[float, float]
) -> None:
    from training.images.rebuilding import SSIM_FLOORS

    (mean_x, x), (mean_y, y), (light, texture) = frame, rebuilt, SSIM_FLOORS
    alike = (2 * mean_x * mean_y + light) / (mean_x**2 + mean_y**2 + light)
    wanted = 1 - alike * (2 * x * y + texture) / (x**2 + y**2 + texture)
    found = errors(chequered(*frame), chequered(*rebuilt))
    np.testing.assert_allclose(found[..., 0], (mean_x - mean_y) ** 2 + (x - y) ** 2, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(found[..., 1], wanted, rtol=1e-4, atol=1e-9)


def test_errors_do_not_depend_on_the_pixels_of_other_windows() -> None:
    rng = np.random.default_rng(0)
    frame, rebuilt = rng.uniform(-1, 1, (2, 1, SIDE, SIDE, 3)).astype(np.float32)
    changed = frame.copy()
    changed[:, :8, :8] = 1.0
    moved = np.abs(errors(changed, rebuilt) - errors(frame, rebuilt)).max(axis=(0, 3)) > 1e-6
    assert moved[:2, :2].all()
    assert not moved[4:, :].any()
    assert not moved[:, 4:].any()


def test_a_frame_that_is_not_rebuilt_is_strange_to_the_gan_though_its_code_comes_back() -> None:
    import keras

    from training.images.detectors.frame_gan import FrameGan, FrameGanSettings
    from training.images.levels import Levels
    from training.recipe import TrainingSettings

    detector = FrameGan(FrameGanSettings(), TrainingSettings(), SIDE, SIDE)
    given = keras.Input((SIDE, SIDE, 3))
    code = keras.layers.GlobalAveragePooling2D()(given)
    grey = keras.layers.Rescaling(0.0)(given)
    detector.network = keras.Model(given, [grey, code, code])
    detector.levels = Levels(usual=np.full((SIDE // 4, SIDE // 4, 2), 0.01, np.float32))
    score = detector.score_graph().function
    usual, strange = np.full((2, 1, SIDE, SIDE, 3), 127, np.uint8)
    strange[:, 8:16, 8:16] = 255
    assert float(score(strange)["score"][0]) > 10 * float(score(usual)["score"][0])
