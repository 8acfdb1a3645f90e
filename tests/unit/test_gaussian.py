"""The shrunk Gaussian and what few samples can promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.covariance import ledoit_wolf_shrinkage as reference_shrinkage

from edge_agent.contract.gaussian import BayesianGaussian, Gaussian, incomplete_beta, ledoit_wolf_shrinkage


def correlated(n: int, d: int, rho: float = 0.6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    covariance = np.full((d, d), rho) + (1 - rho) * np.eye(d)
    return rng.multivariate_normal(np.arange(d), covariance, n)


@given(st.floats(-1, 6), st.floats(-1, 6), st.floats(1e-6, 1 - 1e-6))
@settings(max_examples=300, deadline=None)
def test_the_incomplete_beta_function_is_scipys(log_a: float, log_b: float, quantile: float) -> None:
    a, b = 10**log_a, 10**log_b
    x = float(stats.beta.ppf(quantile, a, b))
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-6, abs=1e-12)


def test_the_incomplete_beta_function_has_its_ends() -> None:
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(0, 1, 0.5), (1, -1, 0.5), (1, 1, -0.1), (1, 1, 1.1), (1, 1, math.nan)])
def test_the_incomplete_beta_function_refuses_what_has_no_value(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected a > 0"):
        incomplete_beta(*arguments)


def test_the_shrinkage_is_scikit_learns() -> None:
    x = correlated(40, 6)
    centred = x - x.mean(axis=0)
    ours = ledoit_wolf_shrinkage(centred, centred.T @ centred / 40, samples=40)
    assert ours == pytest.approx(reference_shrinkage(x), rel=1e-9)


def test_fewer_independent_samples_shrink_more() -> None:
    x = correlated(200, 6)
    assert Gaussian.fit(x, samples=10.0).determined < Gaussian.fit(x).determined


def test_many_samples_give_the_mahalanobis_distance() -> None:
    x = correlated(20_000, 4)
    delta = x[:50] - x.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", delta, np.linalg.inv(np.cov(x.T)), delta)
    assert np.allclose(Gaussian.fit(x).distances(x[:50]), exact, rtol=0.01)


def test_the_squares_of_the_whitened_parts_add_up_to_the_distance() -> None:
    gaussian = Gaussian.fit(correlated(50, 5))
    x = correlated(10, 5, seed=1)
    assert np.allclose((gaussian.whitened(x) ** 2).sum(axis=1), gaussian.distances(x))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_fewer_samples_than_dimensions_still_give_finite_distances(n: int) -> None:
    gaussian = Gaussian.fit(correlated(n, 40))
    assert np.isfinite(gaussian.distances(correlated(10, 40, seed=1))).all()
    assert math.isfinite(gaussian.predictive().limit(1e-9))


def test_features_that_are_constant_or_repeat_each_other_do_no_harm() -> None:
    x = correlated(30, 3)
    x = np.column_stack((x, x[:, 0], np.full(30, 7.0)))
    assert np.isfinite(Gaussian.fit(x).distances(x)).all()


def test_the_limit_of_the_predictive_keeps_its_promise_where_chi_square_does_not() -> None:
    asked, n, d = 0.001, 100, 8
    limit = BayesianGaussian(dimensions=d, samples=n).limit(asked)
    rng = np.random.default_rng(0)
    found = chi_square = 0.0
    for _ in range(300):
        x = rng.standard_normal((n, d))
        mean = x.mean(axis=0)
        whiten = np.linalg.inv(np.linalg.cholesky((x - mean).T @ (x - mean) / n)).T
        d2 = np.sum(((rng.standard_normal((2_000, d)) - mean) @ whiten) ** 2, axis=1)
        found += np.mean(d2 > limit) / 300
        chi_square += np.mean(d2 > stats.chi2.isf(asked, d)) / 300
    assert 0.0005 < found < 0.002
    assert chi_square > 0.004


@pytest.mark.parametrize("n", [6, 12, 30, 100])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_a_shrunk_gaussian_never_promises_clearly_more_than_it_keeps(n: int, rho: float) -> None:
    asked, d, rounds = 0.01, 8, 60
    found = 0.0
    for seed in range(rounds):
        gaussian = Gaussian.fit(correlated(n, d, rho, seed))
        found += (
            np.mean(gaussian.distances(correlated(2_000, d, rho, 1000 + seed)) > gaussian.predictive().limit(asked))
            / rounds
        )
    assert found < 1.5 * asked


@given(st.integers(1, 60), st.floats(2, 1e6), st.floats(0, 1), st.floats(1e-12, 0.999))
@settings(max_examples=100, deadline=None)
def test_the_limit_undoes_the_survival_function(dimensions: int, samples: float, share: float, p: float) -> None:
    determined = 1 + share * (dimensions - 1)
    predictive = BayesianGaussian(dimensions=dimensions, samples=samples, determined=determined)
    assert predictive.survival(predictive.limit(p)) == pytest.approx(p, rel=1e-6)


def test_the_survival_function_is_that_of_hotellings_f() -> None:
    predictive = BayesianGaussian(dimensions=5, samples=30.0)
    assert predictive.survival(20.0) == pytest.approx(stats.f.sf(20.0 * 25 / (31 * 5), 5, 25), rel=1e-9)


def test_the_survival_function_has_its_ends() -> None:
    predictive = BayesianGaussian(dimensions=3, samples=10.0)
    assert (predictive.survival(-1.0), predictive.survival(0.0), predictive.survival(math.inf)) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("p", [0.0, 1.0, -1.0, math.nan])
def test_no_limit_is_exceeded_never_or_always(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        BayesianGaussian(dimensions=3, samples=10.0).limit(p)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": 0},
        {"samples": 1.5},
        {"samples": math.inf},
        {"samples": math.nan},
        {"determined": 4.0},
        {"determined": 0.5},
    ],
)
def test_what_no_samples_can_give_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected dimensions"):
        BayesianGaussian(**{"dimensions": 3, "samples": 10.0, **wrong})


@pytest.mark.parametrize(
    ("x", "samples", "told"),
    [
        (np.zeros((1, 3)), None, "at least 2 samples"),
        (np.zeros((5, 3)), 1.0, "collect more"),
        (np.zeros((5, 3)), 6.0, "2 to the 5"),
        (np.full((5, 3), np.nan), None, "finite"),
    ],
)
def test_samples_that_teach_nothing_are_refused(x: np.ndarray, samples: float | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Gaussian.fit(x, samples=samples)
