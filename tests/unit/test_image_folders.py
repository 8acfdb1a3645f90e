"""Folders of images: both layouts, the split, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import DataError
from training.images.folders import BATCH, batches, read_folder, read_image, read_mask


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


GREY = np.full((8, 6), 100, np.uint8)


def plain(path: Path, normal: int = 10) -> Path:
    for number in range(normal):
        write(path / "normal" / f"{number:02}.png", GREY)
    write(path / "anomaly" / "a.png", GREY)
    return path


def mvtec(path: Path) -> Path:
    for name in ("train/good/0.png", "test/good/1.png", "test/scratch/2.png", "test/dent/2.png"):
        write(path / name, GREY)
    write(path / "ground_truth/scratch/2_mask.png", GREY)
    write(path / "ground_truth/dent/2.png", GREY)
    return path


def test_mvtec_layout_is_read_with_masks_of_either_name(tmp_path):
    folder = read_folder(mvtec(tmp_path), seed=0)
    assert [path.name for path in folder.train] == ["0.png"]
    found = [(image.path.parent.name, image.defective, image.mask and image.mask.name) for image in folder.test]
    assert found == [("good", False, None), ("dent", True, "2.png"), ("scratch", True, "2_mask.png")]
    assert folder.has_masks


def test_plain_layout_keeps_a_share_of_the_normal_images_for_the_test(tmp_path):
    folder = read_folder(plain(tmp_path), seed=0)
    tested = [image.path for image in folder.test if not image.defective]
    assert (len(folder.train), len(tested)) == (7, 3)
    assert not set(folder.train) & set(tested)
    assert not folder.has_masks


def test_a_folder_of_good_images_within_anomaly_is_no_kind_of_defect(tmp_path):
    path = plain(tmp_path)
    write(path / "anomaly" / "good" / "1.png", GREY)
    with pytest.raises(DataError, match="move good images to"):
        read_folder(path, seed=0)


def test_folders_within_anomaly_are_kinds_of_defect_with_masks_of_their_own(tmp_path):
    path = plain(tmp_path)
    write(path / "anomaly" / "scratch" / "a.png", GREY)
    for name in ("a.png", "scratch/a_mask.png"):
        write(path / "ground_truth" / "anomaly" / name, GREY)
    found = [(image.kind, image.path.parent.name, image.mask.parent.name) for image in read_defective(path)]
    assert found == [("anomaly", "anomaly", "anomaly"), ("scratch", "scratch", "scratch")]


def read_defective(path: Path) -> list:
    return [image for image in read_folder(path, seed=0).test if image.defective]


def test_the_split_follows_the_seed_alone(tmp_path):
    path = plain(tmp_path, normal=20)
    assert read_folder(path, seed=3) == read_folder(path, seed=3)
    assert read_folder(path, seed=3).train != read_folder(path, seed=4).train


def test_another_layout_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "ok").mkdir()
    with pytest.raises(DataError, match=r"has the folders ok.*train/good.*normal and anomaly"):
        read_folder(tmp_path, seed=0)


def sequence(path: Path) -> Path:
    for name in ("train/0.png", "train/10.png", "train/9.png", "test/11.png", "test/12.png"):
        write(path / name, GREY)
    (path / "labels.csv").write_text("frame,anomaly\n12.png,1\n11.png,0\n")
    return path


def test_a_sequence_is_read_in_order_of_time(tmp_path):
    folder = read_folder(sequence(tmp_path), seed=0)
    assert [path.name for path in folder.train] == ["0.png", "9.png", "10.png"]
    assert [(image.path.name, image.defective) for image in folder.test] == [("11.png", False), ("12.png", True)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, r"cannot read .*labels\.csv"),
        ("frame,anomaly\n11.png,0\n", "1 differ, the first is 12.png"),
        ("frame,anomaly\n11.png,0\n12.png,1\n13.png,1\n", "1 differ, the first is 13.png"),
        ("frame;anomaly\n11.png;0\n", "expected the header frame,anomaly"),
        ("frame,anomaly\n11.png,no\n12.png,1\n", "expected the header frame,anomaly"),
    ],
)
def test_labels_of_a_sequence_that_leave_anything_open_are_refused(tmp_path, labels, words):
    path = sequence(tmp_path)
    (path / "labels.csv").unlink() if labels is None else (path / "labels.csv").write_text(labels)
    with pytest.raises(DataError, match=words):
        read_folder(path, seed=0)


@pytest.mark.parametrize("place", [".", "normal", "train/good"])
def test_normal_images_alone_can_be_fitted_on_but_not_judged_on(tmp_path, place):
    write(tmp_path / place / "0.png", GREY)
    folder = read_folder(tmp_path, seed=0, labelled=False)
    assert (len(folder.train), folder.test) == (1, ())
    with pytest.raises(DataError, match="no normal images to test on and no defective images"):
        read_folder(tmp_path, seed=0)


def test_a_folder_named_like_an_image_is_passed_over(tmp_path):
    (plain(tmp_path) / "normal" / "odd.png").mkdir()
    assert len(read_folder(tmp_path, seed=0).train) == 7


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_folder(tmp_path / "absent", seed=0)


def test_a_folder_without_defective_images_is_refused(tmp_path):
    (plain(tmp_path) / "anomaly" / "a.png").unlink()
    with pytest.raises(DataError, match="has no defective images"):
        read_folder(tmp_path, seed=0)


def test_masks_of_some_defective_images_alone_are_told_and_judge_nothing(tmp_path, caplog):
    (mvtec(tmp_path) / "ground_truth/dent/2.png").unlink()
    folder = read_folder(tmp_path, seed=0)
    assert "1 of 2 defective images have no mask" in "".join(caplog.messages)
    assert not folder.has_masks


def test_colours_are_rgb(tmp_path):
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV writes BGR
    image = read_image(write(tmp_path / "blue.png", blue), height=4, width=4)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("stored", [GREY, GREY.astype(np.uint16) << 8, np.dstack([GREY] * 4)])
def test_grey_deep_and_transparent_images_become_rgb_of_the_asked_size(tmp_path, stored):
    image = read_image(write(tmp_path / "image.png", stored), height=16, width=12)
    assert image.shape == (16, 12, 3)
    assert np.unique(image).tolist() == [100]


def test_shrinking_averages_so_that_a_thin_line_is_not_passed_over(tmp_path):
    line = np.zeros((64, 64), np.uint8)
    line[:, 5] = 255
    image = read_image(write(tmp_path / "line.png", line), height=8, width=8)
    assert image[:, 0, 0].tolist() == [32] * 8


def test_a_thin_mask_survives_shrinking(tmp_path):
    hairline = np.zeros((64, 64), np.uint8)
    hairline[13] = 255
    mask = read_mask(write(tmp_path / "mask.png", hairline), height=8, width=8)
    assert np.flatnonzero(mask.any(axis=1)).tolist() == [1]
    assert mask[1].all()


def test_a_mask_grows_without_new_regions(tmp_path):
    corner = np.zeros((2, 2), np.uint8)
    corner[0, 1] = 255
    mask = read_mask(write(tmp_path / "mask.png", corner), height=4, width=4)
    assert mask.astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png"):
        read_image(path, height=4, width=4)


def test_batches_are_bounded(tmp_path):
    paths = [write(tmp_path / "image.png", GREY)] * (BATCH + 1)
    assert [len(batch) for batch in batches(paths, height=8, width=8)] == [BATCH, 1]
