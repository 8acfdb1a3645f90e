"""PaDiM: a Gaussian of pretrained features at every position of the frame.

    map(p)  = |L_p^-1 (x_p - m_p)|, smoothed      Mahalanobis distance at position p
    score   = mean of the largest share of the map

x_p are some features of all taps of the backbone, drawn once, brought to one grid. From n images the covariance of d
features is hardly known, so that of a position is drawn towards the mean one of all positions:

    S_p = (1 - a) C_p + a C,    a = d / (d + n) unless the settings say otherwise

With a = 1 all positions share one covariance (each keeps its own mean): less to store and to compute, and better where
parts do not lie in the same place in every image.

Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a patch distribution modeling framework for anomaly
detection and localization", 2020 (there: S_p = C_p + 0.01 I, and the maximum as score).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.records import Doubles
from training.graph import HEAD, Outputs, ScoreGraph
from training.images.backbone import CHANNELS, COARSEST, TAPS, EfficientNetLite0
from training.images.folders import Pixels

RIDGE = 0.01
"""Share of the mean variance added to the diagonal: features that never moved would make the covariance singular."""

LEAST_VARIANCE = 1e-6
"""In squared units of the features, which vary by some 1: frames that are all alike still give a distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PadimSettings:
    """Size and model of a PaDiM detector."""

    height: int = 224
    """Pixels of the frame, a multiple of 16; images are resized to it."""
    width: int = 224
    """Likewise."""
    features: int = 60
    """d, of the 176 of the backbone, drawn at random; memory and time grow with its square."""
    grid_stride: int = 8
    """Pixels of the frame behind a position of the map: 4, 8 or 16. Half of it costs four times as much."""
    shrinkage: float | None = None
    """a, 0 to 1; None: d / (d + n)."""
    smoothing_px: float = 4.0
    """Standard deviation of the Gaussian that smooths the map, in pixels of the frame; that of the paper."""
    top_share: float = 0.01
    """Share of the positions whose mean is the score: steadier than the maximum, and still small."""
    seed: int = 0
    """Of the draw of features."""

    def __post_init__(self) -> None:
        """Refuse what gives no graph."""
        if min(self.height, self.width) < COARSEST or self.height % COARSEST or self.width % COARSEST:
            raise ValueError(
                f"height and width must be multiples of {COARSEST} pixels, got {self.height} x {self.width}"
            )
        if not 1 <= self.features <= CHANNELS:
            raise ValueError(f"features must be 1 to {CHANNELS}, got {self.features}")
        if self.grid_stride not in (strides := [stride for stride, _ in TAPS.values()]):
            raise ValueError(f"grid_stride must be one of {strides} pixels, got {self.grid_stride}")
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be 0 to 1, got {self.shrinkage}")
        if self.smoothing_px < 0 or not 0 < self.top_share <= 1:
            raise ValueError(
                "smoothing_px must be 0 or more and top_share above 0 and at most 1, "
                f"got {self.smoothing_px} and {self.top_share}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows h and columns w of the map."""
        return self.height // self.grid_stride, self.width // self.grid_stride

    @property
    def positions(self) -> int:
        """P = h w."""
        return self.grid[0] * self.grid[1]


class Padim:
    """Fit on normal frames, then one graph from `frame` to `score` and `map`."""

    def __init__(self, settings: PadimSettings, backbone: EfficientNetLite0 | None = None) -> None:
        """Draw the features; nothing is fitted yet. `backbone` None: with the installed weights."""
        self.settings = settings
        self._backbone = backbone or EfficientNetLite0()
        self._drawn = drawn_channels(settings.features, settings.seed)
        self._mean: Doubles | None = None
        self._whitening: Doubles | None = None

    def fit(self, batches: Iterable[Pixels]) -> None:
        """Learn from uint8 batches [b, H, W, 3] of normal frames; memory does not grow with their number.

        Raises:
            ValueError: fewer than two frames, or of another size.
        """
        settings = self.settings
        moments = Moments(settings.positions, settings.features)
        spec = tf.TensorSpec((None, settings.height, settings.width, 3), tf.uint8)
        features = tf.function(self._features, input_signature=[spec], autograph=False)
        for batch in batches:
            moments.add(features(batch).numpy().astype(np.float64))
        if moments.count < 2:
            raise ValueError(f"a covariance needs two normal frames or more, got {moments.count}")
        d = settings.features
        share = d / (d + moments.count) if settings.shrinkage is None else settings.shrinkage
        self._mean, self._whitening = moments.mean, whitening(moments.covariance, share)

    def score_graph(self) -> ScoreGraph:
        """The fitted detector as one graph with static shapes and constants only.

        Raises:
            ValueError: it is not fitted.
        """
        if self._mean is None or self._whitening is None:
            raise ValueError("fit the detector before asking for its graph")
        return ScoreGraph(function=self._score, inputs={"frame": (1, self.settings.height, self.settings.width, 3)})

    def _score(self, frame: tf.Tensor) -> Outputs:
        """`score` [1] and `map` [1, h, w] of one frame."""
        features = self._features(frame)
        with tf.name_scope(HEAD):
            mean, whiten = tf.constant(self._mean, tf.float32), tf.constant(self._whitening, tf.float32)
            # One covariance for all: a single product of matrices; else one a position, [P, 1, d] by [P, d, d].
            groups = whiten.shape[0]
            offsets = tf.reshape(features - mean, (groups, -1, self.settings.features))
            white = tf.matmul(offsets, whiten, transpose_b=True)
            distances = tf.sqrt(tf.reduce_sum(white * white, axis=2))
            smooth = self._smooth(tf.reshape(distances, self.settings.grid))
            counted = max(1, round(self.settings.top_share * self.settings.positions))
            largest = tf.math.top_k(tf.reshape(smooth, (1, self.settings.positions)), counted)
            return {
                "score": tf.reduce_mean(largest.values, axis=1),
                "map": tf.reshape(smooth, (1, *self.settings.grid)),
            }

    def _features(self, frames: tf.Tensor) -> tf.Tensor:
        """The drawn features [n, P, d] of frames, all on one grid: finer ones averaged, coarser ones interpolated."""
        taps = self._backbone.graph(frames)
        with tf.name_scope(HEAD):
            parts = [
                self._on_grid(tf.gather(tap, drawn, axis=3), stride)
                for tap, drawn, (stride, _) in zip(taps, self._drawn, TAPS.values(), strict=True)
                if len(drawn)
            ]
            return tf.reshape(tf.concat(parts, axis=3), (-1, self.settings.positions, self.settings.features))

    def _on_grid(self, x: tf.Tensor, stride: int) -> tf.Tensor:
        side = self.settings.grid_stride // stride
        if side > 1:
            return tf.nn.avg_pool2d(x, side, side, "VALID")
        return x if side else tf.image.resize(x, self.settings.grid)

    def _smooth(self, distances: tf.Tensor) -> tf.Tensor:
        """Smooth [h, w] with a Gaussian; at the rim over what there is, so that it is neither darker nor brighter."""
        sigma = self.settings.smoothing_px / self.settings.grid_stride
        along_rows, along_columns = (tf.constant(smoothing(size, sigma), tf.float32) for size in self.settings.grid)
        return tf.matmul(tf.matmul(along_rows, distances), along_columns, transpose_b=True)


class Moments:
    """Mean and covariance at every position, from batches: memory for one batch and the result."""

    def __init__(self, positions: int, features: int) -> None:
        """Begin with no frame."""
        self.count = 0
        self.mean: Doubles = np.zeros((positions, features))
        self._scatter: Doubles = np.zeros((positions, features, features))

    def add(self, features: Doubles) -> None:
        """Take in the features [b, P, d] of b frames.

        Squares are summed about the mean of the batch and then moved to the common mean, which loses no digits.

        Source: T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", COMPSTAT 1982.
        """
        added, mean = len(features), features.mean(axis=0)
        total = self.count + added
        centred = (features - mean).transpose(1, 2, 0)
        moved = mean - self.mean
        self._scatter += centred @ centred.transpose(0, 2, 1)
        self._scatter += moved[:, :, np.newaxis] * moved[:, np.newaxis] * (self.count * added / total)
        self.mean = self.mean + moved * (added / total)
        self.count = total

    @property
    def covariance(self) -> Doubles:
        """Of each position, float64 [P, d, d]; needs two frames."""
        return self._scatter / (self.count - 1)


def drawn_channels(count: int, seed: int) -> list[NDArray[np.int64]]:
    """Draw `count` of the backbone's channels: for each tap those of its own, rising."""
    drawn = np.sort(np.random.default_rng(seed).permutation(CHANNELS)[:count])
    ends = np.cumsum([channels for _, channels in TAPS.values()]).tolist()
    return [drawn[(drawn >= start) & (drawn < end)] - start for start, end in pairwise([0, *ends])]


def whitening(covariance: Doubles, share: float) -> Doubles:
    """L^-1 of shrunk covariances S = L L'.

    Args:
        covariance: float64 [P, d, d].
        share: a, 0 to 1: how much of each is replaced by their mean.

    Returns:
        float64 [P, d, d], lower triangles; [1, d, d] where all are the same, that is a = 1.
    """
    pooled = covariance.mean(axis=0, keepdims=True)
    variance = max(float(np.trace(pooled[0])) / pooled.shape[1], LEAST_VARIANCE)
    shrunk = pooled if share == 1 else (1 - share) * covariance + share * pooled
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shrunk + RIDGE * variance * np.eye(pooled.shape[1]))))


def smoothing(size: int, sigma: float) -> Doubles:
    """Matrix [size, size] that smooths with a Gaussian of `sigma` positions (0: not); each row sums to 1."""
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-0.5 * (apart / sigma) ** 2) if sigma else np.eye(size)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
