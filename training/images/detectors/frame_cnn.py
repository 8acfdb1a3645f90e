"""Convolutional network that learns from labelled images: the classifier of the field's tutorials.

Source: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015
(blocks of two 3 x 3 convolutions and a pooling; here two of them, with batch normalisation and dropout).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.network import Batches, Examples, batch_size, train_on_batches
from training.graph import HEAD, FrozenNetwork, Outputs, ScoreGraph
from training.images.augmentation import Augmentation
from training.images.coders import MOMENTUM, check_size, convolved, scaled, scaled_graph
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.labelled import labelled_frames

DOWNSAMPLING = 4
"""Two poolings of 2 x 2: sides of a frame are multiples of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCnnSettings:
    """`[detector]` of type `frame_cnn`."""

    filters: int = 16
    """Channels of the first block; the second has twice as many."""
    dense: int = 32
    """Width of the dense layer, which has H x W x filters x dense / 8 weights: 16 MB a side of 512, 1 MB of 128."""
    dropout: float = 0.25
    """Share of the activations that training leaves out, behind each block and twice as many behind the dense layer."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(flip_horizontal=True))

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if min(self.filters, self.dense) < 1:
            raise ValueError(f"filters and dense must be at least 1, got {self.filters} and {self.dense}")
        if not 0 <= self.dropout < 0.5:
            raise ValueError(f"dropout must be a share from 0 to below 0.5, got {self.dropout}")


class FrameCnn(ImageDetector[FrameCnnSettings]):
    """Two blocks of two convolutions and a pooling, a dense layer, and log-odds.

        score = log-odds(frame)        the figure in front of the sigmoid, which would round to 1

    It has no map: a dense layer mixes all places, and must have seen a defect wherever it may be. Frames of 64 to 128
    pixels suit it, and some hundred images of each class; of a few dozen `transfer` makes more.

    Source of the blocks: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015; with the batch normalisation of S. Ioffe and C. Szegedy, ICML 2015, and the dropout of
    N. Srivastava et al., JMLR 15 (2014).
    """

    Settings = FrameCnnSettings
    kind = "supervised"
    needs_labels = True
    has_map = False
    body: FrozenNetwork
    """Frames [1, H, W, 3] of -1..1 to the dense layer [1, dense]."""
    last: list[Floats]
    """Weights [dense, 1] and offset [1] of the log-odds."""

    @classmethod
    def check(cls, settings: FrameCnnSettings, height: int, width: int) -> None:  # noqa: ARG003 - as of all
        """Refuse frames that do not halve twice."""
        check_size(height, width, DOWNSAMPLING)

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Train on both classes."""
        trained, watched = labelled_frames(data, self.training)
        keras.utils.set_random_seed(self.training.seed)
        body, last = self._body(), keras.layers.Dense(1)

        def examples(places: Floats, rng: np.random.Generator | None) -> Examples:
            frames = trained.frames[places]
            return scaled(frames if rng is None else self.settings.augmentation.apply(frames, rng)), trained.defective[
                places
            ]

        curves = train_on_batches(
            keras.Model(body.input, last(keras.layers.Dropout(2 * self.settings.dropout)(body.output))),
            Batches(np.arange(len(trained)), examples, batch_size(len(trained), self.training), self.training.seed),
            None if watched is None else (scaled(watched.frames), watched.defective),
            self.training,
            loss=trained.loss,
            progress=progress,
        )
        self.body, self.last = FrozenNetwork(body), last.get_weights()
        return curves

    def _body(self) -> keras.Model:
        """All but the log-odds."""
        layers = keras.layers
        x = frames = keras.Input((self.height, self.width, 3))
        for channels in (self.settings.filters, 2 * self.settings.filters):
            x = layers.MaxPooling2D(2)(convolved(convolved(x, channels), channels))
            x = layers.Dropout(self.settings.dropout)(x)
        x = layers.Dense(self.settings.dense, use_bias=False)(layers.Flatten()(x))
        return keras.Model(frames, layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x)))

    def score_graph(self) -> ScoreGraph:
        """Log-odds in float, so that int8 does not make steps of them."""
        weights, offset = self.last

        def function(frame: tf.Tensor) -> Outputs:
            known = self.body.graph(scaled_graph(frame))
            with tf.name_scope(HEAD):
                return {"score": tf.reshape(tf.matmul(known, tf.constant(weights)) + tf.constant(offset), [1])}

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3)})
