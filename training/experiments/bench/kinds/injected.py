"""A folder of normal recordings: faults are injected, so that recipes can be compared where nobody labelled any.

Each recording is cut into pieces that overlap by half. Of a piece the first rows are fitted on, and half of the rest
goes wrong in one channel: the kinds of fault and their sizes take turns, place and channel are drawn by the number of
the piece. Rows that the fault changed are labelled. What is measured holds for faults like these; that the machine's
own are like them nobody promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.contract.faults import FaultKind, inject
from training.data import DataError, read_recording
from training.experiments.bench.cases import Case, Trial
from training.experiments.bench.kinds.files import SUFFIXES, in_order, name_of, part_of, stretch
from training.guess import guess
from training.recipe import ChannelSettings, DataSettings
from training.splits import Rows

FIT_ROWS = 400
"""Rows of a piece that are fitted on, unless the command line says how many."""

TESTED = 2
"""Rows of a piece that are tested on, in lengths of what is fitted on: long enough for the normal state to wander."""

KINDS = (FaultKind.STEP, FaultKind.DRIFT, FaultKind.NOISE)
"""Faults with a size in spreads, and such as last."""

SEVERITIES = (2.0, 4.0, 8.0)
"""Standard deviations of the channel in the fitted rows: from barely to plainly visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """Normal recordings, one case a piece."""

    fit_rows: int | None = None
    """Rows of a piece that are fitted on; None: FIT_ROWS."""
    about: str = "a folder of CSV files of normal operation; faults are injected"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """Each piece is a case of its own."""
        files = [file for file in in_order(path.iterdir()) if file.name.lower().endswith(SUFFIXES)]
        if not files:
            raise DataError(f"{path} has no *.csv: expected {self.about}")
        return tuple(case for file in files for case in self._of_file(file))

    def _of_file(self, file: Path) -> Iterator[Case]:
        found = guess(file)
        settings = DataSettings(delimiter=found.delimiter, time_column=found.time_column)
        channels = tuple(ChannelSettings(name=name) for name in found.channels)
        rows = stretch(read_recording(file, settings, channels, found.rate_hz))
        fitted = self.fit_rows or FIT_ROWS
        length = (1 + TESTED) * fitted
        if len(rows) < length:
            raise DataError(f"{file} has {len(rows)} rows, a piece {length}: record longer, or give --fit-rows N")
        for number, start in enumerate(range(0, len(rows) - length + 1, length // 2)):
            piece = with_fault(part_of(rows, slice(start, start + length)), fitted, number)
            name = f"{name_of(file)}-{number}"
            yield Case(
                name=name,
                channels=found.channels,
                rate_hz=found.rate_hz,
                train=part_of(piece, slice(fitted)),
                trials=(Trial(name=name, rows=piece, tested=np.arange(length) >= fitted),),
            )


def with_fault(rows: Rows, fitted: int, number: int) -> Rows:
    """Let one channel go wrong in half of the rows after the first `fitted`, and label the rows that changed.

    Args:
        rows: normal, n of them.
        fitted: rows at the start that stay as they are.
        number: of the piece; decides kind, size, place and channel.
    """
    rng = np.random.default_rng(number)
    tested = len(rows) - fitted
    first = fitted + int(rng.integers(tested // 8, tested // 2 - tested // 8))
    faulty = slice(first, first + tested // 2)
    spread = np.nanstd(rows.values[:fitted].astype(np.float64), axis=0)
    kind, severity = KINDS[number % len(KINDS)], SEVERITIES[number // len(KINDS) % len(SEVERITIES)]
    moving = np.flatnonzero(spread > 0)
    if not len(moving):
        raise DataError("no channel moves in the fitted rows: there is nothing that a fault could be measured by")
    channel = int(rng.choice(moving))
    values = rows.values.copy()
    values[faulty] = inject(values[np.newaxis, faulty], kind, severity, spread, rng, channel)[0]
    changed = (values != rows.values) & ~(np.isnan(values) & np.isnan(rows.values))
    return Rows(values=values, t_ns=rows.t_ns, labels=changed.any(axis=1))
