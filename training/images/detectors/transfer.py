"""Transfer learning: a logistic head on the features of a pretrained backbone, for labelled images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.records import Doubles, Floats
from training.detectors.network import Batches, Examples, batch_size, train_on_batches
from training.graph import HEAD, Outputs, ScoreGraph
from training.images.augmentation import Augmentation
from training.images.backbone import EfficientNetLite0
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.folders import BATCH, Pixels
from training.images.kinds import LEAST_SPREAD, KindHead, told_apart
from training.images.labelled import labelled_frames
from training.images.patches import FeatureSettings, Patches


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSettings:
    """`[detector]` of type `transfer`."""

    features: FeatureSettings = field(default_factory=lambda: FeatureSettings(light=1.0))
    """Light is not evened out: the changed copies of frames teach it."""
    copies: int = 4
    """Times that each frame is learned from, all but the first changed at random. Memory grows with it: 75 kB a copy
    of a frame of 224 x 224 with the usual features."""
    decay: float = 1e-3
    """Weight of the squared weights in the loss: more trusts single features less."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(flip_horizontal=True))

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        if self.copies < 1 or self.decay < 0:
            raise ValueError(f"copies must be at least 1 and decay 0 or more, got {self.copies} and {self.decay}")


class Transfer(ImageDetector[TransferSettings]):
    """Log-odds at each position, and the kind of defect; the odds of the frame are the mean of those of its positions.

        map(p) = w . x_p + b,   score = log mean over p of exp(map(p))

    So a small defect counts, its place need not be labelled, and the map shows what the score was made of. The features
    stay as they were pretrained: a few dozen images can train w, not the backbone. Where kinds of defect are told, a
    softmax over them at each position is learned behind it (`training.images.kinds`), which changes neither.

    Sources: B. Zhou, A. Khosla, A. Lapedriza, A. Oliva and A. Torralba, "Learning deep features for discriminative
    localization", CVPR 2016 (class activation maps, there of the mean over positions); P. O. Pinheiro and R. Collobert,
    "From image-level to pixel-level labeling with convolutional networks", CVPR 2015 (log of the mean of exponentials).
    """

    Settings = TransferSettings
    kind = "supervised"
    needs_labels = True
    backbone: EfficientNetLite0 | None = None
    """Made where it is needed, with the installed weights."""
    weights: Floats
    """w, float32 [D, 1]."""
    offset: Floats
    """b, float32 [1]."""
    kind_head: KindHead | None = None
    """Where there are kinds to tell apart."""

    @classmethod
    def check(cls, settings: TransferSettings, height: int, width: int) -> None:
        """Refuse frames that the grid of the features does not fit."""
        settings.features.check(height, width)

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Compute the features once, then train the head.

        Raises:
            ValueError: too few frames of a class.
            DataError: the weights of the backbone are not installed.
        """
        trained, watched = labelled_frames(data, self.training)
        keras.utils.set_random_seed(self.training.seed)
        normal = trained.frames[trained.defective[:, 0] == 0]
        self._patches = Patches(self.settings.features, self.height, self.width, self.backbone, [normal])
        x = self._copies(trained.frames)
        wanted = np.tile(trained.defective, (self.settings.copies, 1))
        mean = x.mean(axis=(0, 1), dtype=np.float64)
        spread = np.maximum(x.std(axis=(0, 1), dtype=np.float64), LEAST_SPREAD)

        def examples(places: NDArray[np.int64], _: np.random.Generator | None) -> Examples:
            return standard(x[places], mean, spread), wanted[places]

        model, head = self._network(x.shape[1])
        curves = train_on_batches(
            model,
            Batches(np.arange(len(x)), examples, batch_size(len(x), self.training), self.training.seed),
            None if watched is None else (standard(self._features(watched.frames), mean, spread), watched.defective),
            self.training,
            loss=trained.loss,
            progress=progress,
        )
        weights, offset = (each.astype(np.float64) for each in head.get_weights())
        self.weights = (weights / spread[:, np.newaxis]).astype(np.float32)
        self.offset = (offset - (mean / spread) @ weights).astype(np.float32)
        self._learn_kinds(x[wanted[:, 0] > 0], trained.kinds)
        return curves

    def _learn_kinds(self, x: Floats, kinds: tuple[str, ...]) -> None:
        """Learn from features [n copies, P, D] of defective frames of these n kinds, if they can be told apart."""
        self.kinds = told_apart(kinds)
        if self.kinds:
            log_odds = (x @ self.weights + self.offset)[..., 0]
            self.kind_head = KindHead.fit(x, log_odds, kinds * self.settings.copies, self.kinds, self.settings.decay)

    def _network(self, positions: int) -> tuple[keras.Model, keras.layers.Dense]:
        """From standard features [n, P, D] to log-odds [n, 1], and the layer that is learned."""
        decay = keras.regularizers.L2(self.settings.decay)
        head = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=decay)
        features = keras.Input((positions, self.settings.features.channels))
        odds = keras.ops.logsumexp(head(features), axis=1)
        return keras.Model(features, odds - math.log(positions)), head

    def _copies(self, frames: Pixels) -> Floats:
        """Features of frames as they are, then of the changed ones."""
        rng = np.random.default_rng(self.training.seed)
        changed = (self.settings.augmentation.apply(frames, rng) for _ in range(self.settings.copies - 1))
        return np.concatenate([self._features(each) for each in (frames, *changed)])

    def _features(self, frames: Pixels) -> Floats:
        """Features float16 [n, P, D] of frames, of all tiles together."""
        graph = tf.function(self._patches.graph, reduce_retracing=True, autograph=False)
        batches = (graph(tf.constant(frames[start : start + BATCH])) for start in range(0, len(frames), BATCH))
        x = np.concatenate([batch.numpy().astype(np.float16) for batch in batches])
        return x.reshape(len(frames), -1, x.shape[-1])

    def score_graph(self) -> ScoreGraph:
        """Log-odds of each position in float, those of the frame, and the probabilities of kinds."""

        def function(frame: tf.Tensor) -> Outputs:
            features = self._patches.graph(frame)
            with tf.name_scope(HEAD):
                flat = tf.reshape(features, (-1, self.settings.features.channels))
                log_odds = tf.matmul(flat, tf.constant(self.weights)) + tf.constant(self.offset)
                largest = tf.reduce_max(log_odds, axis=0)
                score = largest + tf.math.log(tf.reduce_mean(tf.exp(log_odds - largest), axis=0))
                strange_map = self._patches.map(tf.reshape(log_odds, (-1, self._patches.positions)))
                outputs = {"score": score, "map": strange_map}
                if self.kind_head is not None:
                    kinds = tf.reshape(self.kind_head.graph(flat), (-1, self._patches.positions, len(self.kinds)))
                    outputs["kinds"] = self._patches.map(kinds)
                return outputs

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3)})


def standard(features: Floats, mean: Doubles, spread: Doubles) -> Floats:
    """Features around their mean in their spreads, float32."""
    return ((features - mean) / spread).astype(np.float32)
