import numpy as np
import pytest

from edge_agent.contract.frames import LUMA_WEIGHTS, Frame, small_luma


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_frame_of_another_kind_is_refused(pixels):
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\], got"):
        Frame(pixels=pixels, t_ns=0, number=0, source="test")


def test_luma_weighs_the_colours():
    for channel, weight in enumerate(LUMA_WEIGHTS):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., channel] = 200
        assert small_luma(pixels, 4, 5) == pytest.approx(200 * weight)


@pytest.mark.parametrize(
    "size", [(480, 640), (120, 160), (1080, 1920), (123, 457), (97, 300), (60, 80), (8, 8), (1, 1)]
)
def test_any_size_gives_the_same_grid(size):
    rows = np.linspace(0, 200, size[0])[:, None] * np.ones(size[1])
    pixels = np.repeat(rows.astype(np.uint8)[..., None], 3, axis=2)
    luma = small_luma(pixels, 120, 160)
    assert luma.shape == (120, 160)
    assert luma.dtype == np.float32
    assert np.abs(np.diff(luma, axis=1)).max() < 1e-3
    expected = np.interp((np.arange(120) + 0.5) / 120, (np.arange(size[0]) + 0.5) / size[0], rows[:, 0])
    if size[0] >= 60:
        assert np.abs(luma[:, 0] - expected).max() < 200 / min(size[0], 120) + 1


def test_a_cell_is_the_mean_of_its_pixels():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = [[[10] * 3, [20] * 3], [[30] * 3, [40] * 3]]
    np.testing.assert_allclose(small_luma(pixels, 2, 2), [[25, 0], [0, 0]], atol=1e-4)
