"""SKAB, the Skoltech Anomaly Benchmark: a water loop with a pump, 8 sensors, 1 Hz.

Protocol of its leaderboard: fit on the first 400 rows of each file, test on the rest, row by row. Source: I. D. Katser
and V. O. Kozitsin, Skoltech Anomaly Benchmark (SKAB), 2020.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data import DataError, find_channels, read_recording
from training.experiments.bench.cases import Case, Trial
from training.experiments.bench.kinds.files import in_order, part_of, stretch
from training.recipe import DataSettings

FIT_ROWS = 400
"""Rows at the start of each file that are fitted on."""

RATE_HZ = 1.0

SETTINGS = DataSettings(delimiter=";", time_column="datetime", label_column="anomaly", ignore_columns=("changepoint",))

UNLABELLED = "anomaly-free"
"""Folder of the data set with a recording that has no labels: there is nothing to test on."""


class Skab:
    """Folder of SKAB's labelled files, or of folders of them."""

    about = "a folder of SKAB's CSV files (columns datetime; 8 sensors; anomaly; changepoint), or of such folders"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """Each file is a case of its own."""
        files = [file for file in in_order(path.rglob("*.csv")) if UNLABELLED not in file.parts]
        if not files:
            raise DataError(f"{path} has no *.csv: expected {self.about}")
        return tuple(_case(file, file.relative_to(path).with_suffix("").as_posix()) for file in files)


def _case(file: Path, name: str) -> Case:
    channels = find_channels(file, SETTINGS)
    recording = read_recording(file, SETTINGS, channels, RATE_HZ)
    rows = stretch(recording)
    if len(rows) <= FIT_ROWS:
        raise DataError(f"{file} has {len(rows)} rows: the first {FIT_ROWS} are fitted on, and none is left to test")
    return Case(
        name=name,
        channels=tuple(channel.name for channel in channels),
        rate_hz=RATE_HZ,
        train=part_of(rows, slice(FIT_ROWS)),
        trials=(Trial(name=name, rows=rows, tested=np.arange(len(rows)) >= FIT_ROWS),),
    )
