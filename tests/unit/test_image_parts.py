"""Which images are for what, and what cannot be read."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.image_folders import mvtec_folder, picture, plain_folder, sequence_folder, write
from training.data import DataError
from training.image_artifacts import MOST_VALIDATION
from training.images import folders
from training.images.folders import ImageFolder, Layout, read_folder
from training.images.parts import ImageParts, split_images
from training.images.stock import readable, repeated, take_stock

USUAL = {
    "seed": 0,
    "validation_share": 0.2,
    "stopping_share": 0.25,
    "test_share": 0.5,
    "needs_labels": False,
}


def folder(normal: int, *, layout: Layout = Layout.PLAIN, kinds: dict[str, int] | None = None) -> ImageFolder:
    defective = [
        folders.TestImage(path=Path(f"{kind}{number}"), defective=True, kind=kind)
        for kind, count in (kinds or {"dent": 10, "hole": 4}).items()
        for number in range(count)
    ]
    train = tuple(Path(f"n{number:03}") for number in range(normal))
    return ImageFolder(path=Path("f"), layout=layout, train=train, test=tuple(defective))


def split(images: ImageFolder, **changed: object) -> ImageParts:
    return split_images(images, **USUAL | changed)


def test_every_normal_image_is_in_one_part(tmp_path: Path) -> None:
    found = split(folder(100))
    assert [len(part) for part in (found.training, found.stopping, found.validation)] == [60, 20, 20]
    assert len({*found.training, *found.stopping, *found.validation}) == 100


def test_the_parts_follow_the_seed_alone() -> None:
    assert split(folder(100)) == split(folder(100))
    assert split(folder(100)).validation != split(folder(100), seed=1).validation


def test_in_folds_every_normal_image_is_learned_from_and_left_out_once() -> None:
    found = split(folder(23), folds=5, stopping_share=0.0)
    assert found.training == found.validation == folder(23).train
    assert sorted(Counter(found.folds).items()) == [(0, 5), (1, 5), (2, 5), (3, 4), (4, 4)]
    assert found.stopping == ()
    assert split(folder(23), folds=5, stopping_share=0.0) == found
    assert split(folder(23), folds=5, stopping_share=0.0, seed=1).folds != found.folds


@pytest.mark.parametrize(
    "images", [folder(100, layout=Layout.SEQUENCE), folder(MOST_VALIDATION + 1)], ids=["neighbours", "many"]
)
def test_where_folds_do_not_serve_a_part_is_held_back(images: ImageFolder) -> None:
    assert split(images, folds=2, stopping_share=0.0) == split(images, stopping_share=0.0)


def test_who_needs_other_parts_has_no_folds() -> None:
    for needs in ({"stopping_share": 0.25}, {"stopping_share": 0.0, "needs_labels": True}):
        assert split(folder(100), folds=2, **needs) == split(folder(100), **needs)


@pytest.mark.parametrize(("images", "folds", "left"), [(5, 2, 4), (6, 2, 4), (7, 2, 4), (8, 2, 4), (9, 5, 7)])
def test_of_few_images_there_are_as_many_folds_as_leave_enough(images: int, folds: int, left: int) -> None:
    found = split(folder(images), folds=folds, stopping_share=0.0)
    assert images - max(Counter(found.folds).values()) == left
    assert found.training == folder(images).train


def test_those_of_a_sequence_are_cut_in_order_of_time() -> None:
    found = split(folder(100, layout=Layout.SEQUENCE))
    assert (*found.training, *found.stopping, *found.validation) == folder(100).train


def test_nothing_is_held_back_where_nothing_stops_early_or_too_little_would_be() -> None:
    assert split(folder(100), stopping_share=0.0).stopping == ()
    assert split(folder(12)).stopping == ()


def test_a_share_of_each_kind_of_defect_is_learned_from_and_not_tested_on() -> None:
    found = split(folder(100), needs_labels=True)
    assert [sum(image.kind == kind for image in found.defective) for kind in ("dent", "hole")] == [5, 2]
    assert len(found.test) == 7
    assert not {image.path for image in found.test} & {image.path for image in found.defective}


def test_of_a_sequence_the_first_anomalous_frames_are_learned_from() -> None:
    found = split(folder(100, layout=Layout.SEQUENCE, kinds={"anomaly": 4}), needs_labels=True)
    assert [image.path.name for image in found.defective] == ["anomaly0", "anomaly1"]


@pytest.mark.parametrize("kinds", [{"dent": 1}, {"dent": 0}])
def test_defects_that_cannot_be_both_learned_from_and_tested_on_are_refused(kinds: dict[str, int]) -> None:
    with pytest.raises(DataError, match=rf"two or more of a kind, got {kinds['dent']} defective"):
        split(folder(100, kinds=kinds), needs_labels=True, test_share=0.3)


@pytest.mark.parametrize("normal", [0, 1, 5])
def test_too_few_normal_images_are_refused_with_what_they_would_give(normal: int) -> None:
    with pytest.raises(DataError, match=r"for training and .* for thresholds, expected at least 4 and 2"):
        split(folder(normal))


def test_a_small_folder_gives_the_least_that_a_threshold_needs() -> None:
    assert [len(part) for part in (split(folder(6)).training, split(folder(6)).validation)] == [4, 2]


RUBBISH = {
    "text.png": b"this is no picture",
    "empty.jpg": b"",
    "cut.png": None,
    "unicode ü 图.png": b"\x89PNG\r\n",
}


def test_rubbish_is_counted_named_and_left_out(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, normal=8, defective=2)
    whole = (path / "normal" / "000.png").read_bytes()
    for name, content in RUBBISH.items():
        (path / "normal" / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    (path / "normal" / "gone.png").symlink_to(path / "nowhere.png")
    found = replace(read_folder(path, seed=0), train=tuple(sorted((path / "normal").iterdir())), test=())
    stock = take_stock(found.train, progress=False)
    assert sorted(each.name for each in stock.unreadable) == sorted([*RUBBISH, "gone.png"])
    assert stock.remark().startswith("left out 5 unreadable of 13 images: ")
    assert "unicode ü 图.png" in stock.remark()
    assert len(readable(found, stock).train) == 8


def test_images_of_any_kind_are_read(tmp_path: Path) -> None:
    deep = np.full((40, 30), 40_000, np.uint16)
    kinds = {
        "deep.png": deep,
        "grey.png": np.full((8, 8), 100, np.uint8),
        "alpha.png": np.full((8, 8, 4), 100, np.uint8),
        "large.png": np.zeros((3000, 4000), np.uint8),
        "one.png": np.zeros((1, 1, 3), np.uint8),
        "ünïcode 图.jpg": np.zeros((8, 8, 3), np.uint8),
    }
    paths = [write(tmp_path / name, pixels) for name, pixels in kinds.items()]
    link = tmp_path / "link.png"
    link.symlink_to(paths[0])
    stock = take_stock([*paths, link], progress=False)
    assert not stock.unreadable
    assert stock.sizes[(40, 30)] == 2


def test_a_picture_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\x00\x00\x00"
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(header + bytes(1000))
    assert list(take_stock([bomb], progress=False).unreadable) == [bomb]


def test_the_digest_follows_the_images_alone(tmp_path: Path) -> None:
    one, other = (read_folder(plain_folder(tmp_path / name, normal=8), seed=0).train for name in "ab")
    assert take_stock(one, progress=False).digest() == take_stock(other, progress=False).digest()
    write(other[0], picture(np.random.default_rng(9)))
    assert take_stock(one, progress=False).digest() != take_stock(other, progress=False).digest()


def test_test_images_that_are_to_fit_on_as_well_are_told(tmp_path: Path) -> None:
    path = mvtec_folder(tmp_path, train=6, test=2)
    found = read_folder(path, seed=0)
    paths = [*found.train, *(image.path for image in found.test)]
    assert repeated(found, take_stock(paths, progress=False)) == ""
    (path / "test/good/000.png").write_bytes((path / "train/good/003.png").read_bytes())
    assert repeated(found, take_stock(paths, progress=False)).startswith("1 test images are among those to fit on")


def test_a_sequence_keeps_its_frames_in_order(tmp_path: Path) -> None:
    found = split(read_folder(sequence_folder(tmp_path, train=12), seed=0))
    assert [path.name for path in found.validation] == ["10.png", "11.png"]
