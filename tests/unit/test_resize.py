"""One way to a detector's size for training and device: what it averages, what it leaves alone, what it needs."""

import subprocess
import sys

import numpy as np
import pytest

from edge_agent.contract.opencv import opencv
from edge_agent.contract.resize import resize
from edge_agent.errors import ScoringError

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_a_picture_of_the_size_is_returned_as_it_is():
    assert resize(NOISE, 48, 64) is NOISE


def test_shrinking_averages_areas():
    means = NOISE.reshape(12, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize(NOISE, 12, 16) - means).max() <= 0.5


def test_a_line_of_one_pixel_survives_shrinking():
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 333] = 255
    assert resize(frame, 224, 224).any(axis=(1, 2)).all()


@pytest.mark.parametrize(("height", "width"), [(96, 128), (24, 128), (96, 32)])
def test_growing_on_either_side_is_bilinear(height, width):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[np.newaxis, :, np.newaxis] * 4, (48, 64, 3)).copy()
    grown = resize(ramp, height, width)
    assert grown.shape == (height, width, 3)
    usual = (np.arange(width) + 0.5) * 64 / width - 0.5
    np.testing.assert_allclose(grown[height // 2, 2:-2, 0], np.clip(usual, 0, 63)[2:-2] * 4, atol=0.6)


def test_the_picture_is_not_written_to_and_its_colours_stay_in_order():
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[..., 0], frame[..., 2] = 200, 50
    frame.flags.writeable = False
    assert resize(frame, 8, 8)[0, 0].tolist() == [200, 0, 50]


def test_without_opencv_another_size_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    opencv.cache_clear()
    try:
        assert resize(NOISE, 48, 64) is NOISE
        with pytest.raises(ScoringError, match=r"pip install 'anomalite\[camera\]'"):
            resize(NOISE, 24, 32)
    finally:
        opencv.cache_clear()


def test_opencv_is_not_imported_before_a_picture_is_resized():
    script = """
import sys, numpy as np
from edge_agent.contract.resize import resize
resize(np.zeros((8, 8, 3), np.uint8), 8, 8)
print("cv2" in sys.modules, end="")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False"
