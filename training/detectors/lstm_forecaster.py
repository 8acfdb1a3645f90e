"""LSTM forecaster, streaming: strange is what it did not expect, averaged over the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.network import train_network
from training.detectors.trailing import shrunk_covariance
from training.graph import Outputs, ScoreGraph, limited, score_and_contributions


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmForecasterSettings:
    """`[detector]` of type `lstm_forecaster`."""

    units: int = 24
    """Width of the LSTM."""
    sequence_rows: int = 48
    """Rows of the pieces it is trained on; about how far back it learns to look."""
    smoothing_rows: int = 20
    """Rows over which forecast errors are averaged (exponentially, with the same mean age as a plain mean)."""

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if self.units < 1 or self.sequence_rows < 2 or self.smoothing_rows < 1:  # noqa: PLR2004 - one row in, the next to forecast
            raise ValueError("units and smoothing_rows must be at least 1 and sequence_rows at least 2, "
                             f"got {self.units}, {self.smoothing_rows} and {self.sequence_rows}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """The trained network: gates in Keras's order (input, forget, candidate, output)."""

    kernel: Floats
    """float32 [C, 4 U]."""
    recurrent: Floats
    """float32 [U, 4 U]."""
    bias: Floats
    """float32 [4 U]."""
    out: Floats
    """float32 [U, C]."""
    out_bias: Floats
    """float32 [C]."""


class LstmForecaster(Detector[LstmForecasterSettings]):
    """One step of an LSTM cell a reading, with its state outside the graph.

        e_t = z_t - prediction_(t-1)                                 the forecast error, against the unsaturated reading
        s_t = (1 - a) limited(s_(t-1)) + a e_t                       its exponential mean, a = 2 / (smoothing_rows + 1)
        score_t = (s_t - m)' S^-1 (s_t - m) + range term             T-squared of the smoothed errors
        h_t, c_t = cell(z_t saturated, h_(t-1), c_(t-1)),   prediction_t = dense(h_t) clipped

    States: `h`, `c`, `prediction`, and `error` (s_t limited to the body's range, so that after a gross fault the score comes back
    within a few smoothing lengths). All start at 0 after a gap; the first `windows.warm_up` rows do not count.
    Given the past, e_t is linear in the reading, so the score is convex in it and rises with a growing fault.

    Trained on overlapping pieces of the training readings, each from the zero state (truncated back-propagation in time).

    Sources: P. Malhotra et al., "Long short term memory networks for anomaly detection in time series", ESANN 2015 (Gaussian over
    forecast errors); K. Hundman et al., "Detecting spacecraft anomalies using LSTMs and nonparametric dynamic
    thresholding", KDD 2018 (smoothed errors).
    """

    Settings = LstmForecasterSettings
    streaming = True
    has_body = True
    weights: Weights
    mean: Doubles
    """float64 [C] of the smoothed errors in training."""
    whiten: Doubles
    """float64 [C, C], the Cholesky factor of the precision of the smoothed errors."""

    @property
    def decay(self) -> float:
        """a, the weight of the newest error."""
        return 2 / (self.settings.smoothing_rows + 1)

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Train to forecast the next row, then learn what smoothed errors are usual."""
        layers = keras.layers
        sequences = [self.front.normalise(sequence) for sequence in data.sequences]
        pieces = np.concatenate([self._pieces(self.front.saturate(z)) for z in sequences])
        if not len(pieces):
            raise ValueError(f"no unbroken run of {self.settings.sequence_rows + 1} readings to train on: set a shorter detector.sequence_rows")
        network = keras.Sequential([keras.Input((None, self.channels)), layers.LSTM(self.settings.units, return_sequences=True),
                                    layers.Dense(self.channels)])
        guard = self.settings.sequence_rows // self._step
        curves = train_network(network, pieces[:, :-1], pieces[:, 1:], self.training, guard=guard, progress=progress)
        self.weights = Weights(**dict(zip(("kernel", "recurrent", "bias", "out", "out_bias"), network.get_weights(), strict=True)))
        smoothed = np.concatenate([self._smoothed_errors(network, z) for z in sequences])
        self.mean = smoothed.mean(axis=0)
        self.whiten = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(smoothed, None)))
        return curves

    @property
    def _step(self) -> int:
        """Rows between two pieces: each reading is seen in some eight of them."""
        return max(1, self.settings.sequence_rows // 8)

    def _pieces(self, z: Floats) -> Floats:
        """Overlapping pieces [n, sequence_rows + 1, C] of one run."""
        length = self.settings.sequence_rows + 1
        if len(z) < length:
            return np.empty((0, length, self.channels), np.float32)
        return np.lib.stride_tricks.sliding_window_view(z, length, axis=0)[:: self._step].transpose(0, 2, 1)

    def _smoothed_errors(self, network: keras.Model, z: Floats) -> Doubles:
        """s_t over one run [L, C], without its start: what the graph computes, for the whole run at once."""
        limit = self.front.body_range
        forecast = np.clip(network.predict(self.front.saturate(z)[None], verbose=0)[0], -limit, limit)
        errors = (z[1:] - forecast[:-1]).astype(np.float64)
        smoothed, state = np.empty_like(errors), np.zeros(self.channels)
        for row, error in enumerate(errors):
            smoothed[row] = (1 - self.decay) * state + self.decay * error
            state = np.clip(smoothed[row], -limit, limit)
        return smoothed[min(self.settings.smoothing_rows, len(smoothed) // 2):]

    def score_graph(self) -> ScoreGraph:
        """One step: score of the reading, and the states for the next."""
        units, channels = self.settings.units, self.channels

        def function(window: tf.Tensor, state_h: tf.Tensor, state_c: tf.Tensor, state_prediction: tf.Tensor, state_error: tf.Tensor) -> Outputs:
            z = tf.reshape(self.front.graph(window), [1, channels])
            hidden, cell, forecast = self._cell(self.front.body_input(z), state_h, state_c)
            with tf.name_scope("head"):
                smoothed = (1 - self.decay) * state_error + self.decay * (z - state_prediction)
                white = tf.matmul(smoothed - tf.constant(self.mean, tf.float32), tf.constant(self.whiten, tf.float32))
                pull = (smoothed - tf.constant(self.mean, tf.float32)) * tf.matmul(white, tf.constant(self.whiten.T, tf.float32))
                beyond = self.front.range_term(z)
                outputs = score_and_contributions(tf.concat([white * white, beyond], axis=1), tf.maximum(pull, 0.0) + beyond)
                return outputs | {
                    "state_h": hidden, "state_c": cell, "state_error": limited(smoothed, self.front.body_range),
                    "state_prediction": limited(forecast, self.front.body_range)}

        return ScoreGraph(function=function, inputs={
            "window": (1, 1, channels), "state_h": (1, units), "state_c": (1, units),
            "state_prediction": (1, channels), "state_error": (1, channels)})

    def _cell(self, x: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The LSTM cell and the forecast in scope `body`, with built-in operators only.

        Two products, not one of [x, h]: their int8 ranges differ by an order of magnitude.
        """
        weights = self.weights
        with tf.name_scope("body"):
            gates = tf.matmul(x, tf.constant(weights.kernel)) + tf.matmul(hidden, tf.constant(weights.recurrent)) + tf.constant(weights.bias)
            enter, forget, candidate, leave = tf.split(gates, 4, axis=1)
            cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(candidate)
            hidden = tf.sigmoid(leave) * tf.tanh(cell)
            return hidden, cell, tf.matmul(hidden, tf.constant(weights.out)) + tf.constant(weights.out_bias)
