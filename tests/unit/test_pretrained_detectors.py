"""The pooled Gaussian, the memory of patches and the small Gaussians: what each is good for, on noise and squares."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converters.frames.golden import FLOAT_TOLERANCE
from edge_agent.scoring.selection import golden_error
from training.images.backbone import EfficientNetLite0
from training.images.detector import FrameSet, ImageData
from training.images.detectors import image_detector
from training.images.detectors.memory import Memory, MemorySettings, farthest, nearest
from training.images.detectors.padim import PadimSettings
from training.images.detectors.padim_small import PadimSmallSettings
from training.images.detectors.pooled_gaussian import PooledGaussian, PooledGaussianSettings, root_of_precision
from training.images.frame_features import FORMATS, FrameFeatures
from training.images.gaussians import steadiest, whitening_of
from training.images.patches import FeatureSettings
from training.recipe import TrainingSettings

SIZE, SIDE = 64, 16
LAYERS = (2, 4)
"""The backbone up to block 4 is small."""


def frames(count: int, seed: int = 0, *, square: int = 0) -> np.ndarray:
    """Grey noise, uint8 [n, SIZE, SIZE, 3], with a square that much brighter anywhere."""
    rng = np.random.default_rng(seed)
    found = rng.normal(100, 8, (count, SIZE, SIZE, 3))
    for frame, (row, column) in zip(found, rng.integers(0, (SIZE - SIDE) // 8 + 1, (count, 2)) * 8, strict=True):
        frame[row : row + SIDE, column : column + SIDE] += square
    return found.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def backbone():
    return EfficientNetLite0(layers=LAYERS)


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    """Frames with a bright square somewhere."""
    folder = tmp_path_factory.mktemp("normal")
    for number, frame in enumerate(frames(24, square=60)):
        cv2.imwrite(str(folder / f"{number:02}.png"), frame[:, :, ::-1])
    return FrameSet(tuple(sorted(folder.iterdir())), SIZE, SIZE)


def fit(detector, backbone, normal):
    detector.backbone = backbone
    detector.fit(ImageData(normal=normal, stopping=FrameSet((), SIZE, SIZE)), progress=False)
    return detector


def outputs(detector, frame: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in detector.score_graph().function(frame).items()}


@pytest.fixture(scope="module")
def memory(backbone, normal):
    settings = MemorySettings(features=FeatureSettings(layers=LAYERS, grid_stride=8), dimensions=48, size=300)
    return fit(Memory(settings, TrainingSettings(), SIZE, SIZE), backbone, normal)


@pytest.fixture(scope="module")
def pooled(backbone, normal):
    settings = PooledGaussianSettings(layers=LAYERS, directions=8)
    return fit(PooledGaussian(settings, TrainingSettings(), SIZE, SIZE), backbone, normal)


def test_a_memory_knows_a_part_wherever_it_lies_and_not_one_of_another_kind(memory):
    usual, strange = (outputs(memory, frames(1, seed=3, square=square)) for square in (60, -60))
    assert strange["score"] > 1.3 * usual["score"]


def test_the_map_of_a_memory_shows_where(memory):
    frame = frames(1, seed=5, square=60)
    frame[:, 32:48, 32:48] = (220, 40, 40)
    found = outputs(memory, frame)["map"]
    assert found.shape == (1, 8, 8)
    assert np.unravel_index(np.argmax(found[0]), (8, 8)) in {(row, column) for row in (4, 5) for column in (4, 5)}


def test_what_a_memory_keeps_is_at_no_distance(backbone, normal):
    settings = MemorySettings(
        features=FeatureSettings(layers=LAYERS, grid_stride=8), dimensions=48, size=FORMATS * 24 * 64
    )
    detector = fit(Memory(settings, TrainingSettings(), SIZE, SIZE), backbone, normal)
    assert outputs(detector, next(normal.batches(1)))["map"].max() < 1e-4


def test_a_memory_is_alike_with_and_without_kernels_where_a_frame_is_as_one_it_knows(memory, normal):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([memory.score_graph().concrete()], tf.Module())
    model = converter.convert()
    found = []
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        run = Interpreter(model_content=model, experimental_op_resolver_type=kernels).get_signature_runner()
        found.append(np.array([run(frame=frame[np.newaxis])["map"] for frame in normal.array()]))
    assert golden_error(*found) < FLOAT_TOLERANCE


def test_a_memory_keeps_the_directions_that_int8_rounds_least(memory, normal):
    features = FrameFeatures(memory._patches, normal, progress=False)
    exact, rounded = memory._normal_patches(features, np.random.default_rng(0))
    errors, everything = rounded - exact, whitening_of(np.cov(np.concatenate([exact, rounded]).T))
    kept, usual = (((errors @ directions) ** 2).mean() for directions in (memory._projection, everything))
    assert memory._projection.shape[1] < len(everything)
    assert kept < 0.5 * usual


def test_the_steadiest_directions_are_white_and_leave_out_what_errs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 4)) * (1, 1, 2, 2)
    noisy = rng.normal(size=4)
    kept = steadiest(np.cov(x, rowvar=False), np.outer(noisy, noisy), 3)
    np.testing.assert_allclose(noisy @ kept, 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(x @ kept, rowvar=False), np.eye(3), atol=0.2)


def test_of_many_points_the_nearest_is_found():
    rng = np.random.default_rng(0)
    x, points = rng.normal(size=(20, 5)), 3 + rng.normal(size=(50, 5))
    apart = np.linalg.norm(x[:, np.newaxis] - points, axis=2)
    found = nearest(tf.constant(x, tf.float32), tf.constant(points, tf.float32))
    np.testing.assert_allclose(found, points[apart.argmin(axis=1)], rtol=1e-6)


def test_the_farthest_points_are_chosen_and_none_twice():
    points = np.array([[0.0], [0.1], [10.0], [9.9], [5.0]], np.float32)
    chosen = farthest(points, 3, np.random.default_rng(0))
    assert {round(float(points[each, 0])) for each in chosen} == {0, 5, 10}
    assert len(set(farthest(points, 9, np.random.default_rng(0)))) == 5


def test_a_pooled_gaussian_does_not_mind_where_a_part_lies_but_that_it_is_not_there(pooled):
    usual, missing = (
        np.mean([outputs(pooled, frames(1, seed=seed, square=square))["score"] for seed in (3, 4, 5)])
        for square in (60, 0)
    )
    assert missing > 1.3 * usual
    assert set(outputs(pooled, frames(1))) == {"score"}


def test_a_pooled_gaussian_tells_what_it_would_give_for_its_frames_had_it_not_seen_them(backbone, normal):
    detector = PooledGaussian(PooledGaussianSettings(layers=LAYERS, directions=4), TrainingSettings(), SIZE, SIZE)
    detector.backbone = backbone
    folds = tuple(np.arange(24) % 4)
    detector.fit(ImageData(normal=normal, stopping=FrameSet((), SIZE, SIZE), folds=folds), progress=False)
    own = [outputs(detector, frame[np.newaxis])["score"][0] for frame in normal.array()]
    new = [outputs(detector, frames(1, seed=seed, square=60))["score"][0] for seed in range(100, 124)]
    assert detector.optimism.maps is None
    assert np.median(own) < 0.9 * np.median(new)
    assert np.median(own + detector.optimism.scores) == pytest.approx(np.median(new), rel=0.15)


def test_with_all_directions_features_become_white():
    x = np.random.default_rng(0).normal(size=(4000, 3)) @ [[1, 5, 0], [0, 2, 0.1], [0, 0, 0.3]]
    np.testing.assert_allclose(np.cov(x @ root_of_precision(x, 3), rowvar=False), np.eye(3), atol=0.2)


def test_directions_that_are_not_kept_share_one_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1)) @ rng.normal(size=(1, 6)) + 0.3 * rng.normal(size=(400, 6))
    lengths = np.sort(np.linalg.norm(root_of_precision(x, 1) * x.std(axis=0)[:, np.newaxis], axis=0))
    np.testing.assert_allclose(lengths[1:], lengths[-1])
    assert lengths[0] < 0.5 * lengths[1]


def test_the_small_gaussians_have_the_settings_of_the_usual_ones_and_fewer_numbers():
    small, usual = PadimSmallSettings(), PadimSettings()
    assert small.features.channels * small.rank < 0.2 * usual.features.channels * usual.rank
    assert image_detector("padim_small").kind == "pretrained"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MemorySettings(size=0), "dimensions and size must be at least 1"),
        (lambda: PooledGaussianSettings(directions=0), "directions must be at least 1"),
        (lambda: PooledGaussianSettings(layers=(16,)), "layers must be some of 0 to 15"),
    ],
)
def test_settings_that_give_no_detector_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["memory", "pooled_gaussian"])
def test_too_few_frames_are_refused(name, normal):
    cls = image_detector(name)
    detector = cls(cls.Settings(), TrainingSettings(), SIZE, SIZE)
    with pytest.raises(ValueError, match="2 normal frames or more, got 1"):
        detector.fit(ImageData(normal=FrameSet(normal.paths[:1], SIZE, SIZE), stopping=normal), progress=False)
