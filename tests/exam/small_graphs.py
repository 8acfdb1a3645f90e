"""Write small SavedModels in the form of a run folder's `graph/`: run as a script, so that tests need no TensorFlow.

    python small_graphs.py FOLDER KIND KIND …

Kinds: `autoencoder` (an int8 body), `stream` (a recurrent cell with state) and `looped` (a recurrence in a loop, whose
int8 conversion kills the converter).
"""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

T, C, UNITS = 16, 3, 12
CENTRE, SPREAD = np.array([1, -2, 30], "f4"), np.array([0.5, 1, 4], "f4")
BODY_RANGE, CLAMP = 20.0, 1e6


def front(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalise and clamp; saturate for the body."""
    with tf.name_scope("front"):
        z = tf.minimum(tf.maximum((window - CENTRE) * (1 / SPREAD), -CLAMP), CLAMP)
        return z, tf.minimum(tf.maximum(z, -BODY_RANGE), BODY_RANGE)


def head(z: tf.Tensor, seen: tf.Tensor, guess: tf.Tensor) -> dict[str, tf.Tensor]:
    """Squared residual against the unsaturated window, plus the range term."""
    with tf.name_scope("head"):
        guess = tf.minimum(tf.maximum(guess, -BODY_RANGE), BODY_RANGE)
        error = tf.math.squared_difference(z, guess)
        outside = tf.abs(z - seen)
        parts = tf.reduce_mean(error, axis=1) + tf.reduce_mean(outside + outside * outside, axis=1)
        return {
            "score": tf.reduce_mean(parts, axis=1),
            "contributions": parts / (tf.reduce_sum(parts, axis=1, keepdims=True) + 1e-12),
        }


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random constants of a sensible size."""
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype("f4")


def autoencoder(window: tf.Tensor) -> dict[str, tf.Tensor]:
    """Two convolutions that smooth the window, with fixed weights."""
    rng = np.random.default_rng(0)
    z, seen = front(window)
    with tf.name_scope("body"):
        mix = weights(rng, 5, C, 6)
        x = tf.nn.relu(tf.nn.conv1d(seen, mix, 1, "SAME") + 0.1)
        x = tf.nn.relu(tf.nn.conv1d(x, weights(rng, 3, 6, 6), 1, "SAME") + 0.1)
        guess = tf.nn.conv1d(x, weights(rng, 5, 6, C) * 0.3, 1, "SAME")
    return head(z, seen, guess)


def stream(window: tf.Tensor, state_h: tf.Tensor) -> dict[str, tf.Tensor]:
    """One step of an exponential memory whose output predicts the next row."""
    rng = np.random.default_rng(1)
    z, seen = front(window)
    with tf.name_scope("body"):
        row = tf.reshape(seen, [1, C])
        new = tf.tanh(tf.matmul(row, weights(rng, C, UNITS)) + tf.matmul(state_h, weights(rng, UNITS, UNITS)))
        guess = tf.matmul(state_h, weights(rng, UNITS, C))
    return {**head(z, seen, tf.reshape(guess, [1, 1, C])), "state_h": new}


def looped(window: tf.Tensor) -> dict[str, tf.Tensor]:
    """An LSTM in a loop with frozen weights: full int8 kills the calibrator."""
    rng = np.random.default_rng(2)
    z, seen = front(window)
    with tf.name_scope("body"):
        kernel = weights(rng, C + UNITS, UNITS)

        def step(t: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return t + 1, tf.tanh(tf.matmul(tf.concat([tf.gather(seen, t, axis=1), h], 1), kernel))

        _, h = tf.while_loop(lambda t, _: t < T, step, [tf.constant(0), tf.zeros([1, UNITS])])
        guess = tf.reshape(tf.matmul(h, weights(rng, UNITS, C)), [1, 1, C])
    return head(z, seen, guess)


def save(kind: str, folder: str) -> None:
    """Write the SavedModel of one kind."""
    module = tf.Module()
    signature = [tf.TensorSpec([1, 1 if kind == "stream" else T, C], tf.float32, name="window")]
    if kind == "stream":
        signature.append(tf.TensorSpec([1, UNITS], tf.float32, name="state_h"))
    call = {"stream": stream, "looped": looped, "autoencoder": autoencoder}[kind]
    module.score = tf.function(call, input_signature=signature)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.score})


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        save(kind, f"{sys.argv[1]}/{kind}")
