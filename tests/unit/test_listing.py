"""`python -m training detectors`: a line for each, all about some, and everything for programs."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.tiny_image_detectors import let_recipes_name_them
from training.__main__ import main
from training.detectors import DETECTORS
from training.images.detectors import IMAGE_DETECTORS, image_detector

ALL = [*DETECTORS, *IMAGE_DETECTORS]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["detectors", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_line_for_each_detector_that_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys).splitlines()
    assert [line.split()[0] for line in lines if line[:2] == "  " != line[2:4]] == ALL
    assert max(map(len, lines)) <= 125


def test_the_table_has_the_source_below_a_detector(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys).splitlines()
    assert any(line.split()[:1] == ["gaussian"] and "Hotelling" in below for line, below in pairwise(lines))


def test_every_detector_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    entries = json.loads(told(capsys, "--json"))
    assert [entry["name"] for entry in entries if not entry["source"]] == []


def test_the_table_says_which_detectors_need_labels(capsys: pytest.CaptureFixture[str]) -> None:
    families = [family for family in told(capsys).split("\n\n") if ", and labelled" in family.splitlines()[0]]
    names = {line.split()[0] for family in families for line in family.splitlines() if line[:2] == "  " != line[2:4]}
    of_images = {name for name in IMAGE_DETECTORS if image_detector(name).needs_labels}
    assert names == {name for name, detector in DETECTORS.items() if detector.needs_labels} | of_images


def test_a_name_gives_all_about_it_and_nothing_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "gaussian")
    for word in ("normal windows", "float32", "training/recipes/gaussian.toml", "Hotelling"):
        assert word in text
    assert "kmeans" not in text


def test_a_detector_of_images_is_told_with_its_own_recipe_and_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_recipes_name_them(monkeypatch)
    text = " ".join(told(capsys, "labelled").split())
    for words in (
        "normal images, and labelled defects",
        "recipes/images/labelled.toml",
        "init FOLDER --detector labelled",
    ):
        assert words in text


def test_a_wrong_name_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "PCA"]) == 1
    assert "did you mean 'pca'?" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["svm", "knn"]])
def test_programs_get_an_entry_for_each(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, *names, "--json"))
    assert [entry["name"] for entry in found] == (names or ALL)
    keys = {"name", "input", "kind", "about", "needs", "needs_labels", "streaming", "int8", "source"}
    assert all(set(entry) == keys for entry in found)
