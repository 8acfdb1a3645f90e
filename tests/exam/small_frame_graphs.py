"""Write small SavedModels on frames in the form of a run folder's `graph/`: run as a script, so that tests need no
TensorFlow.

    python small_frame_graphs.py FOLDER

`stills` measures how far features of two convolutions are from those of the template, and tells two kinds apart by them;
`stream` from what they were in the frames before, which it carries.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import tensorflow as tf

from tests.frame_runs import GRID, SIZE, template

FEATURES = 6
KEEP = 0.7
"""Share of the memory of `stream` that stays from frame to frame."""


def features(frame: tf.Tensor) -> tf.Tensor:
    """Normalised frame and two convolutions with fixed weights."""
    rng = np.random.default_rng(0)
    with tf.name_scope("front/"):
        z = (tf.cast(frame, tf.float32) - 127.0) * (1 / 128)
    with tf.name_scope("body/"):
        for inputs, outputs in ((3, 8), (8, FEATURES)):
            kernel = (rng.standard_normal((3, 3, inputs, outputs)) / np.sqrt(9 * inputs)).astype("f4")
            z = tf.nn.relu6(tf.nn.conv2d(z, kernel, 2, "SAME") + 0.2)
    return z


def judged(x: tf.Tensor, usual: tf.Tensor) -> dict[str, tf.Tensor]:
    """Distance of the features from the usual ones, and its highest places' mean."""
    with tf.name_scope("head/"):
        cells = tf.sqrt(tf.reduce_sum(tf.math.squared_difference(x, usual), axis=3) + 1e-6)
        return {
            "score": tf.reduce_mean(tf.math.top_k(tf.reshape(cells, [1, GRID * GRID]), 6).values, axis=1),
            "map": cells,
        }


def stills(frame: tf.Tensor) -> dict[str, tf.Tensor]:
    """Against the template."""
    x = features(frame)
    with tf.name_scope("head/"):
        odds = tf.reduce_sum((x - USUAL)[..., :2], axis=3, keepdims=True)
        return {**judged(x, USUAL), "kinds": tf.nn.softmax(tf.concat([odds, -odds], axis=3))}


def stream(frame: tf.Tensor, state_usual: tf.Tensor) -> dict[str, tf.Tensor]:
    """Against the frames before."""
    x = features(frame)
    with tf.name_scope("head/"):
        kept = KEEP * state_usual + (1 - KEEP) * x
    return {**judged(x, state_usual), "state_usual": kept}


def save(call, folder: str) -> None:
    """Write one SavedModel."""
    signature = [tf.TensorSpec([1, SIZE, SIZE, 3], tf.uint8, name="frame")]
    if call is stream:
        signature.append(tf.TensorSpec([1, GRID, GRID, FEATURES], tf.float32, name="state_usual"))
    module = tf.Module()
    module.score = tf.function(call, input_signature=signature)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.score})


if __name__ == "__main__":
    USUAL = features(tf.constant(template()[np.newaxis])).numpy()
    for call in (stills, stream):
        save(call, f"{sys.argv[1]}/{call.__name__}")
