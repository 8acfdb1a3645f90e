"""LSTM autoencoder over short windows, unrolled so that no operator keeps hidden state."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from training.detectors.autoencoder import Autoencoder
from training.graph import FrozenNetwork, unit

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


class LstmAutoencoder(Autoencoder[LstmAutoencoderSettings]):
    """Encoder and decoder LSTM; the decoder rebuilds the window newest row first, as in the source.

        code = LSTM(z limited and companded),   r = dense(LSTM(code, T times)),   score: see `CombinedIndex`

    Trained with the looped layers; the graph is built with the same weights unrolled over the T steps (built-in
    operators only, no state between calls).

    Source: P. Malhotra et al., "LSTM-based encoder-decoder for multi-sensor anomaly detection", ICML workshop 2016.
    """

    Settings = LstmAutoencoderSettings
    newest_first = True

    @classmethod
    def check(cls, settings: LstmAutoencoderSettings, rows: int) -> None:  # noqa: ARG003 - as of all
        """Refuse windows that would make the graph too large."""
        if rows > MOST_ROWS:
            raise ValueError(
                f"windows.rows must be at most {MOST_ROWS} for an lstm_autoencoder, got {rows}; "
                "take fewer rows, or an lstm_forecaster"
            )

    def build(self) -> keras.Model:
        """The network with looped layers."""
        return self._layers(unroll=False)

    def body(self) -> FrozenNetwork:
        """The same, unrolled."""
        unrolled = self._layers(unroll=True)
        unrolled.set_weights(self.network.get_weights())
        return FrozenNetwork(unrolled)

    def _layers(self, *, unroll: bool) -> keras.Model:
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
