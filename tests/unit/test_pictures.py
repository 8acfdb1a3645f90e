"""JPEGs that fit, colours that keep the order of a map, and overlays that leave alone what is normal."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.contract.frames import Pixels
from edge_agent.errors import EdgeAgentError, FrameError
from edge_agent.vision import pictures
from edge_agent.vision.pictures import HeatScale, Mark, decode_jpeg, encode_jpeg, heat, heatmap, overlay

SCALE = HeatScale(median=2.0, threshold=4.0)


def noise(height: int, width: int) -> Pixels:
    """The hardest picture to compress."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lightness(pixels: Pixels) -> np.ndarray:
    """CIE L* of sRGB."""
    linear = (pixels / 255.0) ** 2.2
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(y) - 16


def test_a_frame_comes_back_in_its_own_colours() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:, :32] = (200, 30, 30)

    seen = decode_jpeg(encode_jpeg(frame, 1 << 20))

    assert seen.shape == frame.shape
    assert seen[32, 8].astype(int) == pytest.approx([200, 30, 30], abs=6)
    assert seen[32, 56].max() < 6


def test_what_fits_is_not_made_worse() -> None:
    frame = noise(64, 64)
    assert encode_jpeg(frame, 1 << 20) == encode_jpeg(frame, 1 << 22)


def test_quality_goes_before_size() -> None:
    frame = noise(64, 64)
    best = encode_jpeg(frame, 1 << 20)
    smaller = encode_jpeg(frame, len(best) - 1)

    assert len(smaller) < len(best)
    assert decode_jpeg(smaller).shape == (64, 64, 3)


@pytest.mark.parametrize("max_bytes", [20_000, 5_000, 2_000])
def test_any_picture_is_brought_below_the_limit(max_bytes: int) -> None:
    jpeg = encode_jpeg(noise(200, 300), max_bytes)

    assert len(jpeg) <= max_bytes
    height, width, _ = decode_jpeg(jpeg).shape
    assert width / height == pytest.approx(1.5, abs=0.05)


def test_a_limit_that_no_picture_meets_is_told() -> None:
    with pytest.raises(ValueError, match="no JPEG of 64 x 64 pixels fits 100 bytes"):
        encode_jpeg(noise(64, 64), 100)


@pytest.mark.parametrize("data", [b"", b"no picture", encode_jpeg(noise(32, 32), 1 << 20)[:40]])
def test_a_file_that_is_no_jpeg_is_told(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_jpeg(data)


def test_heat_is_a_half_at_the_threshold_and_none_up_to_the_median() -> None:
    values = np.array([[-1e30, 0.0, 2.0, 4.0, 1e30]], np.float32)
    assert heat(values, SCALE)[0] == pytest.approx([0, 0, 0, 0.5, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_shown_as_normal(value: float) -> None:
    assert heat(np.array([[value]], np.float32), SCALE)[0, 0] == 1


def test_a_scale_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="median below the threshold"):
        HeatScale(median=4.0, threshold=4.0)


def test_a_stranger_cell_is_a_lighter_one() -> None:
    values = np.linspace(2, 40, 200, dtype=np.float32)[np.newaxis]
    light = lightness(heatmap(values, SCALE, 1, 200))[0]
    assert (np.diff(light) > -0.5).all()
    assert light[-1] - light[0] > 60


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 640), (480, 640)), ((3000, 4000), (480, 640)), ((32, 32), (32, 32))]
)
def test_a_heatmap_has_the_shape_of_its_frame(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert heatmap(np.ones((4, 6), np.float32), SCALE, *size).shape == (*expected, 3)


def test_an_overlay_shows_normal_parts_as_they_are_and_strange_ones_in_colour() -> None:
    frame = np.full((480, 480, 3), 90, np.uint8)
    values = np.full((8, 8), 2.0, np.float32)
    values[6, 6] = 20.0

    drawn = overlay(frame, values, SCALE)

    assert (drawn[:240, :240] == 90).all()
    red, _, blue = drawn[390, 390].astype(int)
    assert red > 150
    assert red > blue
    assert (frame == 90).all()


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_box_and_its_label_are_seen_on_any_ground(ground: int) -> None:
    frame = np.full((480, 640, 3), ground, np.uint8)
    mark = Mark(box=(0.25, 0.25, 0.5, 0.5), label="1")

    drawn = overlay(frame, None, None, [mark])

    border = drawn[120, 200:280].max(), drawn[118:123, 240].min()
    assert border == (255, 0)
    assert np.ptp(drawn[100:118, 160:175]) == 255
    assert (drawn[300:, 400:] == ground).all()


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.9, 0.0, 1.0, 0.02), (0.0, 0.95, 0.1, 1.0)])
def test_a_label_stays_in_the_picture(box: tuple[float, ...]) -> None:
    frame = np.full((480, 640, 3), 128, np.uint8)
    with_box, with_label = (overlay(frame, None, None, [Mark(box=box, label=label)]) for label in ("", "12 zone"))
    assert (with_box != with_label).any(axis=2).sum() > 500


def test_a_small_frame_is_enlarged_so_that_its_label_can_be_read() -> None:
    assert overlay(noise(32, 64), None, None).shape == (480, 960, 3)


def test_without_opencv_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("pip install 'anomalite[camera]'")

    monkeypatch.setattr(pictures, "opencv", missing)
    with pytest.raises(EdgeAgentError, match=r"anomalite\[camera\]"):
        encode_jpeg(noise(32, 32), 1 << 20)
