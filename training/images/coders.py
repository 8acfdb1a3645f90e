"""Encoder and decoder of frames: small convolutional networks that every accelerator runs in int8.

    encoder   convolutions of stride 2, a narrow one, a dense layer:     [n, H, W, 3] of -1..1 to code [n, k]
    decoder   the way back, bilinear resizing behind each convolution:   code [n, k] to [n, H, W, 3] within -1..1

The code has no places: it says what the whole frame shows, so that a part which is missing or of another shape is not
just copied. Resizing and convolving leaves no checkerboard as transposed convolutions do (A. Odena, V. Dumoulin and
C. Olah, "Deconvolution and checkerboard artifacts", Distill 2016), which with ReLU the Edge TPU cannot take either.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.graph import FRONT, unit
from training.images.folders import Pixels

HALVINGS = 4
"""Convolutions of stride 2."""

COARSEST = 2**HALVINGS
"""Pixels of a frame behind one position of the last of them; sides of a frame are multiples of it."""

WIDEST = 4
"""Most channels of a layer, in those of the first: more costs time and finds nothing more in tens of images."""

NARROW = 16
"""Channels between the convolutions and the dense layer, which would hold most of the weights else."""

MOMENTUM = 0.9
"""Of batch normalisation: training has some hundred steps, of which the usual 0.99 would average nearly all."""

HALF_RANGE = 127.5
"""Pixels: (pixel - 127.5) / 127.5 is within -1..1."""


def scaled(frames: Pixels) -> Floats:
    """Pixels uint8 [n, H, W, 3] to -1..1."""
    return frames.astype(np.float32) * np.float32(1 / HALF_RANGE) - np.float32(1)


def scaled_graph(frame: tf.Tensor) -> tf.Tensor:
    """The same in the graph, scope `front`."""
    with tf.name_scope(FRONT):
        return tf.cast(frame, tf.float32) * (1 / HALF_RANGE) - 1.0


def check_size(height: int, width: int, multiple: int = COARSEST) -> None:
    """Refuse frames that do not halve.

    Raises:
        ValueError: with what was expected and what came.
    """
    if min(height, width) < multiple or height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple} pixels, got {height} x {width}")


def convolved(x: keras.KerasTensor, channels: int, *, stride: int = 1, kernel: int = 3) -> keras.KerasTensor:
    """Convolution, batch normalisation, ReLU: one operator once converted."""
    x = keras.layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=MOMENTUM)(x))


def doubled(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """A convolution, then twice the height and width: a quarter of the time of the other order."""
    return keras.layers.UpSampling2D(2, interpolation="bilinear")(convolved(x, channels))


def to_frame(x: keras.KerasTensor) -> keras.KerasTensor:
    """A convolution to the three colours within -1..1, then twice the height and width."""
    x = keras.layers.Conv2D(3, 3, padding="same", activation=unit)(x)
    return keras.layers.UpSampling2D(2, interpolation="bilinear")(x)


def encoder(height: int, width: int, *, filters: int, codes: tuple[int, ...]) -> keras.Model:
    """From frames [n, H, W, 3] to a dense layer [n, k] for each of `codes`."""
    x = frames = keras.Input((height, width, 3))
    for halving in range(HALVINGS):
        x = convolved(x, filters * min(2**halving, WIDEST), stride=2)
    x = keras.layers.Flatten()(convolved(x, NARROW, kernel=1))
    ends = [keras.layers.Dense(code)(x) for code in codes]
    return keras.Model(frames, ends if len(ends) > 1 else ends[0])


def decoder(height: int, width: int, *, filters: int, code: int) -> keras.Model:
    """From codes [n, k] to frames [n, H, W, 3] within -1..1."""
    rows, columns = height // COARSEST, width // COARSEST
    codes = keras.Input((code,))
    x = keras.layers.Reshape((rows, columns, NARROW))(
        keras.layers.Dense(rows * columns * NARROW, activation="relu")(codes)
    )
    x = convolved(x, filters * WIDEST)
    for halving in reversed(range(HALVINGS - 1)):
        x = doubled(x, filters * min(2**halving, WIDEST))
    return keras.Model(codes, to_frame(x))
