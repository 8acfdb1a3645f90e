"""Convolutional autoencoder of frames, trained from nothing: strange is what it cannot rebuild."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from training.images.coders import decoder, encoder
from training.images.detector import Curves
from training.images.folders import Pixels
from training.images.network import train_on_frames
from training.images.rebuilding import Rebuilding, RebuildingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameAutoencoderSettings(RebuildingSettings):
    """`[detector]` of type `frame_autoencoder`."""


class FrameAutoencoder(Rebuilding[FrameAutoencoderSettings]):
    """Code and frame again; map and score: see `training.images.rebuilding`.

    Source: J. Masci, U. Meier, D. Ciresan and J. Schmidhuber, "Stacked convolutional auto-encoders for hierarchical
    feature extraction", ICANN 2011; here with a code without places, and trained to repair.
    """

    Settings = FrameAutoencoderSettings

    def train(self, normal: Pixels, stopping: Pixels, *, progress: bool) -> Curves:
        """Train to rebuild and repair."""
        size, filters, code = (self.height, self.width), self.settings.filters, self.settings.code
        encode, decode = encoder(*size, filters=filters, codes=(code,)), decoder(*size, filters=filters, code=code)
        self.network = keras.Model(encode.input, decode(encode.output))
        return train_on_frames(
            self.network, normal, stopping, self.examples, self.training, loss=self.loss, progress=progress
        )
