"""The mathematics of the densities: likelihoods that rise, densities that integrate to 1, hills that are hills."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

TWO_HILLS = (-3.0, 3.0)


def fitted(name: str, x: np.ndarray, **settings: Any) -> Any:
    """The detector of that name on windows of one row, so that they overlap nowhere and features are readings."""
    from training.detectors import DETECTORS
    from training.detectors.base import NormalData
    from training.graph import Front
    from training.recipe import TrainingSettings

    front = Front(centre=np.zeros(x.shape[1]), spread=np.ones(x.shape[1]), body_range=20)
    cls = DETECTORS[name]
    detector = cls(cls.Settings(**settings), TrainingSettings(), front, 1)
    detector.fit(NormalData(windows=x[:, np.newaxis].astype(np.float32)), progress=False)
    return detector


def hills(count: int = 400, seed: int = 0) -> np.ndarray:
    """Readings [count, 1] of two kinds of normal."""
    rng = np.random.default_rng(seed)
    return (rng.choice(TWO_HILLS, count) + 0.5 * rng.standard_normal(count))[:, np.newaxis]


def wave(rows: int = 300, seed: int = 0) -> np.ndarray:
    """Readings [rows, 2] that change slowly: neighbours are alike."""
    rng = np.random.default_rng(seed)
    turn = np.arange(rows) / 15
    return np.stack([np.sin(turn), np.cos(turn)], axis=1) + 0.1 * rng.standard_normal((rows, 2))


@pytest.mark.parametrize("name", ["kde", "kdemle", "ce_kde"])
def test_the_density_of_kernels_integrates_to_1(name: str) -> None:
    detector = fitted(name, hills())
    x = np.linspace(-30, 30, 20_001)[:, np.newaxis]
    density = np.exp(detector.kernels.log_densities(x))
    assert trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["kde", "kdemle", "ce_kde", "mixture"])
def test_the_score_is_twice_the_log_density_from_its_highest(name: str) -> None:
    detector = fitted(name, hills(4000))
    x = np.linspace(-5, 5, 41)[:, np.newaxis]
    true = np.log(sum(stats.norm.pdf(x[:, 0], hill, 0.5) for hill in TWO_HILLS))
    score = detector.scores(x)
    near = true > true.max() - 3
    assert np.ptp((score + 2 * true)[near]) < 2.0
    assert score.min() >= 0


def test_the_bandwidth_is_that_of_the_leave_one_out_likelihood_of_a_gaussian() -> None:
    x = np.random.default_rng(0).standard_normal((500, 1))
    detector = fitted("kde", x, kernels=500)
    rule_of_thumb = 1.06 * 500**-0.2
    assert 0.6 * rule_of_thumb < detector.kernels.bandwidth < 1.6 * rule_of_thumb


def test_neighbours_that_share_rows_do_not_explain_a_window() -> None:
    from training.detectors.kernels import LeftOut

    x = np.repeat(np.random.default_rng(0).standard_normal((30, 2)), 10, axis=0)
    alone, blocks = (LeftOut(x, np.arange(300), apart).best_bandwidth() for apart in (1, 10))
    assert alone < 0.1
    assert blocks > 0.3


def test_a_reduced_set_keeps_mean_and_total_variance() -> None:
    from training.detectors.kernels import Kernels

    x = np.random.default_rng(0).standard_normal((600, 3)) * 2
    full = Kernels(centres=x, weights=np.full(600, 1 / 600), bandwidth=0.5)
    few = full.reduced(40, seed=1)
    assert len(few.centres) == 40
    assert few.weights @ few.centres == pytest.approx(x.mean(axis=0))
    variance = 3 * few.bandwidth**2 + few.weights @ ((few.centres - x.mean(axis=0)) ** 2).sum(axis=1)
    assert variance == pytest.approx(3 * 0.5**2 + x.var(axis=0).sum(), rel=1e-6)


def likelihood(x: np.ndarray, apart: int, bandwidth: float) -> Any:
    from training.detectors.kdemle import Likelihood
    from training.detectors.kernels import LeftOut

    return Likelihood(LeftOut(x, np.arange(len(x)), apart).squares, bandwidth, x.shape[1])


def test_a_step_of_em_never_lowers_the_likelihood_of_the_weights() -> None:
    target = likelihood(wave(), 10, 0.3)
    weights, course = np.full(300, 1 / 300), []
    for _ in range(200):
        course.append(target.mean(weights))
        weights *= target.gains(weights)
        assert weights.sum() == pytest.approx(1)
    assert (np.diff(course) >= -1e-12).all()
    assert course[-1] > course[0] + 0.05


@pytest.mark.parametrize(
    ("x", "apart"), [(wave(), 10), (hills(), 1), (wave(600, 1), 30)], ids=["wave", "hills", "long"]
)
@pytest.mark.parametrize("bandwidth", [0.2, 0.5])
def test_em_and_gradient_descent_reach_the_same_likelihood(x: np.ndarray, apart: int, bandwidth: float) -> None:
    from training.detectors.ce_kde import weights_by_descent
    from training.detectors.kdemle import weights_by_em

    target = likelihood(x, apart, bandwidth)
    em, descent = (target.mean(find(target)) for find in (weights_by_em, weights_by_descent))
    print(f"mean log likelihood: EM {em:.4f}, gradient descent {descent:.4f}")
    assert abs(em - descent) < 0.01
    assert em > target.mean(np.full(len(x), 1 / len(x)))


def test_the_likelihood_falls_short_of_the_optimum_by_no_more_than_its_gains_say() -> None:
    from training.detectors.kdemle import weights_by_em

    target = likelihood(wave(), 10, 0.3)
    rough, fine = weights_by_em(target, 0.1), weights_by_em(target, 1e-4)
    assert 0 < target.mean(fine) - target.mean(rough) <= target.gains(rough).max() - 1 <= 0.1


def test_windows_that_no_kernel_explains_have_a_finite_likelihood() -> None:
    target = likelihood(hills(4), 1, 0.5)
    itself_alone = np.array([1.0, 0.0, 0.0, 0.0])
    assert -np.inf < target.mean(itself_alone) < target.mean(np.full(4, 0.25)) - 100


def test_the_optimum_needs_few_kernels() -> None:
    x = np.random.default_rng(0).standard_normal((600, 6))
    assert len(fitted("kdemle", x, kernels=600).kernels.weights) < 100


def test_em_never_lowers_the_objective_of_peak_and_floor() -> None:
    from training.detectors.bsmle import PeakAndFloor

    x = np.random.default_rng(0).standard_t(3, (300, 3))
    course = PeakAndFloor(x, 0.3, 5.0).fit()
    assert (np.diff(course) >= -1e-12).all()
    assert len(course) > 5


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_bsmle_finds_the_share_of_outliers_and_the_peak_without_them(share: float) -> None:
    from training.detectors.bsmle import PeakAndFloor

    rng = np.random.default_rng(1)
    outlier = np.arange(2000) < share * 2000
    x = np.where(outlier[:, np.newaxis], rng.uniform(-5, 5, (2000, 2)), 0.3 * rng.standard_normal((2000, 2)) + 1)
    model = PeakAndFloor(x, 0.05, 5.0)
    model.fit()
    assert model.outliers == pytest.approx(share, abs=0.01)
    assert np.sqrt(np.diag(model.covariance)) == pytest.approx([0.3, 0.3], rel=0.15)
    assert model.mean == pytest.approx([1, 1], abs=0.03)


def test_the_score_of_bsmle_is_the_log_odds_and_never_saturates() -> None:
    detector = fitted("bsmle", np.random.default_rng(0).standard_normal((500, 2)))
    scores = detector.scores(np.array([[0, 0], [3, 0], [10, 0], [1e3, 0], [1e6, 0]], np.float64))
    assert scores[0] < 0 < scores[2]
    assert (np.diff(scores) > 0).all()
    assert scores[-1] == pytest.approx(1e12 / 2, rel=0.1)


def test_attractors_are_maxima_of_the_density() -> None:
    from training.detectors.denclue import climb
    from training.detectors.kernels import Kernels

    rng = np.random.default_rng(0)
    kernels = Kernels(centres=rng.standard_normal((80, 2)), weights=np.full(80, 1 / 80), bandwidth=0.4)
    tops = np.unique(climb(kernels).round(2), axis=0)
    assert 1 < len(tops) < 80
    heights = kernels.log_densities(tops)
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        around = kernels.log_densities(tops + 0.1 * np.array([np.cos(angle), np.sin(angle)]))
        assert (around < heights).all()


def test_to_denclue_a_rare_kind_of_normal_is_as_good_as_a_common_one_and_noise_is_strange() -> None:
    rng = np.random.default_rng(0)
    rare = 3 + 0.3 * rng.standard_normal((60, 2))
    scattered = rng.uniform(-30, 30, (12, 2))
    x = rng.permutation(np.concatenate([0.3 * rng.standard_normal((500, 2)), rare, scattered]))
    detector = fitted("denclue", x)
    common, occasional = (np.median(detector.scores(part)) for part in (0.3 * rng.standard_normal((300, 2)), rare))
    assert occasional < common + 1
    assert detector.scores(scattered).min() > common + 10


def test_a_mixture_takes_as_many_components_as_the_data_support() -> None:
    assert len(fitted("mixture", hills()).means) == 2
    assert len(fitted("mixture", np.random.default_rng(0).standard_normal((400, 3))).means) == 1


def test_windows_that_share_rows_count_once_for_a_mixture() -> None:
    near_hills = hills(40) - 2 * np.sign(hills(40))
    x = np.repeat(near_hills, 10, axis=0)
    detector = fitted("mixture", x)
    assert detector.independent == pytest.approx(40)
    assert len(detector.means) == 2
    detector.independent = 400
    detector.fit_features(x, None, progress=False)
    assert len(detector.means) > 2


def test_the_overlap_of_windows_is_measured() -> None:
    from training.detectors import DETECTORS
    from training.detectors.base import NormalData
    from training.graph import Front
    from training.recipe import TrainingSettings

    windows = np.lib.stride_tricks.sliding_window_view(wave(400), 40, axis=0).transpose(0, 2, 1).astype(np.float32)
    cls = DETECTORS["bayesian_gaussian"]
    front = Front(centre=np.zeros(2), spread=np.ones(2), body_range=20)
    detector: Any = cls(cls.Settings(), TrainingSettings(), front, 40)
    detector.fit(NormalData(windows=windows), progress=False)
    assert detector.independent == pytest.approx(10)
    assert detector.apart == 37


def test_a_tied_covariance_is_one_for_all() -> None:
    from training.detectors.mixture import Covariance

    detector = fitted("mixture", hills(), covariance=Covariance.TIED)
    assert len(detector.means) == 2
    assert (detector.roots == detector.roots[0]).all()


def test_the_bayesian_gaussian_keeps_its_promise_at_100_windows_in_8_dimensions() -> None:
    asked, n, d, rounds = 0.001, 100, 8, 40
    rng = np.random.default_rng(0)
    found = 0.0
    for _ in range(rounds):
        detector = fitted("bayesian_gaussian", rng.standard_normal((n, d)))
        limit = detector.score_of(detector.predictive.limit(asked))
        found += np.mean(detector.scores(rng.standard_normal((10_000, d))) > limit) / rounds
    print(f"asked {asked}, found {found:.5f}")
    assert 0.0005 < found < 0.002


def test_the_bayesian_gaussian_scores_the_density_of_a_student_t() -> None:
    x = np.random.default_rng(0).standard_normal((50, 2)) * [1, 3]
    detector = fitted("bayesian_gaussian", x)
    scale = np.linalg.inv(detector.form.root @ detector.form.root.T) * (detector.predictive.samples + 1)
    student = stats.multivariate_t(detector.form.mean, scale / detector.predictive.freedom, detector.predictive.freedom)
    points = np.array([[0.0, 0.0], [1.0, 5.0], [-4.0, 20.0]])
    offset = detector.scores(points) + 2 * student.logpdf(points)
    assert offset == pytest.approx(np.full(3, offset[0]), abs=1e-3)


def test_few_windows_make_less_of_a_far_one() -> None:
    x = np.random.default_rng(0).standard_normal((2000, 3))
    far = np.full((1, 3), 6.0)
    few, many = (fitted("bayesian_gaussian", x[:count]).scores(far)[0] for count in (12, 2000))
    assert few < many / 2


def test_outliers_are_told_by_what_the_others_say_of_them() -> None:
    from training.detectors.kernels import usual_windows

    x = np.concatenate([hills(500), np.linspace(-30, 30, 13)[:, np.newaxis]])
    kept = usual_windows(x, 1)
    assert np.abs(x[kept]).max() < 8
    assert (kept < 500).sum() > 490


@pytest.mark.parametrize("name", ["bsmle", "kde", "kdemle", "ce_kde", "denclue", "mixture"])
def test_scattered_outliers_in_training_leave_normal_where_it_is(name: str) -> None:
    rng = np.random.default_rng(0)
    x = 0.5 * rng.standard_normal((600, 3))
    outlier = rng.permutation(600) < 30
    x[outlier] = rng.uniform(-15, 15, (30, 3))
    detector = fitted(name, x)
    normal = detector.scores(0.5 * rng.standard_normal((300, 3)))
    assert detector.scores(x[outlier & (np.abs(x).max(axis=1) > 6)]).min() > np.quantile(normal, 0.99)


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("kde", {"kernels": 0}, "kernels must be at least 1"),
        ("kde", {"bandwidth": 0.0}, "bandwidth above 0"),
        ("kdemle", {"kernels": 0}, "kernels must be at least 1"),
        ("denclue", {"noise": 1.0}, "noise from 0"),
        ("bsmle", {"outliers": 0.5}, "outliers must be"),
        ("bsmle", {"reach": 0.5}, "reach at least 1"),
        ("mixture", {"components": 0}, "components must be at least 1"),
    ],
)
def test_settings_that_make_no_density_are_refused(name: str, wrong: dict[str, float], told: str) -> None:
    from training.detectors import DETECTORS

    with pytest.raises(ValueError, match=told):
        DETECTORS[name].Settings(**wrong)


def test_two_far_clouds_leave_bsmle_finite() -> None:
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.standard_normal((60, 2)) + 1e6, rng.standard_normal((60, 2)) - 1e6])
    assert np.isfinite(fitted("bsmle", x).scores(x)).all()
