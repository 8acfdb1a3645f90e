"""LSTM forecaster, streaming: strange is what it did not expect over the last rows, and what lies far off."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats
from training.data import DataError
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.combined_index import t_squared
from training.detectors.denoising import noisy
from training.detectors.network import Examples, train_network
from training.detectors.on_features import Quadratic
from training.graph import BODY, FRONT, HEAD, Outputs, Reach, ScoreGraph, score_and_contributions, unit

INT8_STEPS = 127
"""Steps of int8 from 0 to an end of its range: the rounding of a forecast within the reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmForecasterSettings:
    """`[detector]` of type `lstm_forecaster`."""

    units: int = 24
    """Width of the LSTM."""
    sequence_rows: int = 48
    """Rows of the pieces it is trained on; about how far back it learns to look."""
    smoothing_rows: int = 20
    """Rows over which forecast errors and readings are averaged (exponentially, with the mean age of a plain mean)."""

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if self.units < 1 or self.sequence_rows < 2 or self.smoothing_rows < 1:
            raise ValueError(
                "units and smoothing_rows must be at least 1 and sequence_rows at least 2, "
                f"got {self.units}, {self.smoothing_rows} and {self.sequence_rows}"
            )


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

    def graph(self, x: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One step in scope `body`, with built-in operators only: states h and c, and the forecast within -1..1.

        Two products, not one of [x, h]: their int8 ranges differ by an order of magnitude.
        """
        with tf.name_scope(BODY):
            gates = (
                tf.matmul(x, tf.constant(self.kernel))
                + tf.matmul(hidden, tf.constant(self.recurrent))
                + tf.constant(self.bias)
            )
            enter, forget, candidate, leave = tf.split(gates, 4, axis=1)
            cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(candidate)
            hidden = tf.sigmoid(leave) * tf.tanh(cell)
            return hidden, cell, unit(tf.matmul(hidden, tf.constant(self.out)) + tf.constant(self.out_bias))


class LstmForecaster(Detector[LstmForecasterSettings]):
    """One step of an LSTM cell a reading, with its state outside the graph.

        e_t = z_t - prediction_(t-1)                                 the forecast error, against the unsaturated reading
        s_t = (1 - a) s_(t-1) + a e_t                                its exponential mean, a = 2 / (smoothing_rows + 1)
        l_t = (1 - a) l_(t-1) + a z_t                                the exponential mean of the reading itself
        score_t = T2(s_t) / its limit + T2(l_t) / its limit + sum r_t         T2(x) = (x - m)' S^-1 (x - m)
        h_t, c_t = cell(z_t limited and companded, h_(t-1), c_(t-1)),   prediction_t = dense(h_t) limited

        r_t = (1 - a) r_(t-1) + a steepness range term(z_t)          its exponential mean

    States: `h`, `c`, `prediction`, `error` (s_t), `level` (l_t) and `range` (r_t). All start at 0 after a gap; the
    first `windows.warm_up` rows do not count. A forecast follows a level that stays; T-squared of the level does not.
    Each is measured in its limit, as in `CombinedIndex`.

    Why a fault that grows beyond the reach of the training readings (`Reach`) never lowers the score: the cell sees and
    forecasts within it alone, so there the forecasts stand still, s_t is linear in the readings and T-squared convex;
    and r_t, weighted by the largest growth of T-squared with a squared error, outgrows what is left of their influence.
    The price is a long memory of absurd readings, some 6 smoothing lengths after 1e6 spreads.

    S of the errors is that of training and of the rounding of an int8 forecast, one step of it: T-squared must not look
    finer than the graph computes.

    Trained on overlapping pieces of the training readings, each from the zero state (truncated back-propagation in
    time). Unlike an autoencoder it is not taught to leave faults out: it would not follow slow drift either.

    Sources: P. Malhotra et al., "Long short term memory networks for anomaly detection in time series", ESANN 2015
    (Gaussian over forecast errors); K. Hundman et al., "Detecting spacecraft anomalies using LSTMs and nonparametric
    dynamic thresholding", KDD 2018 (smoothed errors).
    """

    Settings = LstmForecasterSettings
    streaming = True
    has_body = True
    weights: Weights
    reach: Reach
    """What the cell sees, and what it may forecast."""
    error: Quadratic
    """T-squared of the smoothed errors over its limit."""
    level: Quadratic
    """T-squared of the smoothed readings over its limit."""

    @property
    def decay(self) -> float:
        """a, the weight of the newest row in every exponential mean."""
        return 2 / (self.settings.smoothing_rows + 1)

    @property
    def steepness(self) -> float:
        """Largest growth of T-squared over its limit with a squared error: the weight of the range term."""
        return float(np.linalg.norm(self.error.root, 2) ** 2)

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Train to forecast the next row, then learn what smoothed errors and levels are usual."""
        layers = keras.layers
        sequences = [self.front.normalise(sequence) for sequence in data.sequences]
        self.reach = Reach.fit(np.concatenate(sequences), self.front.body_range)
        pieces = np.concatenate([self._pieces(self.reach.limit(z)) for z in sequences])
        if not len(pieces):
            raise DataError(
                f"no unbroken run of {self.settings.sequence_rows + 1} readings to train on: "
                "set a shorter detector.sequence_rows"
            )
        network = keras.Sequential(
            [
                keras.Input((None, self.channels)),
                layers.LSTM(self.settings.units, return_sequences=True),
                layers.Dense(self.channels, activation=unit),
                self.reach.scaling(),
            ]
        )
        guard = self.settings.sequence_rows // self._step
        curves = train_network(network, pieces, self._next_rows, self.training, guard=guard, progress=progress)
        self.weights = Weights(
            **dict(zip(("kernel", "recurrent", "bias", "out", "out_bias"), network.get_weights(), strict=True))
        )
        errors = np.concatenate([self._smoothed(self._errors(network, z)) for z in sequences])
        rounding = np.diag((self.reach.half.astype(np.float64) / INT8_STEPS) ** 2)
        self.error = t_squared(errors, self.settings.smoothing_rows, rounding)
        self.level = t_squared(np.concatenate([self._smoothed(z) for z in sequences]), self.settings.smoothing_rows)
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

    def _seen(self, z: Floats) -> Floats:
        """What the cell sees of z [..., C], in numpy."""
        return self.front.seen(self.reach.limit(z))

    def _next_rows(self, pieces: Floats, rng: np.random.Generator | None) -> Examples:
        """Given all rows but the last of each piece [n, L, C], noisy in training, forecast all but the first."""
        given = self._seen(pieces[:, :-1])
        return (given if rng is None else noisy(given, rng)), pieces[:, 1:]

    def _errors(self, network: keras.Model, z: Floats) -> Floats:
        """e_t over one run [L, C], without its first row."""
        forecast = network.predict(self._seen(z)[np.newaxis], verbose=0)[0]
        return np.asarray(z[1:] - forecast[:-1])

    def _smoothed(self, values: Floats) -> Doubles:
        """Exponential means over one run [L, C], without its start: what the graph computes, for the run at once."""
        smoothed, state = np.empty(values.shape), np.zeros(self.channels)
        for row, value in enumerate(values.astype(np.float64)):
            state = smoothed[row] = (1 - self.decay) * state + self.decay * value
        return smoothed[min(self.settings.smoothing_rows, len(smoothed) // 2) :]

    def score_graph(self) -> ScoreGraph:
        """One step: score of the reading, and the states for the next."""
        units, channels = self.settings.units, self.channels

        def function(  # noqa: PLR0917 - traced by name
            window: tf.Tensor,
            state_h: tf.Tensor,
            state_c: tf.Tensor,
            state_prediction: tf.Tensor,
            state_error: tf.Tensor,
            state_level: tf.Tensor,
            state_range: tf.Tensor,
        ) -> Outputs:
            z = self.front.graph(window)
            with tf.name_scope(FRONT):
                z = tf.reshape(z, [1, channels])
                seen = self.front.body_input(self.reach.graph(z))
            hidden, cell, forecast = self.weights.graph(seen, state_h, state_c)
            with tf.name_scope(HEAD):
                error = (1 - self.decay) * state_error + self.decay * (z - state_prediction)
                level = (1 - self.decay) * state_level + self.decay * z
                beyond = (1 - self.decay) * state_range + self.decay * self.front.range_term(z) * self.steepness
                outputs = score_and_contributions(
                    tf.concat([self.error.parts(error), self.level.parts(level), beyond], axis=1),
                    tf.maximum(self.error.pull(error), 0.0) + tf.maximum(self.level.pull(level), 0.0) + beyond,
                )
                return outputs | {
                    "state_h": hidden,
                    "state_c": cell,
                    "state_error": error,
                    "state_level": level,
                    "state_range": beyond,
                    "state_prediction": self.reach.answer(forecast),
                }

        return ScoreGraph(
            function=function,
            inputs={
                "window": (1, 1, channels),
                "state_h": (1, units),
                "state_c": (1, units),
                "state_prediction": (1, channels),
                "state_error": (1, channels),
                "state_level": (1, channels),
                "state_range": (1, channels),
            },
        )
