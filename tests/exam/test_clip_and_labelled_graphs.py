"""The exam of the image detectors that need labels or order in time: their graphs convert, and int8 keeps their scores.

What the graphs of the others pass is in `test_image_detectors`.
"""

import os
from contextlib import closing

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from converters.conversion import Child, convert
from converters.flatbuffer import check
from training.experiments.belt import Belt
from training.images.augmentation import Augmentation
from training.images.detector import FrameSet, ImageData
from training.images.detectors import image_detector
from training.recipe import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

SIZE, STEPS, DEFECT = 32, 24, slice(8, 20)
TRAINING = TrainingSettings(epochs=4, learning_rate=5e-3)
STILL = Augmentation(shift_px=0, brightness=0.0, contrast=0.0)
SETTINGS = {
    "clip_convolution": {"code": 6, "hidden": 8, "sequence_frames": 6},
    "clip_lstm": {"code": 6, "hidden": 8, "sequence_frames": 6},
    "frame_cnn": {"filters": 4, "dense": 8, "augmentation": STILL},
    "transfer": {"copies": 1},
}
RANK = 0.99
"""Rank correlation of int8 with float scores that a bundle is refused below."""


def frames(count: int, seed: int) -> np.ndarray:
    """A belt in order of time, uint8 [count, SIZE, SIZE, 3]."""
    belt = Belt(seed, SIZE)
    return np.array([belt.pixels(moment, (moment,)) for moment in range(count)])


def odd(normal: np.ndarray) -> np.ndarray:
    """The same with a square that was never there."""
    changed = normal.copy()
    changed[:, DEFECT, DEFECT] = (240, 240, 60)
    return changed


def frame_set(folder, pixels: np.ndarray) -> FrameSet:
    folder.mkdir()
    for number, frame in enumerate(pixels):
        cv2.imwrite(str(folder / f"{number:03}.png"), frame[..., ::-1])
    return FrameSet(tuple(sorted(folder.iterdir())), SIZE, SIZE)


@pytest.fixture(scope="module")
def child():
    with closing(Child()) as process:
        yield process


class Converted:
    """A fitted detector with its graph in both formats, and the cases it is compared on."""

    def __init__(self, name: str, folder, child: Child) -> None:
        cls = image_detector(name)
        self.detector = cls(cls.Settings(**SETTINGS[name]), TRAINING, SIZE, SIZE)
        normal = frames(40, seed=1)
        parts = {"normal": normal, "stopping": normal[:0], "defective": odd(frames(20, seed=2))}
        self.detector.fit(
            ImageData(**{part: frame_set(folder / part, pixels) for part, pixels in parts.items()}), progress=False
        )
        self.graph = self.detector.score_graph()
        self.graph.save(folder / "graph")
        held_out = frames(STEPS, seed=3)
        self.cases = np.concatenate([held_out, odd(held_out)])
        samples = np.concatenate([normal, odd(normal)])
        if cls.streaming:  # what is odd comes late, so that it is not announced
            self.cases = np.array([held_out, np.concatenate([held_out[:12], odd(held_out[12:])])])
            samples = samples[np.newaxis]
        self.conversion = convert(
            folder / "graph",
            formats=("float32", "int8"),
            samples=samples,
            cases=self.cases,
            streaming=cls.streaming,
            out=folder / "converted",
            child=child,
        )

    def scores(self, graph_format: str) -> np.ndarray:
        """Scores of the cases by the device's runtime, float64 [k] or [k, L]."""
        from ai_edge_litert.interpreter import Interpreter

        model = self.conversion.models[graph_format]
        facts = check(model, graph_format)
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        shapes = {name: shape for name, shape in self.graph.inputs.items() if name != "frame"}

        def along(sequence: np.ndarray) -> list[float]:
            states, found = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, []
            for frame in sequence:
                for name, value in {"frame": frame[np.newaxis], **states}.items():
                    interpreter.set_tensor(facts.inputs[name].index, value)
                interpreter.invoke()
                given = {name: interpreter.get_tensor(tensor.index).copy() for name, tensor in facts.outputs.items()}
                states = {name: given[name] for name in states}
                found.append(float(given["score"][0]))
            return found

        return np.array([along(each) for each in self.cases] if shapes else along(self.cases))


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def converted(request, child, tmp_path_factory):
    return Converted(request.param, tmp_path_factory.mktemp(request.param), child)


def test_the_graph_has_the_face_that_the_detector_tells(converted):
    outputs = converted.graph.concrete().structured_outputs
    states = {name for name in converted.graph.inputs if name != "frame"}
    assert set(outputs) == {"score", *states} | ({"map"} if converted.detector.has_map else set())
    assert bool(states) == converted.detector.streaming
    assert tuple(outputs["score"].shape) == (1,)
    assert all(tuple(outputs[name].shape) == converted.graph.inputs[name] for name in states)


def test_everything_is_in_the_scopes_that_quantization_goes_by(converted):
    graph = converted.graph.concrete().graph.as_graph_def()
    names = {node.name for node in graph.node} | {node.name for f in graph.library.function for node in f.node_def}
    own = {name.split("/")[0] for name in names if not name.startswith(("Identity", "frame", "state_"))}
    assert own == {"front", "body", "head"}


def test_tflite_gives_the_scores_of_tensorflow(converted):
    reference = converted.conversion.reference_scores()
    np.testing.assert_allclose(converted.scores("float32"), reference, rtol=1e-3, atol=1e-3)


def test_int8_keeps_the_order_of_the_scores(converted):
    counted = (..., slice(converted.detector.warm_up, None))
    found, reference = converted.scores("int8")[counted], converted.conversion.reference_scores()[counted]
    assert check(converted.conversion.models["int8"], "int8").types["INT8"] > 0
    assert spearmanr(found.ravel(), reference.ravel()).statistic > RANK
