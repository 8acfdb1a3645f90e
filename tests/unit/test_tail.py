"""The generalized Pareto tail: what it fits, what it bounds, what it refuses."""

import math

import numpy as np
import pytest

from edge_agent.contract.tail import MAX_SHAPE, Tail, fit_tail


def pareto(shape: float, scale: float, count: int, seed: int) -> np.ndarray:
    """Draw excesses by inverting the survival function."""
    share = np.random.default_rng(seed).uniform(size=count)
    return scale * -np.log(share) if shape == 0 else scale * np.expm1(-shape * np.log(share)) / shape


@pytest.mark.parametrize(("shape", "scale"), [(0.0, 1.0), (0.1, 1e-6), (0.2, 3e5), (0.3, 2.0)])
def test_recovers_shape_and_scale_from_many_excesses(shape: float, scale: float) -> None:
    tail = fit_tail(pareto(shape, scale, 20_000, 1), start=5.0, mass=0.1, least_scale=1e-30)
    assert tail.shape == pytest.approx(shape, abs=0.025)
    assert tail.scale == pytest.approx(scale, rel=0.04)


def test_holds_the_shape_of_a_bounded_and_of_a_very_heavy_tail() -> None:
    rng = np.random.default_rng(2)
    assert fit_tail(rng.uniform(size=5_000), start=0, mass=1, least_scale=1e-9).shape == 0.0
    assert fit_tail(pareto(1.0, 1.0, 5_000, 3), start=0, mass=1, least_scale=1e-9).shape == MAX_SHAPE


def test_the_scale_found_is_the_most_likely_one() -> None:
    excesses = pareto(0.15, 2.0, 300, 4)
    tail = fit_tail(excesses, start=0.0, mass=1.0, least_scale=1e-9)

    def log_likelihood(shape: float, scale: float) -> float:
        if shape == 0:
            return float(-np.log(scale) - np.mean(excesses) / scale)
        return float(-np.log(scale) - (1 + 1 / shape) * np.mean(np.log1p(shape * excesses / scale)))

    best = log_likelihood(tail.shape, tail.scale)
    shapes = np.clip(tail.shape + np.array([-0.01, 0.0, 0.01]), 0, MAX_SHAPE)
    assert all(best >= log_likelihood(s, f * tail.scale) - 1e-12 for s in shapes for f in (0.97, 0.999, 1.001, 1.03))


@pytest.mark.parametrize("excesses", [[], [0.0], [0.0] * 40])
def test_without_spread_it_falls_at_the_least_scale(excesses: list[float]) -> None:
    tail = fit_tail(np.array(excesses), start=1.0, mass=0.5, least_scale=1e-6)
    assert (tail.shape, tail.scale) == (0.0, 1e-6)


@pytest.mark.parametrize("shape", [0.0, 0.2, 0.3])
def test_value_inverts_log_beyond(shape: float) -> None:
    tail = Tail(start=-3.0, mass=200.0, shape=shape, scale=0.7)
    for beyond in (200.0, 3.0, 0.1, 1e-9):
        assert tail.log_beyond(tail.value(beyond)) == pytest.approx(math.log(beyond), abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"mass": 0.0}, {"scale": 0.0}, {"scale": -1.0}, {"shape": -0.1}, {"shape": 0.31}, {"start": math.nan}]
)
def test_refuses_what_does_not_fall(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tail"):
        Tail(**{"start": 0.0, "mass": 1.0, "shape": 0.1, "scale": 1.0} | wrong)
