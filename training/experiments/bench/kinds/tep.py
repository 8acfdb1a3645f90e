"""The Tennessee Eastman process: 52 signals of a simulated chemical plant, every 3 minutes.

`d00.dat`, transposed (52 x 500), is normal operation: fitted on. `dNN_te.dat` (960 x 52) has fault NN from row 160 on;
00 has none. Faults 3 and 9 hardly show in any signal: they are kept, and `files.json` shows them apart. Source: J. J.
Downs and E. F. Vogel, A plant-wide industrial process control problem, Computers and Chemical Engineering 17, 1993; the
files are those of L. H. Chiang, E. L. Russell and R. D. Braatz, Fault detection and diagnosis in industrial systems.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edge_agent.contract.records import NS, Floats
from training.data import DataError
from training.experiments.bench.cases import Case, Flags, Trial
from training.experiments.bench.kinds.files import in_order
from training.splits import Rows

RATE_HZ = 1 / 180
MEASURED, MANIPULATED = 41, 11
"""Signals: measured variables, then manipulated ones."""
CHANNELS = (*(f"xmeas_{n}" for n in range(1, MEASURED + 1)), *(f"xmv_{n}" for n in range(1, MANIPULATED + 1)))
FAULT_ROW = 160
"""First faulty row of a test file."""


class Tep:
    """One case: fitted once, judged on every test file."""

    about = "a folder with d00.dat (52 x 500, normal) and dNN_te.dat (960 x 52), each perhaps .gz"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """The plant."""
        train = [file for file in path.iterdir() if re.fullmatch(r"d00\.dat(\.gz)?", file.name)]
        tests = [file for file in in_order(path.iterdir()) if re.fullmatch(r"d\d\d_te\.dat(\.gz)?", file.name)]
        if not train or not tests:
            raise DataError(f"{path} has no {'dNN_te.dat' if train else 'd00.dat'}: expected {self.about}")
        values = np.ascontiguousarray(_matrix(train[0]).T)
        return (
            Case(
                name="plant",
                channels=CHANNELS,
                rate_hz=RATE_HZ,
                train=_rows(values, train[0], np.zeros(len(values), bool)),
                trials=tuple(map(_trial, tests)),
            ),
        )


def _trial(file: Path) -> Trial:
    values = _matrix(file)
    faulty = (np.arange(len(values)) >= FAULT_ROW) & (not file.name.startswith("d00"))
    return Trial(name=file.name.split("_")[0], rows=_rows(values, file, faulty), tested=np.ones(len(values), bool))


def _matrix(file: Path) -> Floats:
    try:
        return np.loadtxt(file, dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file} as a table of numbers: {error}") from error


def _rows(values: Floats, file: Path, labels: Flags) -> Rows:
    if values.shape[1] != len(CHANNELS):
        raise DataError(f"{file} should hold {len(CHANNELS)} signals, got an array {list(values.shape)}")
    t_ns = (np.arange(len(values)) * (NS / RATE_HZ)).round().astype(np.int64)
    return Rows(values=values, t_ns=t_ns, labels=labels)
