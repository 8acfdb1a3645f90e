"""The bench from a folder of recordings to its tables, and what it takes for it to do work again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.executors import Here
from tests.recordings import NAMES, machine
from training.__main__ import main
from training.data import DataError
from training.experiments.bench import command, running
from training.experiments.bench.boards import BOARDS
from training.experiments.bench.cases import Case
from training.experiments.bench.checking import check
from training.experiments.bench.controls import CONTROLS
from training.experiments.bench.digests import code_digest
from training.experiments.bench.entrants import Entrant, find_entrants
from training.experiments.bench.judging import Judged
from training.experiments.bench.keeping import Outcome
from training.experiments.bench.kinds import read_data
from training.experiments.bench.recipes import case_recipe, toml
from training.experiments.bench.report import FALLS
from training.recipe import RecipeError, parse_recipe

RECIPE = """\
[windows]
rate_hz = 10.0
rows = 16
hold = 2

[split]
guard_s = 0.5
validation = 0.4

[detector]
type = "gaussian"

[decision]
k = 2.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of a machine at 1 Hz with a fault, and a third that is too short to fit on."""
    path = tmp_path / "data"
    path.mkdir()
    for name, rows in (("one", 500), ("two", 500), ("short", 60)):
        values = machine(rows, seed=rows + len(name), fault=slice(rows - 60, rows - 20))
        table = pd.DataFrame(dict(zip(NAMES, values.T, strict=True)))
        table["anomaly"] = np.isin(np.arange(rows), np.arange(rows - 60, rows - 20)).astype(int)
        table["train"] = (np.arange(rows) < min(300, rows // 2)).astype(int)
        table.to_csv(path / f"{name}.csv", index=False)
    return path


@pytest.fixture
def entrant(tmp_path: Path) -> Entrant:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    (found,) = find_entrants(str(path))
    assert isinstance(found, Entrant)
    return found


@pytest.fixture
def shipped() -> Iterator[None]:
    """Ends the converter that the bench keeps for a process."""
    yield
    from training.experiments.bench.shipping import CHILD

    CHILD.close()


@pytest.mark.usefixtures("shipped")
def test_from_recordings_to_tables_with_a_failure_told_and_the_work_kept(
    folder: Path, entrant: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = read_data([f"csv:{folder}"]), tmp_path / "out"
    out.mkdir()
    table = command.write(data, command.compare(data, [entrant], out, Here()), out)
    rows = {row["detector"]: row for row in json.loads((out / "results.json").read_text())}
    assert list(rows) == ["small", *CONTROLS]
    found = rows["small"]
    assert (found["files"], found["failed"], found["format"]) == (2, 1, "float32")
    assert found["f1"] > 0.8
    assert found["event_recall"] == 1
    assert found["bytes"] > 1000
    assert 0 < found["us_per_window"] < 10_000
    assert "too few" in found["reason"]
    assert "small (1 failed)" in table
    page = (out / "results.html").read_text()
    assert page.count("<svg") == 4
    assert "src=" not in page
    files = json.loads((out / "files.json").read_text())
    assert {row["file"] for row in files} == {"one", "two", "short"}

    monkeypatch.setattr(running, "_shipped", lambda *_: pytest.fail("it was done already"))
    again = command.compare(data, [entrant], out, Here())[0].pooled()
    assert again == found


def test_a_bug_in_a_detector_is_a_row_and_is_tried_again(
    folder: Path, entrant: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def broken(*_: object) -> None:
        tried.append(1)
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(running, "_shipped", broken)
    data = read_data([f"csv:{folder}"])
    for _ in range(2):
        row = command.compare(data, [entrant], tmp_path, Here())[0].pooled()
        assert row["reason"].startswith("ZeroDivisionError: by nothing")
    assert len(tried) == 2 * 3
    assert "by nothing" in (tmp_path / "kept" / "csv" / "small" / "one" / "traceback.txt").read_text()


def test_the_result_of_another_recipe_or_other_data_is_made_anew(
    folder: Path, entrant: Entrant, tmp_path: Path
) -> None:
    (data,) = read_data([f"csv:{folder}"])
    key = running.key_of(entrant, data.cases[0])
    other = Entrant(name="small", tables=entrant.tables | {"decision": {"k": 3.0}})
    assert running.key_of(other, data.cases[0]) != key
    assert running.key_of(entrant, data.cases[1]) != key
    assert running.key_of(entrant, read_data([f"csv:{folder}"])[0].cases[0]) == key


def test_the_code_of_one_detector_does_not_count_for_another() -> None:
    from training.experiments.bench.digests import _closure

    found = _closure(["training.detectors.gaussian"], followed=lambda _: True)
    assert "training.steps" in found or "training.covariance" in found
    assert "training.detectors.lstm_forecaster" not in found
    assert code_digest("training.detectors.gaussian") != code_digest("training.detectors.pca")


def test_the_recipe_takes_rate_channels_and_rows_from_the_case_and_the_rest_from_the_detector(
    folder: Path, entrant: Entrant
) -> None:
    case = read_data([f"csv:{folder}"])[0].cases[1]
    recipe = parse_recipe(case_recipe(entrant, case))
    assert recipe.windows.rate_hz == 1.0
    assert recipe.windows.rows == 16
    assert recipe.guard_rows == 5, "half a second of a recipe for 10 Hz"
    assert [channel.name for channel in recipe.channels] == list(NAMES)
    assert recipe.split.fit_rows == len(case.train)
    assert recipe.split.validation == 0.4
    assert recipe.decision.k == 2.5
    assert not recipe.data.label_column, "the labels of the training rows are not for a detector that needs none"


def test_toml_is_written_as_it_was_read() -> None:
    import tomllib

    text = 'name = "a"\n[data]\nfiles = ["b", "c"]\ninline = {x = 1, y = [1.5, true]}\n[[steps]]\ntype = "mean"\n[[steps]]\nrows = [1, 2]\n'
    assert tomllib.loads(toml(tomllib.loads(text))) == tomllib.loads(text)


def test_every_ready_recipe_is_taken() -> None:
    names = [entrant.name for entrant in find_entrants("recommended, pca")]
    assert len(names) == len(set(names)) > 1
    assert {entrant.name for entrant in find_entrants("all")} >= set(names)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gausian", "did you mean 'gaussian'"),
        ("board_t3", "did you mean 'board_t2"),
        ("other.toml", "cannot read"),
        (" ,", "names none"),
    ],
)
def test_an_unknown_detector_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        find_entrants(name)


def test_two_detectors_that_would_be_one_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gaussian.toml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError, match="more than one would be the row 'gaussian'"):
        find_entrants(f"gaussian,{path}")


def test_published_methods_run_on_the_data_that_they_were_published_for_alone(folder: Path, tmp_path: Path) -> None:
    data = read_data([f"csv:{folder}"])
    published = find_entrants("gaussian", boards_of={"skab", "nab"})
    assert [entrant.name for entrant in published] == ["gaussian", *BOARDS]
    assert [entrant.name for entrant in find_entrants("pca", boards_of={"nab"})] == ["pca", "board_windowed_gaussian"]
    assert {task.entrant.name for task in running.tasks(data, published, tmp_path)} == {"gaussian"}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"data": ["cvs:{folder}"]}, DataError, "did you mean 'csv'"),
        ({"detectors": "board_t2"}, RecipeError, "add --data skab:PATH"),
        ({"contaminate": 5.0}, DataError, "share above 0 and below"),
    ],
)
def test_the_command_refuses_what_it_cannot_run_before_any_work(
    tmp_path: Path, folder: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    data = [text.format(folder=folder) for text in given.pop("data", ["csv:{folder}"])]
    with pytest.raises(error, match=message):
        command.main(_options(data=data, out=tmp_path / "new", **given))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[split]", "[splits]", r"'splits'.*did you mean 'split'"),
        ("hold = 2", "hold = -2", "hold and warm_up must not be negative"),
        ('type = "gaussian"', 'type = "gaussian"\nshrinking = 1', "shrinking"),
        ("[detector]", '[[steps]]\ntype = "trailing_means"\nrows = [17]\n\n[detector]', "17"),
        ('type = "gaussian"', 'type = "svm"\nkernels = -1', "kernels"),
        ("[windows]", "windows = 3\n[windowless]", "windows"),
    ],
)
def test_a_recipe_that_cannot_be_built_is_refused_before_any_work(
    tmp_path: Path, folder: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=f"^mine.*{message}"):
        command.main(_options(data=[f"csv:{folder}"], detectors=str(path), out=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_recipe_is_not_refused_for_the_windows_that_one_data_set_asks_for(folder: Path) -> None:
    (data,) = read_data([f"csv:{folder}"])
    long = replace(data, cases=tuple(replace(case, window_rows=128) for case in data.cases))
    check(find_entrants("lstm_autoencoder"), [long])


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does its work here."""
    monkeypatch.setattr(command, "workers", lambda *_: nullcontext(Here()))


@pytest.mark.usefixtures("one_process")
def test_nothing_but_failures_is_an_error_that_tells_one_and_leaves_the_tables(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "_shipped", fails)
    out = tmp_path / "out"
    code = main(["bench", "--data", f"csv:{folder}", "--detectors", "gaussian,pca", "--out", str(out)])
    said = capsys.readouterr()
    assert code == 1
    assert "error: no detector gave a result on any file, for instance gaussian on csv: too hot" in said.err
    assert "(3 failed)" in (out / "results.md").read_text()


def fails(*_: object) -> Outcome:
    raise DataError("too hot")


def ranked_by_labels(_: Entrant, case: Case, __: Path) -> Outcome:
    """What a detector finds that takes for normal what it was fitted on."""
    (trial,) = case.trials
    tested, train = np.compress(trial.tested, trial.rows.values, axis=0), case.train.values  # noqa: PD011 - an array
    seen = np.isin(tested[:, 0], train[:, 0])
    alarms = trial.labels & ~seen
    scores = alarms.astype(np.float64)
    return Outcome(
        judged=(Judged(scores=scores, alarms=alarms, event=alarms.astype(np.int32), relative=scores),),
        reason="" if len(trial.rows) > 100 else "short",
    )


@pytest.mark.usefixtures("one_process")
def test_one_run_sets_contaminated_beside_clean_and_keeps_them_apart(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_shipped", ranked_by_labels)
    out, data = tmp_path / "out", [f"csv:{folder}"]
    names = ["csv", "csv+10%stretch", "csv+10%scattered"]
    said = command.main(_options(data=data, out=out, contaminate=0.1))
    rows = [row for row in json.loads((out / "results.json").read_text()) if row["detector"] == "gaussian"]
    assert [row["data"] for row in rows] == names
    assert len({frozenset(row) for row in rows}) == 1, "the same keys"
    clean, stretch, _ = (row["auc_pr"] for row in rows)
    assert clean == 1
    assert stretch < 0.9
    assert f"AUC-PR falls by at most {clean - min(row['auc_pr'] for row in rows):.3f}: gaussian on csv+10%" in said
    assert FALLS in (out / "results.html").read_text()

    monkeypatch.setattr(running, "_shipped", lambda *_: pytest.fail("it was done already"))
    assert command.main(_options(data=data, out=out, contaminate=0.1)) == said
    command.main(_options(data=data, out=out))
    assert [row["data"] for row in json.loads((out / "results.json").read_text())] == ["csv"] * (1 + len(CONTROLS))


def test_names_that_look_alike_in_a_file_system_do_not_share_a_folder(folder: Path, tmp_path: Path) -> None:
    (data,) = read_data([f"csv:{folder}"])
    names = ["pump", "a b", "a-b", "a/b", "..", "...", "-"]
    work = [
        task
        for name in names
        for task in running.tasks([replace(data, name=name)], find_entrants("gaussian"), tmp_path)
        if task.case.name == "one"
    ]
    folders = [task.folder.resolve() for task in work]
    assert len(set(folders)) == len(names)
    assert all(each.parents[2] == (tmp_path / "kept").resolve() for each in folders)
    assert folders[0].parents[1].name == "pump"


@pytest.mark.parametrize("where", ["nowhere", "where the threshold is set"])
def test_a_detector_without_the_labels_it_needs_is_told_in_words_of_the_bench(
    folder: Path, tmp_path: Path, where: str
) -> None:
    case = read_data([f"csv:{folder}"])[0].cases[1]
    labels = np.zeros(len(case.train), bool)
    labels[-20:] = where != "nowhere"
    given = replace(case, train=replace(case.train, labels=labels))
    (svm,) = find_entrants("svm")
    reason = running.outcome_of(running.Task(data="csv", entrant=svm, case=given, out=tmp_path)).reason
    assert reason.startswith("svm learns from labelled faults, and the rows to fit on hold none before their last")
    assert "column train" in reason
    assert "split." not in reason


def _options(**values: Any) -> Any:
    from argparse import Namespace

    usual = {
        "detectors": "gaussian",
        "boards": False,
        "fit_rows": None,
        "jobs": 1,
        "contaminate": None,
        "formats": None,
        "seed": None,
    }
    return Namespace(**usual | values)
