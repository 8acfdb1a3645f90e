"""A small student that learned a teacher's features of normal frames: strange is where it answers otherwise.

    e_k(p)  = mean over the channels c of tap k of (s_c(p) - (t_c(p) - m_c) / d_c)^2
    map, score: see `training.images.levels`, with a term for each tap

t_c are features of EfficientNet-Lite0, trained on ImageNet, brought to one grid; m_c and d_c their mean and deviation
over normal frames; s_c what the student makes of the same frame. It was never taught what the teacher says of other
things, and it is too small to guess. Teacher and student are both in the graph.

A small, fast variant: `strides = [4, 8]` leaves out the teacher's last six blocks, `filters = 16` thins the student.

Sources: G. Wang, S. Han, E. Ding and D. Huang, "Student-teacher feature pyramid matching for anomaly detection", BMVC
2021 (there the student is as large as the teacher, and features are of length 1); K. Batzner, L. Heckler and R. Koenig,
"EfficientAD: accurate visual anomaly detection at millisecond-level latencies", WACV 2024 (a small student, features
normalised by channel; there with a patch description network as teacher and an autoencoder besides, which we leave
out).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.network import Examples
from training.graph import FRONT, HEAD, FrozenNetwork, Outputs, ScoreGraph
from training.images.augmentation import Augmentation
from training.images.backbone import CENTRE, COARSEST, SCALE, TAPS, EfficientNetLite0
from training.images.coders import check_size, convolved
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.folders import BATCH, Pixels
from training.images.levels import Levels, MapSettings
from training.images.network import frames_to_learn, train_on_frames

STRIDE = 8
"""Pixels of a frame between positions of the map."""

LEAST_DEVIATION = 1e-3
"""Smallest deviation of a teacher's channel, which vary by some 1: one that never moves tells nothing."""

CHANNELS = dict(TAPS.values())
"""Of the teacher's taps by stride."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentTeacherSettings:
    """`[detector]` of type `student_teacher`."""

    strides: tuple[int, ...] = (4, 8, 16)
    """Of the teacher's taps that are learned, pixels, of 4, 8 and 16: fine ones tell textures, coarse ones parts."""
    filters: int = 24
    """Channels of the student's first layer; the last have four times as many."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    map: MapSettings = field(default_factory=MapSettings)

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if not self.strides or list(self.strides) != sorted(set(self.strides) & set(CHANNELS)):
            raise ValueError(f"strides must be some of {list(CHANNELS)}, rising, got {list(self.strides)}")
        if self.filters < 1:
            raise ValueError(f"filters must be at least 1, got {self.filters}")


class StudentTeacher(ImageDetector[StudentTeacherSettings]):
    """See the module."""

    Settings = StudentTeacherSettings
    _student: keras.Model
    _levels: Levels
    _mean: Floats
    _deviation: Floats

    @classmethod
    def check(cls, settings: StudentTeacherSettings, height: int, width: int) -> None:  # noqa: ARG003 - as of all
        """Refuse frames that do not halve."""
        check_size(height, width, COARSEST)

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Learn the scale of the teacher's features, then the features, then where the student errs.

        Raises:
            ValueError: too few normal frames.
            DataError: the teacher's weights are not installed.
        """
        normal, stopping = frames_to_learn(data, self.training)
        self._teacher = EfficientNetLite0()
        spec = tf.TensorSpec((None, self.height, self.width, 3), tf.uint8)
        teach = tf.function(self._taught, input_signature=[spec], autograph=False)
        features = in_batches(teach, normal)
        self._mean = features.mean(axis=(0, 1, 2))
        self._deviation = np.maximum(features.std(axis=(0, 1, 2)), LEAST_DEVIATION)
        self._student = student(self.height, self.width, self.settings.filters, len(self._mean))

        def examples(frames: Pixels, rng: np.random.Generator | None) -> Examples:
            seen = frames if rng is None else self.settings.augmentation.apply(frames, rng)
            return (seen.astype(np.float32) - CENTRE) / SCALE, (teach(seen).numpy() - self._mean) / self._deviation

        curves = train_on_frames(
            self._student, normal, stopping, examples, self.training, loss="mse", progress=progress
        )

        def errors(frames: Pixels) -> tf.Tensor:
            given, wanted = examples(frames, None)
            return self._errors(self._student(given, training=False), wanted)

        held_back = in_batches(errors, stopping) if len(stopping) else np.empty((0,), np.float32)
        trained = in_batches(errors, normal)
        self._levels = Levels.fit(np.concatenate([trained, held_back]) if len(stopping) else trained, held_back)
        return curves

    def score_graph(self) -> ScoreGraph:
        """Teacher, student and how they differ."""
        body = FrozenNetwork(self._student)

        def function(frame: tf.Tensor) -> Outputs:
            taught = self._taught(frame)
            with tf.name_scope(FRONT):
                given = (tf.cast(frame, tf.float32) - CENTRE) * (1 / SCALE)
            answer = body.graph(given)
            with tf.name_scope(HEAD):
                wanted = (taught - tf.constant(self._mean)) * tf.constant(1 / self._deviation)
                errors = self._errors(answer, wanted)
            score, strange_map = self._levels.graph(errors, STRIDE, self.settings.map)
            return {"score": score, "map": strange_map}

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3)})

    def _taught(self, frames: tf.Tensor) -> tf.Tensor:
        """Features of the teacher [n, H / 8, W / 8, C] of frames: finer taps averaged, coarser ones interpolated."""
        taps = dict(zip(CHANNELS, self._teacher.graph(frames), strict=True))
        with tf.name_scope(HEAD):
            return tf.concat([self._on_grid(taps[stride], stride) for stride in self.settings.strides], axis=3)

    def _on_grid(self, tap: tf.Tensor, stride: int) -> tf.Tensor:
        if stride < STRIDE:
            return tf.nn.avg_pool2d(tap, STRIDE // stride, STRIDE // stride, "VALID")
        return tap if stride == STRIDE else tf.image.resize(tap, (self.height // STRIDE, self.width // STRIDE))

    def _errors(self, answer: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        """Mean squared difference [n, h, w, K] for each tap."""
        squared = tf.math.squared_difference(answer, wanted)
        parts = tf.split(squared, [CHANNELS[stride] for stride in self.settings.strides], axis=3)
        return tf.concat([tf.reduce_mean(part, axis=3, keepdims=True) for part in parts], axis=3)


def student(height: int, width: int, filters: int, channels: int) -> keras.Model:
    """From frames [n, H, W, 3] to features [n, H / 8, W / 8, channels]."""
    x = frames = keras.Input((height, width, 3))
    x = convolved(convolved(x, filters, stride=2), 2 * filters, stride=2)
    for stride in (2, 1, 1):
        x = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = convolved(x, 4 * filters, kernel=1)
    return keras.Model(frames, keras.layers.Conv2D(channels, 1)(x))


def in_batches(function: tf.types.experimental.PolymorphicFunction, frames: Pixels) -> Floats:
    """Apply to frames a few at a time and join the answers, so that memory holds those alone."""
    return np.concatenate(
        [np.asarray(function(frames[start : start + BATCH])) for start in range(0, len(frames), BATCH)]
    )
