"""Training of small networks on frames: the part that is the same for all of them."""

from __future__ import annotations

from typing import Any

import keras

from training.detectors.network import Batches, MakeExamples, batch_size, train_on_batches
from training.images.detector import Curves, ImageData
from training.images.folders import Pixels
from training.recipe import TrainingSettings

FEWEST_FRAMES = 4
"""Normal frames: of fewer a network learns nothing but them."""


def frames_to_learn(data: ImageData, settings: TrainingSettings) -> tuple[Pixels, Pixels]:
    """Normal frames to train on, and those that early stopping watches: uint8 [n, H, W, 3], [m, H, W, 3].

    Raises:
        ValueError: too few to train on.
    """
    if len(data.normal) < FEWEST_FRAMES:
        raise ValueError(
            f"a network learns from {FEWEST_FRAMES} normal frames or more, got {len(data.normal)}: add images"
        )
    stopping = data.stopping.array()
    return data.normal.array(), stopping if settings.patience else stopping[:0]


def train_on_frames(
    model: keras.Model,
    normal: Pixels,
    stopping: Pixels,
    examples: MakeExamples,
    settings: TrainingSettings,
    *,
    loss: Any,
    progress: bool,
) -> Curves:
    """Train a model on examples of normal frames, stopping early on those of others where there are any.

    Args:
        model: compiled here, with Adam.
        normal: uint8 [n, H, W, 3].
        stopping: uint8 [m, H, W, 3].
        examples: what is learned of frames.
        settings: seed, epochs, batch, learning rate, patience.
        loss: any that Keras knows.
        progress: draw a bar.
    """
    batches = Batches(normal, examples, batch_size(len(normal), settings), settings.seed)
    held_back = examples(stopping, None) if len(stopping) else None
    return train_on_batches(model, batches, held_back, settings, loss=loss, progress=progress)
