"""What the Gaussian prefilter looks at: five figures per channel of the normalised window.

With z = (reading - centre) / spread, clamped at `CLAMP`, and j = 0 .. T - 1 the row in the window:

    mean       average of z: an offset, a step, a slow drift
    spread     standard deviation of z about that average (divided by T): noise, or its absence
    last       z of the newest row: a spike or a step that has only just begun
    slope      least-squares line through z, as its rise from the first row to the last: a drift
    roughness  root mean square of z[j] - z[j - 1]: chatter, or a signal that has become smooth

All five grow in proportion to z, so a growing fault moves the features along a straight line and the distance of
the prefilter grows with it. Nothing is clamped but z itself: features that stop at different heights would let the
distance fall on the way.

A batch of overlapping windows, as the windower gives it, is normalised and differenced once for all its windows. The
sums are then taken window by window. Running sums across windows would cost a little less and were left out:
at an offset of 1e5 they give negative variances, and one spike of 1e6 spreads would leave its rounding error in every
later window of the batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from edge_agent.contract.records import Doubles, Floats

FEATURES: Final = ("mean", "spread", "last", "slope", "roughness")
"""Names of the features, in the order in which `window_features` lays them out."""

WINDOW_AXES: Final = 3
"""Windows are [k, T, C]."""

CLAMP: Final = 1e6
"""Largest |z|, in training spreads: keeps a reading of 1e20 finite through squares and sums, and is the range up to
which a growing fault must raise the distance. The score graphs clamp their input at the same height."""

BLOCK_WINDOWS: Final = 256
"""Windows whose features are taken at once: bounds the memory, to 1 MB at T = 64 and 8 channels."""


def window_features(windows: Floats, centre: Doubles, spread: Doubles) -> Doubles:
    """Return the features of each window.

    Args:
        windows: float32 [k, T, C] in raw units, oldest row first; may be overlapping views of one series.
        centre: float64 [C] subtracted from each channel.
        spread: float64 [C] > 0 by which each channel is then divided.

    Returns:
        float64 [k, 5 * C]: the C means, then the C spreads, and so on in the order of `FEATURES`. A window of one
        row has spread, slope and roughness 0. NaN in a channel gives NaN in its features.

    Raises:
        ValueError: the shapes do not fit.
    """
    if (
        windows.ndim != WINDOW_AXES
        or windows.shape[2:] != centre.shape
        or centre.shape != spread.shape
        or not windows.shape[1]
    ):
        raise ValueError(
            f"expected windows [k, T, C] with centre and spread [C], got {list(windows.shape)}, "
            f"{list(centre.shape)} and {list(spread.shape)}"
        )
    k, rows, channels = windows.shape
    if not 0 < k <= BLOCK_WINDOWS:
        blocks = [windows[i : i + BLOCK_WINDOWS] for i in range(0, k, BLOCK_WINDOWS)]
        nothing = np.zeros((0, len(FEATURES) * channels))
        return np.concatenate([nothing, *(window_features(block, centre, spread) for block in blocks)])
    series, step = _series(windows)
    z = _normalised(series, centre, spread)
    features = np.zeros((len(FEATURES), channels, k))
    mean, deviation_rms, last, slope, roughness = features
    view = _windows(z, k, rows, step)
    np.add.reduce(view, axis=2, out=mean)
    mean /= rows
    last[:] = view[:, :, rows - 1]
    if rows > 1:
        deviation = view - mean[:, :, np.newaxis]
        np.matmul(deviation, _slope_weights(rows), out=slope)
        np.multiply(deviation, deviation, out=deviation)
        _root_mean(deviation, deviation_rms)
        change = z[:, 1:] - z[:, :-1]
        np.multiply(change, change, out=change)
        _root_mean(_windows(change, k, rows - 1, step), roughness)
    return np.ascontiguousarray(features.reshape(-1, k).T)


def _series(windows: Floats) -> tuple[Floats, int]:
    """Return the rows behind the windows [n, C] and how many rows apart the windows begin.

    Windows that are no overlapping views of one series become that series end to end.
    """
    k, rows, channels = windows.shape
    between_windows, between_rows, _ = windows.strides
    step, rest = divmod(between_windows, between_rows) if between_rows > 0 else (0, 1)
    if k == 1:
        return windows[0], rows
    if rest == 0 and 0 < step < rows:
        n = (k - 1) * step + rows
        return np.lib.stride_tricks.as_strided(windows, (n, channels), windows.strides[1:], writeable=False), step
    return windows.reshape(k * rows, channels), rows


def _normalised(series: Floats, centre: Doubles, spread: Doubles) -> Doubles:
    """Return z as float64 [C, n]: each channel contiguous, so that sums over time run along memory."""
    z = np.empty((len(centre), len(series)))
    np.subtract(series.T, centre[:, np.newaxis], out=z)
    np.divide(z, spread[:, np.newaxis], out=z)
    np.minimum(z, CLAMP, out=z)
    np.maximum(z, -CLAMP, out=z)
    return z


def _windows(series: Doubles, k: int, rows: int, step: int) -> Doubles:
    """Return the windows [C, k, rows] that begin every `step` columns of a series [C, n], as a view."""
    between_channels, between_rows = series.strides
    strides = (between_channels, step * between_rows, between_rows)
    return np.ndarray((len(series), k, rows), np.float64, series, strides=strides)


@lru_cache(maxsize=16)
def _slope_weights(rows: int) -> Doubles:
    """Return weights [T] whose product with a window is the rise of its least-squares line over T - 1 steps."""
    position = np.arange(rows) - (rows - 1) / 2
    weights: Doubles = position * ((rows - 1) / (position @ position))
    weights.flags.writeable = False
    return weights


def _root_mean(squares: Doubles, out: Doubles) -> None:
    """Write the root of the mean over the last axis to `out`."""
    np.add.reduce(squares, axis=2, out=out)
    out /= squares.shape[2]
    np.sqrt(out, out=out)
