"""Faults in the rows to fit on that nobody noticed: what they cost a detector.

    rows to fit on   learned from, 70 %                  set the threshold, 30 %
    stretch          ─────────▓▓▓▓▓▓▓──────────────────  ──────▓▓▓─────────    one fault that nobody noticed
    scattered        ──▓────▓▓▓──────────▓▓──────▓─────  ───▓──────▓▓──────    glitches, loose contacts

A share of the rows that pass for normal is replaced by faulty rows of the case's own tests, in each of the two parts
alone: what is learned and what sets the threshold suffer alike, wherever a recipe lets them meet. Labels stay as they
are, so that no detector is told. Nothing else changes: the same rows are tested, those that were lent among them. A
detector that takes them for normal misses them there, so the figures are of the case that hurts most: the fault to be
found is the one that was in the training data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Floats
from training.data import DataError
from training.experiments.bench.cases import Case, DataSet
from training.recipe import SplitSettings
from training.splits import Rows

logger = logging.getLogger(__name__)

LONGEST_GLITCH = 5
"""Rows of a scattered run, one to so many: some as short as what spike removal takes out (`windows.hold`, 3 in every
ready recipe), some longer."""

MOST = 0.5
"""Share of the rows below which a detector can still know what is normal."""

Numbers = NDArray[np.int64]

Runs = Callable[[int, np.random.Generator], Numbers]
"""Given how many rows are replaced: the lengths of the unbroken runs that they make."""


def _scattered(count: int, rng: np.random.Generator) -> Numbers:
    ends = np.cumsum(rng.integers(1, LONGEST_GLITCH, count, endpoint=True))
    return np.diff(np.unique(np.minimum(ends, count)), prepend=0)


WAYS: dict[str, Runs] = {"stretch": lambda count, _: np.array([count]), "scattered": _scattered}
"""Ways of contamination by the name that the data set gets."""


def contaminated(data: DataSet, share: float) -> tuple[DataSet, ...]:
    """The data set once for each way, named for instance `skab+5%stretch`.

    Cases without a faulty row to lend, or with too few rows for the share, are left out with a warning.

    Args:
        data: as it was read.
        share: of the rows to fit on that are replaced, above 0 and below one half.

    Raises:
        DataError: the share is out of range, or no case is left.
    """
    if not 0 < share < MOST:
        raise DataError(f"--contaminate must be a share above 0 and below {MOST}, for instance 0.05, got {share:g}")
    cases = [case for case in data.cases if len(_lent(case)) and all(_counts(case, share))]
    left_out = [case.name for case in data.cases if case not in cases]
    why = "no row labelled as faulty in the tests, or too few rows to fit on"
    if not cases:
        raise DataError(f"{data.name} cannot be contaminated: {', '.join(left_out)} have {why}")
    if left_out:
        logger.warning("%s: left out of the contaminated ones, as they have %s: %s", data.name, why, left_out)
    return tuple(
        replace(
            data,
            name=f"{data.name}+{100 * share:g}%{way}",
            clean_name=data.name,
            cases=tuple(replace(case, train=_train(case, share, runs)) for case in cases),
        )
        for way, runs in WAYS.items()
    )


def _lent(case: Case) -> Floats:
    """The faulty rows of the tests, one trial after the other."""
    return np.concatenate([trial.rows.values[trial.tested][trial.labels] for trial in case.trials])


def _parts(case: Case) -> tuple[Numbers, Numbers]:
    """Rows that pass for normal: those learned from, and those that set the threshold."""
    count, labels = len(case.train), case.train.labels
    normal = np.arange(count) if labels is None else np.flatnonzero(~labels)
    learned = normal < round((1 - SplitSettings().validation) * count)
    return normal[learned], normal[~learned]


def _counts(case: Case, share: float) -> list[int]:
    """Rows to replace in each part."""
    return [round(share * len(part)) for part in _parts(case)]


def _train(case: Case, share: float, runs: Runs) -> Rows:
    """The rows to fit on, with faulty ones among them; the same for the same name of the case."""
    values, lent, rng = case.train.values.copy(), _lent(case), np.random.default_rng(list(case.name.encode()))
    for part, count in zip(_parts(case), _counts(case, share), strict=True):
        lengths = runs(count, rng)
        for start, length in zip(_places(len(part), lengths, rng), lengths.tolist(), strict=True):
            values[part[start : start + length]] = _piece(lent, length, rng)
    return replace(case.train, values=values)


def _places(rows: int, lengths: Numbers, rng: np.random.Generator) -> list[int]:
    """First rows of runs of these lengths that do not touch each other."""
    left = rows - int(lengths.sum())
    before = np.sort(rng.choice(left + 1, len(lengths), replace=False))
    return [int(row) for row in before + np.cumsum(lengths) - lengths]


def _piece(lent: Floats, length: int, rng: np.random.Generator) -> Floats:
    """So many rows that follow each other, from any place; from the start again where there are fewer."""
    start = int(rng.integers(max(len(lent) - length, 0) + 1))
    return lent.take(np.arange(start, start + length), axis=0, mode="wrap")
