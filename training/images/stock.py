"""Taking stock of images before anything is made of them: which can be read, how large they are, their digests."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from training.data import DataError
from training.images.folders import ImageFolder, decoded

NAMED = 10
"""Unreadable images named in a message; all are in the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What is in image files."""

    sizes: Counter[tuple[int, int]]
    """How many images there are of each height and width in pixels."""
    sha256: dict[Path, str]
    """Of the readable ones."""
    unreadable: dict[Path, str]
    """Why they cannot be read."""

    def digest(self) -> str:
        """One SHA-256 over those of all readable images, in order of their paths."""
        return hashlib.sha256("".join(self.sha256[path] for path in sorted(self.sha256)).encode()).hexdigest()

    def remark(self) -> str:
        """What cannot be read, counted and named; empty where all can."""
        if not self.unreadable:
            return ""
        named = [*map(str, self.unreadable)][:NAMED]
        more = f" and {len(self.unreadable) - NAMED} more" if len(self.unreadable) > NAMED else ""
        return f"left out {len(self.unreadable)} unreadable of {self.total} images: {', '.join(named)}{more}"

    @property
    def total(self) -> int:
        """Files, readable or not."""
        return len(self.sha256) + len(self.unreadable)


def take_stock(paths: Sequence[Path], *, progress: bool) -> Stock:
    """Decode every image once; `progress` draws a bar."""
    stock = Stock(sizes=Counter(), sha256={}, unreadable={})
    for path in tqdm(paths, desc="reading images", unit="image", leave=False, disable=not progress):
        try:
            stock.sizes[decoded(path).shape[:2]] += 1
            stock.sha256[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except DataError as error:
            stock.unreadable[path] = str(error)
    return stock


def readable(folder: ImageFolder, stock: Stock) -> ImageFolder:
    """The folder without its unreadable images."""
    return replace(
        folder,
        train=tuple(path for path in folder.train if path in stock.sha256),
        test=tuple(image for image in folder.test if image.path in stock.sha256),
    )


def repeated(folder: ImageFolder, stock: Stock) -> str:
    """How many test images are in the training part too, byte for byte; empty where none is."""
    learned = {stock.sha256[path] for path in folder.train if path in stock.sha256}
    twice = [image.path for image in folder.test if stock.sha256.get(image.path) in learned]
    if not twice:
        return ""
    return f"{len(twice)} test images are among those to fit on as well, the first is {twice[0]}: figures will flatter"
