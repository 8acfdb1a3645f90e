"""The median of few values is that of numpy."""

import numpy as np
import pytest

from edge_agent.vision.median import median


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (12, 16), (13, 15)])
def test_it_is_what_numpy_says(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(100, 10, shape)
    assert median(values) == pytest.approx(np.median(values), rel=1e-12)
