"""The kinds of data sets by the name the command line gives them.

A new one is a file here and a line in `KINDS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from training.data import DataError
from training.experiments.bench.cases import Case, DataSet, Kind
from training.experiments.bench.kinds.csv_folder import CsvFolder
from training.experiments.bench.kinds.fan import Fan
from training.experiments.bench.kinds.injected import Injected
from training.experiments.bench.kinds.nab import Nab
from training.experiments.bench.kinds.skab import Skab
from training.experiments.bench.kinds.tep import Tep
from training.images.folders import LAYOUTS

KINDS: dict[str, Kind] = {
    "skab": Skab(),
    "nab": Nab(),
    "tep": Tep(),
    "fan": Fan(),
    "csv": CsvFolder(),
    "injected": Injected(),
}

IMAGES = "images"
"""The kind of folders of images: their detectors and figures are others, so `bench/images/` reads and judges them."""


def read_data(given: Sequence[str], fit_rows: int | None = None) -> list[DataSet]:
    """Read every KIND:PATH; a data set is named by its kind, and by its folder too where a kind comes twice.

    Args:
        given: as on the command line.
        fit_rows: of the kinds `csv` and `injected`, rows at the start of each file or piece that are fitted on.

    Raises:
        DataError: a kind is not known, a path is not there or not laid out as its kind expects, or is given twice.
    """
    pairs = [kind_and_path(text) for text in given]
    names = [kind if [other for other, _ in pairs].count(kind) == 1 else f"{kind}:{path.name}" for kind, path in pairs]
    if len(set(names)) < len(names):
        raise DataError(f"data sets of one kind need folders of different names, got {', '.join(given)}")
    kinds = KINDS | {"csv": CsvFolder(fit_rows=fit_rows), "injected": Injected(fit_rows=fit_rows)}
    return [
        DataSet(name=name, kind=kind, cases=_told_apart(kinds[kind].cases(path), path))
        for name, (kind, path) in zip(names, pairs, strict=True)
    ]


def _told_apart(cases: tuple[Case, ...], path: Path) -> tuple[Case, ...]:
    """Refuse recordings of one name: their results would be taken for each other's."""
    names = [trial.name for case in cases for trial in case.trials]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} holds more than one recording {twice[0]!r}, such as packed and not: leave one out")
    return cases


def kind_and_path(text: str) -> tuple[str, Path]:
    """What KIND:PATH says; the path is a folder.

    Raises:
        DataError: another form, a kind that is not known, or no folder there.
    """
    kind, colon, folder = text.partition(":")
    if not colon or not folder:
        raise DataError(f"--data expects KIND:PATH, for instance skab:SKAB/data/valve1, got {text!r}")
    known = {name: each.about for name, each in KINDS.items()} | {IMAGES: f"a folder of images: {LAYOUTS}"}
    if kind not in known:
        near = difflib.get_close_matches(kind, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise DataError(f"--data {text}: the kind {kind!r} is not known, {hint}")
    path = Path(folder)
    if not path.is_dir():
        raise DataError(f"--data {text}: {path} is not a folder; {kind} expects {known[kind]}{_near(path)}")
    return kind, path.resolve()


def _near(path: Path) -> str:
    """Another folder beside it that was perhaps meant."""
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, 1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
