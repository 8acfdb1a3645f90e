"""Published methods of the SKAB and NAB leaderboards, in their own protocol: what our detectors are compared with.

Source of the protocol: I. D. Katser and V. O. Kozitsin, Skoltech Anomaly Benchmark (SKAB), 2020, and the notebooks that
its table names: scaling, windows, networks, limits and smoothing are theirs, written anew. For NAB see
`board_windowed_gaussian`. Each method is fitted on the
normal rows and gives one alarm and one score for each reading; the score is in units of the method's limit, so that a
row alarms when its score is above 1. None of this runs on a device.

Causality, since it decides what a comparison is worth: T-squared, T-squared with Q, the isolation forest and the
windowed Gaussian use a row and those before it. The autoencoders look ahead: a row's score uses windows that end 58
rows later (convolutional) or 8 rows later (LSTM).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import ndtr

from edge_agent.contract.records import Doubles, Floats

Flags = NDArray[np.bool_]
Board = Callable[[Floats, Floats, int], tuple[Flags, Doubles]]
"""(train float32 [n, C], readings float32 [N, C], seed) -> alarms bool [N], scores float64 [N]."""

SMOOTHED_ROWS = 5
"""Rows of the trailing median that smooths T-squared and Q."""
CONTROL_SHARE = 0.999
"""Share of normal rows below a control limit, were they Gaussian and independent."""
T2_MARGIN = 2.0
"""Limits above the control limit at which T-squared alone alarms; with Q it alarms at the limit."""
EXPLAINED = 0.85
"""Share of the variance that the kept principal components explain at least."""
FOREST_SMOOTHED_ROWS = 3
"""Rows of the trailing median that smooths the isolation forest."""
CONTAMINATION = 0.0005
"""Share of the training rows that the isolation forest alarms."""
GAUSSIAN_ROWS, GAUSSIAN_STEP = 6400, 100
"""Rows that the windowed Gaussian knows, and how many new ones it waits for once it has so many."""
LEAST_VARIANCE = 1e-12
"""Of the windowed Gaussian, in squared units of the reading: the board's smallest deviation is 1e-6."""


class _Windowed(NamedTuple):
    """What the two autoencoders do with windows and residuals."""

    rows: int
    """Rows of a window."""
    quantile: float
    """Of the residuals of the training windows, and ..."""
    margin: float
    """... times this: the limit of a window's residual."""
    loss: str
    shuffled: bool
    """Batches are shuffled in training."""

    @property
    def look_ahead(self) -> int:
        """Rows between a row and the end of the last window that its score uses (see `by_covering_windows`)."""
        return self.rows - 2


CONVOLUTIONAL = _Windowed(rows=60, quantile=0.999, margin=4 / 3, loss="mse", shuffled=True)
RECURRENT = _Windowed(rows=10, quantile=0.99, margin=3 / 2, loss="mae", shuffled=False)
EPOCHS = 100
"""At most; training stops after five without progress on the last tenth of the windows."""


def board_t2(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:  # noqa: ARG001 - nothing random
    """Alarm by Hotelling's T-squared of a row, smoothed by a trailing median.

    The limit is that of a new row under a Gaussian estimated from n rows (F distribution).
    """
    fitted, values = _standardised(train, readings)
    t2 = _squared_lengths(values, np.linalg.inv(_covariance(fitted)))
    return _judged(_trailing_median(t2 / (T2_MARGIN * _t2_limit(*fitted.shape)), SMOOTHED_ROWS))


def board_t2_q(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:  # noqa: ARG001 - nothing random
    """Alarm where T-squared of the kept components or Q, the squared length of the rest, is above its limit.

    The limit of Q looks like that of J. E. Jackson and G. S. Mudholkar (Technometrics 21(3), 1979), but the published
    row came about otherwise, and that is kept, since it is what the row is: powers of the sum of the residual variances
    stand where sums of their powers should, and the residual variances are the last that a general eigenvalue solver
    returns, which are not the smallest.
    """
    fitted, values = _standardised(train, readings)
    variances, components = np.linalg.eigh(_covariance(fitted))
    variances, components = variances[::-1], components[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variances) / variances.sum(), EXPLAINED, side="right")) + 1
    t2 = _squared_lengths(values, components[:, :kept] / variances[:kept] @ components[:, :kept].T)
    share = _trailing_median(t2 / _t2_limit(len(fitted), kept), SMOOTHED_ROWS)
    if kept < len(variances):
        q = _squared_lengths(values, components[:, kept:] @ components[:, kept:].T)
        residual_variance = float(np.linalg.eigvals(_covariance(fitted)).real[kept:].sum())
        share = np.maximum(share, _trailing_median(q / _q_limit(residual_variance), SMOOTHED_ROWS))
    return _judged(share)


def board_isolation_forest(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:
    """Alarm by an isolation forest of 100 trees, smoothed by a trailing median."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed, contamination=CONTAMINATION).fit(train)
    return _judged(_trailing_median(forest.score_samples(readings) / forest.offset_, FOREST_SMOOTHED_ROWS))


def board_conv_ae(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:
    """Alarm by the convolutional autoencoder of the Keras example; **looks 58 rows ahead**.

    Its last layer has one filter, meant for one channel: all channels are compared with the same rebuilt one.
    """
    from keras import Sequential, layers

    def network(rows: int, channels: int) -> Any:
        down = {"kernel_size": 7, "strides": 2, "padding": "same", "activation": "relu"}
        return Sequential(
            [
                layers.Input((rows, channels)),
                layers.Conv1D(32, **down),
                layers.Dropout(0.2),
                layers.Conv1D(16, **down),
                layers.Conv1DTranspose(16, **down),
                layers.Dropout(0.2),
                layers.Conv1DTranspose(32, **down),
                layers.Conv1DTranspose(1, 7, padding="same"),
            ]
        )

    return _autoencoder(train, readings, seed, CONVOLUTIONAL, network)


def board_lstm_ae(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:
    """Alarm by an LSTM autoencoder of windows of 10 rows; **looks 8 rows ahead**."""
    from keras import Sequential, layers

    def network(rows: int, channels: int) -> Any:
        return Sequential(
            [
                layers.Input((rows, channels)),
                layers.LSTM(100, activation="relu"),
                layers.RepeatVector(rows),
                layers.LSTM(100, activation="relu", return_sequences=True),
                layers.TimeDistributed(layers.Dense(channels)),
            ]
        )

    return _autoencoder(train, readings, seed, RECURRENT, network)


def board_windowed_gaussian(train: Floats, readings: Floats, seed: int) -> tuple[Flags, Doubles]:  # noqa: ARG001 - nothing random
    """Alarm where a reading lies in the tail of the Gaussian of the readings before it, in any channel.

    The plainest row of NAB's board: A. Lavin and S. Ahmad, Evaluating real-time anomaly detection algorithms - the
    Numenta Anomaly Benchmark, ICMLA 2015. The score is one less the one-sided tail; the board chooses the limit by the
    labels, here it is a control limit.
    """
    rows = np.concatenate([train, readings]).astype(np.float64)
    row = np.arange(len(train), len(rows))
    full = GAUSSIAN_ROWS + (row - GAUSSIAN_ROWS) // GAUSSIAN_STEP * GAUSSIAN_STEP
    stop = np.where(row < GAUSSIAN_ROWS, row, full)
    start = np.maximum(stop - GAUSSIAN_ROWS, 0)
    offset = rows - rows[0]
    sums, squares = (np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(x, axis=0)]) for x in (offset, offset**2))
    count = (stop - start)[:, np.newaxis]
    mean = (sums[stop] - sums[start]) / count
    variance = (squares[stop] - squares[start]) / count - mean**2
    tail = ndtr(-np.abs(offset[row] - mean) / np.sqrt(np.maximum(variance, LEAST_VARIANCE)))
    return _judged((1 - tail).max(axis=1) / CONTROL_SHARE)


BOARDS: MappingProxyType[str, Board] = MappingProxyType(
    {
        board.__name__: board
        for board in (
            board_t2,
            board_t2_q,
            board_conv_ae,
            board_lstm_ae,
            board_isolation_forest,
            board_windowed_gaussian,
        )
    }
)
"""By name."""
BOARD_KINDS = MappingProxyType(dict.fromkeys(BOARDS, "skab") | {board_windowed_gaussian.__name__: "nab"})
"""By name: the kind of data set that it was published for."""
LOOK_AHEAD_ROWS = MappingProxyType(
    dict.fromkeys(BOARDS, 0)
    | {board_conv_ae.__name__: CONVOLUTIONAL.look_ahead, board_lstm_ae.__name__: RECURRENT.look_ahead}
)
"""By name: rows after a row that its score uses; 0 where the method is causal."""


def _autoencoder(
    train: Floats,
    readings: Floats,
    seed: int,
    how: _Windowed,
    network: Callable[[int, int], Any],
) -> tuple[Flags, Doubles]:
    import keras

    if min(len(train), len(readings)) < 2 * how.rows:
        raise ValueError(f"needs at least {2 * how.rows} rows, got {len(train)} to train and {len(readings)} to judge")
    fitted, values = (_windows(rows, how.rows) for rows in _standardised(train, readings))
    keras.utils.set_random_seed(seed)
    model = network(*fitted.shape[1:])
    model.compile(keras.optimizers.Adam(), how.loss)
    model.fit(
        fitted,
        fitted,
        epochs=EPOCHS,
        batch_size=32,
        validation_split=0.1,
        shuffle=how.shuffled,
        callbacks=[keras.callbacks.EarlyStopping(patience=5)],
        verbose=0,
    )
    limit = how.margin * np.quantile(_residuals(model, fitted), how.quantile)
    return _judged(by_covering_windows(_residuals(model, values) / limit, how.rows))


def _windows(values: Doubles, rows: int) -> Floats:
    """Every window, float32 [n - rows + 1, rows, C]."""
    return sliding_window_view(values, rows, axis=0).transpose(0, 2, 1).astype(np.float32)


def _residuals(model: Any, windows: Floats) -> Doubles:
    """Mean absolute error over the rows of a window, summed over the channels; one that overflows is the largest."""
    rebuilt = np.asarray(model.predict(windows, verbose=0), np.float64)
    residuals = np.abs(windows - rebuilt).mean(axis=1).sum(axis=1)
    return np.where(np.isfinite(residuals), residuals, np.finfo(np.float32).max)


def by_covering_windows(windows: Doubles, rows: int) -> Doubles:
    """Score a row by the lowest of the windows that cover it, but for the one that begins with it: the future.

    A row alarms when all of these do. The first `rows - 1` rows and the last `2 (rows - 1)` have too few windows by the
    leaderboard's count and never alarm there: they get 0.

    Args:
        windows: float64 [n - rows + 1], 0 or more, by the window's first row.
        rows: of a window.

    Returns:
        float64 [n].
    """
    scores = np.zeros(len(windows) + rows - 1)
    judged = slice(rows - 1, len(windows) - rows + 1)
    scores[judged] = sliding_window_view(windows, rows - 1).min(axis=1)[: judged.stop - judged.start]
    return scores


def _standardised(train: Floats, readings: Floats) -> tuple[Doubles, Doubles]:
    """Both with the mean and deviation of the training rows; channels that are constant there are left out."""
    varying = np.ptp(train, axis=0) > 0
    fitted, values = (array[:, varying].astype(np.float64) for array in (train, readings))
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    return (fitted - mean) / deviation, (values - mean) / deviation


def _covariance(values: Doubles) -> Doubles:
    return np.atleast_2d(np.cov(values, rowvar=False))


def _squared_lengths(values: Doubles, metric: NDArray[np.floating[Any]]) -> Doubles:
    return np.asarray(np.einsum("ni,ij,nj->n", values, metric, values))


def _t2_limit(rows: int, dimensions: int) -> float:
    from scipy.stats import f

    factor = dimensions * (rows - 1) * (rows + 1) / (rows * (rows - dimensions))
    return float(factor * f.ppf(CONTROL_SHARE, dimensions, rows - dimensions))


def _q_limit(residual_variance: float) -> float:
    from scipy.stats import norm

    exponent = 1 / 3
    inside = 1 + norm.ppf(CONTROL_SHARE) * exponent * np.sqrt(2) + exponent * (exponent - 1)
    return float(residual_variance * inside ** (1 / exponent))


def _trailing_median(values: Doubles, rows: int) -> Doubles:
    """Median of a row and those before it; of fewer at the start."""
    import pandas as pd

    return np.asarray(pd.Series(values).rolling(rows, min_periods=1).median(), np.float64)


def _judged(scores: Doubles) -> tuple[Flags, Doubles]:
    return scores > 1, scores
