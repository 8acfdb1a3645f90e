"""LSTM autoencoder over short windows, unrolled so that no operator keeps hidden state."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.combined_index import CombinedIndex
from training.detectors.network import Examples, train_network
from training.detectors.residual import Residual
from training.graph import HEAD, FrozenNetwork, Outputs, ScoreGraph, unit

MOST_ROWS = 32
"""Longest window: two unrolled LSTMs of 32 steps are some 1,000 operators. The forecaster has a longer memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmAutoencoderSettings:
    """`[detector]` of type `lstm_autoencoder`."""

    units: int = 16
    """Width of both LSTMs; the last state of the first is the code of the window."""

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if self.units < 1:
            raise ValueError(f"units must be at least 1, got {self.units}")


class LstmAutoencoder(Detector[LstmAutoencoderSettings]):
    """Encoder and decoder LSTM; the decoder rebuilds the window newest row first, as in the source.

        code = LSTM(z limited and companded),   r = dense(LSTM(code, T times)),   score: see `CombinedIndex`

    Trained with the looped layers; the graph is built with the same weights unrolled over the T steps (built-in
    operators only, no state between calls).

    Source: P. Malhotra et al., "LSTM-based encoder-decoder for multi-sensor anomaly detection", ICML workshop 2016.
    """

    Settings = LstmAutoencoderSettings
    has_body = True
    weights: list[Floats]
    index: CombinedIndex

    @classmethod
    def check(cls, settings: LstmAutoencoderSettings, rows: int) -> None:  # noqa: ARG003 - as of all
        """Refuse windows that would make the graph too large."""
        if rows > MOST_ROWS:
            raise ValueError(
                f"windows.rows must be at most {MOST_ROWS} for an lstm_autoencoder, got {rows}; "
                "take fewer rows, or an lstm_forecaster"
            )

    def build(self, *, unroll: bool) -> keras.Model:
        """The network, [n, T, C] to [n, T, C]."""
        layers, units = keras.layers, self.settings.units
        return keras.Sequential(
            [
                keras.Input((self.rows, self.channels), batch_size=1 if unroll else None),
                layers.LSTM(units, unroll=unroll),
                layers.RepeatVector(self.rows),
                layers.LSTM(units, return_sequences=True, unroll=unroll),
                layers.Dense(self.channels, activation=unit),
            ]
        )

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Train to rebuild normal windows, and the normal ones behind faulty ones, newest row first."""
        z = self.front.normalise(data.windows)
        residual = Residual.fit(self.front, z)
        looped = self.build(unroll=False)
        scaled = keras.Sequential([looped, residual.reach.scaling()])

        def newest_first(windows: Floats, rng: np.random.Generator | None) -> Examples:
            given, wanted = residual.examples(windows, rng)
            return given, wanted[:, ::-1]

        curves = train_network(scaled, z, newest_first, self.training, guard=self.rows - 1, progress=progress)
        self.weights = looped.get_weights()

        def rebuild(windows: Floats) -> Floats:
            return np.asarray(looped.predict(residual.seen(windows), verbose=0))[:, ::-1]

        self.index = CombinedIndex.fit(residual, z, rebuild)
        return curves

    def score_graph(self) -> ScoreGraph:
        """Combined index of the window."""
        network = self.build(unroll=True)
        network.set_weights(self.weights)
        body = FrozenNetwork(network)

        def function(window: tf.Tensor) -> Outputs:
            z = self.front.graph(window)
            rebuilt = body.graph(self.index.residual.body_input(z))
            with tf.name_scope(HEAD):
                oldest_first = tf.reverse(rebuilt, axis=[1])
            return self.index.graph(z, oldest_first)

        return ScoreGraph(function=function, inputs={"window": (1, self.rows, self.channels)})
