"""What an int8 build makes of the backbone: the features that a detector is to take for normal, too.

int8 rounds every layer, and where a camera looks at the same fixture each time it rounds alike each time: features are
off by the same amount in every frame, by more than they vary. A detector that knows float32's features alone finds that
strange everywhere.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edge_agent.contract.records import Floats
from training.images.backbone import EfficientNetLite0
from training.images.folders import Pixels

MOST_SAMPLES = 64
"""Frames that the ranges of int8 are set on; more hardly change them."""


class RoundedBackbone:
    """The backbone as int8 computes it, on one tile at a time."""

    def __init__(self, backbone: EfficientNetLite0, tiles: Pixels | Floats) -> None:
        """Convert it; `tiles` [n, h, w, 3] of 0..255 set the ranges."""
        self._normalise: Callable[[Pixels | Floats], Floats] = lambda pixels: backbone.normalised(pixels).numpy()
        body = tf.function(lambda x: _named(backbone.body(x)), autograph=False)
        traced = body.get_concrete_function(tf.TensorSpec((1, *tiles.shape[1:]), tf.float32, name="x"))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([self._normalise(tile[np.newaxis])] for tile in tiles)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        with _silenced():
            self._interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
            self._run = self._interpreter.get_signature_runner()

    def __call__(self, tiles: Pixels | Floats) -> list[Floats]:
        """Outputs of the layers, [n, h / stride, w / stride, channels] each, of tiles [n, h, w, 3] of 0..255."""
        found = [self._run(x=self._normalise(tile[np.newaxis])) for tile in tiles]
        return [np.concatenate([each[name] for each in found]) for name in sorted(found[0])]


def _named(outputs: list[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Give each output a name whose order is that of the layers: a converted graph keeps no other."""
    return {f"output_{number:02}": output for number, output in enumerate(outputs)}


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the converter's own prints, which come from C++, from the terminal."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for place, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, place)
            os.close(copy)
        os.close(nowhere)
