"""`init` on a folder of images: what it finds, what it writes, what it warns of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.image_folders import mvtec_folder, picture, plain_folder, sequence_folder, write
from training.data import DataError
from training.guess import Written
from training.images import guess
from training.images.guess import frame_size, write_image_recipe
from training.images.recipe import ImageRecipe, parse_image_recipe
from training.recipe import RecipeError

READY = """\
# A detector.{more}
#
# More.

name = "still"  # lower case

[images]
path = ""  # folder
seed = 0

[frame]
height = 224  # pixels
width = 224  # pixels

[detector]
type = "still"

[decision]
n = 1
m = 1  # frames that n counts among
hold_off_s = 0.0  # quiet
"""


@pytest.fixture(autouse=True)
def _ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready recipes of three detectors."""
    folder = tmp_path / "ready"
    folder.mkdir()
    for name, more in (("padim", ""), ("labels", f" {guess.LEARNS_DEFECTS}."), ("clips", f" {guess.LEARNS_TIME}.")):
        (folder / f"{name}.toml").write_text(READY.format(more=more))
    monkeypatch.setattr(guess, "READY", folder)


def made(folder: Path, detector: str = "padim") -> tuple[Written, ImageRecipe]:
    written = write_image_recipe(folder, detector, folder.parent / "Öl 1.toml", replace=False, progress=False)
    return written, parse_image_recipe(written.path.read_text(encoding="utf-8"))


def test_a_plain_folder_is_counted_by_kind(tmp_path: Path) -> None:
    written, recipe = made(plain_folder(tmp_path / "images"))
    assert "plain layout, 28 normal images to fit on, to test on 12 good, 8 anomaly, with masks" in written.summary
    assert "32 x 32 pixels" in written.summary
    assert (recipe.images.path, recipe.name, recipe.decision.m) == ("images", "l-1", 1)
    assert (recipe.frame.height, recipe.frame.width) == (224, 224)


def test_an_mvtec_folder_is_counted_by_kind(tmp_path: Path) -> None:
    written, _ = made(mvtec_folder(tmp_path / "images"))
    assert "MVTec layout, 30 normal images to fit on, to test on 6 good, 6 dent, 6 scratch" in written.summary


def test_a_sequence_is_decided_by_more_than_one_frame(tmp_path: Path) -> None:
    _, recipe = made(sequence_folder(tmp_path / "images"))
    assert (recipe.decision.n, recipe.decision.m, recipe.decision.hold_off_s) == (3, 5, 10.0)


def test_parts_are_decided_each_by_its_own_frame(tmp_path: Path) -> None:
    _, recipe = made(plain_folder(tmp_path / "images"))
    assert recipe.decision.spec().rule.by_part


@pytest.mark.parametrize(
    ("height", "width", "frame"), [(480, 640, (192, 256)), (1080, 1920, (160, 288)), (2000, 200, (704, 64))]
)
def test_the_frame_has_the_shape_of_the_images_and_about_the_same_area(
    height: int, width: int, frame: tuple[int, int]
) -> None:
    assert frame_size(height, width, 224 * 224) == frame


def test_the_frame_is_that_of_most_images(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images", normal=4, defective=0)
    for number in range(9):
        write(folder / "normal" / f"wide{number}.png", np.zeros((30, 60, 3), np.uint8))
    written, recipe = made(folder)
    assert (recipe.frame.height, recipe.frame.width) == (160, 320)
    assert "60 x 30 pixels mostly, 2 sizes in all" in written.summary


def test_few_images_unreadable_ones_and_missing_defects_are_told(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images", defective=0)
    (folder / "normal" / "text.png").write_text("text")
    advice = made(folder)[0].advice
    for words in ("left out 1 unreadable of 41 images", "text.png", "few images", "no defective images"):
        assert words in advice


def test_normal_images_that_are_left_out_in_turn_all_set_the_threshold(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images")
    ready = guess.READY / "padim.toml"
    assert "few images: 4 of 28 normal ones set the threshold" in made(folder)[0].advice
    ready.write_text(ready.read_text().replace("[frame]", "folds = 5\n[frame]", 1))
    (tmp_path / "Öl 1.toml").unlink()
    assert "few images: 28 of 28 normal ones set the threshold" in made(folder)[0].advice


@pytest.mark.parametrize(("folds", "fewest"), [("", 6), ("folds = 5\n", 5)])
def test_images_that_are_too_few_for_any_fit_are_told(tmp_path: Path, folds: str, fewest: int) -> None:
    ready = guess.READY / "padim.toml"
    ready.write_text(ready.read_text().replace("[frame]", f"{folds}[frame]", 1))
    rng = np.random.default_rng(0)
    for number in range(fewest - 1):
        write(tmp_path / "images" / f"{number}.png", picture(rng))
    told = f"too few images: {fewest - 1} normal to fit on, expected {fewest} at least"
    assert told in made(tmp_path / "images")[0].advice
    (tmp_path / "Öl 1.toml").unlink()
    write(tmp_path / "images" / "more.png", picture(rng))
    assert "too few" not in made(tmp_path / "images")[0].advice


@pytest.mark.parametrize(
    ("detector", "words"), [("labels", "learns from defective images"), ("clips", "how frames follow")]
)
def test_a_detector_that_needs_more_than_the_folder_has_says_so(tmp_path: Path, detector: str, words: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", picture(rng))
    assert words in made(tmp_path / "images", detector)[0].advice


def test_a_recipe_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "images", normal=4)
    made(folder)
    with pytest.raises(RecipeError, match="exists: give another --out, or --force"):
        made(folder)


def test_a_detector_without_a_ready_recipe_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'padim'"):
        made(plain_folder(tmp_path / "images", normal=4), "padm")


def test_a_folder_without_one_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="has no folders and no images"):
        made(tmp_path / "images")
    (tmp_path / "images" / "text.png").write_text("text")
    with pytest.raises(DataError, match=r"no normal image can be read; left out 1 unreadable of 1 images: .*text\.png"):
        made(tmp_path / "images")
