"""`evaluate` and the command line: figures, report, and words for what cannot be done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.recordings import recipe, table, write_csv
from training.__main__ import main
from training.artifacts import Run, read_json

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted and evaluated run, made on the command line."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_csv(folder / "machine.csv")
    (folder / "small.toml").write_text(recipe("gaussian"))
    assert main(["fit", str(folder / "small.toml"), "--out", str(folder / "run"), "--quiet"]) == 0
    assert main(["evaluate", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def test_the_figures_of_an_easy_fault_are_good(run: Path) -> None:
    evaluation = Run.read(run).metrics["evaluation"]
    test = evaluation["test"]
    assert test["detection"]["detected"] == test["detection"]["events"] == 1
    assert test["auc_pr"] > 0.9
    assert test["f1"] > 0.8
    assert {"precision", "recall", "accuracy", "confusion", "far_percent", "mar_percent", "auc_roc", "vus_pr"} <= set(
        test
    )
    assert [at["alarms_per_day_asked"] for at in test["at_false_alarms"]] == [1, 10, 100]
    assert evaluation["calibration"]["grade"] == "provisional"
    assert evaluation["by_labels"]["threshold"] > 0


def test_the_figures_say_what_they_count_and_what_the_backtest_counts_instead(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert re.search("FAR +[0-9.]+ %  share of the normal rows that are alarmed", said)
    for told in (said, (run / "report.html").read_text()):
        assert "3 of the last 5 scores are above the threshold" in told
        assert "until a window and 10 s were quiet" in told


def test_evaluating_again_gives_the_same_bytes(run: Path) -> None:
    names = ("report.html", "metrics.json")
    before = [(run / name).read_bytes() for name in names]
    assert main(["evaluate", str(run), "--quiet"]) == 0
    assert [(run / name).read_bytes() for name in names] == before


class References(HTMLParser):
    """Everything that an HTML page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.plots = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg"
        named = {"src", "href", "xlink:href", "data"}
        self.outside += [value for name, value in attrs if name in named and value and not value.startswith("#")]


def test_the_report_loads_nothing_from_outside_and_has_its_plots(run: Path) -> None:
    page = (run / "report.html").read_text()
    found = References()
    found.feed(page)
    assert found.outside == []
    assert found.plots == 4
    for words in ("Readings and alarms", "Ranking", "provisional", "faults found", "load"):
        assert words in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_hostile_names_stay_text_in_the_report(tmp_path: Path) -> None:
    names = {name: f"<script>{name}</script>" for name in ("speed", "load", "heat")}
    table(600, fault=slice(500, 550)).rename(columns=names).to_csv(tmp_path / "machine.csv", index=False)
    (tmp_path / "small.toml").write_text(recipe("gaussian"))
    assert main(["fit", str(tmp_path / "small.toml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--quiet"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;script&gt;" in page.split("Alarms of the test part")[1]
    assert "<script" not in page


def test_without_labels_there_is_a_threshold_but_nothing_is_said_of_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(600).drop(columns="fault").to_csv(tmp_path / "machine.csv", index=False)
    (tmp_path / "small.toml").write_text(recipe("pca").replace('label_column = "fault"', ""))
    assert main(["fit", str(tmp_path / "small.toml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "provisional" in said
    assert "no labelled test part" in said
    assert Run.read(tmp_path / "run").metrics["evaluation"]["test"] is None
    assert "no labelled test part" in (tmp_path / "run" / "report.html").read_text()


def test_scores_are_causal(run: Path) -> None:
    from training.evaluation.scoring import score_readings
    from training.splits import Rows

    opened = Run.read(run)
    values, t_ns = opened.validation
    whole = score_readings(opened, [Rows(values=values, t_ns=t_ns, labels=None)])
    half = score_readings(opened, [Rows(values=values[:60], t_ns=t_ns[:60], labels=None)])
    assert np.array_equal(whole.scores[: len(half.scores)], half.scores)
    assert np.array_equal(whole.t_ns, t_ns[whole.row])
    assert half.row[-1] == 59


def test_a_threshold_may_be_given_but_not_below_the_usual_scores(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {name: (run / name).read_bytes() for name in ("report.html", "metrics.json")}
    assert main(["evaluate", str(run), "--quiet", "--threshold", "1e6"]) == 0
    assert read_json(run / "metrics.json")["evaluation"]["test"]["recall"] == 0
    assert main(["evaluate", str(run), "--quiet", "--threshold", "0"]) == 1
    assert "above the median" in capsys.readouterr().err
    for name, content in kept.items():
        (run / name).write_bytes(content)


def test_fewer_misses_are_bought_with_more_false_alarms(run: Path) -> None:
    from training.evaluation.evaluate import Choice, evaluate_run

    opened = Run.read(run)
    bold = evaluate_run(opened, choice=Choice(miss_weight=100)).test
    shy = evaluate_run(opened, choice=Choice(max_far_percent=0)).test
    assert bold is not None
    assert shy is not None
    assert bold.chosen is not None
    assert shy.chosen is not None
    assert bold.chosen.mar_percent <= shy.chosen.mar_percent
    assert shy.chosen.far_percent == 0


def test_init_fit_and_evaluate_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_csv(tmp_path / "machine.csv", rows=1200, fault=slice(1000, 1060))
    assert main(["init", str(data), "--out", str(tmp_path / "own.toml")]) == 0
    assert main(["fit", str(tmp_path / "own.toml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "--provisional`" in said
    assert "3 channels at 1 Hz" in said
    assert re.search("faults found +1 of 1 ", said)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "absent.toml"], "cannot read the recipe"),
        (["fit", "pump.csv"], "`python -m training init pump.csv` makes one"),
        (["evaluate", "absent"], "not a run folder"),
        (["evaluate", __file__], "is a file, expected a run folder"),
        (["init", "absent.csv"], "does not exist"),
        (["init", "absent"], "does not exist: expected a recording or a folder of images"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_what_cannot_be_written_is_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_csv(tmp_path / "machine.csv")
    assert main(["init", str(data), "--out", str(tmp_path), "--force"]) == 1
    said = capsys.readouterr().err
    assert "Is a directory" in said
    assert said.count("\n") == 1


def test_help_tells_the_three_steps_and_the_label_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    for words in ("init", "fit", "evaluate", "start,end", "lstm_forecaster"):
        assert words in said


@pytest.mark.parametrize("command", ["init", "fit", "evaluate", "bench", "detectors"])
def test_the_help_of_each_command_shows_it_at_work(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    _usage, _, told = capsys.readouterr().out.partition("\n\n")
    assert f"  python -m training {command} " in told


def test_no_bars_are_drawn_where_nobody_watches(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    unread, output = os.pipe()
    os.close(unread)
    command = [
        sys.executable,
        "-m",
        "training",
        "init",
        str(tmp_path / "machine.csv"),
        "--out",
        str(tmp_path / "a.toml"),
    ]
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    os.close(output)
    assert (done.returncode, done.stderr) == (1, "")
