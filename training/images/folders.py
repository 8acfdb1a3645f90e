"""Folders of images in: which are normal, which are not, and where their masks are.

    MVTec     train/good/*   test/good/*   test/<defect>/*   ground_truth/<defect>/<name>.png or <name>_mask.png
    plain     normal/*       anomaly/*     ground_truth/anomaly/<name>.png (optional, as above)
                             anomaly/<defect>/*             ground_truth/anomaly/<defect>/<name>.png (instead)
    sequence  train/*        test/*        labels.csv        ground_truth/anomaly/<name>.png (optional, as above)
    normal    *, or normal/* or train/good/* alone: nothing to test on

In the plain layout a share of the normal images, drawn with a stated seed, is kept for the test. A sequence is what a
fixed camera saw, in the order of the names (2 before 10): `train` is normal, and labels.csv has the header
`frame,anomaly` and a line for every image of `test`, its name and 0 or 1. Images become uint8 RGB of the size that the
detector takes, whatever their size, depth and colours.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.image_files import SUFFIXES, images_in, in_time
from edge_agent.contract.resize import resize
from training.data import DataError

logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
"""uint8 RGB, [H, W, 3] or a batch [b, H, W, 3]."""
Mask = NDArray[np.bool_]
"""bool [H, W]: the pixel is defective."""

TEST_SHARE = 0.3
"""Of the normal images of a plain folder."""

BATCH = 8
"""Images read at a time: 1.2 MB at 224 x 224, so memory does not grow with the folder."""

LAYOUTS = "train/good and test/<kind> (MVTec), normal and anomaly, train and test with labels.csv, or images alone"
"""What a folder may be, in words."""

LABELS_FILE = "labels.csv"
"""Of a sequence: which frames of `test` are anomalous."""

GOOD, ANOMALY = "good", "anomaly"
"""Kinds of images: normal ones, and defective ones whose kind of defect is not told."""


class Layout(StrEnum):
    """How a folder says what is normal."""

    MVTEC = "MVTec"
    PLAIN = "plain"
    SEQUENCE = "sequence"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImage:
    """An image that a detector is judged on."""

    path: Path
    defective: bool
    kind: str = GOOD
    """"good", or the kind of its defect."""
    mask: Path | None = None
    """Where it is defective; None: normal, or not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """Images to fit on, and others to judge on."""

    path: Path
    layout: Layout
    train: tuple[Path, ...]
    """Normal images; of a sequence in order of time."""
    test: tuple[TestImage, ...] = ()
    """Normal and defective ones; of a sequence in order of time."""

    @property
    def has_masks(self) -> bool:
        """Every defective image has a mask, and there is one: pixels can be judged."""
        defective = [image for image in self.test if image.defective]
        return bool(defective) and all(image.mask for image in defective)


def read_folder(path: Path, *, seed: int, test_share: float = TEST_SHARE, labelled: bool = True) -> ImageFolder:
    """Find the images of a folder in any layout; nothing is decoded yet.

    Args:
        path: the folder.
        seed: of the draw in a plain folder: the same folder and seed give the same split.
        test_share: of the normal images of a plain folder, above 0 and below 1.
        labelled: there must be normal and defective images to judge on.

    Raises:
        DataError: none of the layouts, or one of its parts holds no image, or masks for some defective images only.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {test_share}")
    folder = _found(path, seed, test_share)
    _check(folder, labelled=labelled)
    return folder


def _found(path: Path, seed: int, test_share: float) -> ImageFolder:
    """The images of a folder in the layout that it is in."""
    if (path / "train" / GOOD).is_dir():
        train = tuple(_images(path / "train" / GOOD))
        if not (path / "test").is_dir():
            return ImageFolder(path=path, layout=Layout.NORMAL, train=train)
        return ImageFolder(path=path, layout=Layout.MVTEC, train=train, test=_mvtec_test(path))
    if (path / "normal").is_dir():
        if not (path / ANOMALY).is_dir():
            return ImageFolder(path=path, layout=Layout.NORMAL, train=tuple(_images(path / "normal")))
        train, test = _plain(path, seed, test_share)
        return ImageFolder(path=path, layout=Layout.PLAIN, train=train, test=test)
    if frames := _images(path / "train"):
        return ImageFolder(path=path, layout=Layout.SEQUENCE, train=tuple(in_time(frames)), test=_sequence_test(path))
    if images := _images(path):
        return ImageFolder(path=path, layout=Layout.NORMAL, train=tuple(images))
    raise DataError(f"{path} {_unlike(path)}: expected a folder with {LAYOUTS}")


def _unlike(path: Path) -> str:
    """Say what is there instead of a folder of images."""
    if not path.is_dir():
        return "is a file" if path.exists() else "does not exist"
    there = sorted(each.name for each in path.iterdir() if each.is_dir())
    return f"has the folders {', '.join(there)}" if there else "has no folders and no images"


def read_image(path: Path, *, height: int, width: int) -> Pixels:
    """Decode an image and bring it to uint8 RGB [height, width, 3]; its aspect ratio is not kept.

    Grey becomes RGB, 16 bits become 8, an alpha channel is dropped, an EXIF rotation is applied. It is resized as the
    device resizes its frames (`resize`).

    Raises:
        DataError: it cannot be read as an image.
    """
    return resize(decoded(path), height, width)


def decoded(path: Path) -> Pixels:
    """Decode an image as uint8 RGB [H, W, 3] of its own size.

    Raises:
        DataError: it cannot be read as an image.
    """
    return np.asarray(cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_mask(path: Path, *, height: int, width: int) -> Mask:
    """Decode a mask (above 0 is defective) and bring it to bool [height, width].

    A pixel is defective where any pixel of the file falls into it, so that hairlines survive shrinking.

    Raises:
        DataError: it cannot be read as an image.
    """
    mask = np.asarray(_decoded(path, cv2.IMREAD_GRAYSCALE)) > 0
    for axis, size in enumerate((height, width)):
        mask = np.logical_or.reduceat(mask, np.arange(size) * mask.shape[axis] // size, axis=axis)
    return mask


def batches(paths: Sequence[Path], *, height: int, width: int) -> Iterator[Pixels]:
    """Read images as uint8 [b, height, width, 3], at most `BATCH` at a time.

    Raises:
        DataError: one cannot be read as an image.
    """
    for start in range(0, len(paths), BATCH):
        yield np.stack([read_image(path, height=height, width=width) for path in paths[start : start + BATCH]])


def _decoded(path: Path, mode: int) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), mode)
    except (OSError, cv2.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if image is None:
        raise DataError(f"{path} is not an image that OpenCV can read: expected one of {', '.join(SUFFIXES)}")
    return np.asarray(image, np.uint8)


def _images(folder: Path) -> list[Path]:
    """Images of a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return images_in(folder)


def _mvtec_test(path: Path) -> tuple[TestImage, ...]:
    kinds = sorted(each for each in (path / "test").iterdir() if each.is_dir())
    good = [TestImage(path=image, defective=False) for image in _images(path / "test" / GOOD)]
    return (*good, *(image for kind in kinds if kind.name != GOOD for image in _defective(path, kind)))


def _plain(path: Path, seed: int, test_share: float) -> tuple[tuple[Path, ...], tuple[TestImage, ...]]:
    normal = _images(path / "normal")
    tested = drawn(len(normal), test_share, seed)
    train = tuple(image for image, kept in zip(normal, tested, strict=True) if not kept)
    good = [TestImage(path=image, defective=False) for image, kept in zip(normal, tested, strict=True) if kept]
    kinds = sorted(each for each in (path / ANOMALY).iterdir() if each.is_dir())
    if any(kind.name == GOOD for kind in kinds):
        raise DataError(
            f"{path / ANOMALY / GOOD}: expected folders of defects in {ANOMALY}; move good images to {path / 'normal'}"
        )
    told = [image for kind in kinds for image in _defective(path, kind, f"{ANOMALY}/{kind.name}")]
    return train, (*good, *_defective(path, path / ANOMALY), *told)


def drawn(count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which of `count` items belong to a share of them drawn with the seed: bool [count]."""
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[: round(share * count)]] = True
    return chosen


def _sequence_test(path: Path) -> tuple[TestImage, ...]:
    frames = in_time(_images(path / "test"))
    if not frames:
        return ()
    anomalous, masks = _labels(path / LABELS_FILE), _masks(path, ANOMALY)
    names = {frame.name for frame in frames}
    if names != set(anomalous):
        odd = sorted(names.symmetric_difference(anomalous))
        raise DataError(
            f"{path / LABELS_FILE} must have a line for every image of test and for no other; {len(odd)} differ, the "
            f"first is {odd[0]}"
        )
    return tuple(
        TestImage(path=frame, defective=True, kind=ANOMALY, mask=masks.get(frame.stem))
        if anomalous[frame.name]
        else TestImage(path=frame, defective=False)
        for frame in frames
    )


def _labels(path: Path) -> dict[str, bool]:
    """By the name of a frame, whether it is anomalous."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        return {row["frame"]: float(row["anomaly"]) > 0 for row in rows}
    except OSError as error:
        raise DataError(
            f"test holds frames, so which are anomalous must be told: cannot read {path}: {error}"
        ) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: expected the header frame,anomaly and then lines such as 0042.png,1; got {error!r}"
        ) from error


def _defective(path: Path, kind: Path, masked: str = "") -> list[TestImage]:
    """The images of one kind of defect with their masks, in a folder of the kind's name or of this one."""
    masks = _masks(path, masked or kind.name)
    return [
        TestImage(path=image, defective=True, kind=kind.name, mask=masks.get(image.stem)) for image in _images(kind)
    ]


def _masks(path: Path, folder: str) -> dict[str, Path]:
    """Masks of a kind of defect by the names of their images, which are named alike."""
    return {each.stem.removesuffix("_mask"): each for each in _images(path / "ground_truth" / folder)}


def _check(folder: ImageFolder, *, labelled: bool) -> None:
    defective = [image for image in folder.test if image.defective]
    counts = {"normal images to fit on": len(folder.train)}
    if labelled:
        counts |= {
            "normal images to test on": len(folder.test) - len(defective),
            "defective images": len(defective),
        }
    if missing := [what for what, count in counts.items() if not count]:
        raise DataError(f"{folder.path} has no {' and no '.join(missing)}: expected {LAYOUTS}, with images in each")
    bare = [image.path for image in defective if image.mask is None]
    if bare and len(bare) < len(defective):
        logger.warning(
            "%d of %d defective images have no mask in ground_truth, the first is %s: places of defects are not judged",
            len(bare),
            len(defective),
            bare[0],
        )
