"""The assignment is exact: it costs what scipy's does, whatever the matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from edge_agent.vision.assignment import cheapest_pairs

SIDES = st.integers(0, 9)


@settings(deadline=None, max_examples=200)
@given(rows=SIDES, columns=SIDES, seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_it_costs_as_little_as_can_be(rows: int, columns: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.integers(-2, 3, (rows, columns)).astype(float) if ties else rng.normal(size=(rows, columns))
    pairs = cheapest_pairs(cost)
    assert len(pairs) == len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(rows, columns)
    assert pairs == sorted(pairs)
    best = cost[linear_sum_assignment(cost)].sum()
    assert sum(cost[pair] for pair in pairs) == pytest.approx(best, abs=1e-9)


def test_taking_the_nearest_first_is_not_enough() -> None:
    assert cheapest_pairs(np.array([[1.0, 2.0], [1.1, 9.0]])) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("cost", [np.array([[np.nan]]), np.array([[1.0, np.inf]]), np.zeros(3)])
def test_what_cannot_be_compared_is_refused(cost: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite"):
        cheapest_pairs(cost)
