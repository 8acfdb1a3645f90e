"""Images in a folder: which files they are, and in which order a camera saw them, for training and device alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Names of images end like this, in small letters or capitals."""

_NUMBERS = re.compile(r"(\d*)(\D+|$)")


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder by name; folders in it are not looked into.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES and not each.is_dir())


def in_time(paths: Iterable[Path]) -> list[Path]:
    """Sort by name, in which numbers count as numbers.

    >>> [path.name for path in in_time(map(Path, ["10.png", "2.png", "1.png"]))]
    ['1.png', '2.png', '10.png']
    """
    return sorted(paths, key=lambda path: ([(int(n or 0), text) for n, text in _NUMBERS.findall(path.name)], path.name))
