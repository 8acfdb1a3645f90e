"""`python -m training detectors`: a line for each, all about some, and everything for programs."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from training.__main__ import main
from training.detectors import DETECTORS


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["detectors", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_line_for_each_detector_that_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys).splitlines()
    assert [line.split()[0] for line in lines if line[:2] == "  " != line[2:4]] == list(DETECTORS)
    assert max(map(len, lines)) <= 125


def test_the_table_has_the_source_below_each_detector(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys).splitlines()
    below = {line.split()[0]: after.strip() for line, after in pairwise(lines) if line.split()[:1] and line[0] == " "}
    assert "Hotelling" in below["gaussian"]
    assert all(below[name] for name in DETECTORS)


def test_the_table_says_which_detectors_need_labels(capsys: pytest.CaptureFixture[str]) -> None:
    families = [family for family in told(capsys).split("\n\n") if "labelled faults" in family.splitlines()[0]]
    names = {line.split()[0] for family in families for line in family.splitlines()[1::2]}
    assert names == {name for name, detector in DETECTORS.items() if detector.needs_labels}


def test_a_name_gives_all_about_it_and_nothing_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "gaussian")
    for word in ("normal windows", "float32", "training/recipes/gaussian.toml", "Hotelling"):
        assert word in text
    assert "kmeans" not in text


def test_a_wrong_name_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "PCA"]) == 1
    assert "did you mean 'pca'?" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["svm", "knn"]])
def test_programs_get_an_entry_for_each(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, *names, "--json"))
    assert [entry["name"] for entry in found] == (names or list(DETECTORS))
    keys = {"name", "kind", "about", "needs", "needs_labels", "streaming", "int8", "source"}
    assert all(set(entry) == keys for entry in found)
