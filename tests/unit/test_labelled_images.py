"""Detectors that learn from labelled images: both classes weigh the same, and scores are log-odds."""

import os

import cv2
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from training.images.augmentation import Augmentation
from training.images.detector import FrameSet, ImageData
from training.images.detectors.frame_cnn import FrameCnn, FrameCnnSettings
from training.images.detectors.transfer import Transfer, TransferSettings
from training.images.labelled import Labelled, labelled_frames
from training.recipe import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

SIZE, DEFECT_PX = 64, 16
STILL = Augmentation(shift_px=0, brightness=0.0, contrast=0.0)


def frames(count: int, seed: int, *, defective: bool) -> np.ndarray:
    """Grey noise on a ramp, uint8 [n, SIZE, SIZE, 3]; the defect is a red square in one of four places."""
    rng = np.random.default_rng(seed)
    made = np.linspace(60, 160, SIZE)[:, np.newaxis] + rng.normal(0, 8, (count, SIZE, SIZE, 3))
    for frame in made if defective else ():
        row, column = 2 * DEFECT_PX * rng.integers(2, size=2)
        frame[row : row + DEFECT_PX, column : column + DEFECT_PX] = (220, 40, 40)
    return made.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """Writes frames as a part of a folder."""

    def written(count: int, seed: int, *, defective: bool = False) -> FrameSet:
        folder = tmp_path_factory.mktemp("part")
        for number, frame in enumerate(frames(count, seed, defective=defective)):
            cv2.imwrite(str(folder / f"{number:03}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return FrameSet(tuple(sorted(folder.iterdir())), SIZE, SIZE)

    return written


@pytest.fixture(scope="module")
def data(part):
    """Three times as many normal frames as defective ones."""
    return ImageData(normal=part(36, 0), stopping=part(6, 1), defective=part(16, 2, defective=True))


@pytest.fixture(scope="module")
def cnn(data):
    training = TrainingSettings(epochs=15, batch=8, stopping=0.25)
    made = FrameCnn(FrameCnnSettings(filters=8, dense=16), training, SIZE, SIZE)
    return made, made.fit(data, progress=False)


@pytest.fixture(scope="module")
def transfer(data):
    training = TrainingSettings(epochs=15, batch=8, stopping=0.25, learning_rate=2e-2)
    made = Transfer(TransferSettings(copies=2), training, SIZE, SIZE)
    return made, made.fit(data, progress=False)


@pytest.fixture(params=["cnn", "transfer"])
def fitted(request):
    return request.getfixturevalue(request.param)


def outputs(detector, some: np.ndarray) -> list[dict[str, np.ndarray]]:
    graph = detector.score_graph().concrete()
    return [{name: value.numpy() for name, value in graph(frame=tf.constant(one[np.newaxis])).items()} for one in some]


def scores(detector, some: np.ndarray) -> np.ndarray:
    return np.array([found["score"][0] for found in outputs(detector, some)])


def test_defects_are_told_apart_by_log_odds_around_0(fitted):
    detector, _ = fitted
    normal, defective = (scores(detector, frames(8, 7, defective=kind)) for kind in (False, True))
    assert normal.max() < defective.min()
    assert normal.min() < 0
    assert defective.max() > 1, "a probability would not be"


def test_what_was_held_back_of_both_classes_is_watched(fitted):
    _, curves = fitted
    assert len(curves["stopping_loss"]) == len(curves["loss"])
    assert curves["loss"][-1] < curves["loss"][0]


def test_the_odds_of_a_frame_are_the_mean_of_those_of_its_positions(transfer):
    for found in outputs(transfer[0], frames(2, 5, defective=True)):
        assert found["score"][0] == pytest.approx(np.log(np.exp(found["map"].astype(np.float64)).mean()), rel=1e-4)


def test_the_map_shows_what_was_labelled_for_the_frame_alone(transfer):
    frame = frames(1, 5, defective=False)
    frame[:, 32:48, 16:32] = (220, 40, 40)
    (found,) = outputs(transfer[0], frame)
    assert np.unravel_index(np.argmax(found["map"][0]), found["map"][0].shape) == (2, 1)


RED, BLUE = (220, 40, 40), (40, 40, 220)


def transfer_of(data: ImageData, folder: FrameSet, kinds: tuple[str, ...] = ()) -> Transfer:
    training = TrainingSettings(epochs=15, batch=8, stopping=0.25, learning_rate=2e-2)
    made = Transfer(TransferSettings(copies=2), training, SIZE, SIZE)
    made.fit(ImageData(normal=data.normal, stopping=data.stopping, defective=folder, kinds=kinds), progress=False)
    return made


@pytest.fixture(scope="module")
def coloured(part):
    """Defective frames, every other one with a blue square."""
    folder = part(16, 2, defective=True)
    for path in folder.paths[1::2]:
        cv2.imwrite(str(path), cv2.imread(str(path))[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def named(data, coloured):
    """Transfer with two kinds of defect; that of the last frame is not told."""
    return transfer_of(data, coloured, ("red", "blue") * 7 + ("red", "anomaly"))


def test_the_kind_of_defect_is_told_at_each_position(named):
    assert named.kinds == ("blue", "red")
    frame = frames(1, 5, defective=False)
    frame[:, 32:48, 16:32] = RED
    frame[:, 0:16, 32:48] = BLUE
    (found,) = outputs(named, frame)
    assert found["kinds"].shape == (1, *found["map"].shape[1:], 2)
    np.testing.assert_allclose(found["kinds"].sum(axis=3), 1, rtol=1e-5)
    assert found["kinds"][0, 2, 1].argmax() == 1
    assert found["kinds"][0, 0, 2].argmax() == 0


def test_kinds_change_neither_score_nor_map(named, data, coloured):
    seen = frames(3, 5, defective=True)
    for with_kinds, without in zip(outputs(named, seen), outputs(transfer_of(data, coloured), seen), strict=True):
        assert set(without) == {"score", "map"}
        np.testing.assert_array_equal(with_kinds["score"], without["score"])
        np.testing.assert_array_equal(with_kinds["map"], without["map"])


def test_with_one_kind_there_is_nothing_to_tell_apart(transfer):
    assert transfer[0].kinds == ()
    assert set(transfer[0].score_graph().concrete().structured_outputs) == {"score", "map"}


def test_kinds_of_frames_that_are_watched_are_left_out(data):
    kinds = tuple(map(str, range(16)))
    with_kinds = ImageData(normal=data.normal, stopping=data.stopping, defective=data.defective, kinds=kinds)
    trained, _ = labelled_frames(with_kinds, TrainingSettings(stopping=0.25))
    everything = data.defective.array()
    np.testing.assert_array_equal(trained.frames[-12:], everything[[int(kind) for kind in trained.kinds]])


def test_a_network_with_a_dense_layer_tells_no_places(cnn):
    assert not cnn[0].has_map
    assert set(cnn[0].score_graph().concrete().structured_outputs) == {"score"}


def test_the_loss_weighs_both_classes_alike_however_few_are_defective():
    both = Labelled.of(frames(6, 0, defective=False), frames(2, 0, defective=True))
    log_odds = np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32)
    each = np.log1p(np.exp(np.where(both.defective > 0, -log_odds, log_odds)))
    balanced = (each[:6].mean() + each[6:].mean()) / 2
    assert np.mean(both.loss(both.defective, log_odds)) == pytest.approx(balanced, rel=1e-5)


def test_defective_frames_that_are_watched_are_not_trained_on(data):
    trained, watched = labelled_frames(data, TrainingSettings(stopping=0.25))
    assert watched is not None
    assert (trained.defective.sum(), watched.defective.sum()) == (12, 4)
    assert (len(trained), len(watched)) == (48, 10)
    seen = {frame.tobytes() for frame in trained.frames}
    assert not any(frame.tobytes() in seen for frame in watched.frames)


def test_with_too_few_to_watch_all_are_trained_on(data, part):
    few = ImageData(normal=data.normal, stopping=data.stopping, defective=part(6, 3, defective=True))
    trained, watched = labelled_frames(few, TrainingSettings())
    assert watched is None
    assert len(trained) == 36 + 6 + 6


def test_too_few_defective_frames_are_refused(data, part):
    for defective in (None, part(3, 3, defective=True)):
        with pytest.raises(ValueError, match="4 defective frames or more, got"):
            labelled_frames(
                ImageData(normal=data.normal, stopping=data.stopping, defective=defective), TrainingSettings()
            )


def test_the_same_seed_gives_the_same_network(data):
    training = TrainingSettings(epochs=1, patience=0)
    settings = FrameCnnSettings(filters=2, dense=2, augmentation=STILL)
    found = []
    for _ in range(2):
        made = FrameCnn(settings, training, SIZE, SIZE)
        made.fit(data, progress=False)
        found.append(scores(made, frames(3, 5, defective=True)))
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrameCnnSettings(filters=0), "filters and dense must be at least 1"),
        (lambda: FrameCnnSettings(dropout=0.5), "dropout must be a share from 0 to below 0.5"),
        (lambda: TransferSettings(copies=0), "copies must be at least 1"),
        (lambda: FrameCnn.check(FrameCnnSettings(), 66, 64), "multiples of 4 pixels, got 66 x 64"),
        (lambda: Transfer.check(TransferSettings(), 72, 64), "multiples of 16 pixels, got 72 x 64"),
    ],
)
def test_settings_that_build_no_network_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
