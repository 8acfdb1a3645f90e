"""Detectors that learn from labelled faults, and pseudo-labels where there are none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import Doubles, Floats
from tests.recordings import LEARNED, machine, recipe, table, write_csv
from training.artifacts import Run
from training.data import DataError
from training.evaluation.metrics import auc_roc
from training.recipe import RecipeError, TrainingSettings, parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

CLASSIFIERS = ("svm", "knn_classifier", "logistic")


def learned(name: str, normal: Doubles, faulty: Doubles, **settings: object) -> Any:
    """A classifier of features [n, 2] and [m, 2]."""
    from training.detectors import DETECTORS
    from training.graph import Front

    front = Front(centre=np.zeros(2), spread=np.ones(2), body_range=20.0)
    cls: Any = DETECTORS[name]
    detector = cls(cls.Settings(**settings), TrainingSettings(), front, 2, ({"type": "trailing_means", "rows": [1]},))
    detector.fit_features(normal, faulty, progress=False)
    return detector


def cloud(rows: int, *middle: float, seed: int = 0) -> Doubles:
    return np.asarray(np.random.default_rng(seed).standard_normal((rows, 2)) + np.array(middle), np.float64)


def ray(x: float, y: float, *, most: float = 60.0) -> Doubles:
    return np.asarray(np.outer(np.linspace(0, most, 601), [x, y]), np.float64)


def run_of(folder: Path, text: str) -> Run:
    from training.fit import fit, locate

    parsed = parse_recipe(text)
    return fit(parsed, locate(parsed, text, folder), folder / "run", progress=False)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_tell_a_fault_within_normal_spread_better_than_a_density(name: str) -> None:
    normal, faulty = cloud(400, 0, 0), cloud(100, 0, 2, seed=1)
    fresh, labels = np.concatenate([cloud(400, 0, 0, seed=2), cloud(400, 0, 2, seed=3)]), np.repeat([False, True], 400)
    supervised, density = (
        auc_roc(labels, learned(which, normal, faulty).scores(fresh)) for which in (name, "gaussian")
    )
    assert supervised is not None
    assert density is not None
    assert supervised > density + 0.04


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (0.7, -0.7)])
def test_a_fault_never_looks_more_normal_again_between_known_faults_or_behind_them(
    name: str, direction: tuple[float, float]
) -> None:
    normal = cloud(300, 0, 0)
    detector = learned(name, normal, np.concatenate([cloud(60, 8, 0), cloud(60, 25, 0), cloud(60, 0, 12)]))
    scores = detector.scores(ray(*direction))
    past = scores[:-1] > detector.scores(normal).max()
    assert past.any()
    assert (np.diff(scores)[past] >= -1e-5 * np.abs(scores[:-1][past])).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_no_label_tells_of_is_strange_where_it_is_far_from_everything(name: str) -> None:
    normal = cloud(300, 0, 0)
    detector = learned(name, normal, cloud(60, 8, 0))
    assert detector.scores(np.array([[0.0, -15.0], [-15.0, 0.0]])).min() > detector.scores(normal).max()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_few_faults_weigh_as_much_as_many_normal_windows(name: str) -> None:
    detector = learned(name, cloud(1000, 0, 0), cloud(6, 3, 0, seed=1))
    evidence = [detector.log_odds(x.astype(np.float32)).numpy() for x in (cloud(200, 3, 0), cloud(200, 0, 0, seed=2))]
    assert (evidence[0] > 0).mean() > 0.6
    assert (evidence[1] < 0).mean() > 0.8


def test_logistic_regression_gives_no_weight_to_the_side_where_no_fault_was() -> None:
    detector = learned("logistic", cloud(300, 0, 0), cloud(60, 5, 0, seed=1))
    above, below = np.split(detector.weights, 2)
    assert above[0] > 0.5
    assert below[0] == 0
    assert max(above[1], below[1]) < 0.2 * above[0]


def test_support_vectors_are_reduced_to_the_setting_with_nearly_the_same_decision() -> None:
    normal, faulty = cloud(600, 0, 0), cloud(600, 2, 0, seed=1)
    full = learned("svm", normal, faulty, vectors=2000)
    reduced = learned("svm", normal, faulty, vectors=24)
    assert len(full.vectors) > 100
    assert len(reduced.vectors) <= 24
    at = cloud(200, 1, 0, seed=2)
    assert np.abs(full.scores(at) - reduced.scores(at)).mean() < 0.1 * full.scores(at).std()


def test_a_linear_machine_keeps_one_direction() -> None:
    from training.detectors.svm import Kernel

    detector = learned("svm", cloud(300, 0, 0), cloud(60, 5, 0, seed=1), kernel=Kernel.LINEAR)
    assert detector.weights.shape == (2,)
    assert detector.weights[0] > 3 * abs(detector.weights[1])


def test_a_classifier_learns_from_so_many_examples_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.detectors.classifier import MOST_EXAMPLES, Covered
    from training.detectors.logistic import LogisticDetector

    given: list[int] = []

    def learn(self: LogisticDetector, normal: Doubles, faulty: Doubles) -> Covered:
        given.extend((len(normal), len(faulty)))
        return Covered.fit(normal, faulty, slope=np.ones(2))

    monkeypatch.setattr(LogisticDetector, "learn", learn)
    learned("logistic", cloud(MOST_EXAMPLES + 500, 0, 0), cloud(60, 5, 0))
    assert given == [MOST_EXAMPLES, 60]


def test_a_training_part_without_a_fault_is_refused_with_where_the_faults_are(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    with pytest.raises(
        DataError,
        match=r"svm learns from labelled faults; the training part has none: 50 labelled rows are in the test",
    ):
        run_of(tmp_path, recipe("svm"))


def test_a_recording_without_labels_is_refused_with_where_to_name_them(tmp_path: Path) -> None:
    table(600).drop(columns="fault").to_csv(tmp_path / "machine.csv", index=False)
    with pytest.raises(DataError, match=r"logistic learns from labelled faults.*label_column or labels_file"):
        run_of(tmp_path, recipe("logistic").replace('label_column = "fault"\n', ""))


def test_faults_that_give_no_window_are_refused_with_their_count(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv", learned=slice(0, 5))
    with pytest.raises(DataError, match="its 5 labelled rows gave no complete window"):
        run_of(tmp_path, recipe("svm"))


def test_a_run_counts_the_windows_it_learned_faults_from_and_thresholds_stay_normal(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv", learned=LEARNED)
    run = run_of(tmp_path, recipe("logistic"))
    assert run.metrics["fit"]["windows"]["faulty"] == 30 - 3
    high = machine(600)[:, 1].max() + 1
    assert run.train_windows[:, :, 1].max() < high
    assert run.validation[0][:, 1].max() < high


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("svm", "cost = 0.0", "above 0"),
        ("svm", "vectors = 1", "at least 2"),
        ("svm", 'kernel = "rbff"', "rbf"),
        ("knn_classifier", "prototypes = 0", "at least 1"),
        ("logistic", "penalty = 0.0", "above 0"),
    ],
)
def test_settings_that_learn_nothing_are_refused(tmp_path: Path, name: str, settings: str, words: str) -> None:
    write_csv(tmp_path / "machine.csv", learned=LEARNED)
    with pytest.raises(RecipeError, match=words):
        run_of(tmp_path, recipe(name, settings))


def scored(run: Run, windows: Floats) -> Doubles:
    from training.evaluation.scoring import FloatScorer

    scorer = FloatScorer(run)
    return np.array([scorer(window)["score"][0] for window in windows], np.float64)


def unlabelled(folder: Path, detector: str) -> Run:
    """A run on a recording whose training part holds a fault that nobody labelled."""
    data = table(600, learned=slice(120, 180))
    data.to_csv(folder / "machine.csv", index=False)
    return run_of(folder, recipe(detector).replace('label_column = "fault"', 'ignore_columns = ["fault"]'))


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_pseudo_labels_find_the_fault_that_hides_in_the_training_part(tmp_path: Path, classifier: str) -> None:
    run = unlabelled(tmp_path, f'pseudo_labels"\nclassifier = "{classifier}')
    faulty = run.train_windows[:, :, 1].min(axis=1) > 3.9
    assert faulty.sum() > 30
    scores = scored(run, run.train_windows)
    assert scores[faulty].min() > np.median(scores[~faulty])
    area = auc_roc(faulty, scores)
    assert area is not None
    assert area > 0.95


def test_the_first_detector_of_pseudo_labels_splits_at_its_mean() -> None:
    from training.detectors.base import NormalData
    from training.detectors.members import window_scores
    from training.detectors.pseudo_labels import PseudoLabelsDetector, PseudoLabelsSettings
    from training.graph import Front

    front = Front(centre=np.zeros(2), spread=np.ones(2), body_range=20.0)
    detector = PseudoLabelsDetector(PseudoLabelsSettings(), TrainingSettings(), front, 4)
    seen: dict[str, Floats | None] = {}

    def keep(data: NormalData, *, progress: bool) -> dict[str, list[float]]:
        assert not progress
        seen.update(normal=data.windows, faulty=data.faulty)
        return {}

    detector.classifier.fit = keep  # type: ignore[method-assign]
    windows = np.random.default_rng(0).standard_normal((100, 4, 2)).astype(np.float32)
    detector.fit(NormalData(windows=windows), progress=False)
    scores = window_scores(detector.first.score_graph(), windows)
    np.testing.assert_array_equal(seen["normal"], windows[scores <= scores.mean()])
    np.testing.assert_array_equal(seen["faulty"], windows[scores > scores.mean()])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("first = 'svm'", "needs labels, which are what is missing"),
        ("first = 'lstm_forecaster'", "one row at a time"),
        ("first = 'gausian'", "did you mean 'gaussian'"),
        ("classifier = 'gaussian'", "logistic"),
    ],
)
def test_what_cannot_give_or_learn_pseudo_labels_is_refused(tmp_path: Path, settings: str, words: str) -> None:
    write_csv(tmp_path / "machine.csv")
    with pytest.raises(RecipeError, match=words):
        run_of(tmp_path, recipe("pseudo_labels", settings))


def test_windows_that_all_score_alike_have_no_halves() -> None:
    from training.detectors.base import NormalData
    from training.detectors.pseudo_labels import PseudoLabelsDetector, PseudoLabelsSettings
    from training.graph import Front

    front = Front(centre=np.zeros(2), spread=np.ones(2), body_range=20.0)
    detector = PseudoLabelsDetector(PseudoLabelsSettings(), TrainingSettings(), front, 4)
    with pytest.raises(
        DataError, match="all 40 windows have the gaussian score 0, so there are no two halves to learn"
    ):
        detector.fit(NormalData(windows=np.zeros((40, 4, 2), np.float32)), progress=False)
