"""Training, validation and test parts in time order, and their windows.

    rows of one recording:   training | guard | validation | test
                             ◄──────── fit_rows ─────────►

No window spans two parts: each part is cut into windows by a windower of its own. The guard keeps validation from being
the mere continuation of training. Rows known to be faulty are left out of training and validation; the hole is at least
as long as the longest allowed gap, so that it breaks the windows on both sides of it, here and in the converter.

Detectors that learn from faults get windows of the training part that end in them. No event, that is an unbroken run of
labelled rows, is both learned from and tested on: a cut that `test` would put into one is made before it, and one that
`fit_rows` tears is not learned from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Block, Floats, Times, Unknown, WindowBatch
from edge_agent.contract.windows import Windower, WindowRule
from edge_agent.contract.words import counted
from training.data import DataError, Recording
from training.recipe import Recipe

FAULTY_SHARE = 0.25
"""Share of a window's rows that must be labelled, its last row among them, for the window to be an example of a fault:
right after the onset a window still looks normal. Of a shorter event the window that ends with it is the example."""

FEWEST_WINDOWS = 20
"""Training or validation windows below which no threshold means anything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A stretch of a recording."""

    values: Floats
    """float32 [n, C]."""
    t_ns: Times
    """int64 [n]."""
    labels: NDArray[np.bool_] | None

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.t_ns)

    def block(self) -> Block:
        """The rows as the windower takes them, apart from what came before."""
        return Block(values=self.values, t_ns=self.t_ns, gap=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """The parts of all recordings, in the order of the files."""

    training: tuple[Rows, ...]
    validation: tuple[Rows, ...]
    test: tuple[Rows, ...]
    labelled: tuple[Rows, ...]
    """The training part with its faults, of recordings with labels: the faults and the rows around them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Windows and the reading time of their last rows."""

    values: Floats
    """float32 [k, T, C]."""
    t_ns: Times
    """int64 [k]."""
    run: NDArray[np.int64]
    """int64 [k], rising: windows with the same number follow each other without a break."""
    warming: NDArray[np.bool_]
    """bool [k]: it only warms up a streaming graph, its score does not count."""
    unknown: tuple[str, ...]
    """Why stretches of the readings gave no windows, once per change."""


def split(
    recordings: Iterable[Recording],
    test_recordings: Iterable[Recording],
    recipe: Recipe,
    *,
    supervised: bool = False,
) -> Splits:
    """Cut each recording by the recipe; `test_recordings` are for testing as a whole.

    Of recordings without labels nothing is left for testing, unless `fit_rows` says so. For a `supervised` detector the
    share `test` of a recording with two events or more is made longer where it would hold none.

    Raises:
        DataError: a recording is too short for its parts.
    """
    training, validation, test, labelled = [], [], [], []
    for recording in recordings:
        fit, first = _bounds(recording, recipe, supervised=supervised)
        last = first - recipe.guard_rows
        training.append(normal_only(_rows(recording, slice(0, last)), recipe))
        validation.append(normal_only(_rows(recording, slice(first, fit)), recipe))
        test.append(_rows(recording, slice(fit, len(recording))))
        if recording.labels is not None:
            labelled.append(_rows(recording, slice(0, min(last, _before_event(recording.labels, fit)))))
    test += [_rows(recording, slice(None)) for recording in test_recordings]
    return Splits(
        training=tuple(training),
        validation=tuple(validation),
        test=tuple(rows for rows in test if len(rows)),
        labelled=tuple(labelled),
    )


def _bounds(recording: Recording, recipe: Recipe, *, supervised: bool) -> tuple[int, int]:
    """Rows for the fit, and the first of them that is for validation."""
    rows, settings = len(recording), recipe.split
    if settings.fit_rows is not None:
        fit = min(settings.fit_rows, rows)
    elif recording.labels is None or not settings.test:
        fit = rows
    else:
        fit = _before_event(recording.labels, rows - round(settings.test * rows))
        onsets = _onsets(recording.labels)
        if supervised and len(onsets) > 1:
            fit = min(fit, int(onsets[-1]))
    first = fit - round(settings.validation * fit)
    if first - recipe.guard_rows < recipe.windows.rows or fit - first < recipe.windows.rows:
        raise DataError(
            f"{recording.name} has {counted(rows, 'row')}, {fit} of them for the fit: "
            f"{max(first - recipe.guard_rows, 0)} for training, {recipe.guard_rows} of guard and {fit - first} for "
            f"validation are too few for windows of {recipe.windows.rows} rows; record longer, or set shorter "
            "windows.rows or split.guard_s"
        )
    return fit, first


def _onsets(labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First rows of the events."""
    return np.flatnonzero(np.diff(labels.astype(np.int8), prepend=0) == 1)


def _before_event(labels: NDArray[np.bool_], row: int) -> int:
    """The row, or the first row of the event that a cut before it would tear."""
    if 0 < row < len(labels) and labels[row - 1] and labels[row]:
        onsets = _onsets(labels)
        return int(onsets[onsets < row][-1])
    return row


def _rows(recording: Recording, part: slice) -> Rows:
    labels = None if recording.labels is None else recording.labels[part]
    return Rows(values=recording.values[part], t_ns=recording.t_ns[part], labels=labels)


def normal_only(rows: Rows, recipe: Recipe) -> Rows:
    """Leave out rows known to be faulty, and as many after them as make the hole break a window."""
    if rows.labels is None or not rows.labels.any():
        return rows
    row = np.arange(len(rows))
    last_faulty = np.maximum.accumulate(np.where(rows.labels, row, -1))
    since_ns = np.abs(rows.t_ns - rows.t_ns[last_faulty])
    keep = (last_faulty < 0) | (since_ns > round(recipe.windows.gap_s * NS))
    return Rows(values=rows.values[keep], t_ns=rows.t_ns[keep], labels=rows.labels[keep])


def joined(parts: tuple[Rows, ...]) -> Rows:
    """The parts one after the other; between two files time jumps, which breaks the windows."""
    known = [part.labels for part in parts if part.labels is not None]
    labels = np.concatenate(known) if len(known) == len(parts) else None
    return Rows(
        values=np.concatenate([part.values for part in parts]),
        t_ns=np.concatenate([part.t_ns for part in parts]),
        labels=labels,
    )


def windows_of(parts: Iterable[Rows], rule: WindowRule) -> Windows:
    """Cut the parts into windows with the device's windower; none spans two parts or a break."""
    batches: list[WindowBatch] = []
    runs: list[int] = []
    unknown: list[str] = []
    for part in parts:
        for result in Windower(rule).feed(part.block()):
            if isinstance(result, Unknown):
                unknown.append(f"{result.fault}: {result.detail}" if result.detail else str(result.fault))
            else:
                batches.append(result)
                runs.append(len(unknown))
    warming = [np.arange(len(batch.t_ns)) < batch.warming for batch in batches]
    return Windows(
        values=np.concatenate(
            [np.empty((0, rule.window, len(rule.channels)), np.float32), *(batch.values for batch in batches)]
        ),
        t_ns=np.concatenate([np.empty(0, np.int64), *(batch.t_ns for batch in batches)]),
        run=np.repeat(np.array(runs, np.int64), [len(batch.t_ns) for batch in batches]),
        warming=np.concatenate([np.empty(0, bool), *warming]),
        unknown=tuple(unknown),
    )


def faulty_windows_of(parts: Iterable[Rows], rule: WindowRule) -> Floats:
    """Windows float32 [m, T, C] of labelled parts that end in a fault and hold enough of it, see FAULTY_SHARE."""
    found = [np.empty((0, rule.window, len(rule.channels)), np.float32)]
    for part in parts:
        windows = windows_of([part], rule)
        labels, end = np.asarray(part.labels, np.bool_), rows_of(windows.t_ns, part.t_ns)
        before = np.concatenate([[0], np.cumsum(labels)])
        enough = before[end + 1] - before[end + 1 - rule.window] >= FAULTY_SHARE * rule.window
        last_of_event = ~np.append(labels[1:], False)[end]
        found.append(windows.values[labels[end] & (enough | last_of_event)])
    return np.concatenate(found)


def rows_of(ends: Times, t_ns: Times) -> NDArray[np.int64]:
    """Index of each window's last reading; both are in one order, and a time may come again in another recording."""
    rows, row = np.empty(len(ends), np.int64), 0
    for index, end in enumerate(ends):
        while t_ns[row] != end:
            row += 1
        rows[index] = row
        row += 1
    return rows


def sequences_of(windows: Windows) -> tuple[Floats, ...]:
    """Unbroken runs float32 [L, C] of one-row windows, for streaming detectors."""
    return tuple(run[:, 0] for run in np.split(windows.values, np.flatnonzero(np.diff(windows.run)) + 1) if len(run))


def check_enough(windows: Windows, part: str) -> None:
    """Refuse to fit on next to nothing.

    Raises:
        DataError: with the reasons the windower gave.
    """
    if len(windows.values) < FEWEST_WINDOWS:
        reasons = "; ".join(dict.fromkeys(windows.unknown)) or "the part is too short"
        raise DataError(
            f"{part} gave {counted(len(windows.values), 'window')}, at least {FEWEST_WINDOWS} are needed: {reasons}"
        )
