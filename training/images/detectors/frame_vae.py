"""Variational autoencoder of frames: strange is what it cannot rebuild, and a code far from those of normal frames."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from training.images.coders import decoder, encoder
from training.images.detector import Curves
from training.images.folders import Pixels
from training.images.network import train_on_frames
from training.images.rebuilding import Rebuilding, RebuildingSettings

LARGEST_LOG_VARIANCE = 8.0
"""Either way: a code of a spread of 50 or of a fiftieth says nothing, or is exact; beyond, exp() runs away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameVaeSettings(RebuildingSettings):
    """`[detector]` of type `frame_vae`."""

    divergence: float = 1e-4
    """Weight of the divergence of the codes in the loss, per nat, against the squared difference of pixels in half
    ranges: more makes codes alike and frames blurred."""
    code_share: float = 0.5
    """Of the score, 0 to 1, that the divergence of the code tells; the rest is the map's."""

    def __post_init__(self) -> None:
        """Refuse weights that mean nothing."""
        RebuildingSettings.__post_init__(self)
        if self.divergence < 0 or not 0 <= self.code_share <= 1:
            raise ValueError(
                f"divergence must be 0 or more and code_share 0 to 1, got {self.divergence} and {self.code_share}"
            )


class FrameVae(Rebuilding[FrameVaeSettings]):
    """The code is a Gaussian N(m, s^2) for each figure, drawn in training; its mean is decoded on the device.

        divergence   KL(N(m, s^2) || N(0, 1)), sum over the code, nats
        score        (1 - b) map's score + b divergence / usual divergence

    Sources: D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR 2014; of scoring by both J. An and
    S. Cho, "Variational autoencoder based anomaly detection using reconstruction probability", 2015 (there by drawing
    codes; here the mean of the code, so that a frame always has one score).
    """

    Settings = FrameVaeSettings

    @property
    def code_share(self) -> float:
        """B."""
        return self.settings.code_share

    def train(self, normal: Pixels, stopping: Pixels, *, progress: bool) -> Curves:
        """Train to rebuild and repair from codes that are drawn."""
        size, filters, code = (self.height, self.width), self.settings.filters, self.settings.code
        encode, decode = encoder(*size, filters=filters, codes=(code, code)), decoder(*size, filters=filters, code=code)
        mean, log_variance = encode.output
        self.network = keras.Model(encode.input, [decode(mean), mean, log_variance])
        drawn = Drawn(self.settings.divergence, self.training.seed)(encode.output)
        model = keras.Model(encode.input, decode(drawn))
        return train_on_frames(model, normal, stopping, self.examples, self.training, loss=self.loss, progress=progress)

    def code_strangeness(self, outputs: list[tf.Tensor]) -> tf.Tensor:
        """Divergence of the code [n], nats."""
        return divergence(outputs[1], outputs[2])


class Drawn(keras.layers.Layer):  # type: ignore[misc]
    """Draw codes in training, and add their divergence to the loss."""

    def __init__(self, weight: float, seed: int) -> None:
        """Weight per nat."""
        super().__init__()
        self._weight, self._seed = weight, keras.random.SeedGenerator(seed)

    def call(self, inputs: list[tf.Tensor], training: bool = False) -> tf.Tensor:
        """Codes [n, k] of means and logarithms of variances [n, k]; the means where it is not training."""
        mean, log_variance = inputs
        self.add_loss(self._weight * tf.reduce_mean(divergence(mean, log_variance)))
        if not training:
            return mean
        deviation = tf.exp(0.5 * limited_log(log_variance))
        return mean + deviation * keras.random.normal(keras.ops.shape(mean), seed=self._seed)


def divergence(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - ln s^2) / 2, sum over [n, k], in nats [n]."""
    logs = limited_log(log_variance)
    return 0.5 * tf.reduce_sum(mean * mean + tf.exp(logs) - 1.0 - logs, axis=1)


def limited_log(log_variance: tf.Tensor) -> tf.Tensor:
    """Within what exp() takes."""
    return tf.minimum(tf.maximum(log_variance, -LARGEST_LOG_VARIANCE), LARGEST_LOG_VARIANCE)
