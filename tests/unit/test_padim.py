"""Gaussians at every position: their parts against numpy, and the detector's graph against its definition."""

import copy

import cv2
import numpy as np
import pytest
import tensorflow as tf

from training.images import frame_features
from training.images.backbone import EfficientNetLite0
from training.images.detector import FrameSet, ImageData
from training.images.detectors.padim import Padim, PadimSettings
from training.images.frame_features import FrameFeatures
from training.images.gaussians import NOISE, Gaussians, Moments, random_projection, smoothing, whitening, whitening_of
from training.images.levels import MapSettings
from training.images.light import Light
from training.images.patches import LIGHT, FeatureSettings, Patches
from training.recipe import TrainingSettings

SIZE, DEFECT = 64, slice(32, 48)
LAYERS = (2, 4)
"""The backbone up to block 4 is small."""


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Grey noise on a ramp, uint8 [n, SIZE, SIZE, 3]."""
    noise = np.random.default_rng(seed).normal(0, 8, (count, SIZE, SIZE, 3))
    return np.clip(np.linspace(60, 160, SIZE)[:, np.newaxis] + noise, 0, 255).astype(np.uint8)


def defective_frame() -> np.ndarray:
    frame = frames(1, seed=9)
    frame[:, DEFECT, DEFECT] = (220, 40, 40)
    return frame


@pytest.fixture(scope="module")
def backbone():
    return EfficientNetLite0(layers=LAYERS)


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normal")
    for number, frame in enumerate(frames(20)):
        cv2.imwrite(str(folder / f"{number:02}.png"), frame[:, :, ::-1])
    return FrameSet(tuple(sorted(folder.iterdir())), SIZE, SIZE)


@pytest.fixture(scope="module")
def fitted(backbone, normal):
    return fit(backbone, normal)


def fit(
    backbone: EfficientNetLite0, normal: FrameSet, *, tiles: int = 1, light: float = LIGHT, **settings: object
) -> Padim:
    features = FeatureSettings(layers=LAYERS, grid_stride=8, tiles=tiles, light=light)
    detector = Padim(PadimSettings(features=features, **settings), TrainingSettings(), SIZE, SIZE)
    detector.backbone = backbone
    detector.fit(ImageData(normal=normal, stopping=FrameSet((), SIZE, SIZE)), progress=False)
    return detector


def outputs(detector: Padim, frame: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in detector.score_graph().function(frame).items()}


def test_moments_of_uneven_batches_are_those_of_all_frames_far_from_0():
    features = np.random.default_rng(0).normal(1e4, 1, (11, 3, 4))
    first, second = Moments(3, 4), Moments(3, 4)
    for moments, batch in (
        (first, features[:1]),
        (first, features[1:8]),
        (second, features[8:]),
        (second, features[:0]),
    ):
        moments.add(batch)
    moments = first.joined(second)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, [np.cov(features[:, p].T) for p in range(3)], rtol=1e-9)


def test_a_neighbourhood_has_the_moments_of_the_weighted_frames_of_all_its_positions():
    features = np.random.default_rng(0).normal(0, 1, (9, 6, 2)) + np.arange(6)[:, np.newaxis]
    moments = Moments(6, 2)
    moments.add(features)
    mean, covariance = moments.pooled((2, 3), 0.8)
    weights = np.kron(smoothing(2, 0.8), smoothing(3, 0.8))
    np.testing.assert_allclose(mean, weights @ features.mean(axis=0))
    apart = features.mean(axis=0)[1] - mean[4]
    of_4 = sum(
        weight * (np.cov(features[:, p].T) + np.outer(*[features.mean(axis=0)[p] - mean[4]] * 2))
        for p, weight in enumerate(weights[4])
    )
    assert np.abs(apart).max() > 0.1
    np.testing.assert_allclose(covariance[4], of_4)


def mahalanobis(x: np.ndarray, features: np.ndarray, share: float) -> np.ndarray:
    """Of x [P, d], by the definition with full covariances."""
    covariance = np.array([np.cov(features[:, p].T) for p in range(features.shape[1])])
    common = covariance.mean(axis=0)
    whiten = whitening_of(common)
    ridged = np.linalg.inv(whiten @ whiten.T)
    offset = x - features.mean(axis=0)
    shrunk = (1 - share) * covariance + share * ridged
    return np.sqrt(np.einsum("pd,pd->p", offset, np.linalg.solve(shrunk, offset[..., np.newaxis])[..., 0]))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_distances_with_all_directions_are_those_of_the_shrunk_covariances(share):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4, 5)) * 3 ** rng.normal(size=(4, 5))
    moments = Moments(4, 5)
    moments.add(features)
    gaussians = Gaussians.fit(moments, (2, 2), shrinkage=share, rank=5)
    x = rng.normal(0, 5, (2, 4, 5))
    found = gaussians.graph(x.astype(np.float32))
    np.testing.assert_allclose(found, [mahalanobis(each, features, share) for each in x], rtol=1e-3)


def test_few_directions_are_enough_where_the_others_vary_alike():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 2, 6))
    features[:, 0, 0] *= 20
    moments = Moments(2, 6)
    moments.add(features)
    one, all_of_them = (Gaussians.fit(moments, (1, 2), shrinkage=0.1, rank=rank) for rank in (1, 6))
    x = rng.normal(0, 5, (50, 2, 6)).astype(np.float32)
    np.testing.assert_allclose(one.graph(x)[:, 0], all_of_them.graph(x)[:, 0], rtol=0.05)
    assert one.own.nbytes < 0.25 * all_of_them.own.nbytes


def test_one_covariance_for_all_keeps_no_directions():
    moments = Moments(3, 2)
    moments.add(np.random.default_rng(0).normal(size=(9, 3, 2)))
    for settings in ({"rank": 0}, {"rank": 2, "shrinkage": 1.0}):
        assert Gaussians.fit(moments, (1, 3), **settings).own.shape == (3, 2, 0)


def test_features_that_never_moved_still_give_a_distance():
    moments = Moments(2, 3)
    moments.add(np.ones((4, 2, 3)))
    assert np.isfinite(Gaussians.fit(moments, (1, 2), rank=2).graph(np.full((1, 2, 3), 9, np.float32))).all()
    assert np.isfinite(whitening(np.zeros((2, 3, 3)), 0.5)).all()


def test_directions_of_less_variance_than_noise_count_as_noise():
    whiten = whitening_of(np.diag([1e4, 1e-9]))
    assert whiten[1, 1] == pytest.approx(1 / np.sqrt(NOISE * 5e3), rel=1e-3)


def test_a_random_projection_sees_all_features_alike_whatever_their_spread():
    spread = np.array([1e-2, 1.0, 1e2])
    projection = random_projection(spread, 2, seed=0) * spread[:, np.newaxis]
    np.testing.assert_allclose(projection.T @ projection, np.eye(2), atol=1e-12)


def test_smoothing_keeps_a_flat_map_flat_up_to_its_rim():
    np.testing.assert_allclose(smoothing(7, 1.5) @ np.ones(7), 1)
    np.testing.assert_array_equal(smoothing(3, 0.0), np.eye(3))


def test_the_map_is_the_smoothed_distance(backbone, normal):
    detector = fit(backbone, normal, shrinkage=0.5, rank=64, tail=0.0, tolerance=0.0)
    patches = Patches(detector.settings.features, SIZE, SIZE, backbone, normal.batches())
    seen = *patches.batches(normal, progress=False), *patches.rounded_batches(normal, progress=False)
    features, x = np.concatenate(seen), patches.graph(defective_frame()).numpy().astype(np.float64)
    along = smoothing(8, detector.settings.map.smoothing_px / 8)
    expected = along @ mahalanobis(x[0], features, 0.5).reshape(8, 8) @ along.T
    np.testing.assert_allclose(outputs(detector, defective_frame())["map"][0], expected, rtol=2e-3)


def test_the_score_is_the_mean_of_the_largest_share_of_the_map(backbone, normal):
    found = outputs(fit(backbone, normal, map=MapSettings(top_share=0.1)), defective_frame())
    assert found["score"] == pytest.approx([np.sort(found["map"].ravel())[-6:].mean()])


def test_a_defect_scores_higher_and_the_map_shows_where(fitted):
    usual, found = (outputs(fitted, frame) for frame in (frames(1, seed=5), defective_frame()))
    assert found["score"][0] > 2 * usual["score"][0]
    row, column = np.unravel_index(np.argmax(found["map"][0]), found["map"][0].shape)
    assert 32 <= (row + 0.5) * 8 < 48
    assert 32 <= (column + 0.5) * 8 < 48


def test_what_normal_frames_rarely_do_is_less_strange_the_more_their_tails_count(backbone, normal, tmp_path):
    rare = frames(1, seed=3)
    rare[:, DEFECT, DEFECT] //= 2
    cv2.imwrite(str(tmp_path / "rare.png"), rare[0])
    known = FrameSet((*normal.paths, tmp_path / "rare.png"), SIZE, SIZE)
    again = frames(1, seed=4)
    again[:, DEFECT, DEFECT] //= 2

    def ratio(tail: float) -> float:
        detector = fit(backbone, known, tail=tail)
        return float(outputs(detector, again)["score"][0] / outputs(detector, frames(1, seed=5))["score"][0])

    assert ratio(3.0) < 0.85 * ratio(0.0)


def test_a_frame_in_a_little_less_light_is_as_usual(backbone, normal):
    usual = frames(1, seed=5)
    darker = np.rint(0.85 * usual).astype(np.uint8)
    apart = {}
    for limit in (LIGHT, 1.0):
        features = FeatureSettings(layers=LAYERS, grid_stride=8, light=limit)
        patches = Patches(features, SIZE, SIZE, backbone, normal.batches())
        apart[limit] = np.abs(patches.graph(tf.constant(darker)) - patches.graph(tf.constant(usual))).mean()
    assert apart[LIGHT] < 0.4 * apart[1.0]


def test_all_tiles_of_a_frame_are_seen_in_the_light_of_the_whole(backbone, normal):
    darker = np.rint(0.85 * frames(1, seed=5)).astype(np.uint8)
    seen, plain = (
        Patches(
            FeatureSettings(layers=LAYERS, grid_stride=8, tiles=2, light=limit), SIZE, SIZE, backbone, normal.batches()
        )
        for limit in (LIGHT, 1.0)
    )
    evened = Light.fit(normal.batches(), LIGHT).graph(tf.constant(darker))
    np.testing.assert_allclose(seen.graph(tf.constant(darker)), plain.graph(evened), atol=1e-4)


def test_tiles_share_one_model_and_make_one_map(backbone, normal, fitted):
    tiled = fit(backbone, normal, tiles=2)
    assert tiled._gaussians.offset.shape[0] == fitted._gaussians.offset.shape[0] // 4
    found = outputs(tiled, defective_frame())["map"][0]
    assert found.shape == (8, 8)
    assert np.unravel_index(np.argmax(found), found.shape) in {(r, c) for r in (4, 5) for c in (4, 5)}


def test_a_projection_leaves_as_many_features_as_asked(backbone, normal):
    detector = fit(backbone, normal, projected=12)
    assert detector._gaussians.first.shape == (64, 12)
    assert outputs(detector, defective_frame())["score"] > 2 * outputs(detector, frames(1, seed=5))["score"]


def test_the_graph_takes_a_frame_of_bytes(fitted):
    concrete = fitted.score_graph().concrete()
    (frame,) = concrete.inputs
    assert (frame.op.name, frame.dtype.name, tuple(frame.shape)) == ("frame", "uint8", (1, SIZE, SIZE, 3))
    assert {name: tuple(each.shape) for name, each in concrete.structured_outputs.items()} == {
        "map": (1, 8, 8),
        "score": (1,),
    }


def test_too_few_frames_are_refused(backbone, normal):
    with pytest.raises(ValueError, match="4 normal frames or more, got 3"):
        fit(backbone, FrameSet(normal.paths[:3], SIZE, SIZE))


def with_folds(backbone: EfficientNetLite0, normal: FrameSet, folds: tuple[int, ...], *, tiles: int = 1) -> Padim:
    detector = Padim(
        PadimSettings(features=FeatureSettings(layers=LAYERS, grid_stride=8, tiles=tiles)),
        TrainingSettings(),
        SIZE,
        SIZE,
    )
    detector.backbone = backbone
    detector.fit(ImageData(normal=normal, stopping=FrameSet((), SIZE, SIZE), folds=folds), progress=False)
    return detector


@pytest.mark.parametrize("tiles", [1, 2])
def test_optimism_is_what_a_fit_without_the_frame_gives_above_what_this_one_gives(backbone, normal, tiles):
    folds = tuple(np.random.default_rng(0).permutation(20) % 3)
    detector = with_folds(backbone, normal, folds, tiles=tiles)
    without = copy.copy(detector)
    features = FrameFeatures(detector._patches, normal, progress=False)
    without.learn(features.part(np.flatnonzero(np.array(folds) != folds[6])))
    frame = normal.array()[6:7]
    own, unseen = (outputs(each, frame) for each in (detector, without))
    found = detector.optimism
    assert found.scores[6] != 0
    np.testing.assert_allclose(found.scores[6], (unseen["score"] - own["score"])[0], rtol=1e-3)
    np.testing.assert_allclose(found.maps[6], (unseen["map"] - own["map"])[0], rtol=1e-3, atol=1e-3)


def test_a_frame_is_as_strange_unseen_as_new_ones_are(backbone, normal):
    detector = with_folds(backbone, normal, tuple(np.arange(20) % 5))
    seen, new = (
        np.median([outputs(detector, frame[np.newaxis])["score"][0] for frame in each])
        for each in (normal.array(), frames(20, seed=5))
    )
    unseen = np.median(
        [outputs(detector, frame[np.newaxis])["score"][0] for frame in normal.array()] + detector.optimism.scores
    )
    assert seen < 0.8 * new
    assert unseen == pytest.approx(new, rel=0.1)


def test_features_that_are_not_kept_are_computed_anew_and_are_the_same(backbone, normal, fitted, monkeypatch, caplog):
    monkeypatch.setattr(frame_features, "MOST_KEPT", 0)
    again = fit(backbone, normal)
    assert "features of 20 frames would take 0.0 GB and are computed anew" in caplog.text
    frame = defective_frame()
    np.testing.assert_allclose(outputs(again, frame)["map"], outputs(fitted, frame)["map"], rtol=1e-4)
    part = FrameFeatures(again._patches, normal, progress=False).part(np.array([3, 1]))
    monkeypatch.undo()
    kept = FrameFeatures(again._patches, normal, progress=False).part(np.array([3, 1]))
    np.testing.assert_array_equal(np.concatenate([*part.both()]), np.concatenate([*kept.both()]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "projected and rank must be 0 or more"),
        ({"tail": -1.0}, "tolerance and tail must be 0 or more"),
        ({"shrinkage": 1.5}, "shrinkage must be 0 to 1"),
    ],
)
def test_settings_that_give_no_gaussians_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PadimSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (4, 2)}, r"layers must be some of 0 to 15, rising, got \[4, 2\]"),
        ({"layers": ()}, "layers must be some of"),
        ({"grid_stride": 5}, "grid_stride must be one of"),
        ({"tiles": 0}, "tiles must be at least 1"),
        ({"light": 0.8}, "light must be a factor from 1 to 4"),
        ({"light": 5.0}, "light must be a factor from 1 to 4"),
    ],
)
def test_features_that_cannot_be_had_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FeatureSettings(**settings)


@pytest.mark.parametrize(("tiles", "step"), [(1, 16), (3, 48)])
def test_frames_that_the_grid_does_not_fit_are_refused(tiles, step):
    with pytest.raises(ValueError, match=f"multiples of {step} pixels, got 100 x 224"):
        Padim.check(PadimSettings(features=FeatureSettings(tiles=tiles)), 100, 224)
