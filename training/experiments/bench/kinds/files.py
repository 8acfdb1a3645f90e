"""What the kinds share: files in the order a person counts, and stretches of recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from training.data import Recording
from training.splits import Rows

WHOLE = slice(None)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Sort by name with numbers as numbers: 2.csv before 10.csv."""
    return sorted(files, key=lambda path: [(part.zfill(20)) for part in re.split(r"(\d+)", path.as_posix())])


def stretch(recording: Recording, part: slice = WHOLE) -> Rows:
    """Rows of a recording."""
    labels = None if recording.labels is None else recording.labels[part]
    return Rows(values=recording.values[part], t_ns=recording.t_ns[part], labels=labels)
