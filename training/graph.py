"""The score graph: one face for every detector, built of three scopes.

    window [1, T, C], raw units
      │ front   normalise; clamp at +-1e6 spreads                                   float32
      ├─────────────► z
      │ front   saturate at +-body_range, compand                                     float32
      ▼
    body            the network: reconstruction or forecast, within +-1 of its reach   int8 in a quantized build
      │
      ▼
    head            residual against the unsaturated z; range term; score, contributions   float32

The scopes are names in the graph: the converter keeps every operator outside `body` in float. The head never sees the
quantized window, and the range term grows outside `body_range`, so that a fault that grows never lowers the score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.features import CLAMP
from edge_agent.contract.records import Doubles, Floats
from training.recipe import Scaling

SMALLEST_SPREAD = 1e-3
"""Spread of a channel that never moved in training, as a share of its magnitude: a change by 0.1 % is one spread."""

FLOAT32_STEPS = 8
"""Fewest float32 steps in one spread: a finer spread would make rounding of the reading look like a signal."""

KNEE_SPREADS = 2.0
"""Where companding halves: normal data lie within some 3 spreads and int8 has 255 even steps. Without companding a step
over +-20 spreads is 0.16, more than the noise of a channel that mostly drifts; with it, 0.014 around the centre."""

QUARTILE_RANGE = 1.349
"""Between the quartiles of a standard Gaussian."""

TINY = 1e-30
"""Keeps the shares of an all-zero window finite; far below any squared residual in float32 that matters."""

FRONT, BODY, HEAD = "front/", "body/", "head/"
"""Name scopes; the slash makes TensorFlow enter the same scope again instead of a numbered one beside it."""

Outputs = dict[str, tf.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Normalisation: z = (reading - centre) / spread, clamped."""

    centre: Doubles
    """float64 [C] in the channels' units."""
    spread: Doubles
    """float64 [C] in the channels' units, above 0."""
    body_range: float
    """Spreads at which the body's input saturates."""

    @classmethod
    def fit(cls, rows: Floats, method: Scaling, body_range: float) -> Front:
        """Estimate centre and spread of each channel from the training rows [n, C]; missing values are left out."""
        values = rows.astype(np.float64)
        centre, spread = centre_and_spread(values, method)
        magnitude = np.maximum(np.abs(centre), np.nanmax(np.abs(values), axis=0))
        resting = np.where(magnitude > 0, SMALLEST_SPREAD * magnitude, 1.0)
        spread = np.where(spread > 0, spread, resting)
        return cls(
            centre=centre,
            spread=np.maximum(spread, FLOAT32_STEPS * np.spacing(magnitude.astype(np.float32))),
            body_range=body_range,
        )

    def normalise(self, values: Floats) -> Floats:
        """Z of readings [..., C] in numpy: what the fit sees, and what `graph` computes."""
        z = (values - self.centre.astype(np.float32)) * (1 / self.spread).astype(np.float32)
        return np.clip(z, -CLAMP, CLAMP).astype(np.float32)

    def seen(self, z: Floats) -> Floats:
        """What the body sees of z, in numpy: saturated and companded, as `body_input` computes it."""
        limited_z = np.clip(z, -self.body_range, self.body_range)
        return (limited_z / (1 + np.abs(limited_z) / KNEE_SPREADS)).astype(np.float32)

    def graph(self, window: tf.Tensor) -> tf.Tensor:
        """Z of the window in the graph, scope `front`."""
        with tf.name_scope(FRONT):
            z = (window - tf.constant(self.centre, tf.float32)) * tf.constant(1 / self.spread, tf.float32)
            return limited(z, CLAMP)

    def body_input(self, z: tf.Tensor) -> tf.Tensor:
        """Z saturated at the body's range and companded (softsign) in the graph, scope `front`."""
        with tf.name_scope(FRONT):
            limited_z = limited(z, self.body_range)
            return limited_z / (1.0 + tf.abs(limited_z) * (1 / KNEE_SPREADS))

    def range_term(self, z: tf.Tensor) -> tf.Tensor:
        """Per value of z: 0 inside the body's range, excess + excess^2 outside; call it in scope `head`."""
        excess = tf.maximum(tf.abs(z) - self.body_range, 0.0)
        return excess + excess * excess


def centre_and_spread(values: Doubles, method: Scaling) -> tuple[Doubles, Doubles]:
    """Centre and spread [D] of the columns of [n, D], NaN left out; the spread of a column that never moves is 0.

    `robust`: median and interquartile range / QUARTILE_RANGE, at least a tenth of the standard deviation, since a
    channel that mostly rests has no interquartile range. `standard`: mean and standard deviation.
    """
    deviation = np.nanstd(values, axis=0)
    if method is Scaling.STANDARD:
        return np.nanmean(values, axis=0), deviation
    low, centre, high = np.nanpercentile(values, [25, 50, 75], axis=0)
    return centre, np.maximum((high - low) / QUARTILE_RANGE, 0.1 * deviation)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reach:
    """How far the channels went in training, and half as far again: what a body may be asked and may answer.

    A network knows nothing of what lies beyond; an answer from there could fall as a fault grows.
    """

    low: Floats
    """float32 [C], in training spreads."""
    high: Floats
    """float32 [C], in training spreads."""

    @classmethod
    def fit(cls, z: Floats, body_range: float) -> Reach:
        """Of normalised training rows [..., C], within the body's range."""
        low, high = z.reshape(-1, z.shape[-1]).min(axis=0), z.reshape(-1, z.shape[-1]).max(axis=0)
        margin = (high - low) / 2
        return cls(low=np.maximum(low - margin, -body_range), high=np.minimum(high + margin, body_range))

    def scaling(self) -> keras.Layer:
        """From the answer of a body, -1..1, to spreads; what training adds behind the body."""
        return keras.layers.Rescaling(self.half.tolist(), self.middle.tolist())

    @property
    def half(self) -> Floats:
        """Half the width, float32 [C]."""
        return ((self.high - self.low) / 2).astype(np.float32)

    @property
    def middle(self) -> Floats:
        """Float32 [C]."""
        return ((self.high + self.low) / 2).astype(np.float32)

    def answer(self, values: tf.Tensor) -> tf.Tensor:
        """From the answer of a body, -1..1, to spreads, in the graph; call it in scope `head`."""
        return values * tf.constant(self.half) + tf.constant(self.middle)

    def limit(self, values: Floats) -> Floats:
        """Clip [..., C] in numpy."""
        return np.clip(values, self.low, self.high)

    def graph(self, values: tf.Tensor) -> tf.Tensor:
        """Clip [..., C] in the graph."""
        return tf.minimum(tf.maximum(values, tf.constant(self.low)), tf.constant(self.high))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreGraph:
    """A function of tensors and the shapes it is traced with."""

    function: Callable[..., Outputs]
    """Takes `inputs` by name; gives `score` [1], perhaps `contributions` [1, C] or `map` [1, h, w], and every
    `state_<name>` it takes."""
    inputs: Mapping[str, tuple[int, ...]]
    """Static shapes, `window` (float32) or `frame` (uint8 [1, H, W, 3]) first; states are float32."""

    def concrete(self) -> Any:
        """Trace the function with its static shapes."""
        specs = {
            name: tf.TensorSpec(shape, tf.uint8 if name == "frame" else tf.float32, name=name)
            for name, shape in self.inputs.items()
        }
        return tf.function(self.function, autograph=False).get_concrete_function(**specs)

    def save(self, folder: Path) -> None:
        """Write a SavedModel with the signature `serving_default` and no variables."""
        concrete = self.concrete()
        if concrete.variables:
            raise ValueError(
                f"a score graph must hold constants only, got the variables {[v.name for v in concrete.variables]}"
            )
        tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": concrete})


def unit(values: tf.Tensor) -> tf.Tensor:
    """Last activation of a body: -1..1, which converters fuse, so that int8 spends its steps on the reach alone."""
    return tf.maximum(tf.minimum(values, 1.0), -1.0)


def limited(values: tf.Tensor, limit: float) -> tf.Tensor:
    """Clip to +-limit with the two operators that every TFLite runtime has."""
    return tf.minimum(tf.maximum(values, -limit), limit)


def score_and_contributions(parts: tf.Tensor, weights: tf.Tensor) -> Outputs:
    """Outputs of a head.

    Args:
        parts: [1, k], terms whose sum is the score.
        weights: [1, C], at least 0: how much of the score each channel explains, on any scale.

    Returns:
        `score` [1], and `contributions` [1, C], the share of each channel, at least 0, summing to 1.
    """
    score = tf.reduce_sum(parts, axis=1)
    share = weights / (tf.reduce_sum(weights, axis=1, keepdims=True) + TINY)
    return {"score": score, "contributions": share}


class FrozenNetwork:
    """A Keras model with its weights as constants of whatever graph it is applied in."""

    def __init__(self, model: keras.Model) -> None:
        """Copy the weights out; later training does not reach them."""
        self._model = model
        self._trainable = [variable.numpy() for variable in model.trainable_variables]
        self._other = [variable.numpy() for variable in model.non_trainable_variables]

    def graph(self, inputs: tf.Tensor) -> tf.Tensor:
        """The model's output in the graph, scope `body`."""
        with tf.name_scope(BODY):
            constants = ([tf.constant(weight) for weight in weights] for weights in (self._trainable, self._other))
            return self._model.stateless_call(*constants, inputs, training=False)[0]
