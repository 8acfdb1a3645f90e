"""The exam that every detector passes: one face, finite, growing with the fault, the same on TFLite.

Small on purpose (T = 16, C = 3, a few epochs): the exam is about the graph, not about how well it detects.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.records import Floats
from tests.recordings import LEARNED, NAMES, recipe, table
from training.artifacts import Run
from training.data import DataError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

C, T, FIT_ROWS = 3, 16, 450
FAULT = slice(500, 550)

SETTINGS = {
    "gaussian": "[[steps]]\ntype = 'trailing_means'\nrows = [1, 8]",
    "bayesian_gaussian": "[[steps]]\ntype = 'trailing_means'\nrows = [1, 8]",
    "bsmle": "[[steps]]\ntype = 'trailing_means'\nrows = [1, 8]",
    "kde": "",
    "kdemle": "",
    "ce_kde": "kernels = 48",
    "denclue": "kernels = 64",
    "mixture": "components = 3\n[[steps]]\ntype = 'trailing_means'\nrows = [1, 8]",
    "pca": "[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "kmeans": "clusters = 12\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "bisecting_kmeans": "clusters = 12\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "agglomerative": "[[steps]]\ntype = 'trailing_means'\nrows = [1]",
    "dbscan": "[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "optics": "[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "drift_gaussian": "blocks = 4\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "knn": "local_scaling = true\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "ocsvm": "[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "isolation": "[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "conv_autoencoder": "filters = 8\ncode = 2\nkernel = 3",
    "lstm_forecaster": "units = 6\nsequence_rows = 24",
    "lstm_autoencoder": "units = 6",
    "pseudo_labels": "classifier = 'knn_classifier'\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "ensemble": "members = [{type = 'gaussian', share = 0.6}, {type = 'pca'}, "
    "{type = 'conv_autoencoder', filters = 4, code = 2, kernel = 3}]\n[[steps]]\ntype = 'trailing_means'\nrows = [8]",
    "svm": "[[steps]]\ntype = 'trailing_means'\nrows = [8]\n[[steps]]\ntype = 'scale'",
    "knn_classifier": "[[steps]]\ntype = 'trailing_means'\nrows = [8]\n[[steps]]\ntype = 'scale'",
    "logistic": "[[steps]]\ntype = 'trailing_means'\nrows = [1, 8]\n[[steps]]\ntype = 'scale'",
}

SEVERITIES = (0.0, 0.5, 1, 2, 3, 4, 5, 7, 10, 14, 18, 19, 20, 21, 22, 25, 30, 40, 60, 100, 300, 1e3, 1e4, 1e5, 1e6)
"""Training spreads, close around body_range = 20, where the body's input saturates."""

GROWTH = np.geomspace(0.5, 30, 28, dtype=np.float32)
"""Training spreads, a sixth apart, to where the body's input has saturated in every reading."""

NORMAL_PIECES = 60
"""Pieces of validation readings whose scores are normal; faults grow in some of the same pieces."""

LARGEST_FALL = {"conv_autoencoder": 0.02, "isolation": 0.05, "knn_classifier": 0.4}
"""Share of a score above normal that a growing fault may take from it on the fine scale, where it may take anything: what
an autoencoder leaves out within the reach of training is learned, not proved, an isolation forest cuts at random
places, so that a reading a little further off may lie in a slightly larger leaf, and a classifier by neighbours may
come past labelled faults before it leaves all that was labelled behind."""

BUILT_IN_ONLY = {
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MINIMUM",
    "MAXIMUM",
    "ABS",
    "MEAN",
    "SUM",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "FULLY_CONNECTED",
    "CONV_2D",
    "RESHAPE",
    "EXPAND_DIMS",
    "SQUEEZE",
    "STRIDED_SLICE",
    "SLICE",
    "CONCATENATION",
    "SPLIT",
    "LOGISTIC",
    "TANH",
    "PACK",
    "UNPACK",
    "TRANSPOSE",
    "REVERSE_V2",
    "TILE",
    "FILL",
    "RELU",
    "BATCH_MATMUL",
    "BROADCAST_TO",
    "GATHER",
    "SHAPE",
    "CAST",
    "GREATER",
    "TOPK_V2",
    "SQRT",
    "NEG",
    "ARG_MIN",
    "EXP",
    "LOG",
    "REDUCE_MIN",
    "REDUCE_MAX",
}
"""Operators of tflite-runtime 2.14; none keeps state between calls."""


class Fitted:
    """A run, and its graph in TensorFlow and in TFLite."""

    def __init__(self, run: Run) -> None:
        import tensorflow as tf
        from ai_edge_litert.interpreter import Interpreter

        from training.evaluation.scoring import FloatScorer

        self.run = run
        self.scorer = FloatScorer(run)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(run.graph))
        self.tflite: bytes = converter.convert()
        self.interpreter = Interpreter(model_content=self.tflite, num_threads=1)
        self.runner = self.interpreter.get_signature_runner("serving_default")

    @property
    def streaming(self) -> bool:
        return self.run.input.streaming

    def scores(self, sequence: Floats) -> np.ndarray:
        """Score [n, C] readings: of the last window, or of every reading of a streaming graph."""
        self.scorer.reset()
        windows = sequence[:, np.newaxis] if self.streaming else sequence[np.newaxis]
        return np.array([self.scorer(window)["score"][0] for window in windows], np.float64)

    def tflite_scores(self, sequence: Floats) -> np.ndarray:
        """The same by the TFLite runtime."""
        details = self.runner.get_input_details()
        states = {name: np.zeros(d["shape"], np.float32) for name, d in details.items() if name.startswith("state_")}
        windows = sequence[:, np.newaxis] if self.streaming else sequence[np.newaxis]
        scores = []
        for window in windows:
            outputs = self.runner(window=window[np.newaxis], **states)
            states = {name: outputs[name] for name in states}
            scores.append(outputs["score"][0])
        return np.array(scores, np.float64)

    def normal(self, count: int) -> list[Floats]:
        """Pieces of validation readings: one window, or a run-up and T readings for a streaming graph."""
        values, _ = self.run.validation
        length = T + (24 if self.streaming else 0)
        starts = np.linspace(0, len(values) - length, count).astype(int)
        return [values[start : start + length] for start in starts]

    @cached_property
    def highest_normal(self) -> float:
        """Highest score of validation readings: nothing below it alarms, there a score may rise and fall."""
        return float(max(self.tflite_scores(piece)[-T:].max() for piece in self.normal(NORMAL_PIECES)))


@contextmanager
def quietly() -> Iterator[None]:
    """Without TensorFlow's own warnings of what it will change one day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        yield


def fit_small(detector: str, folder: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Run:
    """A run of the detector on the small machine, spoilt or not, in a new folder."""
    from training.detectors import DETECTORS
    from training.fit import fit, locate
    from training.recipe import parse_recipe

    folder.mkdir()
    readings = table(600, fault=FAULT, learned=LEARNED if DETECTORS[detector].needs_labels else None)
    (spoil(readings) if spoil else readings).to_csv(folder / "machine.csv", index=False)
    text = recipe(detector, SETTINGS[detector], epochs=6)
    parsed = parse_recipe(text)
    return fit(parsed, locate(parsed, text, folder), folder / "run", progress=False)


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitted]:
    """Each detector fitted once on the small machine."""
    folder = tmp_path_factory.mktemp(request.param)
    with quietly():
        yield Fitted(fit_small(request.param, folder / "small"))
    shutil.rmtree(folder)


def test_the_graph_has_the_one_face_and_no_variables(fitted: Fitted) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(fitted.run.graph))
    signature = loaded.signatures["serving_default"]
    inputs = {name: spec.shape.as_list() for name, spec in signature.structured_input_signature[1].items()}
    outputs = {name: spec.shape.as_list() for name, spec in signature.structured_outputs.items()}
    assert inputs.pop("window") == [1, 1 if fitted.streaming else T, C]
    assert outputs.pop("score") == [1]
    assert outputs.pop("contributions") == [1, C]
    assert inputs == outputs
    assert all(name.startswith("state_") for name in inputs)
    assert bool(inputs) == fitted.streaming
    assert not signature.variables


def test_everything_is_in_the_scopes_that_quantization_goes_by(fitted: Fitted) -> None:
    import tensorflow as tf

    graph = tf.saved_model.load(str(fitted.run.graph)).signatures["serving_default"].graph.as_graph_def()
    names = {node.name for function in graph.library.function for node in function.node_def}
    scopes = {name.split("/")[0] for name in names if not name.startswith("Identity")}
    assert scopes == {"front", "head"} | ({"body"} if fitted.run.info.has_body else set())


def test_it_converts_to_built_in_operators_alone(fitted: Fitted) -> None:
    operators = {op["op_name"] for op in fitted.interpreter._get_ops_details()}
    assert operators - {"DELEGATE"} <= BUILT_IN_ONLY


def test_tflite_gives_the_scores_of_the_float_graph(fitted: Fitted) -> None:
    for piece in fitted.normal(5):
        for severity in (0, 5, 50):
            faulty = inject(piece[np.newaxis], FaultKind.STEP, severity, fitted.run.spread, np.random.default_rng(1))[0]
            np.testing.assert_allclose(fitted.tflite_scores(faulty), fitted.scores(faulty), rtol=1e-4)


@pytest.mark.parametrize("kind", [FaultKind.SPIKE, FaultKind.STEP, FaultKind.DRIFT, FaultKind.NOISE])
def test_a_growing_fault_never_lowers_the_score_once_past_normal(fitted: Fitted, kind: FaultKind) -> None:
    past_normal = fitted.highest_normal
    for seed, piece in enumerate(fitted.normal(NORMAL_PIECES)[::15]):
        for channel in range(C):
            grown = np.array(
                [fitted.tflite_scores(with_fault(fitted, piece, kind, s, channel, seed))[-T:].max() for s in SEVERITIES]
            )
            assert np.isfinite(grown).all()
            past = grown[:-1] > past_normal
            falls = past & (grown[1:] < grown[:-1] - 1e-5 * np.abs(grown[:-1]))
            assert not falls.any(), f"channel {channel}: falls after severity {SEVERITIES[np.argwhere(falls)[0][0]]}"
            assert (grown[-1] > 1e3 * abs(past_normal)) or kind is FaultKind.NOISE


@pytest.mark.parametrize("kind", [FaultKind.SPIKE, FaultKind.STEP, FaultKind.DRIFT, FaultKind.NOISE])
def test_on_a_fine_scale_a_fault_of_either_sign_never_lowers_the_score(fitted: Fitted, kind: FaultKind) -> None:
    allowed = LARGEST_FALL.get(fitted.run.info.detector, 1e-5)
    for seed, piece in enumerate(fitted.normal(NORMAL_PIECES)[:: 30 if fitted.streaming else 10]):
        for channel in range(C):
            one_spread = with_fault(fitted, piece, kind, 1.0, channel, seed) - piece
            for sign in (-1, 1):
                scores = [fitted.tflite_scores(piece + sign * severity * one_spread)[-T:].max() for severity in GROWTH]
                grown = np.maximum(scores, fitted.highest_normal)
                highest = np.maximum.accumulate(grown)
                assert (highest - grown <= allowed * np.abs(highest)).all(), (
                    f"channel {channel}, window {seed}: {grown}"
                )


def with_fault(  # noqa: PLR0917
    fitted: Fitted, piece: Floats, kind: FaultKind, severity: float, channel: int, seed: int
) -> Floats:
    """A fault within the last T readings."""
    faulty = piece.copy()
    rng = np.random.default_rng(seed)
    faulty[-T:] = inject(piece[np.newaxis, -T:], kind, severity, fitted.run.spread, rng, channel)[0]
    return faulty


@pytest.mark.parametrize("value", [0.0, -1.0, 1e20, -1e20, 3e38, np.inf, -np.inf])
def test_extreme_and_constant_readings_give_finite_scores(fitted: Fitted, value: float) -> None:
    piece = np.full((40, C), value, np.float32)
    assert np.isfinite(fitted.scores(piece if fitted.streaming else piece[:T])).all()


def test_contributions_are_shares_and_name_the_faulty_channel(fitted: Fitted) -> None:
    piece = fitted.normal(1)[0]
    for channel in range(C):
        faulty = with_fault(fitted, piece, FaultKind.DRIFT, 40.0, channel, 0)
        fitted.scorer.reset()
        windows = faulty[:, np.newaxis] if fitted.streaming else faulty[np.newaxis]
        shares = [fitted.scorer(window)["contributions"][0] for window in windows][-1]
        assert shares.min() >= 0
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        assert int(shares.argmax()) == channel


def test_scores_of_a_fault_are_above_those_of_normal_readings(fitted: Fitted) -> None:
    pieces = fitted.normal(8)
    normal = [fitted.scores(piece)[-1] for piece in pieces]
    faulty = [fitted.scores(with_fault(fitted, piece, FaultKind.DRIFT, 15.0, 1, 0))[-1] for piece in pieces]
    assert min(faulty) > max(normal)


def test_the_state_of_a_streaming_graph_carries_what_was_before(fitted: Fitted) -> None:
    if not fitted.streaming:
        pytest.skip("only streaming graphs carry state")
    piece = fitted.normal(1)[0]
    assert fitted.scores(piece)[-1] != pytest.approx(fitted.scores(piece[-1:])[-1], rel=1e-6)


def test_the_run_keeps_training_and_validation_apart_in_time(fitted: Fitted) -> None:
    run = fitted.run
    _, validation_t_ns = run.validation
    assert run.train_t_ns.max() < validation_t_ns.min()
    assert run.faulty is not None
    assert validation_t_ns.max() < run.faulty[1].min()
    assert run.faulty[2].sum() == 50


def test_the_run_says_what_the_device_needs(fitted: Fitted) -> None:
    run = fitted.run
    assert [channel.name for channel in run.input.channels] == ["speed", "load", "heat"]
    assert run.input.window == (1 if fitted.streaming else T)
    assert run.input.warm_up == (20 if fitted.streaming else 0)
    assert run.prefilter.names == ("speed", "load", "heat")
    assert run.info.decision.rule.hold_off_s == 10
    assert {entry["file"] for entry in run.provenance["data"]} == {"machine.csv"}
    assert Path(run.path / "recipe.toml").read_text() == recipe(
        run.info.detector, SETTINGS[run.info.detector], epochs=6
    )


def test_a_run_folder_that_was_moved_scores_the_same(fitted: Fitted, tmp_path: Path) -> None:
    from training.evaluation.scoring import FloatScorer

    moved = FloatScorer(Run.read(Path(shutil.copytree(fitted.run.path, tmp_path / "moved"))))
    for piece in fitted.normal(3):
        windows = piece[:, np.newaxis] if fitted.streaming else piece[np.newaxis]
        moved.reset()
        assert [moved(window)["score"][0] for window in windows] == fitted.scores(piece).tolist()


def contaminate(readings: pd.DataFrame) -> pd.DataFrame:
    """Three short faults in the training part that nobody labelled, 5 % of its rows, some seven spreads large."""
    for channel, first, off in (("speed", 40, 5.0), ("heat", 180, -4.0), ("load", 240, -1.0)):
        readings.loc[first : first + 4, channel] += off
    return readings


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def contaminated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Run]]:
    """Each detector fitted twice on the same contaminated training data."""
    folder = tmp_path_factory.mktemp(request.param)
    with quietly():
        one, two = (fit_small(request.param, folder / name, spoil=contaminate) for name in ("one", "two"))
        yield one, two
    shutil.rmtree(folder)


def scores_of(run: Run, values: Floats) -> np.ndarray:
    """Score of the window that ends at each reading [n, C], from the first that fills a window of T on."""
    from training.evaluation.scoring import FloatScorer

    scorer, rows = FloatScorer(run), 1 if run.input.streaming else T
    ends = range(rows, len(values) + 1)
    return np.array([scorer(values[end - rows : end])["score"][0] for end in ends], np.float64)[T - rows :]


def test_the_same_recipe_and_data_give_the_same_scores(contaminated: tuple[Run, Run]) -> None:
    one, two = contaminated
    readings, _ = one.validation
    assert scores_of(one, readings[:40]).tolist() == scores_of(two, readings[:40]).tolist()


def test_contaminated_training_data_hide_no_clear_fault(contaminated: tuple[Run, Run]) -> None:
    from training.evaluation.metrics import auc_roc

    run, _ = contaminated
    assert run.faulty is not None
    values, _, labels = run.faulty
    scores = scores_of(run, values)
    assert np.isfinite(scores).all()
    faulty_rows = np.lib.stride_tricks.sliding_window_view(labels, T).sum(axis=1)
    clear = (faulty_rows == 0) | (faulty_rows == T)
    assert (auc_roc(faulty_rows[clear] == T, scores[clear]) or 0) > 0.95


def cut_short(readings: pd.DataFrame) -> pd.DataFrame:
    return readings[:60]


def stand_still(readings: pd.DataFrame) -> pd.DataFrame:
    return readings.assign(**dict.fromkeys(NAMES, 1.5))


def miss_often(readings: pd.DataFrame) -> pd.DataFrame:
    return readings.assign(load=np.where(np.arange(len(readings)) % 10 < 4, np.nan, readings["load"]))


@pytest.mark.parametrize("detector", sorted(SETTINGS))
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_short, "windows, at least 20 are needed"),
        (stand_still, "collect more normal data"),
        (miss_often, "load is lost|no unbroken run of 25 readings"),
    ],
)
def test_bad_data_are_refused_with_what_is_wrong(
    detector: str, spoil: Callable[[pd.DataFrame], pd.DataFrame], told: str, tmp_path: Path
) -> None:
    with quietly(), pytest.raises(DataError, match=told):
        fit_small(detector, tmp_path / "bad", spoil=spoil)
    assert not (tmp_path / "bad" / "run").exists()
