"""Clip detector with a convolutional LSTM: strange is a frame that all before it did not announce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf

from training.graph import BODY
from training.images.clips import ClipDetector, ClipSettings, States


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLstmSettings(ClipSettings):
    """`[detector]` of type `clip_lstm`."""


class ClipLstm(ClipDetector[ClipLstmSettings]):
    """One step of an LSTM a frame, whose gates are convolutions over the cells beside; see `training.images.clips`.

        i, f, g, o = split(kernel * code_t + recurrent * h_(t-1) + bias)
        c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(c_t)

    States: `h` and `c`. It can know what a convolution over a few frames cannot, such as how long something has stood
    still; it takes longer to train and, after a disturbance, to forget.

    Source: X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W. Wong and W. Woo, "Convolutional LSTM network: a machine learning
    approach for precipitation nowcasting", NeurIPS 2015 (here without peepholes).
    """

    Settings = ClipLstmSettings

    @property
    def warm_up(self) -> int:
        """As many frames as the pieces it was trained on: behind that, its forecasts are those it was trained for."""
        return self.settings.sequence_frames

    def temporal_layer(self) -> keras.Layer:
        """From the zero state on."""
        return keras.layers.ConvLSTM2D(
            self.settings.hidden, 3, padding="same", recurrent_activation="sigmoid", return_sequences=True
        )

    @property
    def temporal_states(self) -> Mapping[str, tuple[int, ...]]:
        """Output and cell."""
        return dict.fromkeys(("h", "c"), (1, *self.grid, self.settings.hidden))

    def step(self, code: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """With built-in operators; two convolutions, not one of [code, h], since their int8 ranges differ."""
        kernel, recurrent, bias = self.temporal
        with tf.name_scope(BODY):
            gates = tf.nn.conv2d(code, kernel, 1, "SAME") + tf.nn.conv2d(states["h"], recurrent, 1, "SAME") + bias
            enter, forget, candidate, leave = tf.split(gates, 4, axis=3)
            cell = tf.sigmoid(forget) * states["c"] + tf.sigmoid(enter) * tf.tanh(candidate)
            hidden = tf.sigmoid(leave) * tf.tanh(cell)
            return hidden, {"h": hidden, "c": cell}
