"""The backbone as int8 computes it: near float32, layer by layer, and off by the same in every frame that is alike."""

from __future__ import annotations

import numpy as np
import pytest

from training.images.backbone import EfficientNetLite0
from training.images.rounding import RoundedBackbone

LAYERS = (4, 7, 8, 10)
"""7 and 8 have the same shape: only their order tells them apart."""


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    return EfficientNetLite0(layers=LAYERS)


@pytest.fixture(scope="module")
def rounded(backbone: EfficientNetLite0, tiles: np.ndarray) -> RoundedBackbone:
    return RoundedBackbone(backbone, tiles)


def test_every_layer_is_nearest_to_its_own_float_layer(
    rounded: RoundedBackbone, backbone: EfficientNetLite0, tiles: np.ndarray
) -> None:
    exact = [output.numpy() for output in backbone.graph(tiles)]
    for at, layer in enumerate(rounded(tiles)):
        assert layer.shape == exact[at].shape
        errors = [np.abs(layer - each).mean() for each in exact if each.shape == layer.shape]
        assert np.argmin(errors) == [i for i, each in enumerate(exact) if each.shape == layer.shape].index(at)
        assert 0 < min(errors) < 0.25 * exact[at].std()


def test_the_same_tile_gives_the_same_features(rounded: RoundedBackbone, tiles: np.ndarray) -> None:
    for first, again in zip(rounded(tiles[:1]), rounded(tiles[:1]), strict=True):
        np.testing.assert_array_equal(first, again)
