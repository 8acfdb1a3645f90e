"""Features of frames on one grid of positions, from some layers of the backbone; of the whole frame or of its tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from edge_agent.contract.records import Doubles
from training.graph import FRONT, HEAD
from training.images.backbone import BLOCKS, EfficientNetLite0
from training.images.detector import FrameSet
from training.images.folders import BATCH, Pixels
from training.images.light import Light
from training.images.rounding import MOST_SAMPLES, RoundedBackbone

LIGHT = 1.25
"""Usual limit of `FeatureSettings.light`: lamps age and the sun moves by as much."""

MOST_LIGHT = 4.0
"""Largest factor of light that is evened out: in the dark a camera's noise is all that would be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """`features` of a `[detector]` table: what is known of each position."""

    layers: tuple[int, ...] = (4, 7, 10)
    """Blocks of EfficientNet-Lite0 whose outputs are features: 1 to 4 tell textures, 5 to 10 parts, 11 to 15 things."""
    grid_stride: int = 16
    """Pixels of the frame from position to position: finer layers are averaged, coarser ones interpolated."""
    tiles: int = 1
    """The frame is cut into so many rows and columns, and each tile is judged by the same model, which stays as small
    as that of one tile: for small defects on large, even surfaces."""
    light: float = LIGHT
    """Largest factor by which the light of a frame is evened out; what is beyond stands out. 1: nothing is evened out,
    as an Edge TPU needs."""

    def __post_init__(self) -> None:
        """Refuse what gives no features."""
        if not self.layers or list(self.layers) != sorted(set(self.layers) & set(BLOCKS)):
            raise ValueError(f"layers must be some of 0 to {max(BLOCKS)}, rising, got {list(self.layers)}")
        if self.grid_stride not in (strides := sorted({stride for stride, _ in BLOCKS.values()})):
            raise ValueError(f"grid_stride must be one of {strides} pixels, got {self.grid_stride}")
        if self.tiles < 1:
            raise ValueError(f"tiles must be at least 1, got {self.tiles}")
        if not 1 <= self.light <= MOST_LIGHT:
            raise ValueError(f"light must be a factor from 1 to {MOST_LIGHT:g}, got {self.light}")

    @property
    def channels(self) -> int:
        """Features of a position."""
        return sum(BLOCKS[layer][1] for layer in self.layers)

    def check(self, height: int, width: int) -> None:
        """Refuse frames that a grid does not fit.

        Raises:
            ValueError: with the step that the sides must be multiples of.
        """
        step = self.tiles * max(self.grid_stride, *(BLOCKS[layer][0] for layer in self.layers))
        if min(height, width) < step or height % step or width % step:
            raise ValueError(f"height and width must be multiples of {step} pixels, got {height} x {width}")


class Patches:
    """Frames to features and back to a map."""

    def __init__(
        self,
        settings: FeatureSettings,
        height: int,
        width: int,
        backbone: EfficientNetLite0 | None,
        normal: Iterable[Pixels],
    ) -> None:
        """Fold the weights and learn the light.

        Args:
            settings: which features.
            height: pixels of a frame.
            width: pixels of a frame.
            backbone: None: of the installed package.
            normal: batches uint8 [b, H, W, 3] of normal frames, which tell what light is usual.

        Raises:
            DataError: the weights are not installed, or a normal frame cannot be read.
        """
        self._settings = settings
        self._backbone = backbone or EfficientNetLite0(layers=settings.layers)
        self._light = Light.fit(normal, settings.light) if settings.light > 1 else None
        self._rounded: RoundedBackbone | None = None
        self._spec = tf.TensorSpec((None, height, width, 3), tf.uint8)
        self._tile = height // settings.tiles, width // settings.tiles
        self.grid = self._tile[0] // settings.grid_stride, self._tile[1] // settings.grid_stride
        self.positions = self.grid[0] * self.grid[1]
        self.shape = settings.tiles**2, self.positions, settings.channels
        """Of the features of one frame."""

    def batches(self, frames: FrameSet, *, progress: bool) -> Iterator[Doubles]:
        """Features float64 [tiles^2 b, P, channels] of batches of frames, tile by tile; `progress` draws a bar."""
        graph = tf.function(self.graph, input_signature=[self._spec], autograph=False)
        for batch in tqdm(frames.batches(), "features", -(-len(frames) // BATCH), leave=False, disable=not progress):
            yield graph(batch).numpy().astype(np.float64)

    def rounded_batches(self, frames: FrameSet, *, progress: bool) -> Iterator[Doubles]:
        """The same as an int8 build gives it, whose ranges are set on some of the frames that are given first."""
        rounded = self._rounded = self._rounded or self._round(frames)
        for batch in tqdm(
            frames.batches(), "int8 features", -(-len(frames) // BATCH), leave=False, disable=not progress
        ):
            outputs = rounded(self._tiles(batch).numpy())
            yield self._features([tf.constant(output) for output in outputs]).numpy().astype(np.float64)

    def _round(self, frames: FrameSet) -> RoundedBackbone:
        samples = frames.part(np.linspace(0, len(frames) - 1, min(len(frames), MOST_SAMPLES)).round().astype(int))
        tiles = np.concatenate([self._tiles(batch).numpy() for batch in samples.batches()])
        return RoundedBackbone(self._backbone, tiles)

    def graph(self, frames: tf.Tensor) -> tf.Tensor:
        """Features [n tiles^2, P, channels] of frames [n, H, W, 3]; of one frame, its tiles row by row."""
        with tf.name_scope(FRONT):
            tiles = self._tiles(frames)
        return self._features(self._backbone.graph(tiles))

    def _tiles(self, frames: tf.Tensor) -> tf.Tensor:
        """Tiles of frames in the usual light; in a graph, call it in scope `front`."""
        if self._light is not None:
            frames = self._light.graph(frames)
        return tf.concat([tile for row in self._cut(frames, 1) for tile in self._cut(row, 2)], axis=0)

    def _features(self, outputs: list[tf.Tensor]) -> tf.Tensor:
        """What the layers give, on the grid."""
        with tf.name_scope(HEAD):
            parts = [
                self._on_grid(output, BLOCKS[layer][0])
                for layer, output in zip(self._settings.layers, outputs, strict=True)
            ]
            return tf.reshape(tf.concat(parts, axis=3), (-1, self.positions, self._settings.channels))

    def map(self, values: tf.Tensor) -> tf.Tensor:
        """Values [tiles^2, P, …] of one frame as [1, tiles h, tiles w, …]; call it in scope `head`."""
        count = self._settings.tiles
        tiles = tf.split(tf.reshape(values, (-1, *self.grid, *values.shape[2:])), count**2, axis=0)
        rows = [tf.concat(tiles[at : at + count], axis=2) for at in range(0, count**2, count)]
        return tf.concat(rows, axis=1)

    def _cut(self, frames: tf.Tensor, axis: int) -> list[tf.Tensor]:
        return list(tf.split(frames, self._settings.tiles, axis=axis)) if self._settings.tiles > 1 else [frames]

    def _on_grid(self, output: tf.Tensor, stride: int) -> tf.Tensor:
        side = self._settings.grid_stride // stride
        if side > 1:
            return tf.nn.avg_pool2d(output, side, side, "VALID")
        return output if side else tf.image.resize(output, self.grid)
