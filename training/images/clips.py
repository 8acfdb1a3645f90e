"""What the clip detectors share: how frames follow each other is judged, where each alone may look normal.

    frame_t [1, H, W, 3]
      │ front   brought to -1..1                                                             float32
      ├─────────────► y_t   means of blocks of cell_px x cell_px pixels, [1, h, w, 3]
      ▼
    body            codes of the frame [1, h, w, code]; what they and those before tell      int8 in a quantized build
      │
      ▼
    head            forecast_t = y_t + spread x change read from the body                    float32
                    error_t = y_t - forecast_(t-1)
                    map(p)  = |L_p^-1 (error_t(p) - m_p)|, smoothed       S_p = L_p L_p'
                    score   = mean of the largest share of the map

S_p is the covariance of the errors at a position over normal frames, shrunk as in `padim`: where things move as they
like, an error is worth less. What is forecast are colours of blocks and not the codes: a network that chose its own
target would choose one that never changes.

Frames must come at the pace of those it learned from: a dropped frame looks like a leap. A thing that is strange in
each frame is seen where it appears; once there, its way may well be forecast. Other detectors are for that.

Sources: W. Liu, W. Luo, D. Lian and S. Gao, "Future frame prediction for anomaly detection: a new baseline", CVPR 2018
(the error of a forecast frame as score); Y. S. Chong and Y. H. Tay, "Abnormal event detection in videos using
spatiotemporal autoencoder", ISNN 2017 (a spatial encoder, then a temporal one).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.records import Doubles, Floats
from training.detectors.network import Batches, Examples, batch_size, train_on_batches
from training.graph import BODY, FRONT, HEAD, FrozenNetwork, Outputs, ScoreGraph
from training.images.coders import HALF_RANGE, check_size, scaled_graph
from training.images.detector import Curves, ImageData, ImageDetector
from training.images.folders import BATCH, Pixels
from training.images.gaussians import Moments, whitening
from training.images.levels import MapSettings, score_and_map
from training.images.network import frames_to_learn

CELLS_PX = (4, 8, 16)
"""Sides of a block: frames are halved until a code has a place for each."""

FIRST_FILTERS = 8
"""Channels of the first convolution of the encoder; each further one has twice as many, the last those of the code."""

COLOURS = 3
"""Red, green and blue of a block."""

LEAST_SPREAD = 1 / HALF_RANGE
"""Least unit of changes, one grey level: where nothing moves there is none to take it from."""

OVERLAP = 4
"""Pieces of training that each frame is in, but for those at the ends."""

States = dict[str, tf.Tensor]
"""By name without `state_`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings:
    """What all clip detectors are set by."""

    cell_px: int = 8
    """Pixels a side of the blocks whose colour is forecast, 4, 8 or 16: the cells of the map."""
    code: int = 16
    """Channels of a frame's code at each cell."""
    hidden: int = 32
    """Channels of what is known of the past at each cell. Time grows with its square."""
    sequence_frames: int = 12
    """Frames of the pieces it is trained on."""
    map: MapSettings = field(default_factory=MapSettings)

    def __post_init__(self) -> None:
        """Refuse what builds no network."""
        if self.cell_px not in CELLS_PX:
            raise ValueError(f"cell_px must be one of {list(CELLS_PX)} pixels, got {self.cell_px}")
        if min(self.code, self.hidden) < 1 or self.sequence_frames < 2:
            raise ValueError(
                "code and hidden must be at least 1 and sequence_frames at least 2, "
                f"got {self.code}, {self.hidden} and {self.sequence_frames}"
            )


S = TypeVar("S", bound=ClipSettings)


class ClipDetector(ImageDetector[S]):
    """A network that forecasts the next frame, and what it usually errs at each position.

    A subclass says how codes are followed over time: by a Keras layer to train, and by one step of the same for the
    graph that ships. Errors are learned by that graph, frame by frame as on a device.
    """

    kind = "time"
    streaming = True
    encoder: FrozenNetwork
    """Frames [1, H, W, 3] of -1..1 to codes [1, h, w, code]."""
    temporal: list[Floats]
    """Weights of `temporal_layer`."""
    readers: list[list[Floats]]
    """Kernel and bias of the convolution behind it and of the one that reads the change."""
    spread: float
    """Unit of the change that is read: root mean square of changes from frame to frame in training."""
    mean: Doubles
    """m, float64 [P, 3]."""
    whiten: Doubles
    """L^-1, float64 [P, 3, 3]."""

    @classmethod
    def check(cls, settings: S, height: int, width: int) -> None:
        """Refuse frames that blocks do not fill."""
        check_size(height, width, settings.cell_px)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows h and columns w of the map."""
        return self.height // self.settings.cell_px, self.width // self.settings.cell_px

    @abstractmethod
    def temporal_layer(self) -> keras.Layer:
        """From codes [b, L, h, w, code] to [b, L', h, w, hidden], the last L' <= L of them, for training."""

    @property
    @abstractmethod
    def temporal_states(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of what `step` carries; 0 at a reset."""

    @abstractmethod
    def step(self, code: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """`temporal_layer` for one more code [1, h, w, code]: [1, h, w, hidden], and the states behind it."""

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all that is carried, by name in the graph."""
        shapes = {**self.temporal_states, "forecast": (1, *self.grid, COLOURS)}
        return {f"state_{name}": shape for name, shape in shapes.items()}

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        """Train to forecast, then learn the usual errors."""
        normal, stopping = frames_to_learn(data, self.training)
        least = self.settings.sequence_frames + 2
        if len(normal) < least:
            raise ValueError(
                f"forecasts are learned from {least} frames or more in order of time, got {len(normal)}: "
                "add frames, or set a smaller detector.sequence_frames"
            )
        keras.utils.set_random_seed(self.training.seed)
        self.spread = max(float(np.sqrt(np.mean(np.diff(self.blocks(normal), axis=0) ** 2))), LEAST_SPREAD)
        curves = self._train(normal, stopping, progress=progress)
        self._learn_errors([normal, stopping])
        return curves

    def _train(self, normal: Pixels, stopping: Pixels, *, progress: bool) -> Curves:
        """Train the layers together and keep their weights."""
        layers, hidden = keras.layers, self.settings.hidden
        encoder, temporal = self._encoder(), self.temporal_layer()
        readers = [layers.Conv2D(hidden, 3, padding="same", activation="relu"), layers.Conv2D(COLOURS, 1)]
        frames = keras.Input((self.settings.sequence_frames, self.height, self.width, 3), dtype="uint8")
        each_frame = keras.ops.reshape(frames, (-1, self.height, self.width, 3))
        codes = encoder(layers.Rescaling(1 / HALF_RANGE, -1.0)(each_frame))
        x = temporal(keras.ops.reshape(codes, (-1, self.settings.sequence_frames, *codes.shape[1:])))
        counted = x.shape[1]
        x = keras.ops.reshape(x, (-1, *x.shape[2:]))
        for reader in readers:
            x = reader(x)
        model = keras.Model(frames, keras.ops.reshape(x, (-1, counted, *x.shape[1:])))
        starts, watched = self._starts(len(normal)), self._starts(len(stopping))
        batch = batch_size(len(starts), self.training)
        curves = train_on_batches(
            model,
            Batches(starts, lambda at, _: self._examples(normal, at, counted), batch, self.training.seed),
            self._examples(stopping, watched, counted) if len(watched) else None,
            self.training,
            loss="mse",
            progress=progress,
        )
        self.encoder, self.temporal = FrozenNetwork(encoder), temporal.get_weights()
        self.readers = [reader.get_weights() for reader in readers]
        return curves

    def _encoder(self) -> keras.Model:
        """Convolutions of stride 2 until a code has a place for each cell."""
        halvings = self.settings.cell_px.bit_length() - 1
        filters = [FIRST_FILTERS * 2**number for number in range(halvings - 1)] + [self.settings.code]
        halve = [keras.layers.Conv2D(each, 3, strides=2, padding="same", activation="relu") for each in filters]
        return keras.Sequential([keras.Input((self.height, self.width, 3)), *halve])

    def _starts(self, count: int) -> NDArray[np.int64]:
        """Places of the first frames of pieces, each with a frame behind it to forecast."""
        return np.arange(0, count - self.settings.sequence_frames, max(1, self.settings.sequence_frames // OVERLAP))

    def _examples(self, frames: Pixels, starts: NDArray[Any], counted: int) -> Examples:
        """Pieces [n, L, H, W, 3], and the changes [n, counted, h, w, 3] behind their last frames, in spreads."""
        at = starts[:, np.newaxis] + np.arange(self.settings.sequence_frames + 1)
        pieces = frames[at]
        blocks = self.blocks(pieces[:, -counted - 1 :].reshape(-1, *frames.shape[1:]))
        changes = np.diff(blocks.reshape(len(starts), counted + 1, *self.grid, COLOURS), axis=1)
        return pieces[:, :-1], changes / np.float32(self.spread)

    def blocks(self, frames: Pixels) -> Floats:
        """Means of blocks, float32 [n, h, w, 3] of -1..1, of frames [n, H, W, 3]: what the graph computes."""
        (rows, columns), side = self.grid, self.settings.cell_px
        parts = frames.reshape(-1, rows, side, columns, side, COLOURS)
        means: Floats = parts.mean(axis=(2, 4), dtype=np.float32)
        return means * np.float32(1 / HALF_RANGE) - np.float32(1)

    def _learn_errors(self, runs: list[Pixels]) -> None:
        """Mean and covariance of the errors along runs of frames, each from a reset."""
        positions = self.grid[0] * self.grid[1]
        moments = Moments(positions, COLOURS)
        for frames in runs:
            errors = self._errors(frames)
            for start in range(0, len(errors), BATCH):
                moments.add(errors[start : start + BATCH].reshape(-1, positions, COLOURS))
        self.mean = moments.mean
        self.whiten = whitening(moments.covariance, COLOURS / (COLOURS + moments.count))

    def _errors(self, frames: Pixels) -> Doubles:
        """Errors [n, h, w, 3] along frames from a reset, without the warm-up."""
        forward = tf.function(self._forward, autograph=False)
        states = {name: tf.zeros(shape) for name, shape in self.states.items()}
        errors = np.empty((len(frames), *self.grid, COLOURS))
        for error, frame in zip(errors, frames, strict=True):
            found, states = forward(tf.constant(frame[np.newaxis]), states)
            error[...] = found.numpy()[0]
        return errors[self.warm_up :]

    def _forward(self, frame: tf.Tensor, states: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, States]:
        """Error [1, h, w, 3] of the last forecast, and the states behind this frame, by name in the graph."""
        x = scaled_graph(frame)
        with tf.name_scope(FRONT):
            y = tf.nn.avg_pool2d(x, self.settings.cell_px, self.settings.cell_px, "VALID")
        hidden, after = self.step(
            self.encoder.graph(x), {name: states[f"state_{name}"] for name in self.temporal_states}
        )
        (kernel, bias), (read, offset) = self.readers
        with tf.name_scope(BODY):
            hidden = tf.nn.relu(tf.nn.conv2d(hidden, kernel, 1, "SAME") + bias)
        with tf.name_scope(HEAD):
            change = tf.nn.conv2d(hidden, read, 1, "SAME") + offset
            after["forecast"] = y + change * self.spread
            return y - states["state_forecast"], {f"state_{name}": state for name, state in after.items()}

    def score_graph(self) -> ScoreGraph:
        """One step: score and map of the frame, and the states for the next."""
        rows, columns = self.grid

        def function(frame: tf.Tensor, **states: tf.Tensor) -> Outputs:
            error, after = self._forward(frame, states)
            with tf.name_scope(HEAD):
                offset = tf.reshape(error, (rows * columns, 1, COLOURS)) - self.mean[:, np.newaxis].astype(np.float32)
                white = tf.matmul(offset, tf.constant(self.whiten, tf.float32), transpose_b=True)
                distances = tf.reshape(tf.sqrt(tf.reduce_sum(white * white, axis=2)), (1, rows, columns))
                score, strange_map = score_and_map(distances, self.settings.cell_px, self.settings.map)
            return {"score": score, "map": strange_map, **after}

        return ScoreGraph(function=function, inputs={"frame": (1, self.height, self.width, 3), **self.states})
