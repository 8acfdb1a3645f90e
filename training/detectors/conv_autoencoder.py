"""One-dimensional convolutional autoencoder: strange is what it cannot rebuild, and what lies far off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from training.detectors.autoencoder import Autoencoder
from training.graph import unit

Activation = str | Callable[[tf.Tensor], tf.Tensor] | None

DOWNSAMPLING = 4
"""Two convolutions of stride 2: the window's rows must be a multiple."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvAutoencoderSettings:
    """`[detector]` of type `conv_autoencoder`."""

    filters: int = 32
    """Channels of the outer convolutions."""
    code: int = 8
    """Channels of the code, at a quarter of the rows: T / 4 x code figures must hold a window of T x C."""
    kernel: int = 7
    """Rows that a convolution sees."""

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if min(self.filters, self.code, self.kernel) < 1:
            raise ValueError(
                f"filters, code and kernel must be at least 1, got {self.filters}, {self.code} and {self.kernel}"
            )


class ConvAutoencoder(Autoencoder[ConvAutoencoderSettings]):
    """Autoencoder of strided convolutions; up-sampling by rearranging channels, which every accelerator has.

        r = decode(encode(z limited and companded)),   score: see `CombinedIndex`

    Sources: J. Masci et al., "Stacked convolutional auto-encoders for hierarchical feature extraction", ICANN 2011;
    W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network", CVPR 2016.
    """

    Settings = ConvAutoencoderSettings

    @classmethod
    def check(cls, settings: ConvAutoencoderSettings, rows: int) -> None:  # noqa: ARG003 - as of all
        """Refuse windows that do not halve twice."""
        if rows % DOWNSAMPLING:
            raise ValueError(f"windows.rows must be a multiple of {DOWNSAMPLING} for a conv_autoencoder, got {rows}")

    def build(self) -> keras.Model:
        """The network, [n, T, C] to [n, T, C]."""
        layers, settings = keras.layers, self.settings

        def convolution(filters: int, stride: int = 1, activation: Activation = None) -> keras.Layer:
            return layers.Conv1D(filters, settings.kernel, strides=stride, padding="same", activation=activation)

        return keras.Sequential(
            [
                keras.Input((self.rows, self.channels)),
                convolution(settings.filters, 2, "relu"),
                convolution(settings.code, 2, "relu"),
                convolution(2 * settings.filters, 1, "relu"),
                layers.Reshape((self.rows // 2, settings.filters)),
                convolution(2 * self.channels, activation=unit),
                layers.Reshape((self.rows, self.channels)),
            ]
        )
