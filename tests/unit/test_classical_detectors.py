"""Drift-aware T-squared, nearest neighbours, one-class SVM and isolation forest: their mathematics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

from tests.feature_detectors import D, fitted, noise
from training.detectors.drift_gaussian import DriftGaussianDetector, DriftGaussianSettings, drift_per_window
from training.detectors.gaussian import GaussianDetector
from training.detectors.isolation import IsolationDetector, IsolationSettings
from training.detectors.kernels import Sphere
from training.detectors.knn import MOST_LONELY, KnnDetector, KnnSettings
from training.detectors.ocsvm import OcsvmDetector, OcsvmSettings
from training.detectors.on_features import FeatureDetector
from training.detectors.pca import PcaDetector
from training.recipe import TrainingSettings


@pytest.mark.parametrize(
    "cls", [GaussianDetector, PcaDetector, DriftGaussianDetector, KnnDetector, OcsvmDetector, IsolationDetector]
)
def test_windows_that_are_all_the_same_are_normal_and_others_are_strange(cls: type[FeatureDetector[Any]]) -> None:
    detector = fitted(cls, np.ones((40, D)))
    same, other = detector.scores(np.array([[1.0, 1.0], [3.0, 0.0]]))
    assert np.isfinite([same, other]).all()
    assert same < other


def test_the_drift_of_a_random_walk_is_the_variance_of_its_steps() -> None:
    step = np.array([[0.04, 0.02], [0.02, 0.09]])
    walk = np.random.default_rng(0).multivariate_normal([0, 0], step, 40_000).cumsum(axis=0)
    drift = drift_per_window(walk, 1000)
    np.testing.assert_allclose(np.diag(drift), np.diag(step), rtol=0.15)


def test_features_that_drift_together_are_known_to() -> None:
    walk = np.random.default_rng(0).standard_normal((2000, 1)).cumsum(axis=0) * [1.0, -2.0] + noise(2000)
    drift = drift_per_window(walk, 10)
    assert drift[0, 1] / np.sqrt(drift[0, 0] * drift[1, 1]) < -0.9


def test_a_steady_state_is_hardly_widened_by_a_long_recording() -> None:
    x = noise(8000)
    assert np.trace(2 * len(x) * drift_per_window(x, 8)) < 0.1 * np.trace(np.cov(x.T))


def test_without_a_horizon_the_drift_gaussian_is_the_gaussian() -> None:
    x = noise(300)
    ours, gaussian = fitted(DriftGaussianDetector, x, horizon=0.0), fitted(GaussianDetector, x)
    np.testing.assert_allclose(ours.scores(3 * x), gaussian.scores(3 * x), rtol=1e-5)


def test_wander_along_the_drift_is_forgiven_more_than_a_broken_relation() -> None:
    wander = 0.2 * np.random.default_rng(1).standard_normal((400, 1)).cumsum(axis=0)
    x = wander * [1.0, 1.0] + 0.3 * noise(400)
    ours, gaussian = fitted(DriftGaussianDetector, x), fitted(GaussianDetector, x)
    along, across = x.mean(axis=0) + 6.0 * np.array([[1.0, 1.0], [1.0, -1.0]])
    kept = [float(ours.scores(p[np.newaxis])[0] / gaussian.scores(p[np.newaxis])[0]) for p in (along, across)]
    assert kept[0] < 0.7 * kept[1] < 0.7


def test_a_longer_horizon_forgives_more() -> None:
    x = noise(300) + np.linspace(0, 5, 300)[:, np.newaxis]
    scores = [fitted(DriftGaussianDetector, x, horizon=h).scores(np.array([[15.0, 15.0]]))[0] for h in (0, 1, 4)]
    assert scores[0] > scores[1] > scores[2]


def test_fewer_windows_than_blocks_still_fit() -> None:
    assert np.isfinite(fitted(DriftGaussianDetector, noise(6), blocks=8).scores(noise(6))).all()


def test_knn_with_all_windows_is_scikit_learns_mean_distance() -> None:
    x, new = noise(100), 2 * noise(20, seed=1)
    sphere = Sphere(x)
    known = NearestNeighbors(n_neighbors=3).fit(sphere.coordinates(x))
    expected = known.kneighbors(sphere.coordinates(new))[0].mean(axis=1)
    np.testing.assert_allclose(fitted(KnnDetector, x, k=3, points=100).scores(new), expected, rtol=1e-3)


def test_knn_with_a_coreset_is_off_by_no_more_than_its_reach() -> None:
    x, new = noise(400), 2 * noise(20, seed=1)
    full, reduced = (fitted(KnnDetector, x, k=1, points=points) for points in (400, 60))
    y = reduced.sphere.coordinates(x)
    reach = np.sqrt(((y[:, np.newaxis] - reduced.nearest.points) ** 2).sum(axis=2).min(axis=1).max())
    assert (np.abs(reduced.scores(new) - full.scores(new)) <= reach + 1e-4).all()


def test_local_scaling_divides_by_the_distance_of_each_window_to_its_neighbours() -> None:
    x, new = noise(100), 2 * noise(20, seed=1)
    detector = fitted(KnnDetector, x, k=1, points=100, local_scaling=True)
    y = detector.sphere.coordinates(x)
    lonely = NearestNeighbors(n_neighbors=2).fit(y).kneighbors(y)[0][:, 1]
    scale = np.clip(lonely, np.median(lonely), MOST_LONELY * np.median(lonely))
    expected = (cdist(detector.sphere.coordinates(new), y) / scale).min(axis=1)
    np.testing.assert_allclose(detector.scores(new), expected, rtol=1e-4)


def test_local_scaling_forgives_more_where_normal_windows_lie_apart() -> None:
    x = np.concatenate([0.1 * noise(100), noise(100, seed=1) + np.array([20.0, 0.0])])
    beside = np.array([[0.0, 1.0], [20.0, 1.0]])
    plain, scaled = (fitted(KnnDetector, x, local_scaling=on).scores(beside) for on in (False, True))
    assert scaled[0] / scaled[1] > 1.2 * plain[0] / plain[1]


def test_the_score_of_a_one_class_svm_is_the_logarithm_of_scikit_learns() -> None:
    x, new = noise(200), 2 * noise(30, seed=1)
    detector = fitted(OcsvmDetector, x, nu=0.1, gamma=0.4)
    coordinates = detector.sphere.coordinates
    model = OneClassSVM(nu=0.1, gamma=0.4).fit(coordinates(x))
    total = model.dual_coef_.sum()
    scores = detector.scores(new)
    np.testing.assert_allclose(
        total * np.exp(-scores / 2) + model.intercept_[0], model.decision_function(coordinates(new)), atol=1e-4 * total
    )
    boundary = -2 * np.log(-model.intercept_[0] / total)
    assert ((scores > boundary) == (model.predict(coordinates(new)) < 0)).all()


def test_the_one_class_svm_still_rises_where_its_decision_function_is_flat() -> None:
    scores = fitted(OcsvmDetector, noise(200)).scores(np.array([[30.0, 0.0], [60.0, 0.0], [1e6, 0.0]]))
    assert scores[1] == pytest.approx(4 * scores[0], rel=0.2)
    assert scores[2] > 1e6 * scores[1]


def test_too_many_support_vectors_are_merged() -> None:
    x, new = noise(400), 2 * noise(30, seed=1)
    full, merged = fitted(OcsvmDetector, x, nu=0.5), fitted(OcsvmDetector, x, nu=0.5, points=20)
    assert len(full.kernels.centres) > 150
    assert len(merged.kernels.centres) == 20
    assert np.corrcoef(full.scores(new), merged.scores(new))[0, 1] > 0.99


def test_the_missing_depth_is_that_of_scikit_learns_forest() -> None:
    x = noise(300)
    detector = fitted(IsolationDetector, x, trees=20, samples=100)
    y = detector.sphere.coordinates(x)
    model = IsolationForest(n_estimators=20, max_samples=100, random_state=TrainingSettings().seed).fit(y)
    usual = 2 * (np.log(99) + np.euler_gamma) - 2 * 99 / 100
    np.testing.assert_allclose(detector.scores(x), usual * (1 + np.log2(-model.score_samples(y))), rtol=1e-3, atol=1e-4)


def test_outside_its_training_range_the_forest_is_flat_and_the_distance_goes_on() -> None:
    detector = fitted(IsolationDetector, noise(300))
    near, far = (detector.parts(np.array([[at, 0.0]], np.float32)).numpy()[0] for at in (20.0, 1000.0))
    assert near[0] == far[0]
    assert far[1:].max() > 40 * near[1:].max()


@pytest.mark.parametrize(
    ("settings", "wrong", "told"),
    [
        (DriftGaussianSettings, {"horizon": -1.0}, "horizon must be 0 or more"),
        (DriftGaussianSettings, {"blocks": 1}, "blocks must be at least 2"),
        (DriftGaussianSettings, {"shrinkage": 0.001}, "shrinkage must be 0.01 to 1"),
        (KnnSettings, {"k": 0}, "k must be 1 to points"),
        (KnnSettings, {"k": 9, "points": 8}, "k must be 1 to points"),
        (OcsvmSettings, {"nu": 1.0}, "nu must be a share"),
        (OcsvmSettings, {"gamma": 0.0}, "gamma must be above 0"),
        (OcsvmSettings, {"points": 0}, "points must be at least 1"),
        (IsolationSettings, {"trees": 0}, "trees must be at least 1"),
        (IsolationSettings, {"samples": 1}, "samples must be 2 to 1024"),
    ],
)
def test_settings_that_make_no_detector_are_refused(settings: type[Any], wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings(**wrong)
