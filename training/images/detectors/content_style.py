"""Features learned without labels and without a backbone, and a Gaussian of them at every position of the frame.

For images that no pretrained backbone fits: thermal, depth, microscopy, plain surfaces. Two views v, w of a frame show
the same in another light, colour cast and noise. What they share is the content code, what tells them apart the style:

    c_v(p) = content of v at position p     s_v = style of v, a few figures without places
    loss   = |w - decode(c_v, s_w)|^2 + |v - decode(c_w, s_v)|^2 + a |c_v - c_w|^2 + b (|s_v|^2 + |s_w|^2)

Each view is rebuilt from the content of the other and its own style, so that content holds what is there and not how it
is lit. Channels of the content have variance 1 over normal frames (batch normalisation without scale), or they would
agree by being nothing. Only the encoder of the content is on the device; its codes are judged as PaDiM judges features:

    map(p)  = |L_p^-1 (c(p) - m_p)|, smoothed     score = mean of the largest share of the map

Sources: of a content that two views share M.-Y. Liu, T. Breuel and J. Kautz, "Unsupervised image-to-image translation
networks" (UNIT), NeurIPS 2017, and with style codes beside it X. Huang, M.-Y. Liu, S. Belongie and J. Kautz,
"Multimodal unsupervised image-to-image translation", ECCV 2018. There the views are images of two domains and critics
judge them; here they are made of one frame, so that what is wanted is known and no critic is needed. Of the Gaussians:
see `training.images.gaussians`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.detectors.network import Examples
from training.graph import HEAD, FrozenNetwork, Outputs, ScoreGraph
from training.images.augmentation import Augmentation
from training.images.coders import MOMENTUM, check_size, convolved, doubled, scaled, scaled_graph, to_frame
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.folders import BATCH, Pixels
from training.images.gaussians import Gaussians, Moments
from training.images.levels import MapSettings, score_and_map
from training.images.network import frames_to_learn, train_on_frames

STRIDE = 8
"""Pixels of a frame between positions of the content and of the map."""


def two_lights() -> Augmentation:
    """How the views of a frame differ unless the settings say otherwise: much in light, for that is to be left out."""
    return Augmentation(brightness=0.15, contrast=0.3, tint=0.1, noise=0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentStyleSettings:
    """`[detector]` of type `content_style`."""

    filters: int = 16
    """Channels of the first layer; each halving of the frame doubles them."""
    content: int = 24
    """Channels of the content at a position, d; the Gaussians need memory with its square."""
    style: int = 4
    """Figures of the style."""
    agreement: float = 0.1
    """a, weight of the difference of contents."""
    style_size: float = 1e-3
    """b, weight of the size of styles: a style that may be anything would take over the content."""
    shrinkage: float | None = None
    """Share of a position's covariance that is replaced by the mean one, 0 to 1; None: d / (d + frames)."""
    views: Augmentation = field(default_factory=two_lights)
    """Both views are moved alike and lit each in its own way."""
    map: MapSettings = field(default_factory=MapSettings)

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if min(self.filters, self.content, self.style) < 1:
            raise ValueError(
                f"filters, content and style must be at least 1, got {self.filters}, {self.content} and {self.style}"
            )
        if min(self.agreement, self.style_size) < 0:
            raise ValueError(f"agreement and style_size must be 0 or more, got {self.agreement} and {self.style_size}")
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be 0 to 1, got {self.shrinkage}")


class ContentStyle(ImageDetector[ContentStyleSettings]):
    """See the module."""

    Settings = ContentStyleSettings
    _encoder: keras.Model
    _gaussians: Gaussians

    @classmethod
    def check(cls, settings: ContentStyleSettings, height: int, width: int) -> None:  # noqa: ARG003 - as of all
        """Refuse frames that do not halve three times."""
        check_size(height, width, STRIDE)

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Train the codes on pairs of views, then fit Gaussians to the content of the frames as they are."""
        normal, stopping = frames_to_learn(data, self.training)
        self._encoder, views = networks(self.height, self.width, self.settings)
        curves = train_on_frames(views, normal, stopping, self._examples, self.training, loss="mse", progress=progress)
        moments = Moments(self.height * self.width // STRIDE**2, self.settings.content)
        for frames in (normal, stopping):
            for start in range(0, len(frames), BATCH):
                moments.add(self._content(frames[start : start + BATCH]))
        grid = self.height // STRIDE, self.width // STRIDE
        self._gaussians = Gaussians.fit(moments, grid, shrinkage=self.settings.shrinkage, rank=self.settings.content)
        return curves

    def _examples(self, frames: Pixels, rng: np.random.Generator | None) -> Examples:
        """Two views given, and the same wanted the other way round: float32 [n, H, W, 6] of -1..1 both."""
        settings, rng = self.settings.views, rng or np.random.default_rng(self.training.seed)
        moved = settings.moved(frames, rng)
        first, second = (scaled(settings.relit(moved, rng)) for _ in range(2))
        return np.concatenate([first, second], axis=3), np.concatenate([second, first], axis=3)

    def _content(self, frames: Pixels) -> Doubles:
        """Of frames uint8 [b, H, W, 3]: float64 [b, P, d]."""
        content = self._encoder(scaled(frames), training=False).numpy()
        return np.asarray(content.reshape(len(frames), -1, self.settings.content), np.float64)

    def score_graph(self) -> ScoreGraph:
        """The encoder of the content, and the distance at every position."""
        body = FrozenNetwork(self._encoder)
        rows, columns = self.height // STRIDE, self.width // STRIDE

        def function(frame: tf.Tensor) -> Outputs:
            content = body.graph(scaled_graph(frame))
            with tf.name_scope(HEAD):
                features = tf.reshape(content, (1, rows * columns, self.settings.content))
                distances = tf.reshape(self._gaussians.graph(features), (1, rows, columns))
                score, strange_map = score_and_map(distances, STRIDE, self.settings.map)
                return {"score": score, "map": strange_map}

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3)})


def networks(height: int, width: int, settings: ContentStyleSettings) -> tuple[keras.Model, keras.Model]:
    """Encoder of the content, [n, H, W, 3] to [n, H / 8, W / 8, d], and what trains it, [n, H, W, 6] to as many."""
    encode = content_encoder(height, width, settings)
    tell_style, decode = style_encoder(height, width, settings), view_decoder(height, width, settings)
    views = keras.Input((height, width, 6))
    first, second = views[..., :3], views[..., 3:]
    contents = Agreeing(settings.agreement)([encode(first), encode(second)])
    styles = [Small(settings.style_size)(tell_style(view)) for view in (first, second)]
    crossed = [decode([contents[0], styles[1]]), decode([contents[1], styles[0]])]
    return encode, keras.Model(views, keras.layers.Concatenate(axis=3)(crossed))


def content_encoder(height: int, width: int, settings: ContentStyleSettings) -> keras.Model:
    """Three halvings, and a look around."""
    x = frames = keras.Input((height, width, 3))
    for halving in range(3):
        x = convolved(x, settings.filters * 2**halving, stride=2)
    x = keras.layers.Conv2D(settings.content, 3, padding="same", use_bias=False)(convolved(x, settings.filters * 4))
    return keras.Model(frames, keras.layers.BatchNormalization(momentum=MOMENTUM, center=False, scale=False)(x))


def style_encoder(height: int, width: int, settings: ContentStyleSettings) -> keras.Model:
    """Two halvings, and the mean over all places."""
    x = frames = keras.Input((height, width, 3))
    for halving in range(2):
        x = convolved(x, settings.filters * 2**halving, stride=2)
    return keras.Model(frames, keras.layers.Dense(settings.style)(keras.layers.GlobalAveragePooling2D()(x)))


def view_decoder(height: int, width: int, settings: ContentStyleSettings) -> keras.Model:
    """From content and style to a frame; the style scales and offsets every channel."""
    content = keras.Input((height // STRIDE, width // STRIDE, settings.content))
    style = keras.Input((settings.style,))
    widest = settings.filters * 4
    x = convolved(content, widest)
    scale, offset = (keras.layers.Reshape((1, 1, widest))(keras.layers.Dense(widest)(style)) for _ in range(2))
    x = x * (1 + scale) + offset
    for halving in (2, 1):
        x = doubled(x, settings.filters * halving)
    return keras.Model([content, style], to_frame(x))


class Agreeing(keras.layers.Layer):  # type: ignore[misc]
    """Adds the mean squared difference of two contents to the loss, and leaves them as they are."""

    def __init__(self, weight: float) -> None:
        """Weight in the loss."""
        super().__init__()
        self._weight = weight

    def call(self, contents: list[tf.Tensor]) -> list[tf.Tensor]:
        """Two contents [n, h, w, d]."""
        self.add_loss(self._weight * tf.reduce_mean(tf.math.squared_difference(*contents)))
        return contents


class Small(keras.layers.Layer):  # type: ignore[misc]
    """Adds the mean square of a style to the loss, and leaves it as it is."""

    def __init__(self, weight: float) -> None:
        """Weight in the loss."""
        super().__init__()
        self._weight = weight

    def call(self, style: tf.Tensor) -> tf.Tensor:
        """A style [n, k]."""
        self.add_loss(self._weight * tf.reduce_mean(style * style))
        return style
