"""Detectors that rebuild frames: strange is what they cannot rebuild, and a code that is not that of normal frames.

    errors at p   squared difference of the pixels around p, mean over colours; 1 - SSIM of the luma around p
    map, score    see `training.images.levels`; the score may be that of the code, or part of it

One that never saw a defect may rebuild it: a code holds more than what is normal. So it is taught to repair: into some
frames a patch from elsewhere is pasted, and it must answer with the frame as it was. Noise on what it is given makes it
forgive the rounding of int8.

Sources: P. Bergmann, S. Loewe, M. Fauser, D. Sattlegger and C. Steger, "Improving unsupervised defect segmentation by
applying structural similarity to autoencoders", VISAPP 2019; P. Vincent, H. Larochelle, Y. Bengio and P.-A. Manzagol,
"Extracting and composing robust features with denoising autoencoders", ICML 2008; the patches are those of C.-L. Li,
K. Sohn, J. Yoon and T. Pfister, "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.network import Examples
from training.graph import HEAD, FrozenNetwork, Outputs, ScoreGraph
from training.images.augmentation import Augmentation, pasted
from training.images.coders import check_size, scaled, scaled_graph
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.folders import BATCH, Pixels
from training.images.levels import Levels, MapSettings
from training.images.network import frames_to_learn

CELL_PX = 4
"""Pixels of a frame between positions of the map."""

WINDOW_PX = 2 * CELL_PX
"""Side of the window that the structure is compared in, two cells; that of SSIM."""

SSIM_FLOORS = (0.02**2, 0.06**2)
"""Keep SSIM steady in the dark and where all is flat: squares of .01 and .03 of the range, which is 2."""

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""

INPUT_NOISE = 0.02
"""Standard deviation of the noise on what a network is given in training, half ranges: two to three int8 steps."""

LEAST_SPREAD = 1e-6
"""Smallest usual strangeness of a code: frames that are all alike would be divided by 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildingSettings:
    """What all detectors that rebuild frames are set by."""

    filters: int = 16
    """Channels of the first layer; the widest has four times as many. Time grows with their square."""
    code: int = 64
    """Figures that a frame is rebuilt from."""
    structure: float = 0.1
    """Weight of 1 - SSIM in the loss, against the squared difference of pixels."""
    pasted: float = 0.5
    """Share of the training frames into which a patch is pasted that must not be rebuilt."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    map: MapSettings = field(default_factory=MapSettings)

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if min(self.filters, self.code) < 1:
            raise ValueError(f"filters and code must be at least 1, got {self.filters} and {self.code}")
        if self.structure < 0 or not 0 <= self.pasted <= 1:
            raise ValueError(f"structure must be 0 or more and pasted a share, got {self.structure} and {self.pasted}")


S = TypeVar("S", bound=RebuildingSettings)


class Rebuilding(ImageDetector[S]):
    """Fit a network that rebuilds normal frames, then learn what it errs in them."""

    network: keras.Model
    """Frames [n, H, W, 3] of -1..1 to the rebuilt ones within -1..1 and, where there are more, outputs of the code."""
    levels: Levels
    code_level: float = 1.0
    """Strangeness of the code of normal frames held back: their mean and two standard deviations."""

    @classmethod
    def check(cls, settings: S, height: int, width: int) -> None:  # noqa: ARG003 - as of all
        """Refuse frames that do not halve four times."""
        check_size(height, width)

    @abstractmethod
    def train(self, normal: Pixels, stopping: Pixels, *, progress: bool) -> Curves:
        """Train and set `network`."""

    def code_strangeness(self, outputs: list[tf.Tensor]) -> tf.Tensor | None:  # noqa: ARG002 - for those that have one
        """How strange the code is, [n], at least 0, from the outputs of the network; None: it does not tell."""
        return None

    @property
    def code_share(self) -> float:
        """Of the score, 0 to 1, that the code tells; the rest is the map's."""
        return 0.0

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Train to rebuild, then learn levels."""
        normal, stopping = frames_to_learn(data, self.training)
        curves = self.train(normal, stopping, progress=progress)
        trained, held_back = (self._errors(frames) for frames in (normal, stopping))
        self.levels = Levels.fit(np.concatenate([trained[0], held_back[0]]), held_back[0])
        code = held_back[1] if len(held_back[1]) else trained[1]
        self.code_level = max(float(code.mean() + 2 * code.std()), LEAST_SPREAD)
        return curves

    def examples(self, frames: Pixels, rng: np.random.Generator | None) -> Examples:
        """What is given and what is wanted, float32 [n, H, W, 3] of -1..1 both."""
        if rng is None:
            return scaled(frames), scaled(frames)
        wanted = self.settings.augmentation.apply(frames, rng)
        given = scaled(pasted(wanted, self.settings.pasted, rng))
        return given + rng.normal(0, INPUT_NOISE, given.shape).astype(np.float32), scaled(wanted)

    def loss(self, wanted: tf.Tensor, rebuilt: tf.Tensor) -> tf.Tensor:
        """Of rebuilding, for Keras."""
        errors = rebuilding_errors(wanted, rebuilt)
        return tf.reduce_mean(errors[..., 0]) + self.settings.structure * tf.reduce_mean(errors[..., 1])

    def _errors(self, frames: Pixels) -> tuple[Floats, Floats]:
        """Errors [n, h, w, 2] and strangeness of the code [n] of frames, batch by batch."""
        errors = [np.empty((0, self.height // CELL_PX, self.width // CELL_PX, 2), np.float32)]
        codes = [np.empty(0, np.float32)]
        for start in range(0, len(frames), BATCH):
            given = scaled(frames[start : start + BATCH])
            outputs = as_list(self.network(given, training=False))
            strange = self.code_strangeness(outputs)
            errors.append(rebuilding_errors(given, outputs[0]).numpy())
            codes.append(np.zeros(len(given), np.float32) if strange is None else strange.numpy())
        return np.concatenate(errors), np.concatenate(codes)

    def score_graph(self) -> ScoreGraph:
        """Score of the map, of the code or of both, and the map."""
        body = FrozenNetwork(self.network)

        def function(frame: tf.Tensor) -> Outputs:
            given = scaled_graph(frame)
            outputs = as_list(body.graph(given))
            with tf.name_scope(HEAD):
                errors = rebuilding_errors(given, outputs[0])
                score, strange_map = self.levels.graph(errors, CELL_PX, self.settings.map)
                code = self.code_strangeness(outputs)
                if code is not None:
                    share = self.code_share
                    score = (1 - share) * score + share / self.code_level * code
                return {"score": score, "map": strange_map}

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3)})


def rebuilding_errors(frames: tf.Tensor, rebuilt: tf.Tensor) -> tf.Tensor:
    """Errors [n, h, w, 2] of rebuilt frames [n, H, W, 3], both of -1..1: of pixels, and of structure (1 - SSIM).

        1 - SSIM = 1 - (1 - l)(1 - t),   l = (mean x - mean y)^2 / ((mean x)^2 + (mean y)^2 + C1)
                                         t = var(x - y) / (var x + var y + C2),   over windows

    That is SSIM as it is usually written, but of differences: a variance as mean x^2 - (mean x)^2, and 1 less what is
    nearly 1, leave float32 no digits where a frame is plain, and cells of the map differ between runtimes.

    Source of SSIM: Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli, "Image quality assessment: from error
    visibility to structural similarity", IEEE Transactions on Image Processing 13 (2004); here over square windows.
    """
    pixels = tf.reduce_mean(tf.math.squared_difference(frames, rebuilt), axis=3, keepdims=True)
    x, y = (windows(tf.reduce_sum(each * tf.constant(LUMA), axis=3, keepdims=True)) for each in (frames, rebuilt))
    mean_x, mean_y = (tf.reduce_mean(each, axis=3, keepdims=True) for each in (x, y))
    x, y = x - mean_x, y - mean_y
    apart = tf.reduce_mean(tf.math.squared_difference(x, y), axis=3, keepdims=True)
    spread = tf.reduce_mean(x * x + y * y, axis=3, keepdims=True)
    light_floor, texture_floor = SSIM_FLOORS
    light = tf.math.squared_difference(mean_x, mean_y) / (mean_x * mean_x + mean_y * mean_y + light_floor)
    texture = apart / (spread + texture_floor)
    return tf.concat(
        [tf.nn.avg_pool2d(pixels, WINDOW_PX, CELL_PX, "SAME"), light + texture * (1 - light)],
        axis=3,
    )


def windows(values: tf.Tensor) -> tf.Tensor:
    """Pixels [n, h, w, WINDOW_PX^2] of the window around each position of the map, of [n, H, W, 1] mirrored at the rim.

    A window is two cells high and wide, and begins half a cell before its position's.
    """
    rim = CELL_PX // 2
    cells = tf.nn.space_to_depth(tf.pad(values, [[0, 0], [rim, rim], [rim, rim], [0, 0]], "SYMMETRIC"), CELL_PX)
    corners = [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]]
    return tf.concat(corners, axis=3)


def as_list(outputs: tf.Tensor | list[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of a network that may have one alone."""
    return outputs if isinstance(outputs, list) else [outputs]
