"""A folder of labelled CSV files: data of your own.

Each file has a column `anomaly` (above 0 in faulty rows). Fitted on are the rows in which a column `train` is 1, or the
first rows where there is no such column and their number is given; all other rows are tested. Time column, channels and
rate are found as `python -m training init` finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data import DataError, read_recording, read_table
from training.experiments.bench.cases import Case, Trial
from training.experiments.bench.kinds.files import SUFFIXES, in_order, name_of, part_of, stretch
from training.guess import guess
from training.recipe import ChannelSettings, DataSettings
from training.splits import Rows

LABELS, TRAIN = "anomaly", "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFolder:
    """Recordings with labels, one case each."""

    fit_rows: int | None = None
    """Rows at the start of each file that are fitted on where it has no column `train`."""
    about: str = "a folder of CSV files with a column anomaly, and a column train or --fit-rows N"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """Each file is a case of its own."""
        files = [file for file in in_order(path.iterdir()) if file.name.lower().endswith(SUFFIXES)]
        if not files:
            raise DataError(f"{path} has no *.csv: expected {self.about}")
        return tuple(self._case(file) for file in files)

    def _case(self, file: Path) -> Case:
        found, columns = guess(file), read_table(file).columns
        if LABELS not in columns:
            raise DataError(f"{file} has no column {LABELS!r} (above 0 in faulty rows); it has {', '.join(columns)}")
        if TRAIN not in columns and self.fit_rows is None:
            raise DataError(f"{file} has no column {TRAIN!r} (1 in rows to fit on): add one, or give --fit-rows N")
        settings = DataSettings(delimiter=found.delimiter, time_column=found.time_column, label_column=LABELS)
        names = tuple(name for name in found.channels if name not in {LABELS, TRAIN})
        read = tuple(ChannelSettings(name=name) for name in (*names, TRAIN) if name in columns)
        recording = read_recording(file, settings, read, found.rate_hz)
        rows = stretch(recording)
        if TRAIN in columns:
            fitted = rows.values[:, -1] > 0
            rows = Rows(values=rows.values[:, :-1], t_ns=rows.t_ns, labels=rows.labels)
        else:
            fitted = np.arange(len(rows)) < (self.fit_rows or 0)
        if fitted.all() or not fitted.any():
            raise DataError(f"{file}: {fitted.sum()} of {len(fitted)} rows are to fit on; there must be others to test")
        name = name_of(file)
        return Case(
            name=name,
            channels=names,
            rate_hz=found.rate_hz,
            train=part_of(rows, fitted),
            trials=(Trial(name=name, rows=rows, tested=~fitted),),
        )
