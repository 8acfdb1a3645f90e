"""PaDiM: its parts against numpy, and its graph against its definition."""

import numpy as np
import pytest

from training.images.backbone import CHANNELS, TAPS, EfficientNetLite0
from training.images.padim import Moments, Padim, PadimSettings, drawn_channels, smoothing, whitening

SIZE, DEFECT = 64, slice(40, 56)
SMALL = {"height": SIZE, "width": SIZE, "features": 10}


def normal_frames(count: int, seed: int = 0) -> np.ndarray:
    """Grey noise on a ramp, uint8 [n, SIZE, SIZE, 3]."""
    noise = np.random.default_rng(seed).normal(0, 8, (count, SIZE, SIZE, 3))
    return np.clip(np.linspace(60, 160, SIZE)[:, np.newaxis] + noise, 0, 255).astype(np.uint8)


def defective_frame() -> np.ndarray:
    frame = normal_frames(1, seed=9)
    frame[:, DEFECT, DEFECT] = (220, 40, 40)
    return frame


@pytest.fixture(scope="module")
def network():
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def fitted(network):
    return fit(network, **SMALL)


def fit(network: EfficientNetLite0, frames: np.ndarray | None = None, **settings: object) -> Padim:
    detector = Padim(PadimSettings(**settings), network)
    detector.fit(np.array_split(normal_frames(24) if frames is None else frames, 5))
    return detector


def outputs(detector: Padim, frame: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in detector.score_graph().function(frame).items()}


def test_moments_of_uneven_batches_are_those_of_all_frames_far_from_0():
    features = np.random.default_rng(0).normal(1e4, 1, (11, 3, 4))
    moments = Moments(3, 4)
    for batch in (features[:1], features[1:8], features[8:]):
        moments.add(batch)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, [np.cov(features[:, p].T) for p in range(3)], rtol=1e-9)


def test_whitening_makes_distances_of_the_shrunk_covariance():
    rng = np.random.default_rng(0)
    covariance = np.array([np.cov(rng.normal(size=(4, 30)) * 5 ** rng.normal(size=(4, 1))) for _ in range(3)])
    white, offset = whitening(covariance, 0.25), rng.normal(size=4)
    pooled = covariance.mean(axis=0)
    for each, of in zip(covariance, white, strict=True):
        shrunk = 0.75 * each + 0.25 * pooled + 0.01 * np.trace(pooled) / 4 * np.eye(4)
        assert np.sum((of @ offset) ** 2) == pytest.approx(offset @ np.linalg.solve(shrunk, offset))


def test_one_covariance_for_all_is_stored_once():
    assert whitening(np.tile(np.eye(4), (9, 1, 1)), 1.0).shape == (1, 4, 4)


def test_features_that_never_moved_still_give_a_distance():
    assert np.isfinite(whitening(np.zeros((2, 3, 3)), 0.5)).all()


def test_drawn_channels_are_the_asked_number_within_each_tap():
    drawn = drawn_channels(60, seed=0)
    assert sum(map(len, drawn)) == 60
    for part, (_, channels) in zip(drawn, TAPS.values(), strict=True):
        assert len(np.unique(part)) == len(part)
        assert part.min() >= 0
        assert part.max() < channels
    assert [part.tolist() for part in drawn] != [part.tolist() for part in drawn_channels(60, seed=1)]
    assert [part.tolist() for part in drawn_channels(CHANNELS, 0)] == [list(range(c)) for _, c in TAPS.values()]


def test_smoothing_keeps_a_flat_map_flat_up_to_its_rim():
    np.testing.assert_allclose(smoothing(7, 1.5) @ np.ones(7), 1)
    np.testing.assert_array_equal(smoothing(3, 0.0), np.eye(3))


def test_the_map_is_the_smoothed_mahalanobis_distance(network):
    frames, frame = normal_frames(24), defective_frame()
    detector = fit(network, frames, **SMALL, shrinkage=0.5)
    features, x = (detector._features(each).numpy().astype(np.float64) for each in (frames, frame))
    covariance = np.array([np.cov(features[:, p].T) for p in range(features.shape[1])])
    pooled = covariance.mean(axis=0)
    shrunk = 0.5 * covariance + 0.5 * pooled + 0.01 * np.trace(pooled) / 10 * np.eye(10)
    offset = x[0] - features.mean(axis=0)
    squared = np.einsum("pd,pd->p", offset, np.linalg.solve(shrunk, offset[..., np.newaxis])[..., 0])
    along = smoothing(8, 0.5)
    np.testing.assert_allclose(
        outputs(detector, frame)["map"][0], along @ np.sqrt(squared).reshape(8, 8) @ along.T, rtol=1e-3
    )


def test_the_score_is_the_mean_of_the_largest_share_of_the_map(network):
    found = outputs(fit(network, **SMALL, top_share=0.1), defective_frame())
    assert found["score"] == pytest.approx([np.sort(found["map"].ravel())[-6:].mean()])


def test_a_defect_scores_higher_and_the_map_shows_where(fitted):
    normal, found = (outputs(fitted, frame) for frame in (normal_frames(1, seed=5), defective_frame()))
    assert found["score"][0] > 2 * normal["score"][0]
    row, column = np.unravel_index(np.argmax(found["map"][0]), found["map"][0].shape)
    assert 40 <= (row + 0.5) * 8 < 56
    assert 40 <= (column + 0.5) * 8 < 56


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_map_has_the_asked_grid(network, stride):
    detector = fit(network, normal_frames(5), height=SIZE, width=SIZE, features=10, grid_stride=stride)
    assert outputs(detector, defective_frame())["map"].shape == (1, SIZE // stride, SIZE // stride)


def test_the_graph_takes_a_frame_of_bytes(fitted):
    concrete = fitted.score_graph().concrete()
    (frame,) = concrete.inputs
    assert (frame.op.name, frame.dtype.name, tuple(frame.shape)) == ("frame", "uint8", (1, SIZE, SIZE, 3))
    assert {name: tuple(each.shape) for name, each in concrete.structured_outputs.items()} == {
        "map": (1, 8, 8),
        "score": (1,),
    }


def test_one_frame_gives_no_covariance(network):
    with pytest.raises(ValueError, match="two normal frames or more, got 1"):
        Padim(PadimSettings(**SMALL), network).fit([normal_frames(1)])


def test_an_unfitted_detector_has_no_graph(network):
    with pytest.raises(ValueError, match="fit the detector"):
        Padim(PadimSettings(**SMALL), network).score_graph()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 100}, "multiples of 16 pixels, got 100 x 224"),
        ({"features": 177}, "features must be 1 to 176"),
        ({"grid_stride": 32}, "grid_stride must be one of"),
        ({"shrinkage": 1.5}, "shrinkage must be 0 to 1"),
        ({"top_share": 0.0}, "top_share above 0"),
    ],
)
def test_settings_that_give_no_graph_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PadimSettings(**settings)
