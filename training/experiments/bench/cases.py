"""What a kind of data set gives: cases, each one fit and the recordings it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.splits import Rows

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A recording that a detector is judged on: a row of `files.json`."""

    name: str
    rows: Rows
    """Labelled. The device sees all of them in order, the training rows in front included, so that it is warm."""
    tested: Flags
    """bool [n]: the rows that count."""

    def __post_init__(self) -> None:
        """Refuse a recording that says nothing."""
        if self.rows.labels is None or not len(self.rows) == len(self.rows.labels) == len(self.tested):
            raise ValueError(f"{self.name}: rows, labels and tested must be of one length, and labels must be there")
        if not self.tested.any():
            raise ValueError(f"{self.name}: no row is left to test on after the training rows")

    @property
    def all_labels(self) -> Flags:
        """Labels of all rows, bool [n]."""
        assert self.rows.labels is not None  # noqa: S101 - checked when built
        return self.rows.labels

    @property
    def labels(self) -> Flags:
        """Labels of the tested rows, bool [k]."""
        return self.all_labels[self.tested]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One fit, and the recordings that it is judged on."""

    name: str
    channels: tuple[str, ...]
    rate_hz: float
    train: Rows
    """What is fitted on, thresholds included. Its labels are shown to detectors that need labels, and to no other."""
    trials: tuple[Trial, ...]
    window_rows: int | None = None
    """Length of a window where the data set asks for another than the recipe."""
    stride: int = 1
    """Rows between two windows; more than 1 for fast sensors."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """Cases of one kind from one folder."""

    name: str
    kind: str
    cases: tuple[Case, ...]
    clean_name: str = ""
    """Of the data set that this one is with contaminated rows to fit on; empty: as it was read."""


class Kind(Protocol):
    """A kind of data set: how its folder is laid out and what its official protocol is."""

    @property
    def about(self) -> str:
        """One line: what the path must be."""

    def cases(self, path: Path) -> tuple[Case, ...]:
        """Read a folder.

        Raises:
            DataError: it is not laid out as expected; the message says what was expected and what is there.
        """
