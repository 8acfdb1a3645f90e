"""From a folder of images to a run folder and its report, with the smallest detectors there are."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from edge_agent.contract.frames import FrameScore
from tests.image_folders import SIDE, mvtec_folder, picture, plain_folder, recipe_text, sequence_folder, write
from tests.tiny_image_detectors import Difference, DifferenceSettings, let_recipes_name_them
from training.__main__ import main
from training.data import DataError
from training.evaluation import frames
from training.evaluation.frame_report import render, write_frame_report
from training.evaluation.frame_scoring import FloatGraph, Scored
from training.evaluation.frames import FrameEvaluation, evaluate_frames
from training.evaluation.naming import naming
from training.evaluation.page import training_plot
from training.evaluation.sheet import OUTLINE_RGB, overlaid, sheet
from training.image_artifacts import FrameRun, JudgedImage
from training.images.detector import FrameSet
from training.images.fit import fit_images, most_mixed
from training.images.masking import blackened, masked
from training.images.recipe import parse_image_recipe
from training.recipe import RecipeError, TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

MASK = "masks = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]"


@pytest.fixture(scope="module", autouse=True)
def _registry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        let_recipes_name_them(patch)
        yield


def fitted(folder: Path, out: Path, detector: str = "difference", images: str = "", extra: str = "") -> FrameRun:
    text = recipe_text(folder, detector, extra).replace("[frame]", f"{images}\n[frame]")
    return fit_images(parse_image_recipe(text), text, folder, out, progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FrameRun:
    """Of a plain folder of 40 normal and 8 defective images with masks."""
    path = tmp_path_factory.mktemp("plain")
    return fitted(plain_folder(path / "images"), path / "run")


@pytest.fixture(scope="module")
def evaluation(run: FrameRun) -> FrameEvaluation:
    return evaluate_frames(run)


def test_the_run_holds_the_frames_of_its_parts(run: FrameRun) -> None:
    assert run.metrics["fit"]["images"] == {
        "training": 24,
        "stopping": 0,
        "defective": 0,
        "validation": 4,
        "test": 20,
    }
    assert [len(each) for each in (run.calibration, run.validation, run.test)] == [24, 4, 20]
    frames = FrameSet(tuple(Path(run.parts.folder) / name for name in run.parts.validation), SIDE, SIDE)
    assert np.array_equal(run.validation, frames.array())
    assert run.test_labels.sum() == 8


def test_the_place_of_a_run_is_looked_at_before_any_image(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(DataError, match="not a run folder: give another --out"):
        fitted(tmp_path / "absent", tmp_path / "run")
    with pytest.raises(DataError, match="expected the name of a folder"):
        fitted(tmp_path / "absent", Path())


def test_validation_and_test_images_are_not_among_those_fitted_on(run: FrameRun) -> None:
    parts = run.parts
    fitted_on = {*parts.training, *parts.stopping, *parts.defective}
    assert not fitted_on & {*parts.validation, *(image.file for image in parts.test)}


def test_with_folds_every_normal_image_is_learned_from_and_judged_by_a_fit_without_it(
    run: FrameRun, tmp_path: Path
) -> None:
    crossed = fitted(Path(run.parts.folder), tmp_path / "run", "crossed", "folds = 28")
    assert (len(crossed.parts.training), crossed.parts.validation) == (28, crossed.parts.training)
    validation = evaluate_frames(crossed).float_graph.validation
    frames = crossed.validation.astype(np.float32)
    for place in (0, 9, 27):
        apart = np.abs(frames[place] - np.delete(frames, place, axis=0).mean(axis=0))
        cells = apart.reshape(SIDE // 4, 4, SIDE // 4, 4, 3).mean(axis=(1, 3, 4))
        np.testing.assert_allclose(validation.maps[place], cells, rtol=1e-4)
        assert validation.scores[place] == pytest.approx(cells.max(), rel=1e-4)
    assert evaluate_frames(crossed).float_graph.calibration == crossed.calibrate(validation.scores)


def test_the_report_says_what_the_threshold_has_seen(run: FrameRun, tmp_path: Path) -> None:
    crossed = fitted(Path(run.parts.folder), tmp_path / "run", "crossed")
    told = [write_frame_report(each, evaluate_frames(each)) for each in (run, crossed)]
    assert "from 4 normal images that the fit never saw" in told[0]
    assert "from 28 normal images, each scored by a fit without it" in told[1]


def test_the_normal_images_that_the_threshold_hangs_on_are_named(run: FrameRun, tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images")
    for each in (folder / "normal").iterdir():
        write(each, picture(np.random.default_rng(int(each.stem)), blob=each.stem == "007"))
    crossed = fitted(folder, tmp_path / "run", "crossed", "test_share = 0.05")
    told = write_frame_report(crossed, evaluate_frames(crossed))
    assert "strangest of these: normal/007.png (" in told
    assert "Strangest of these: normal/007.png (" in (crossed.path / "report.html").read_text()


def test_a_threshold_above_most_defects_is_told_with_a_better_one(run: FrameRun, evaluation: FrameEvaluation) -> None:
    assert "The threshold lies above" not in write_frame_report(run, evaluation)
    told = write_frame_report(run, evaluate_frames(run, threshold=1e6))
    assert "The threshold lies above 8 of 8 defective images; " in told
    assert " would miss 0.0 % of them and alarm 0.0 % of the normal ones. More normal images" in told


def test_without_folds_a_share_is_held_back(run: FrameRun, tmp_path: Path) -> None:
    held = fitted(Path(run.parts.folder), tmp_path / "run", "crossed", "folds = 0")
    assert (held.optimism, held.parts) == (None, run.parts)


def test_the_same_recipe_and_images_give_the_same_run(run: FrameRun, tmp_path: Path) -> None:
    again = fitted(Path(run.parts.folder), tmp_path / "again")
    assert again.parts == run.parts
    assert again.provenance == run.provenance
    assert FloatGraph(again)(run.test[0]).value == FloatGraph(run)(run.test[0]).value


def test_defects_are_told_from_normal_images_and_found_in_them(evaluation: FrameEvaluation) -> None:
    found = evaluation.float_graph.figures
    assert found is not None
    assert (found.ranking.image_auroc, found.f1, found.recall) == (1.0, 1.0, 1.0)
    assert found.ranking.pixel_auroc is not None
    assert found.ranking.pixel_auroc > 0.99
    assert [(kind.name, kind.images) for kind in found.kinds] == [("good", 12), ("anomaly", 8)]


def test_the_threshold_comes_from_the_validation_images_alone(run: FrameRun, evaluation: FrameEvaluation) -> None:
    scores = np.array([FloatGraph(run)(frame).value for frame in run.validation])
    assert evaluation.float_graph.calibration == run.calibrate(scores)


def test_a_threshold_of_the_users_is_used_and_one_below_the_median_refused(run: FrameRun) -> None:
    high = evaluate_frames(run, threshold=1e6).float_graph
    assert not high.alarmed.any()
    assert high.figures is not None
    assert high.figures.recall == 0
    with pytest.raises(DataError, match="above the median of the validation scores"):
        evaluate_frames(run, threshold=0.0)


def test_metrics_and_report_are_written_and_the_report_needs_nothing_else(
    run: FrameRun, evaluation: FrameEvaluation
) -> None:
    told = write_frame_report(run, evaluation)
    assert "image AUROC" in told
    assert "provisional from 4 normal images" in told
    assert run.metrics["evaluation"]["test"]["ranking"]["image_auroc"] == 1.0
    html = (run.path / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)[^#"]', html)
    assert html.count("data:image/jpeg") == 2 * sum(len(sort.pictures) for sort in sheet(run, evaluation))
    assert len(html) < 1_000_000
    assert html == render(run, evaluation), "the same figures must give the same bytes"


def test_the_sheet_shows_what_was_judged_wrongly_first(run: FrameRun) -> None:
    missed = sheet(run, evaluate_frames(run, threshold=1e6))
    assert missed[0].title == "Worst: missed defects"
    assert {picture.kind for picture in missed[0].pictures} == {"anomaly"}
    assert not any(picture.right for picture in missed[0].pictures)
    files = [picture.file for sort in missed for picture in sort.pictures]
    assert len(files) == len(set(files))


def test_a_heatmap_leaves_the_usual_clear_and_outlines_the_mask(evaluation: FrameEvaluation) -> None:
    calibration = evaluation.float_graph.map_calibration
    assert calibration is not None
    pixels = np.full((64, 64, 3), 90, np.uint8)
    area = np.full((8, 8), calibration.median, np.float32)
    area[0, 0] = calibration.median + 10 * (calibration.threshold - calibration.median)
    mask = np.zeros((64, 64), bool)
    mask[40:50, 40:50] = True
    shown = overlaid(pixels, area, calibration, mask)
    assert (shown[32, 10] == 90).all()
    assert abs(shown[0, 0].astype(int) - 90).max() > 50
    assert tuple(shown[40, 45]) == OUTLINE_RGB


class Shifted:
    """A graph of the device, whose scores are off by a constant."""

    def __init__(self, run: FrameRun, by: float) -> None:
        self._graph, self._by = FloatGraph(run), by

    def reset(self) -> None:
        self._graph.reset()

    def __call__(self, pixels: np.ndarray) -> FrameScore:
        given = self._graph(pixels)
        return replace(given, value=given.value + self._by)


def test_graphs_of_a_bundle_are_compared_with_the_float_graph(run: FrameRun) -> None:
    evaluation = evaluate_frames(run, device={"int8": Shifted(run, 0.5)})
    judged, agreement = evaluation.device["int8"]
    unit = evaluation.float_graph.calibration.threshold - evaluation.float_graph.calibration.median
    assert agreement.largest_difference == pytest.approx(0.5 / unit, rel=1e-3)
    assert agreement.rank_correlation == pytest.approx(1)
    assert judged.calibration.threshold == pytest.approx(evaluation.float_graph.calibration.threshold + 0.5)
    assert agreement == frames.agreement(replace(judged, validation=judged.test), evaluation.float_graph)
    assert "On the device" in render(run, evaluation)
    assert "largest_difference" in json.dumps(evaluation.to_dict())


def test_a_graph_without_a_finite_score_is_refused_by_the_image(run: FrameRun) -> None:
    with pytest.raises(DataError, match=r"the odd graph gives no finite score for .*\.png"):
        evaluate_frames(run, device={"odd": Shifted(run, float("nan"))})


def test_images_that_are_gone_are_named(run: FrameRun, tmp_path: Path) -> None:
    parts = replace(run.parts, folder=str(tmp_path))
    moved = FrameRun(path=run.path, info=run.info)
    moved.__dict__["parts"] = parts
    with pytest.raises(DataError, match="24 of 24 images of the run are not there any more"):
        evaluate_frames(moved)


def test_what_moves_where_the_picture_is_masked_changes_no_score(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images", normal=16)
    rng = np.random.default_rng(5)
    plain, masked = fitted(folder, tmp_path / "a"), fitted(folder, tmp_path / "b", images=MASK)
    inside, outside = picture(rng), picture(rng)
    inside[2:12, 2:12] = 255
    outside[20:30, 20:30] = 255
    scores = {
        name: [FloatGraph(run)(frame).value for frame in (inside, outside)]
        for name, run in (("plain", plain), ("masked", masked))
    }
    assert scores["plain"][0] > 50
    assert scores["masked"][0] < 20 < scores["masked"][1]
    assert masked.input.masks
    assert (masked.validation[:, :16, :16] > 0).all()


def test_a_masked_graph_is_made_of_operators_that_every_device_has(tmp_path: Path) -> None:
    detector = Difference(DifferenceSettings(), TrainingSettings(), SIDE, SIDE)
    detector.mean = np.zeros((SIDE, SIDE, 3), np.float32)
    corner = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
    masked(detector.score_graph(), (corner,)).save(tmp_path / "graph")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "graph"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    assert converter.convert()


def test_the_fit_sees_masked_parts_black() -> None:
    seen = blackened(np.full((1, 4, 4, 3), 9, np.uint8), (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    assert seen[0, :, :, 0].tolist() == [[0, 0, 9, 9]] * 4


def test_a_detector_that_is_trained_has_images_to_stop_on_and_its_curves_shown(tmp_path: Path) -> None:
    run = fitted(mvtec_folder(tmp_path / "images"), tmp_path / "run", "trained")
    assert run.metrics["fit"]["images"]["stopping"] == 4
    assert "stopping loss" in training_plot(run, "images held back")[0].svg


def test_a_detector_that_learns_defects_sees_some_of_each_kind_and_has_no_map(tmp_path: Path) -> None:
    run = fitted(mvtec_folder(tmp_path / "images"), tmp_path / "run", "labelled")
    assert (len(run.parts.defective), run.input.classes) == (8, ("dent", "scratch"))
    evaluation = evaluate_frames(run)
    assert evaluation.float_graph.map_calibration is None
    assert not any(picture.heat for sort in sheet(run, evaluation) for picture in sort.pictures)


def dents_and_holes(path: Path) -> Path:
    """The MVTec layout with bright dents, dark holes, and one defect of a kind of its own."""
    rng = np.random.default_rng(3)
    mvtec_folder(path, kinds=("dent",))
    for name in (*(f"hole/{number}.png" for number in range(6)), "odd/0.png"):
        pixels = picture(rng)
        pixels[4:12, 4:12] //= 4
        write(path / "test" / name, pixels)
    return path


def test_kinds_of_defect_are_learned_kept_and_judged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = fitted(dents_and_holes(tmp_path / "images"), tmp_path / "run", "naming")
    assert "too few images to tell these defects from others by name: odd" in caplog.messages
    assert (run.info.tells_kinds, run.input.classes) == (True, ("dent", "hole"))
    assert FloatGraph(run)(run.test[0]).kinds.shape == (8, 8, 2)
    kinds = np.array([image.kind for image in run.parts.test])
    assert [run.input.classes[at] if at >= 0 else "" for at in run.test_kinds] == [
        kind if kind in run.input.classes else "" for kind in kinds
    ]
    evaluation = evaluate_frames(run)
    found = evaluation.float_graph.figures.naming
    assert (found.classes, found.confusion) == (("dent", "hole"), ((2, 0), (0, 2)))
    assert (found.images, found.accuracy, found.commonest) == (4, 1.0, 0.5)
    said = write_frame_report(run, evaluation)
    assert re.search(r"kind +1  share of 4 defective images named rightly; 0\.5 by always naming the commonest", said)
    kept = json.loads((run.path / "metrics.json").read_text())["evaluation"]["test"]["naming"]
    assert kept["confusion"] == [[2, 0], [0, 2]]
    assert "called hole" in (run.path / "report.html").read_text()


def test_an_image_in_which_nothing_stands_out_is_named_by_its_strongest_cell(tmp_path: Path) -> None:
    maps, kinds = np.zeros((3, 2, 2), np.float32), np.full((3, 2, 2, 2), (0.9, 0.1), np.float32)
    maps[0, 0], maps[1, 1, 1], maps[2, 1] = 5.0, 0.5, (5.0, 6.0)
    kinds[0, 0], kinds[1, 1, 1], kinds[2, 1] = (0.1, 0.9), (0.2, 0.8), ((0.7, 0.3), (0.4, 0.6))
    images = [JudgedImage(file=str(at), kind=kind, defective=True) for at, kind in enumerate(("b", "b", "a"))]
    scored = Scored(scores=np.zeros(3), maps=maps, kinds=kinds)
    assert naming(images, scored, ("a", "b"), 1.0).confusion == ((1, 0), (0, 2))


def test_with_one_kind_of_defect_nothing_is_named(tmp_path: Path) -> None:
    run = fitted(mvtec_folder(tmp_path / "images", kinds=("dent",)), tmp_path / "run", "naming")
    assert (run.info.tells_kinds, run.input.classes) == (False, ("dent",))
    assert (run.test_kinds == -1).all()
    evaluation = evaluate_frames(run)
    assert evaluation.float_graph.figures.naming is None
    assert "What defects are called" not in render(run, evaluation)


def test_a_sequence_is_scored_in_order_with_its_state_and_judged_by_events(tmp_path: Path) -> None:
    run = fitted(sequence_folder(tmp_path / "images"), tmp_path / "run", "change")
    assert run.input.streaming
    evaluation = evaluate_frames(run)
    scores = evaluation.float_graph.test
    assert scores is not None
    assert len(scores.scores) == len(evaluation.images) == 19
    assert set(np.argsort(scores.scores)[-2:]) == {9, 14}
    figures = evaluation.float_graph.figures
    assert figures is not None
    assert figures.events is not None
    assert (figures.events.events, figures.events.detected) == (1, 1)


def test_a_detector_of_sequences_refuses_images_without_order(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frames in order of time.*got the plain layout"):
        fitted(plain_folder(tmp_path / "images", normal=8), tmp_path / "run", "change")


def test_normal_images_alone_give_a_threshold_and_say_what_is_missing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        write(tmp_path / "images" / f"{number}.png", picture(rng))
    run = fitted(tmp_path / "images", tmp_path / "run")
    evaluation = evaluate_frames(run)
    assert evaluation.float_graph.figures is None
    assert "not both normal and defective test images" in write_frame_report(run, evaluation)


def test_unreadable_images_are_named_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = plain_folder(tmp_path / "images", normal=12)
    (folder / "normal" / "ä.png").write_bytes(b"text")
    with caplog.at_level(logging.WARNING):
        run = fitted(folder, tmp_path / "run")
    assert "left out 1 unreadable of 21 images" in caplog.text
    assert run.parts.unreadable == ("normal/ä.png",)
    assert list(run.metrics["fit"]["unreadable"]) == [str(folder / "normal" / "ä.png")]


def test_a_fit_that_fails_leaves_no_run_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plain_folder(tmp_path / "images", normal=12)
    before = fitted(folder, tmp_path / "run")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("too alike")

    monkeypatch.setattr(Difference, "fit", broken)
    with pytest.raises(DataError, match="the difference detector cannot be fitted: too alike"):
        fitted(folder, tmp_path / "run")
    assert FrameRun.read(tmp_path / "run").info == before.info
    assert sorted(each.name for each in tmp_path.iterdir()) == ["images", "run"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (('type = "difference"', 'type = "diference"'), "did you mean 'difference'"),
        (('type = "difference"', 'type = "difference"\ncell_px = 5'), "multiples of 5, got 32 and 32"),
        (('type = "difference"', 'type = "difference"\ncells = 5'), "unknown key 'cells'"),
        (("height = 32", "height = 8"), "at least 16 pixels, got 8"),
        (("[frame]", "interval_s = 0\n[frame]"), "interval_s must be above 0"),
        (("[frame]", "validation_share = 1\n[frame]"), "must be a share between 0 and 1"),
        (("[frame]", "folds = 1\n[frame]"), "folds must be 0, or 2 to 50, got 1"),
        (("[frame]", "masks = [[[0, 0], [2, 0], [0, 1]]]\n[frame]"), r"masks\[0\]"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, changed: tuple[str, str], words: str) -> None:
    text = recipe_text(tmp_path).replace(*changed)
    with pytest.raises(RecipeError, match=words):
        fit_images(parse_image_recipe(text), text, tmp_path, tmp_path / "run", progress=False)


def test_neighbours_with_anomalies_are_chosen_of_a_long_sequence() -> None:
    labels = np.zeros(100, bool)
    labels[70:74] = True
    assert labels[list(most_mixed(labels, 8))].sum() == 4
    assert list(most_mixed(labels[:5], 8)) == [0, 1, 2, 3, 4]


def test_the_commands_go_from_a_folder_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain_folder(tmp_path / "parts", normal=30)
    (tmp_path / "parts.toml").write_text(recipe_text(Path("parts")))
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "parts.toml"]) == 0
    assert main(["evaluate", "runs/blobs"]) == 0
    said = capsys.readouterr().out
    assert "difference, 18 normal images to fit on, 3 for thresholds, 17 to test on" in said
    assert "python -m converters build runs/blobs" in said
    assert (tmp_path / "runs/blobs/report.html").is_file()


@pytest.fixture
def workplace(run: FrameRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a run, a recipe without a folder, and folders without images enough."""
    (tmp_path / "images").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").symlink_to(run.path)
    write(tmp_path / "one" / "a.png", picture(np.random.default_rng(0)))
    (tmp_path / "bare.toml").write_text(recipe_text(Path()).replace('path = "."', ""))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "images"], "is a folder, expected a recipe"),
        (["fit", "bare.toml"], "no images: name a folder"),
        (["fit", "bare.toml", "--data", "a", "--data", "b"], "takes one folder, got 2"),
        (["fit", "bare.toml", "--data", "empty"], "has no folders and no images"),
        (["fit", "bare.toml", "--data", "one"], "1 readable normal image to fit on"),
        (["evaluate", "run", "--bundle", "bare.toml"], "bare.toml"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(
    workplace: None, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert words in error
