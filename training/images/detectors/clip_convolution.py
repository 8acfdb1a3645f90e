"""Clip detector with a convolution over frames: strange is a frame that the few before it did not announce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf

from training.graph import BODY
from training.images.clips import ClipDetector, ClipSettings, States


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConvolutionSettings(ClipSettings):
    """`[detector]` of type `clip_convolution`."""

    frames: int = 4
    """Frames that a forecast is made of; 2 tell a direction, 3 whether it changes."""

    def __post_init__(self) -> None:
        """Refuse pieces that give no forecast."""
        super(ClipConvolutionSettings, self).__post_init__()
        if not 2 <= self.frames <= self.sequence_frames:
            raise ValueError(f"frames must be 2 to sequence_frames ({self.sequence_frames}), got {self.frames}")


class ClipConvolution(ClipDetector[ClipConvolutionSettings]):
    """Causal convolution over the codes of `frames` frames and the cells beside; see `training.images.clips`.

    State: `past`, the codes of the frames before, oldest first. What came earlier is forgotten, so that a disturbance
    is over after as many frames, and the score frame by frame is that over windows of frames.

    Source: D. Tran, L. Bourdev, R. Fergus, L. Torresani and M. Paluri, "Learning spatiotemporal features with 3D
    convolutional networks", ICCV 2015.
    """

    Settings = ClipConvolutionSettings

    @property
    def warm_up(self) -> int:
        """Frames of which a whole forecast is made."""
        return self.settings.frames

    def temporal_layer(self) -> keras.Layer:
        """Over frames without padding, over cells with."""
        around = keras.layers.ZeroPadding3D((0, 1, 1))
        size = (self.settings.frames, 3, 3)
        return keras.Sequential([around, keras.layers.Conv3D(self.settings.hidden, size, activation="relu")])

    @property
    def temporal_states(self) -> Mapping[str, tuple[int, ...]]:
        """The tail of the codes, side by side as channels."""
        return {"past": (1, *self.grid, (self.settings.frames - 1) * self.settings.code)}

    def step(self, code: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """A convolution over cells alone, since frames lie side by side as channels."""
        kernel, bias = self.temporal
        frames, rows, columns, channels, hidden = kernel.shape
        beside = kernel.transpose(1, 2, 0, 3, 4).reshape(rows, columns, frames * channels, hidden)
        with tf.name_scope(BODY):
            codes = tf.concat([states["past"], code], axis=3)
            return tf.nn.relu(tf.nn.conv2d(codes, beside, 1, "SAME") + bias), {"past": codes[..., channels:]}
