"""The exam that every image detector passes: one face, finite, the same each time, the same on TFLite, int8 too.

Small on purpose (frames of 32 x 32, a few epochs): the exam is about the graph, not about how well it detects.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.conversion import Child, Conversion, convert
from converters.flatbuffer import check
from training.images.detector import FrameSet, ImageData
from training.images.folders import Pixels
from training.recipe import TrainingSettings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SIZE, BLOB = 32, slice(16, 26)
NORMAL, STOPPING = 20, 4

SETTINGS: dict[str, dict[str, Any]] = {
    "student_teacher": {"filters": 6},
    "frame_autoencoder": {"filters": 6, "code": 8},
    "frame_vae": {"filters": 6, "code": 8},
    "frame_gan": {"filters": 6, "code": 8, "code_share": 0.5},
    "content_style": {"filters": 4, "content": 6},
}
"""Of those that the exam is for; others have settings of their own kind, labels or time."""

DRAWING = ["content_style", "frame_vae"]
"""Those with a chance of their own in training, besides what all share: views, and codes."""

TRAINING = TrainingSettings(epochs=8, patience=4, learning_rate=5e-3)


def frames(count: int, seed: int) -> Pixels:
    """Grey noise on a ramp, a little brighter or darker, uint8 [n, SIZE, SIZE, 3]."""
    rng = np.random.default_rng(seed)
    light, noise = rng.normal(0, 4, (count, 1, 1, 1)), rng.normal(0, 5, (count, SIZE, SIZE, 3))
    return np.clip(np.linspace(60, 160, SIZE)[:, np.newaxis] + light + noise, 0, 255).astype(np.uint8)


def with_blob(normal: Pixels) -> Pixels:
    """The same with a red square at the lower right of the middle."""
    defective = normal.copy()
    defective[:, BLOB, BLOB] = (225, 40, 40)
    return defective


def frame_set(folder: Path, pixels: Pixels) -> FrameSet:
    folder.mkdir()
    for number, frame in enumerate(pixels):
        cv2.imwrite(str(folder / f"{number:03}.png"), frame[..., ::-1])
    return FrameSet(tuple(sorted(folder.iterdir())), SIZE, SIZE)


@contextmanager
def quietly() -> Iterator[None]:
    """Without TensorFlow's own warnings of what it will change one day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        yield


def make(name: str) -> Any:
    from edge_agent.contract import strict_json
    from training.images.detectors import image_detector

    cls = image_detector(name)
    settings = strict_json.read(cls.Settings, SETTINGS[name], name)
    cls.check(settings, SIZE, SIZE)
    return cls(settings, TRAINING, SIZE, SIZE)


def fit(name: str, data: ImageData) -> Any:
    from training.run_folder import seed_everything

    seed_everything(TRAINING.seed)
    detector = make(name)
    detector.curves = detector.fit(data, progress=False)
    return detector


class Fitted:
    """A fitted detector, its SavedModel, and what that was converted to."""

    def __init__(self, name: str, data: ImageData, folder: Path, child: Child) -> None:
        self.name, self.detector = name, fit(name, data)
        self.graph = folder / "graph"
        self.detector.score_graph().save(self.graph)
        self.conversion: Conversion = convert(
            self.graph,
            formats=("float32", "int8"),
            samples=data.normal.array(),
            cases=np.concatenate([frames(3, 7), with_blob(frames(3, 7))]),
            streaming=False,
            out=folder / "converted",
            child=child,
        )

    def answers(self, pixels: Pixels, graph_format: str = "") -> dict[str, np.ndarray]:
        """Scores [n] and maps [n, h, w] of the float graph in TensorFlow, or of a converted one."""
        import tensorflow as tf

        if not graph_format:
            run = tf.saved_model.load(str(self.graph)).signatures["serving_default"]
            each = [
                {name: value.numpy() for name, value in run(tf.constant(one[np.newaxis])).items()} for one in pixels
            ]
        else:
            from ai_edge_litert.interpreter import Interpreter

            model = self.conversion.models[graph_format]
            outputs = check(model, graph_format).outputs
            interpreter = Interpreter(model_content=model, num_threads=1)
            interpreter.allocate_tensors()
            each = []
            for one in pixels:
                interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[np.newaxis])
                interpreter.invoke()
                each.append({name: interpreter.get_tensor(facts.index).copy() for name, facts in outputs.items()})
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    folder = tmp_path_factory.mktemp("images")
    return ImageData(
        normal=frame_set(folder / "normal", frames(NORMAL, 1)),
        stopping=frame_set(folder / "stopping", frames(STOPPING, 2)),
    )


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """One process converts the graphs of all detectors."""
    with closing(Child()) as process:
        yield process


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def fitted(
    request: pytest.FixtureRequest, data: ImageData, child: Child, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    with quietly():
        return Fitted(request.param, data, tmp_path_factory.mktemp(request.param), child)


def test_the_graph_has_the_one_face_and_no_variables(fitted: Fitted) -> None:
    concrete = fitted.detector.score_graph().concrete()
    (frame,) = concrete.inputs
    assert (frame.op.name, frame.dtype.name, tuple(frame.shape)) == ("frame", "uint8", (1, SIZE, SIZE, 3))
    shapes = {name: tuple(each.shape) for name, each in concrete.structured_outputs.items()}
    assert shapes.pop("score") == (1,)
    one, rows, columns = shapes.pop("map")
    assert one == 1
    assert SIZE % rows == 0
    assert SIZE % columns == 0
    assert not shapes
    assert not concrete.variables


def test_everything_is_in_the_scopes_that_quantization_goes_by(fitted: Fitted) -> None:
    graph = fitted.detector.score_graph().concrete().graph.as_graph_def()
    names = {node.name for node in graph.node} | {node.name for f in graph.library.function for node in f.node_def}
    assert {name.split("/")[0] for name in names if not name.startswith(("Identity", "frame"))} == {
        "front",
        "body",
        "head",
    }


def test_scores_and_maps_are_finite_for_any_frame(fitted: Fitted) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3))
    extreme = np.concatenate([np.zeros_like(noise), np.full_like(noise, 255), noise]).astype(np.uint8)
    for graph_format in ("", "float32", "int8"):
        answers = fitted.answers(extreme, graph_format)
        assert np.isfinite(answers["score"]).all()
        assert np.isfinite(answers["map"]).all()


def test_a_blob_scores_above_every_normal_frame_and_the_map_shows_where(fitted: Fitted) -> None:
    normal = frames(6, 5)
    for graph_format in ("float32", "int8"):
        usual, strange = (fitted.answers(each, graph_format) for each in (normal, with_blob(normal)))
        assert strange["score"].min() > usual["score"].max()
        for found in strange["map"] - usual["map"].mean(axis=0):
            row, column = (np.array(np.unravel_index(found.argmax(), found.shape)) + 0.5) * SIZE / len(found)
            assert BLOB.start - 4 <= row <= BLOB.stop + 4
            assert BLOB.start - 4 <= column <= BLOB.stop + 4


def test_tflite_gives_the_scores_and_maps_of_the_float_graph(fitted: Fitted) -> None:
    pixels = np.concatenate([frames(3, 5), with_blob(frames(3, 5))])
    expected, found = fitted.answers(pixels), fitted.answers(pixels, "float32")
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-3)
    np.testing.assert_allclose(found["map"], expected["map"], rtol=1e-3, atol=1e-3 * expected["map"].max())


def test_the_body_converts_to_int8_and_scores_normal_frames_as_the_float_graph(fitted: Fitted) -> None:
    facts = check(fitted.conversion.models["int8"], "int8")
    assert facts.types["INT8"] >= 5
    normal = frames(6, 5)
    ratio = fitted.answers(normal, "int8")["score"] / fitted.answers(normal, "float32")["score"]
    assert np.median(ratio) == pytest.approx(1, abs=0.2)


def test_the_curves_have_a_figure_for_every_epoch(fitted: Fitted) -> None:
    loss, stopping = (fitted.detector.curves[name] for name in ("loss", "stopping_loss"))
    assert 1 <= len(loss) == len(stopping) <= TRAINING.epochs
    assert min(loss[1:]) < loss[0]


@pytest.mark.parametrize("fitted", DRAWING, indirect=True)
def test_the_same_seed_gives_the_same_weights_to_the_bit(fitted: Fitted, data: ImageData) -> None:
    again = fit(fitted.name, data)
    expected, found = (detector.score_graph().function(frames(1, 5)) for detector in (fitted.detector, again))
    np.testing.assert_array_equal(found["map"], expected["map"])
    np.testing.assert_array_equal(found["score"], expected["score"])


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_too_few_frames_are_refused(name: str, data: ImageData) -> None:
    few = FrameSet(data.normal.paths[:1], SIZE, SIZE)
    with pytest.raises(ValueError, match="got 1"):
        make(name).fit(ImageData(normal=few, stopping=few), progress=False)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_frames_that_do_not_halve_are_refused(name: str) -> None:
    detector = make(name)
    with pytest.raises(ValueError, match="got 36 x 32"):
        detector.check(detector.settings, 36, SIZE)
