"""What the kinds share: files in the order a person counts, and stretches of recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from training.data import Recording
from training.experiments.bench.cases import Flags
from training.splits import Rows

SUFFIXES = (".csv", ".csv.gz")
"""Of recordings in folders of one's own data."""


def in_order(files: Iterable[Path]) -> list[Path]:
    """Sort by name with numbers as numbers: 2.csv before 10.csv."""
    return sorted(files, key=lambda path: [part.zfill(20) for part in re.split(r"(\d+)", path.as_posix())])


def name_of(file: Path) -> str:
    """The file's name without the ending that says how it is packed: two recordings may differ after a dot alone."""
    return file.name[: -len(next(suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)))]


def stretch(recording: Recording) -> Rows:
    """The rows of a recording."""
    return Rows(values=recording.values, t_ns=recording.t_ns, labels=recording.labels)


def part_of(rows: Rows, chosen: slice | Flags) -> Rows:
    """Some of the rows."""
    labels = None if rows.labels is None else rows.labels[chosen]
    return Rows(values=rows.values[chosen], t_ns=rows.t_ns[chosen], labels=labels)
