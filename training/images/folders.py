"""Folders of images in: which are normal, which are not, and where their masks are.

    MVTec layout: train/good/*   test/good/*   test/<defect>/*   ground_truth/<defect>/<name>.png or <name>_mask.png
    plain:        normal/*       anomaly/*     ground_truth/anomaly/<name>.png (optional, as above)

In the plain layout a share of the normal images, drawn with a stated seed, is kept for the test. Images become uint8
RGB of the size that the detector takes, whatever their size, depth and colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import DataError

Pixels = NDArray[np.uint8]
"""uint8 RGB, [H, W, 3] or a batch [b, H, W, 3]."""
Mask = NDArray[np.bool_]
"""bool [H, W]: the pixel is defective."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Files that are read as images; others are passed over."""

TEST_SHARE = 0.3
"""Of the normal images of a plain folder."""

BATCH = 8
"""Images read at a time: 1.2 MB at 224 x 224, so memory does not grow with the folder."""

LAYOUTS = "either train/good and test/<kind> (MVTec) or normal and anomaly"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImage:
    """An image that a detector is judged on."""

    path: Path
    defective: bool
    mask: Path | None = None
    """Where it is defective; None: normal, or not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """Images to fit on, and others to judge on."""

    path: Path
    train: tuple[Path, ...]
    """Normal images."""
    test: tuple[TestImage, ...]
    """Normal and defective ones."""

    @property
    def has_masks(self) -> bool:
        """Every defective image has a mask, and there is one: pixels can be judged."""
        defective = [image for image in self.test if image.defective]
        return bool(defective) and all(image.mask for image in defective)


def read_folder(path: Path, *, seed: int, test_share: float = TEST_SHARE) -> ImageFolder:
    """Find the images of a folder in either layout; nothing is decoded yet.

    Args:
        path: the folder.
        seed: of the draw in a plain folder: the same folder and seed give the same split.
        test_share: of the normal images of a plain folder, above 0 and below 1.

    Raises:
        DataError: neither layout, or one of its parts holds no image, or masks for some defective images only.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {test_share}")
    if (path / "train" / "good").is_dir() and (path / "test").is_dir():
        train, test = tuple(_images(path / "train" / "good")), _mvtec_test(path)
    elif (path / "normal").is_dir() and (path / "anomaly").is_dir():
        train, test = _plain(path, seed, test_share)
    else:
        there = sorted(each.name for each in path.iterdir() if each.is_dir()) if path.is_dir() else None
        found = "it is not a folder" if there is None else f"its folders are {', '.join(there) or 'none'}"
        raise DataError(f"{path}: expected {LAYOUTS}; {found}")
    folder = ImageFolder(path=path, train=train, test=test)
    _check(folder)
    return folder


def read_image(path: Path, *, height: int, width: int) -> Pixels:
    """Decode an image and bring it to uint8 RGB [height, width, 3]; its aspect ratio is not kept.

    Grey becomes RGB, 16 bits become 8, an alpha channel is dropped, an EXIF rotation is applied. Shrinking averages
    areas, so that thin defects are not passed over; growing is bilinear.

    Raises:
        DataError: it cannot be read as an image.
    """
    image = cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)


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
        raise DataError(f"{path} is not an image that OpenCV can read: expected one of {', '.join(sorted(SUFFIXES))}")
    return np.asarray(image, np.uint8)


def _images(folder: Path) -> list[Path]:
    """Images of a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES)


def _mvtec_test(path: Path) -> tuple[TestImage, ...]:
    kinds = sorted(each for each in (path / "test").iterdir() if each.is_dir())
    good = [TestImage(path=image, defective=False) for image in _images(path / "test" / "good")]
    return (*good, *(image for kind in kinds if kind.name != "good" for image in _defective(path, kind)))


def _plain(path: Path, seed: int, test_share: float) -> tuple[tuple[Path, ...], tuple[TestImage, ...]]:
    normal = _images(path / "normal")
    tested = np.zeros(len(normal), bool)
    tested[np.random.default_rng(seed).permutation(len(normal))[: round(test_share * len(normal))]] = True
    train = tuple(image for image, kept in zip(normal, tested, strict=True) if not kept)
    good = [TestImage(path=image, defective=False) for image, kept in zip(normal, tested, strict=True) if kept]
    return train, (*good, *_defective(path, path / "anomaly"))


def _defective(path: Path, kind: Path) -> list[TestImage]:
    """The images of one kind of defect with their masks, which are named alike in `ground_truth`."""
    masks = {each.stem.removesuffix("_mask"): each for each in _images(path / "ground_truth" / kind.name)}
    return [TestImage(path=image, defective=True, mask=masks.get(image.stem)) for image in _images(kind)]


def _check(folder: ImageFolder) -> None:
    defective = [image for image in folder.test if image.defective]
    counts = {
        "normal images to fit on": len(folder.train),
        "normal images to test on": len(folder.test) - len(defective),
        "defective images": len(defective),
    }
    if missing := [what for what, count in counts.items() if not count]:
        raise DataError(f"{folder.path} has no {' and no '.join(missing)}: expected {LAYOUTS}, with images in each")
    bare = [image.path for image in defective if image.mask is None]
    if bare and len(bare) < len(defective):
        raise DataError(
            f"{folder.path}: {len(bare)} of {len(defective)} defective images have no mask in ground_truth, the first "
            f"is {bare[0]}: add them, or leave ground_truth out"
        )
