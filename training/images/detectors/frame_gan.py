"""Autoencoder trained against a critic: strange is what it cannot rebuild, and a code that does not come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from training.images.coders import HALVINGS, WIDEST, convolved, decoder, encoder
from training.images.detector import Curves
from training.images.folders import Pixels
from training.images.network import train_on_frames
from training.images.rebuilding import Rebuilding, RebuildingSettings

FIRST_MOMENT = 0.5
"""Decay of Adam's mean of gradients: with the usual 0.9 the two networks circle each other (Radford et al. 2016)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGanSettings(RebuildingSettings):
    """`[detector]` of type `frame_gan`."""

    pasted: float = 0.0
    """As of the others; a code that passes over patches could not tell of them."""
    adversarial: float = 1.0
    """Weight of the difference in the critic's features."""
    contextual: float = 50.0
    """Weight of the difference of pixels, half ranges; these three weights are those of GANomaly."""
    latent: float = 1.0
    """Weight of the difference of the codes."""
    code_share: float = 0.1
    """Of the score, 0 to 1, that the difference of the codes tells; the rest is the map's."""

    def __post_init__(self) -> None:
        """Refuse weights that mean nothing."""
        RebuildingSettings.__post_init__(self)
        weights = (self.adversarial, self.contextual, self.latent)
        if min(weights) < 0 or self.contextual == 0 or not 0 <= self.code_share <= 1:
            raise ValueError(
                "adversarial and latent must be 0 or more, contextual above 0 and code_share 0 to 1, "
                f"got {weights} and {self.code_share}"
            )


class FrameGan(Rebuilding[FrameGanSettings]):
    """Frame x to code z, to frame x', to code z'.

        loss    w_a |f(x) - f(x')|^2 + w_c |x - x'| + w_l |z - z'|^2,   f: features of the critic, means
        critic  cross-entropy of telling x from x'
        score   (1 - b) map's score + b mean of (z - z')^2 / its usual one; map: see `training.images.rebuilding`

    Source: S. Akcay, A. Atapour-Abarghouei and T. P. Breckon, "GANomaly: semi-supervised anomaly detection via
    adversarial training", ACCV 2018. There the codes alone are the score, scaled over the frames judged. Learned from
    tens of frames they come back as well, or as badly, of strange ones (`code_share = 1` and the bench show it), so
    here most of the score is the map's, in units of what is usual in normal frames.
    """

    Settings = FrameGanSettings

    @property
    def code_share(self) -> float:
        """Of the score."""
        return self.settings.code_share

    def train(self, normal: Pixels, stopping: Pixels, *, progress: bool) -> Curves:
        """Train both networks in turn."""
        size, filters, code = (self.height, self.width), self.settings.filters, self.settings.code
        encode, again = (encoder(*size, filters=filters, codes=(code,)) for _ in range(2))
        frames = keras.Input((*size, 3))
        z = encode(frames)
        rebuilt = decoder(*size, filters=filters, code=code)(z)
        self.network = keras.Model(frames, [rebuilt, z, again(rebuilt)])
        model = Adversaries(self.network, critic(*size, filters=filters), self.settings)
        return train_on_frames(model, normal, stopping, self.examples, self.training, loss=None, progress=progress)

    def code_strangeness(self, outputs: list[tf.Tensor]) -> tf.Tensor:
        """Mean squared difference [n] of the two codes."""
        return tf.reduce_mean(tf.math.squared_difference(outputs[1], outputs[2]), axis=1)


def critic(height: int, width: int, *, filters: int) -> keras.Model:
    """From frames [n, H, W, 3] to features [n, d] and the log-odds [n, 1] that they are real."""
    x = frames = keras.Input((height, width, 3))
    for halving in range(HALVINGS):
        x = convolved(x, filters * min(2**halving, WIDEST), stride=2)
    features = keras.layers.Flatten()(x)
    return keras.Model(frames, [features, keras.layers.Dense(1)(features)])


class Adversaries(keras.Model):  # type: ignore[misc]
    """Trains the network that rebuilds and the critic, one step each a batch."""

    def __init__(self, network: keras.Model, critic: keras.Model, settings: FrameGanSettings) -> None:
        """Keep both networks."""
        super().__init__()
        self.network, self.critic = network, critic
        self._settings = settings
        self._cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self._mean_loss = keras.metrics.Mean("loss")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss without the critic's part, which is of no fixed scale."""
        return [self._mean_loss]

    def compile(self, optimizer: keras.optimizers.Adam, loss: None = None) -> None:
        """An optimizer for each, of the same learning rate; the losses are those of the class."""
        rate = float(optimizer.learning_rate)
        super().compile(keras.optimizers.Adam(rate, beta_1=FIRST_MOMENT), loss)
        self._critics_optimizer = keras.optimizers.Adam(rate, beta_1=FIRST_MOMENT)
        self._critics_optimizer.build(self.critic.trainable_variables)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One batch of frames given and wanted."""
        given, wanted = data
        with tf.GradientTape() as tape:
            rebuilt, z, again = self.network(given, training=True)
            seen, made = self.critic(wanted, training=True)[0], self.critic(rebuilt, training=True)[0]
            adversarial = tf.reduce_mean(tf.math.squared_difference(seen, made))
            loss = self._rebuilding_loss(wanted, rebuilt, z, again)
            total = loss + self._settings.adversarial * adversarial
        _descend(self.optimizer, tape, total, self.network.trainable_variables)
        with tf.GradientTape() as tape:
            real, fake = (self.critic(frames, training=True)[1] for frames in (wanted, tf.stop_gradient(rebuilt)))
            told = self._cross_entropy(tf.ones_like(real), real) + self._cross_entropy(tf.zeros_like(fake), fake)
        _descend(self._critics_optimizer, tape, told, self.critic.trainable_variables)
        return self._noted(loss)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One batch of frames held back."""
        given, wanted = data
        return self._noted(self._rebuilding_loss(wanted, *self.network(given, training=False)))

    def _noted(self, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        self._mean_loss.update_state(loss)
        return {"loss": self._mean_loss.result()}

    def _rebuilding_loss(self, wanted: tf.Tensor, rebuilt: tf.Tensor, z: tf.Tensor, again: tf.Tensor) -> tf.Tensor:
        contextual = tf.reduce_mean(tf.abs(wanted - rebuilt))
        latent = tf.reduce_mean(tf.math.squared_difference(z, again))
        return self._settings.contextual * contextual + self._settings.latent * latent


def _descend(
    optimizer: keras.optimizers.Optimizer, tape: tf.GradientTape, loss: tf.Tensor, variables: list[Any]
) -> None:
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
