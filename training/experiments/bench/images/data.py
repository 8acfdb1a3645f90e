"""Folders of images to compare detectors on, in any layout that has normal and defective images to test on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data import DataError
from training.experiments.bench.kinds import IMAGES, kind_and_path
from training.images.folders import ImageFolder, read_folder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageSet:
    """A folder."""

    name: str
    """That of the folder."""
    folder: ImageFolder
    """Split by the seed of the bench."""
    digest: str
    """SHA-256 of all that a result depends on: which images and masks are in which part, and their bytes."""


def read_images(given: Sequence[str], seed: int) -> list[ImageSet]:
    """Read every images:PATH.

    Args:
        given: as on the command line.
        seed: of the draw between fit and test in a plain folder.

    Raises:
        DataError: recordings are among them, a folder is in no known layout or has nothing to test on, or two have one
            name.
    """
    pairs = [kind_and_path(text) for text in given]
    if others := [text for text, (kind, _) in zip(given, pairs, strict=True) if kind != IMAGES]:
        raise DataError(
            f"images and recordings have detectors and figures of their own, so they are compared apart: leave "
            f"{', '.join(others)} for another run with another --out"
        )
    names = [path.name for _, path in pairs]
    if len(set(names)) < len(names):
        raise DataError(f"folders of images are told apart by their names, got {', '.join(given)}: rename one")
    return [_image_set(path, seed) for _, path in pairs]


def _image_set(path: Path, seed: int) -> ImageSet:
    folder = read_folder(path, seed=seed)
    return ImageSet(name=path.name, folder=folder, digest=_digest(folder))


def _digest(folder: ImageFolder) -> str:
    found = hashlib.sha256(folder.layout.encode())
    parts: list[tuple[Path, str, Path | None]] = [(path, "train", None) for path in folder.train]
    parts += [(image.path, f"test {image.defective} {image.kind}", image.mask) for image in folder.test]
    for path, part, mask in parts:
        for each in filter(None, (path, mask)):
            found.update(f"\0{part}\0{each.relative_to(folder.path)}\0".encode())
            found.update(hashlib.sha256(each.read_bytes()).digest())
    return found.hexdigest()
