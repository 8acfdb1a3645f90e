"""The five features of a window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from edge_agent.contract.features import CLAMP, FEATURES, window_features


def plain(windows: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The features as the module's text defines them, window by window and channel by channel."""
    out = np.zeros((len(windows), 5, len(centre)))
    for i, window in enumerate(windows.astype(np.float64)):
        z = np.clip((window - centre) / spread, -CLAMP, CLAMP)
        out[i, 0], out[i, 1], out[i, 2] = z.mean(0), z.std(0), z[-1]
        if len(z) > 1:
            out[i, 3] = np.polyfit(np.arange(len(z)), z, 1)[0] * (len(z) - 1)
            out[i, 4] = np.sqrt(np.mean(np.diff(z, axis=0) ** 2, axis=0))
    return out.reshape(len(windows), -1)


def overlapping(  # noqa: PLR0917 - what describes the windows
    rows: int, T: int, C: int, step: int, seed: int = 0, offset: float = 0.0
) -> np.ndarray:
    series = (np.random.default_rng(seed).standard_normal((rows, C)) + offset).astype(np.float32)
    return sliding_window_view(series, T, axis=0).transpose(0, 2, 1)[::step]


@given(st.integers(2, 20), st.integers(1, 4), st.integers(1, 25), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_the_features_are_what_the_text_defines_for_any_overlap(T: int, C: int, step: int, more: int) -> None:
    windows = overlapping(T + more, T, C, step)
    centre, spread = np.linspace(-1, 1, C), np.linspace(0.5, 2, C)
    expected = plain(windows, centre, spread)
    assert np.allclose(window_features(windows, centre, spread), expected, rtol=1e-9, atol=1e-9)
    assert np.allclose(window_features(windows.copy(), centre, spread), expected, rtol=1e-9, atol=1e-9)


def test_views_that_are_no_windows_of_one_series_are_read_as_they_are() -> None:
    flat = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    odd = np.lib.stride_tricks.as_strided(flat, (10, 6, 1), (3 * 4, 2 * 4, 4))
    assert np.allclose(window_features(odd, np.zeros(1), np.ones(1)), plain(odd, np.zeros(1), np.ones(1)))
    backwards = odd[::-1, ::-1]
    assert np.allclose(window_features(backwards, np.zeros(1), np.ones(1)), plain(backwards, np.zeros(1), np.ones(1)))


def test_one_row_has_no_spread_slope_or_roughness() -> None:
    assert window_features(np.array([[[3.0]]], np.float32), np.ones(1), np.full(1, 2.0)).tolist() == [[1, 0, 1, 0, 0]]


def test_no_windows_have_no_features() -> None:
    assert window_features(np.zeros((0, 4, 2), np.float32), np.zeros(2), np.ones(2)).shape == (0, 2 * len(FEATURES))


def test_a_large_offset_costs_no_precision() -> None:
    windows = overlapping(200, 32, 2, 1, offset=1e5)
    centre, spread = np.full(2, 1e5), np.full(2, 1e-2)
    assert np.allclose(window_features(windows, centre, spread), plain(windows, centre, spread), rtol=1e-9, atol=1e-6)
    assert (window_features(windows, centre, spread)[:, 2:4] > 0).all()


def test_a_spike_of_a_million_spreads_leaves_no_trace_in_windows_without_it() -> None:
    clean = overlapping(64, 16, 1, 1)
    series = np.concatenate((clean[0], clean[1:, -1]))
    series[3] = 1e20
    spiked = sliding_window_view(series, 16, axis=0).transpose(0, 2, 1)
    zero, one = np.zeros(1), np.ones(1)
    assert np.array_equal(window_features(spiked, zero, one)[4:], window_features(clean, zero, one)[4:])


@pytest.mark.parametrize("value", [1e20, -1e20, np.inf, -np.inf, 3.4e38])
def test_any_reading_gives_finite_features(value: float) -> None:
    windows = overlapping(20, 8, 2, 1).copy()
    windows[:, 3, 0] = value
    assert np.isfinite(window_features(windows, np.zeros(2), np.full(2, 1e-3))).all()


def test_a_window_scores_alike_alone_and_in_any_batch() -> None:
    windows = overlapping(100, 32, 3, 1)
    zero, one = np.zeros(3), np.ones(3)
    batch = window_features(windows, zero, one)
    alone = np.concatenate([window_features(windows[i : i + 1], zero, one) for i in range(len(windows))])
    assert np.allclose(batch, alone, rtol=1e-12, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected windows"):
        window_features(np.zeros((2, 4, 3), np.float32), np.zeros(2), np.ones(2))
