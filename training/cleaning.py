"""Cleaning of the training part: spikes become missing values, and the strangest windows are left out of the fit.

    rows ─ without_spikes ─► NaN for spikes ─ windower holds ─► windows ─ without_outliers ─► detector, prefilter

Validation and test parts stay as they were recorded: the device cleans nothing, so thresholds and figures must be those
of readings as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from edge_agent.contract.features import window_features
from edge_agent.contract.records import Doubles, Floats
from training.covariance import shrunk_covariance
from training.graph import Front
from training.splits import Rows, Windows

HAMPEL_ROWS = 11
"""Rows that a reading is compared with, itself in their middle: a run of up to five cannot move their median."""

MAD_SPREAD = 1.4826
"""Standard deviations of a Gaussian in its median absolute deviation."""

COMMON_QUANTILE, COMMON_SPREADS = 0.9, 1.645
"""What a tenth of a channel's readings exceed, and where that lies for a Gaussian: steps of a coarse sensor that come
so often are its normal resolution, however still it is between them."""

LEAST_SPREAD = 0.1
"""Smallest spread that is believed, in standard deviations of the channel: one that rests has next to none locally."""

CONCENTRATION_STEPS = 20
"""Steps after which the search for the normal windows ends; on real recordings it settled within 10."""


def without_spikes(parts: Sequence[Rows], factor: float, longest: int) -> tuple[tuple[Rows, ...], NDArray[np.int64]]:
    """Make isolated spikes missing values, by the Hampel filter.

    A reading is one when it is more than `factor` spreads off the median of the rows around it, and so are at most
    `longest` in a row: longer is an event. The spread is the local median absolute deviation, but not below what is
    common for the channel. Source: L. Davies and U. Gather, "The identification of multiple outliers", J. American
    Statistical Association 88 (1993).

    Args:
        parts: the training part of each recording.
        factor: 0: no reading is a spike.
        longest: rows; what `windows.hold` bridges.

    Returns:
        The parts with NaN for spikes, and their count per channel [C].
    """
    spikes = [_spikes(part.values, factor, longest) for part in parts]
    cleaned = (
        replace(part, values=np.where(found, np.float32(np.nan), part.values))
        for part, found in zip(parts, spikes, strict=True)
    )
    return tuple(cleaned), np.sum([found.sum(axis=0) for found in spikes], axis=0)


def _spikes(values: Floats, factor: float, longest: int) -> NDArray[np.bool_]:
    """Which readings [n, C] are spikes."""
    if not factor or not len(values):
        return np.zeros(values.shape, np.bool_)
    table = pd.DataFrame(values.astype(np.float64))
    off = (table - _running_median(table)).abs()
    common = off.quantile(COMMON_QUANTILE) / COMMON_SPREADS
    least = np.maximum(common, LEAST_SPREAD * table.std(ddof=0))
    spread = (MAD_SPREAD * _running_median(off)).clip(lower=least, axis=1)
    found = (off > factor * spread).to_numpy(np.bool_)
    long = ndimage.binary_opening(found, np.ones((longest + 1, 1), np.bool_))
    return np.asarray(found & ~long, np.bool_)


def _running_median(table: pd.DataFrame) -> pd.DataFrame:
    return table.rolling(HAMPEL_ROWS, center=True, min_periods=1).median()


def without_outliers(windows: Windows, front: Front, share: float) -> Windows:
    """Leave out a share of the windows, the strangest of them, and end the runs there."""
    if not share:
        return windows
    keep = np.zeros(len(windows.values), np.bool_)
    keep[most_normal(window_features(windows.values, front.centre, front.spread), share)] = True
    return replace(
        windows,
        values=windows.values[keep],  # noqa: PD011 - an array, no table
        t_ns=windows.t_ns[keep],
        run=(windows.run + np.cumsum(~keep))[keep],
        warming=windows.warming[keep],
    )


def most_normal(x: Doubles, share: float) -> NDArray[np.int64]:
    """Indices, rising, of the features [n, D] that are left when the strangest share is left out.

    The squared Mahalanobis distance, of mean and covariance of those that are kept: begun with distances by median and
    median absolute deviation, then fitted, measured and chosen anew until the choice stays. That is the concentration
    step of the minimum covariance determinant, with a shrunk covariance, since windows are few. Sources: P. J.
    Rousseeuw and K. Van Driessen, "A fast algorithm for the minimum covariance determinant estimator", Technometrics 41
    (1999); M. Hubert, P. J. Rousseeuw and T. Verdonck, "A deterministic algorithm for robust location and scatter",
    J. Computational and Graphical Statistics 21 (2012).
    """
    kept = len(x) - round(share * len(x))
    off = np.abs(x - np.median(x, axis=0))
    spread = np.maximum(MAD_SPREAD * np.median(off, axis=0), LEAST_SPREAD * x.std(axis=0))
    distances = np.square(off / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    chosen = _nearest(distances, kept)
    for _ in range(CONCENTRATION_STEPS):
        before, distances = chosen, _distances(x, x[chosen])
        chosen = _nearest(distances, kept)
        if np.array_equal(chosen, before):
            break
    return chosen


def _nearest(distances: Doubles, count: int) -> NDArray[np.int64]:
    return np.sort(np.argsort(distances, kind="stable")[:count])


def _distances(x: Doubles, normal: Doubles) -> Doubles:
    """Squared Mahalanobis distances of x [n, D] by mean and covariance of `normal`."""
    root = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(normal)))
    return np.asarray(np.square((x - normal.mean(axis=0)) @ root).sum(axis=1))
