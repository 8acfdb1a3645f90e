"""A ceiling fan with a cheap accelerometer: 200 readings a second of x, y, z in g, in pieces of one second.

Low speed without a weight is normal; the first half of its pieces, in time order, is fitted on. Tested are the rest of
them, `-moving` (the same, nudged: a false-alarm test) and `1_weight` (a coin on a blade: faulty throughout). Each was
recorded in one session, so that ranking them perfectly means little. A fan at rest (`off`) is neither and left out.

No window spans two pieces: what lies between them is not known, so that they stand a second apart here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from edge_agent.contract.records import NS
from training.data import DataError, read_table
from training.experiments.bench.cases import Case, Trial
from training.experiments.bench.kinds.files import part_of
from training.splits import Rows

RATE_HZ = 200.0
CHANNELS = ("x_g", "y_g", "z_g")
PIECE = "file"
"""Column with the number of the piece."""
NORMAL, NUDGED, FAULTY = "fan_0_low_0_weight", "fan_0_low_0_weight-moving", "fan_0_low_1_weight"
FIT_SHARE = 0.5
"""Of the normal pieces, in time order, those fitted on."""
WINDOW_ROWS = 128
"""0.64 s: the slow swing of the fan and the hum of its motor, within a piece."""
STRIDE = 8
"""25 windows a second: ten in a piece."""
APART_NS = 2 * NS
"""From one piece to the next: a second of readings, and one of silence."""


class Fan:
    """One case: fitted once, judged on three recordings."""

    about = f"a folder with {NORMAL}.csv, {NUDGED}.csv and {FAULTY}.csv, each perhaps .gz"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """The fan."""
        normal = _rows(path, NORMAL, self.about, faulty=False)
        pieces = np.unique(normal.t_ns // APART_NS)
        last = pieces[round(FIT_SHARE * len(pieces)) - 1]
        fitted = normal.t_ns // APART_NS <= last
        later = Trial(name="normal", rows=normal, tested=~fitted)
        others = [(NUDGED, "normal-moving", False), (FAULTY, "1_weight", True)]
        return (
            Case(
                name="fan",
                channels=CHANNELS,
                rate_hz=RATE_HZ,
                train=part_of(normal, fitted),
                trials=(later, *(_trial(path, file, name, self.about, faulty=faulty) for file, name, faulty in others)),
                window_rows=WINDOW_ROWS,
                stride=STRIDE,
            ),
        )


def _trial(path: Path, file: str, name: str, about: str, *, faulty: bool) -> Trial:
    rows = _rows(path, file, about, faulty=faulty)
    return Trial(name=name, rows=rows, tested=np.ones(len(rows), bool))


def _rows(path: Path, name: str, about: str, *, faulty: bool) -> Rows:
    file = next((found for suffix in (".csv", ".csv.gz") if (found := path / (name + suffix)).is_file()), None)
    if file is None:
        raise DataError(f"{path} has no {name}.csv: expected {about}")
    table = read_table(file, ",")
    if missing := [column for column in (PIECE, *CHANNELS) if column not in table.columns]:
        raise DataError(f"{file} has no column {missing[0]!r}; expected {PIECE}, {', '.join(CHANNELS)}")
    numbers = table[[PIECE, *CHANNELS]].apply(pd.to_numeric, errors="coerce")
    piece = numbers[PIECE].to_numpy(np.float64)
    if not np.isfinite(piece).all():
        raise DataError(f"{file}: column {PIECE!r} must hold the number of the piece in every row")
    within = numbers.groupby(PIECE).cumcount().to_numpy(np.float64)
    t_ns = piece.astype(np.int64) * APART_NS + (within * (NS / RATE_HZ)).round().astype(np.int64)
    values = numbers[list(CHANNELS)].to_numpy(np.float32)
    return Rows(values=values, t_ns=t_ns, labels=np.full(len(t_ns), faulty))
