"""The bench from a folder of recordings to its tables, and what it takes for it to do work again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.recordings import NAMES, machine
from training.data import DataError
from training.experiments.bench import command, running
from training.experiments.bench.boards import BOARDS
from training.experiments.bench.controls import CONTROLS
from training.experiments.bench.digests import code_digest
from training.experiments.bench.entrants import Entrant, find_entrants
from training.experiments.bench.kinds import read_data
from training.experiments.bench.recipes import case_recipe, toml
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


class Here(Executor):
    """Does the work in this process, at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


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


def test_the_command_refuses_what_it_cannot_run_before_any_work(tmp_path: Path, folder: Path) -> None:
    options = {"boards": False, "fit_rows": None, "jobs": 1, "out": tmp_path / "new"}
    with pytest.raises(DataError, match="did you mean 'csv'"):
        command.main(_options(data=[f"cvs:{folder}"], detectors="gaussian", **options))
    with pytest.raises(RecipeError, match="add --data skab:PATH"):
        command.main(_options(data=[f"csv:{folder}"], detectors="board_t2", **options))
    assert not (tmp_path / "new").exists()


def _options(**values: Any) -> Any:
    from argparse import Namespace

    return Namespace(**values)
