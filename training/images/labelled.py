"""What the detectors that learn from labelled defects share: both classes, some held back, and a loss that balances.

The score is log-odds for what was labelled, with both classes as likely: a normal frame counts as often as its class is
rare. Of other defects a classifier knows nothing; where they may come, a detector of normal frames belongs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.records import Floats
from training.images.detector import ImageData
from training.images.folders import Pixels
from training.images.network import frames_to_learn
from training.recipe import TrainingSettings

FEWEST_DEFECTIVE = 4
"""Defective frames to train on, and to watch: fewer are known by heart, and their loss is chance."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """Frames of both classes."""

    frames: Pixels
    """uint8 [n, H, W, 3], normal ones first."""
    defective: Floats
    """float32 [n, 1]: 1 or 0."""
    kinds: tuple[str, ...]
    """Of the defective ones, which are last; empty strings where they are not told."""

    @classmethod
    def of(cls, normal: Pixels, defective: Pixels, kinds: Sequence[str] = ()) -> Labelled:
        """Put both together; `kinds` are those of the defective ones, where they are told."""
        labels = np.repeat(np.array([0, 1], np.float32), [len(normal), len(defective)])
        told = tuple(kinds) or ("",) * len(defective)
        return cls(frames=np.concatenate([normal, defective]), defective=labels[:, np.newaxis], kinds=told)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.frames)

    @property
    def loss(self) -> Loss:
        """Cross entropy of log-odds, where both classes have the same weight in all and a frame one of 1 on average."""
        count, defective = len(self), float(self.defective.sum())
        scale, ratio = count / (2 * (count - defective)), (count - defective) / defective

        def balanced(wanted: tf.Tensor, log_odds: tf.Tensor) -> tf.Tensor:
            return scale * tf.nn.weighted_cross_entropy_with_logits(tf.cast(wanted, tf.float32), log_odds, ratio)

        return balanced


def labelled_frames(data: ImageData, settings: TrainingSettings) -> tuple[Labelled, Labelled | None]:
    """Frames to train on, and those that early stopping watches; None: too few to tell, every epoch is run.

    Of the defective ones the share `stopping` is watched, drawn by the seed; where that is too few, the normal ones
    that were held back are trained on as well.

    Raises:
        ValueError: too few frames of a class.
    """
    normal, stopping = frames_to_learn(data, settings)
    defective = data.defective.array() if data.defective else normal[:0]
    if len(defective) < FEWEST_DEFECTIVE:
        raise ValueError(
            f"a classifier learns from {FEWEST_DEFECTIVE} defective frames or more, got {len(defective)}: add images, "
            "or take a detector that learns from normal ones alone"
        )
    watched = _watched(len(defective), settings)
    if not len(stopping) or watched.sum() < FEWEST_DEFECTIVE or len(defective) - watched.sum() < FEWEST_DEFECTIVE:
        return Labelled.of(np.concatenate([normal, stopping]), defective, data.kinds), None
    kinds = [kind for kind, of_watched in zip(data.kinds, watched, strict=False) if not of_watched]
    return Labelled.of(normal, defective[~watched], kinds), Labelled.of(stopping, defective[watched])


def _watched(count: int, settings: TrainingSettings) -> NDArray[np.bool_]:
    """Which of the defective frames are watched."""
    return np.random.default_rng(settings.seed).permutation(count) < round(settings.stopping * count)
