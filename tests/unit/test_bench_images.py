"""The bench from folders of images to its tables, with the smallest detectors there are."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from edge_agent.sources.opencv import decode
from tests.exam.small_frame_graphs import features
from tests.exam.small_frame_graphs import judged as judged_by
from tests.executors import Here
from tests.frame_runs import pictures
from tests.image_folders import SIDE, picture, plain_folder, sequence_folder, write
from tests.tiny_image_detectors import Difference, let_recipes_name_them
from training.__main__ import main
from training.data import DataError
from training.experiments.bench import command as bench
from training.experiments.bench.images import command, judging, running
from training.experiments.bench.images.controls import CONTROLS, judged
from training.experiments.bench.images.data import read_images
from training.experiments.bench.images.entrants import RECOMMENDED, find_image_entrants
from training.experiments.bench.images.judging import device_frames
from training.experiments.bench.images.outcome import ImageOutcome, JudgedGraph, Said
from training.experiments.bench.images.tables import rows
from training.graph import Outputs
from training.image_artifacts import JudgedImage
from training.images.detector import Curves, ImageData
from training.images.detectors import IMAGE_DETECTORS
from training.images.guess import DEFAULT
from training.recipe import RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

RECIPE = f"""\
[images]
test_share = 0.9
interval_s = 2.0
[frame]
height = {SIDE}
width = {SIDE}
[detector]
type = "TYPE"
"""


class Featured(Difference):
    """Distance of features of two convolutions from their mean: a detector with a body for int8."""

    def fit(self, data: ImageData, *, progress: bool) -> Curves:
        self.usual = features(tf.constant(data.normal.array())).numpy().mean(axis=0, keepdims=True)
        return super().fit(data, progress=progress)

    def _score(self, frame: tf.Tensor) -> Outputs:
        found: Outputs = judged_by(features(frame), self.usual)
        return found


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes may name the small detectors, the command does its work in this process, on one runtime."""
    let_recipes_name_them(monkeypatch)
    monkeypatch.setitem(IMAGE_DETECTORS, "featured", f"{__name__}:Featured")
    monkeypatch.setattr("converters.frames.build.find_tflite_python", lambda _: None)
    monkeypatch.setattr(command, "workers", lambda *_: nullcontext(Here()))


@pytest.fixture(scope="module", autouse=True)
def _converter() -> Iterator[None]:
    """Ends the converter that the bench keeps for a process."""
    yield
    from training.experiments.bench.images.shipping import CHILD

    CHILD.close()


def recipe(path: Path, detector: str) -> str:
    """A file that asks for this detector and is named like it."""
    file = path / f"{detector}.toml"
    file.write_text(RECIPE.replace("TYPE", detector))
    return str(file)


def options(**values: Any) -> Namespace:
    usual = {"detectors": "recommended", "boards": False, "fit_rows": None, "jobs": 1, "contaminate": None}
    return Namespace(**usual | {"formats": None, "seed": None} | values)


def test_from_folders_to_tables_with_a_failure_told_and_the_work_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = plain_folder(tmp_path / "blobs"), tmp_path / "out"
    detectors = ",".join(recipe(tmp_path, name) for name in ("difference", "change"))
    asked = ["bench", "--data", f"images:{folder}", "--detectors", detectors, "--formats", "float32", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())
    assert [(row["detector"], row["format"]) for row in found] == [
        ("difference", "float32"),
        ("change", ""),
        *((name, "") for name in CONTROLS),
    ]
    assert len({frozenset(row) for row in found}) == 1, "the same keys"
    row, failed = found[:2]
    assert (row["data"], row["normal"], row["defective"], row["fitted"], row["validation"]) == ("blobs", 12, 8, 24, 4)
    assert (row["image_auroc"], row["recall"], row["failed"]) == (1, 1, 0)
    assert row["pixel_auroc"] > 0.9
    assert row["aupro"] > 0.5
    assert 0 < row["ms_per_frame"] < 10
    assert row["bytes"] > 1000
    assert row["parity"] < 1e-3
    assert row["device_frames"] == 1
    assert failed["failed"] == 1
    assert "frames in order of time" in failed["reason"]
    assert f"change failed: {failed['reason']}" in said
    assert "| blobs | difference | float32 | 1.000 (1.000 to 1.000) |" in said
    files = json.loads((out / "files.json").read_text())
    own = [each for each in files if each["detector"] == "difference"]
    assert len(own) == 20
    assert sum(each["alarmed"] for each in own if not each["defective"]) == row["false_alarms"]
    page = (out / "results.html").read_text()
    assert page.count("<svg") == 3
    assert "src=" not in page

    monkeypatch.setattr(running, "_made", lambda *_: pytest.fail("it was done already"))
    assert main(asked) == 0
    assert json.loads((out / "results.json").read_text()) == found
    monkeypatch.setattr(running, "_made", lambda *_: ImageOutcome(reason="anew"))
    write(folder / "normal" / "999.png", picture(np.random.default_rng(9)))
    assert main(asked) == 1
    assert "difference on blobs: anew" in capsys.readouterr().err


def test_a_bug_in_a_detector_is_a_row_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def broken(*_: object) -> None:
        tried.append(1)
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(running, "_made", broken)
    data = read_images([f"images:{plain_folder(tmp_path / 'blobs')}"], 0)
    task, *_ = running.tasks(data, find_image_entrants(recipe(tmp_path, "difference"), 0), 0, ["int8"], tmp_path)
    for _ in range(2):
        assert running.outcome_of(task).reason.startswith("ZeroDivisionError: by nothing")
    assert len(tried) == 2
    assert "by nothing" in (tmp_path / "kept" / "blobs" / "difference" / "traceback.txt").read_text()


def test_split_and_fit_go_by_the_seed_of_the_bench_and_its_share(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "blobs")
    (entrant,) = find_image_entrants(recipe(tmp_path, "difference"), 3)
    made = entrant.recipe(3)
    assert (made.images.seed, made.training.seed, made.images.test_share) == (3, 3, 0.3)
    assert made.images.interval_s == 2, "what is not of the split stays as the recipe has it"
    first, second = (read_images([f"images:{folder}"], seed)[0] for seed in (0, 3))
    assert first.folder.train != second.folder.train
    assert first.digest != second.digest


def test_another_recipe_format_or_image_is_another_result(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "blobs", normal=8)

    def task(detector: str = "difference", formats: tuple[str, ...] = ("int8",)) -> running.ImageTask:
        entrants = find_image_entrants(recipe(tmp_path, detector), 0)
        return running.tasks(read_images([f"images:{folder}"], 0), entrants, 0, formats, tmp_path)[0]

    keys = [task().key(), task("trained").key(), task(formats=("float32",)).key()]
    assert task().key() == keys[0]
    write(folder / "ground_truth" / "anomaly" / "000.png", np.full((SIDE, SIDE), 255, np.uint8))
    assert len({*keys, task().key()}) == 4


def test_an_image_that_the_device_reads_otherwise_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = [write(tmp_path / f"{number}.png", picture(rng)).name for number in range(4)]
    run: Any = Namespace(input=Namespace(height=16, width=16), parts=Namespace(folder=str(tmp_path)))
    assert device_frames(run, names) == 1
    monkeypatch.setattr(judging, "decode", lambda data: 255 - decode(data))
    assert device_frames(run, names) == 0


def test_a_detector_of_time_is_judged_after_its_warm_up(tmp_path: Path) -> None:
    (data,) = read_images([f"images:{sequence_folder(tmp_path / 'belt', train=60)}"], 0)
    task, *_ = running.tasks(
        [data], find_image_entrants(recipe(tmp_path, "change"), 0), 0, ["float32"], tmp_path / "out"
    )
    outcome = running.outcome_of(task)
    assert outcome.reason == ""
    assert [image.file for image in outcome.images] == [f"test/{number}.png" for number in range(1, 20)]
    assert len(outcome.graphs[0].said.scores) == 19
    assert outcome.graphs[0].shipped is not None
    assert len(outcome.graphs[0].shipped.alarmed) == 19


def test_every_format_that_ships_is_judged_and_what_ships_by_default_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.parity.MAX_RATIO_CHANGE", 0.3)  # of few images; what may ship is tested elsewhere
    for kind, count, seed in (("normal", 60, 1), ("anomaly", 12, 2)):
        for number, pixels in enumerate(pictures(count, seed, np.full(count, kind == "anomaly"))):
            write(tmp_path / "scene" / kind / f"{number}.png", pixels)
    data = read_images([f"images:{tmp_path / 'scene'}"], 0)
    entrants = find_image_entrants(recipe(tmp_path, "featured"), 0)
    task, *_ = running.tasks(data, entrants, 0, command.JUDGED, tmp_path / "out")
    outcome = running.outcome_of(task)
    assert (outcome.reason, outcome.refused) == ("", {})
    int8, whole = rows("scene", "featured", outcome)
    assert (int8["format"], whole["format"]) == ("int8", "float32")
    assert int8["bytes"] < whole["bytes"]
    assert int8["parity"] > whole["parity"]
    assert abs(int8["image_auroc"] - whole["image_auroc"]) < 0.05


def said(scores: list[float]) -> Said:
    return Said(scores=tuple(scores), relative=tuple(scores), alarmed=tuple(score > 1 for score in scores))


def test_figures_of_a_graph_follow_from_its_scores_and_alarms() -> None:
    images = tuple(
        JudgedImage(file=f"{number}.png", kind="dent" if number > 4 else "good", defective=number > 4)
        for number in range(10)
    )
    scores = [0, 0.5, 0.2, 2, 0.1, 0.3, 0.4, 4, 5, 6]
    (row,) = rows("blobs", "control", ImageOutcome(images=images, graphs=(JudgedGraph(said=said(scores)),)))
    assert row["image_auroc"] == 21 / 25
    assert (row["false_alarms"], row["normal"], row["defective"]) == (1, 5, 5)
    assert row["f1"] == 2 * 3 / (2 * 3 + 1 + 2)
    assert row["image_auroc_low"] < row["image_auroc"] < row["image_auroc_high"]
    assert row["f1_low"] < row["f1"] < row["f1_high"]
    assert row["bytes"] is None


def test_a_refused_format_is_a_row_of_its_own_with_the_reason() -> None:
    images = (JudgedImage(file="a", kind="good", defective=False), JudgedImage(file="b", kind="dent", defective=True))
    outcome = ImageOutcome(images=images, graphs=(JudgedGraph(said=said([0, 2])),), refused={"int8": "too coarse"})
    shipped, refused = rows("blobs", "one", outcome)
    assert (shipped["failed"], shipped["image_auroc_low"]) == (0, None), "no interval of one image of a kind"
    assert (refused["format"], refused["failed"], refused["reason"]) == ("int8", 1, "too coarse")


def test_brightness_sets_its_threshold_by_normal_images_left_out_in_turn(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "blobs")
    (data,) = read_images([f"images:{folder}"], 0)
    write(data.folder.train[5], np.full((SIDE, SIDE, 3), 160, np.uint8))
    said = judged(CONTROLS["control_brightness"], data, 0).graphs[0].said
    threshold = (said.scores[0] - said.scores[1]) / (said.relative[0] - said.relative[1])
    assert threshold > 50, "among the usual ones, of which there are 28, it is some 5 of their deviations away"


def test_brightness_finds_what_is_brighter_and_chance_does_not(tmp_path: Path) -> None:
    (data,) = read_images([f"images:{plain_folder(tmp_path / 'blobs')}"], 0)
    found = {name: rows("blobs", name, judged(control, data, 0))[0] for name, control in CONTROLS.items()}
    assert found["control_brightness"]["image_auroc"] == 1, "the blob makes an image brighter"
    assert 0.2 < found["control_random"]["image_auroc"] < 0.8
    assert found["control_always"]["recall"] == 1
    assert found["control_always"]["false_alarms"] == found["control_always"]["normal"] == 12


def test_recommended_is_what_init_takes() -> None:
    assert [entrant.name for entrant in find_image_entrants("recommended", 0)] == list(RECOMMENDED) == [DEFAULT]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"data": ["images:{folder}/normal"]}, DataError, "no normal images to test on and no defective images"),
        ({"data": ["images:{folder}/nowhere"]}, DataError, "is not a folder; images expects a folder of images: train"),
        ({"data": ["image:{folder}"]}, DataError, "did you mean 'images'"),
        ({"data": ["images:{folder}", "csv:{folder}"]}, DataError, "compared apart: leave csv:.* for another run"),
        ({"data": ["images:{folder}", "images:{folder}"]}, DataError, "told apart by their names"),
        ({"fit_rows": 400, "boards": True}, DataError, "--boards, --fit-rows: of recordings alone"),
        ({"formats": "int4"}, DataError, "--formats expects some of float32, float16, int8"),
        ({"detectors": "gaussian"}, RecipeError, "'gaussian' is neither a detector nor a recipe FILE"),
        ({"detectors": "padin"}, RecipeError, "did you mean 'padim'"),
        ({"detectors": ""}, RecipeError, "names none"),
        ({"data": ["csv:{folder}"], "seed": 1}, DataError, "of images alone"),
    ],
)
def test_the_command_refuses_what_it_cannot_run_before_any_work(
    tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    folder = plain_folder(tmp_path / "blobs", normal=8, defective=2)
    data = [text.format(folder=folder) for text in given.pop("data", ["images:{folder}"])]
    with pytest.raises(error, match=message):
        bench.main(options(data=data, out=tmp_path / "new", **given))
    assert not (tmp_path / "new").exists()


def test_a_recipe_that_cannot_be_built_is_refused(tmp_path: Path) -> None:
    path = Path(recipe(tmp_path, "difference"))
    path.write_text(path.read_text().replace("height = 32", "height = 33"))
    with pytest.raises(RecipeError, match="multiples of 4, got 33"):
        find_image_entrants(str(path), 0)
