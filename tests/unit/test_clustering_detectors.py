"""K-means, bisecting k-means, agglomerative clustering, DBSCAN, OPTICS, and how points are chosen for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN, BisectingKMeans, KMeans

from tests.feature_detectors import D, fitted, noise
from training.detectors.agglomerative import AgglomerativeDetector, AgglomerativeSettings, Linkage
from training.detectors.bisecting_kmeans import BisectingKMeansDetector
from training.detectors.dbscan import DbscanDetector, DensityReachSettings
from training.detectors.kmeans import STARTS, ClustersSettings, KMeansDetector
from training.detectors.nearest import Nearest, knee, large_clusters, spread_out, thinned
from training.detectors.optics import OpticsDetector
from training.recipe import RecipeError, TrainingSettings

SEED = TrainingSettings().seed


def two_states(n: int = 100) -> np.ndarray:
    """A machine that is steady at (0, 0) and noisy at (20, 0)."""
    return np.concatenate([0.2 * noise(n), noise(n, seed=1) + np.array([20.0, 0.0])])


def ring(n: int = 150) -> np.ndarray:
    """A cycle: normal windows all around, none in the middle."""
    angle = np.linspace(0, 6 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * noise(n)


@pytest.mark.parametrize(
    ("cls", "model"),
    [
        (KMeansDetector, KMeans(4, n_init=STARTS, random_state=SEED)),
        (BisectingKMeansDetector, BisectingKMeans(4, n_init=STARTS, random_state=SEED)),
    ],
)
def test_centres_are_scikit_learns_and_the_score_the_scaled_distance_to_the_nearest(cls: Any, model: Any) -> None:
    x, new = noise(200), 3 * noise(20, seed=1)
    detector = fitted(cls, x, clusters=4)
    y = detector.sphere.coordinates(new)
    centres = model.fit(detector.sphere.coordinates(x)).cluster_centers_
    np.testing.assert_allclose(detector.nearest.points, centres, atol=1e-9)
    expected = (cdist(y, centres, "sqeuclidean") / detector.nearest.variances).min(axis=1)
    np.testing.assert_allclose(detector.scores(new), expected, rtol=1e-4)


def test_the_mean_score_of_members_is_their_number_of_features() -> None:
    x = noise(2000)
    assert fitted(KMeansDetector, x, clusters=1).scores(x).mean() == pytest.approx(D, rel=0.05)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(KMeansDetector, {"clusters": 2}), (AgglomerativeDetector, {"clusters": 2}), (OpticsDetector, {})],
)
def test_the_same_offset_is_stranger_in_a_steady_state_than_in_a_noisy_one(cls: Any, settings: dict[str, Any]) -> None:
    scores = fitted(cls, two_states(), **settings).scores(np.array([[0.0, 1.0], [20.0, 1.0]]))
    assert scores[0] > 3 * scores[1]


@pytest.mark.parametrize("cls", [KMeansDetector, BisectingKMeansDetector, AgglomerativeDetector, DbscanDetector])
def test_between_two_states_is_strange(cls: Any) -> None:
    x = two_states()
    detector = fitted(cls, x)
    assert detector.scores(np.array([[10.0, 0.0]]))[0] > 3 * np.quantile(detector.scores(x), 0.95)


@pytest.mark.parametrize("cls", [AgglomerativeDetector, DbscanDetector, OpticsDetector])
def test_the_middle_of_a_cycle_is_strange(cls: Any) -> None:
    x = ring()
    detector = fitted(cls, x)
    assert detector.scores(np.zeros((1, 2)))[0] > 3 * detector.scores(x).max()


@pytest.mark.parametrize("cls", [KMeansDetector, BisectingKMeansDetector, AgglomerativeDetector])
def test_fewer_different_windows_than_clusters_still_fit(cls: Any) -> None:
    x = np.repeat(noise(3), 10, axis=0)
    assert np.isfinite(fitted(cls, x, clusters=8).scores(x)).all()


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (AgglomerativeDetector, {"linkage": Linkage.AVERAGE}),
        (AgglomerativeDetector, {"linkage": Linkage.SINGLE}),
        (DbscanDetector, {}),
        (OpticsDetector, {}),
    ],
)
def test_a_few_faulty_windows_in_the_training_part_stay_strange(cls: Any, settings: dict[str, Any]) -> None:
    faulty = np.array([[9.0, -9.0]]) + 0.1 * noise(3)
    detector = fitted(cls, np.concatenate([noise(150), faulty]), **settings)
    assert detector.scores(faulty).min() > 3 * np.quantile(detector.scores(noise(300)), 0.99)


def test_dbscan_scores_below_one_what_it_calls_part_of_a_cluster() -> None:
    x = np.concatenate([noise(300), 4 * noise(20, seed=1)])
    detector = fitted(DbscanDetector, x, eps=0.4, min_samples=5, smallest_share=0.0, points=len(x))
    noisy = DBSCAN(eps=0.4, min_samples=5).fit(detector.sphere.coordinates(x)).labels_ < 0
    assert 5 < noisy.sum() < 100
    assert ((detector.scores(x) > 1) == noisy).all()


@pytest.mark.parametrize("cls", [DbscanDetector, OpticsDetector])
def test_a_radius_in_which_nothing_is_dense_is_refused(cls: Any) -> None:
    with pytest.raises(RecipeError, match=r"raise detector\.eps"):
        fitted(cls, noise(50), eps=1e-5)


@pytest.mark.parametrize("cls", [DbscanDetector, OpticsDetector])
def test_windows_that_are_all_the_same_still_fit(cls: Any) -> None:
    x = np.ones((50, D))
    assert np.isfinite(fitted(cls, x).scores(x)).all()


@pytest.mark.parametrize("cls", [AgglomerativeDetector, DbscanDetector, OpticsDetector])
def test_no_more_points_are_kept_than_asked(cls: Any) -> None:
    x = np.concatenate([noise(80), noise(80, seed=1) + np.array([20.0, 0.0])])
    detector = fitted(cls, x, points=40)
    assert 30 < len(detector.nearest.points) <= 40


def test_the_nearest_point_is_the_one_whose_scaled_distance_is_least() -> None:
    nearest = Nearest(points=np.array([[0.0, 0.0], [10.0, 0.0]]), variances=np.array([1.0, 9.0]))
    x = tf.constant([[4.0, 0.0], [2.0, 1.0]])
    np.testing.assert_allclose(nearest.parts(x), [[4.0], [5.0]], rtol=1e-5)
    np.testing.assert_allclose(nearest.offset(x), [[-6.0, 0.0], [2.0, 1.0]])


def test_picked_points_leave_none_farther_than_twice_the_best_choice() -> None:
    line = np.linspace(0, 1, 101)[:, np.newaxis]
    picked = spread_out(line, 5)
    assert len(set(picked.tolist())) == 5
    assert np.abs(line - line[picked].T).min(axis=1).max() <= 2 * 0.1 + 1e-9


def test_points_that_are_there_twice_are_picked_once() -> None:
    assert len(spread_out(np.repeat(noise(4), 5, axis=0), 10)) == 4


def test_the_knee_is_where_values_begin_to_rise() -> None:
    assert knee(np.concatenate([np.linspace(5, 50, 10), np.linspace(0, 1, 90)])) == 1.0


def test_small_clusters_and_noise_are_left_out_and_the_largest_is_kept() -> None:
    labels = np.array([2, 2, 2, 0, -1, 2, 5, 5])
    x = np.arange(8.0)[:, np.newaxis]
    kept, renumbered = large_clusters(x, labels, 0.25)
    assert kept.ravel().tolist() == [0, 1, 2, 5, 6, 7]
    assert renumbered.tolist() == [0, 0, 0, 0, 1, 1]
    assert large_clusters(x, np.arange(8), 0.5)[1].tolist() == [0]


def test_thinning_keeps_both_ends_and_order() -> None:
    kept = thinned(np.arange(100.0)[:, np.newaxis], 10).ravel()
    assert len(kept) == 10
    assert (kept[0], kept[-1]) == (0, 99)
    assert (np.diff(kept) > 0).all()
    assert np.ptp(np.diff(kept)) <= 1


@pytest.mark.parametrize(
    ("settings", "wrong", "told"),
    [
        (ClustersSettings, {"clusters": 0}, "clusters must be at least 1"),
        (AgglomerativeSettings, {"clusters": 300}, "clusters must be 1 to points"),
        (AgglomerativeSettings, {"smallest_share": 0.6}, "smallest_share must be 0 to 0.5"),
        (DensityReachSettings, {"eps": 0.0}, "eps must be above 0"),
        (DensityReachSettings, {"min_samples": 0}, "min_samples must be at least 1"),
        (DensityReachSettings, {"smallest_share": -0.1}, "smallest_share must be 0 to 0.5"),
        (DensityReachSettings, {"points": 0}, "points must be at least 1"),
    ],
)
def test_settings_that_make_no_detector_are_refused(settings: type[Any], wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings(**wrong)
