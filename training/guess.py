"""`init`: look at a recording and write a recipe with what was found, every setting explained.

Guessed are the delimiter, the time column and whether it rises, the label column, the channels, the rate and the
longest gap of normal recording. All else comes from the ready recipe of the detector, from its line `[split]` on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edge_agent.contract.rate import measured_rate_hz
from edge_agent.contract.records import Times, read_heading
from edge_agent.contract.words import counted
from training.data import DataError, guess_delimiter, numeric_share, parse_times, read_table
from training.recipe import RecipeError, TimeUnit, nearest, parse_recipe, recipe_text

READY = Path(__file__).parent / "recipes"

LABEL_NAMES = re.compile(r"(is_?)?(anomal(y|ies|ous)|label|fault(y)?|attack|outlier|abnormal)", re.IGNORECASE)
"""Names that label columns have in public data sets."""

OTHER_LABELS = re.compile(r"change_?points?|split|fold|index|unnamed: 0", re.IGNORECASE)
"""Columns of public data sets that are neither reading, time nor label."""

TIME_NAMES = re.compile(r"(date|time|timestamp|datetime|ts|t)([ _-]?(stamp|utc|ns|us|ms|s))?", re.IGNORECASE)
"""Names that time columns have."""

TEST_LINE = "test = 0.25  # share of each recording, at its end, that is only tested on, where there are labels"
"""Of an own recording's recipe, instead of the row count of a protocol."""

ROWS_LINE = "fit_rows = {rows}  # the first rows of each file, for training and validation; the rest is tested on"
"""The row count of a protocol."""

LEARNS_FAULTS = "It learns from labelled faults too"
"""What the head of a ready recipe says where its detector needs labels; asking the detector itself takes TensorFlow."""

GAP_SAMPLES = 3.5
"""A step of more than so many usual intervals is a gap: up to three readings may be missing in a row."""

GOOD_RISE = 0.99
"""Share of rows whose time must rise for a column to be the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What a recording looks like."""

    delimiter: str
    time_column: str
    label_column: str
    faulty_rows: int
    """Rows whose label is above 0."""
    ignored: tuple[str, ...]
    channels: tuple[str, ...]
    left_out: tuple[str, ...]
    """Columns that are nothing of these: ignored ones, and those with too few numbers, such as empty ones and text."""
    rate_hz: float
    max_gap_s: float
    rows: int
    gaps: int
    bad_cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The recipe that was written."""

    path: Path
    summary: str
    advice: str
    """What must be done before `fit`; empty: nothing."""


def guess(path: Path) -> Guess:
    """Look at a recording.

    Raises:
        DataError: it cannot be read or has no numeric column.
    """
    table = read_table(path)
    time_column, t_ns = _find_time(table)
    label_column = next(
        (name for name in table.columns if LABEL_NAMES.fullmatch(name) and numeric_share(table[name]) == 1), ""
    )
    apart = {time_column, label_column}
    numeric = [name for name in table.columns if name not in apart and numeric_share(table[name]) > 1 / 2]
    ignored = tuple(name for name in numeric if OTHER_LABELS.fullmatch(name))
    channels = tuple(name for name in numeric if name not in ignored)
    if not channels:
        raise DataError(f"{path}: no numeric column beside time and label; its columns are {', '.join(table.columns)}")
    rate_hz = _round(measured_rate_hz(t_ns, np.inf)) if t_ns is not None and len(t_ns) > 1 else 1.0
    max_gap_s = _round(GAP_SAMPLES / rate_hz)
    return Guess(
        delimiter="" if path.suffix in {".parquet", ".pq"} else guess_delimiter(path),
        time_column=time_column,
        label_column=label_column,
        faulty_rows=int((pd.to_numeric(table[label_column]) > 0).sum()) if label_column else 0,
        ignored=ignored,
        channels=channels,
        left_out=tuple(name for name in table.columns if name not in apart and name not in channels),
        rate_hz=rate_hz,
        max_gap_s=max_gap_s,
        rows=len(table),
        gaps=0 if t_ns is None else int((np.diff(t_ns) > max_gap_s * 1e9).sum()),
        bad_cells=sum(round((1 - numeric_share(table[name])) * len(table)) for name in channels),
    )


def _find_time(table: pd.DataFrame) -> tuple[str, Times | None]:
    """The first column that reads as rising times: by its name, or else as text that is no number."""
    for name in table.columns:
        named = TIME_NAMES.fullmatch(name) is not None
        if not named and (numeric_share(table[name]) > 0 and not pd.api.types.is_datetime64_any_dtype(table[name])):
            continue
        t_ns, readable = parse_times(table[name], TimeUnit.AUTO)
        if readable.mean() > GOOD_RISE and len(t_ns) > 1 and (np.diff(t_ns[readable]) > 0).mean() > GOOD_RISE:
            return name, t_ns[readable]
    return "", None


def _round(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def write_recipe(data: Path, detector: str, out: Path, *, replace: bool, fit_rows: int | None = None) -> Written:
    """Write the recipe for a recording and check that it parses.

    Args:
        data: the recording.
        detector: name of the ready recipe to start from.
        out: file to write.
        replace: it may be there already.
        fit_rows: train on that many rows and test on the rest; None: by shares.

    Raises:
        RecipeError: there is no such ready recipe, or the file exists and `replace` is not set.
        DataError: the recording cannot be read.
    """
    ready = ready_text(READY, detector)
    if out.exists() and not replace:
        raise RecipeError(f"{out} exists: give another --out, or --force to replace it")
    found = guess(data)
    text = _head(found, data, out) + _rows(ready) + _windows(found) + _tail(ready, fit_rows)
    parse_recipe(text, out.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    advice = _labels_advice(found, detector, out) if learns_faults(ready) and not found.faulty_rows else ""
    return Written(path=out, summary=_summary(found), advice=advice)


def ready_text(folder: Path, detector: str) -> str:
    """The text of a detector's ready recipe.

    Raises:
        RecipeError: the folder has none for it; the message has the nearest.
    """
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if detector not in known:
        raise RecipeError(f"no ready recipe {detector!r}; {nearest(detector, known)}")
    return recipe_text(folder / f"{detector}.toml")


def learns_faults(ready: str) -> bool:
    """Whether the detector of a ready recipe, given as text, needs labelled faults in its training part."""
    return head_says(ready, LEARNS_FAULTS)


def head_says(ready: str, words: str) -> bool:
    """Whether the comment at the head of a ready recipe, given as text, has these words."""
    head = ready[: ready.index("\nname = ")]
    return words in " ".join(line.lstrip("# ") for line in head.splitlines())


def _labels_advice(found: Guess, detector: str, out: Path) -> str:
    """What to do where a detector needs labels and there are none."""
    lacking = f"no row of {found.label_column} is above 0" if found.label_column else "no column looks like labels"
    return (
        f"{detector} learns from labelled faults, and {lacking}. Before `fit`, say in {out} where the faults are: "
        'label_column = "NAME" for a column above 0 in faulty rows, or labels_file = "faults.csv" for a CSV with the '
        "header start,end and one interval of time a line. It learns from those in the first three quarters. "
        "Without labels, take another detector: `python -m training detectors` says what each one needs"
    )


def _left_out(found: Guess) -> Iterable[tuple[str, list[str]]]:
    """Columns that are no channels, by the reason."""
    yield "mostly not numbers", [name for name in found.left_out if name not in found.ignored]
    yield "named like labels", [name for name in found.left_out if name in found.ignored]


def _summary(found: Guess) -> str:
    """What was found, in a line."""
    labels = (
        f"labels in {found.label_column} ({counted(found.faulty_rows, 'faulty row')})"
        if found.label_column
        else "no labels"
    )
    return (
        f"{counted(found.rows, 'reading')} of {counted(len(found.channels), 'channel')} at {found.rate_hz:g} Hz, "
        f"{counted(found.gaps, 'gap')}, {counted(found.bad_cells, 'missing value')}, "
        f"{f'time in {found.time_column}' if found.time_column else 'no time column: rows are counted'}, {labels}"
        + "".join(f", left out {', '.join(names)} ({why})" for why, names in _left_out(found) if names)
    )


def _tail(ready: str, fit_rows: int | None) -> str:
    """A ready recipe from its split on, by shares unless rows are asked for."""
    tail = ready[ready.index("\n[split]") + 1 :]
    if fit_rows is None:
        tail = re.sub(r"^guard_s = .*\n", "", tail, flags=re.MULTILINE)
    share = TEST_LINE if fit_rows is None else ROWS_LINE.format(rows=fit_rows)
    return re.sub(r"^(fit_rows|test) = .*$", share, tail, flags=re.MULTILINE)


def model_name(out: Path) -> str:
    """A name for the model of a recipe, from that of its file."""
    return re.sub(r"[^a-z0-9._-]+", "-", out.stem.lower()).strip("-._") or "model"


def _head(found: Guess, data: Path, out: Path) -> str:
    name = model_name(out)
    file = data.resolve()
    folder = out.resolve().parent
    shown = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()
    channels = "\n".join(map(_channel, found.channels))
    return f"""\
# Recipe written by `python -m training init {data.name}`. Check what is marked CHECK, then:
#   python -m training fit {out.name}

name = {toml_text(name)}  # lower case; names the run and the bundle

[data]
files = [{toml_text(shown)}]  # in time order, relative to this recipe; CSV, CSV.gz or Parquet
test_files = []  # recordings that are only tested on, for instance of faults
delimiter = {toml_text(found.delimiter)}
time_column = {toml_text(found.time_column)}  # "" counts rows at rate_hz
time_unit = "auto"  # of a numeric time: auto, s, ms, us, ns since 1970
# Known faults: a column above 0 in faulty rows, or a CSV with the header start,end and one interval a line. Not both.
label_column = {toml_text(found.label_column)}  # CHECK
labels_file = ""
ignore_columns = [{", ".join(map(toml_text, found.ignored))}]

# The channels, in the order in which the device gets them. Give each its unit. A reading below `low` or above `high`
# (both optional) is a sensor fault and never scored: set what the sensor cannot give, not what the machine should not.
# `column` may name another column of the file than `name`. CHECK
{channels}
[windows]
rate_hz = {found.rate_hz:g}  # readings a second; the device refuses a source that is off by more than 10 %
"""


def _rows(ready: str) -> str:
    """The line of a ready recipe with the length of a window, which its steps need."""
    return next(line for line in ready.splitlines(keepends=True) if line.startswith("rows = "))


def _windows(found: Guess) -> str:
    return f"""\
stride = 1  # rows between two windows; raise it for fast sensors
hold = 3  # a value missing for so many samples is held; longer breaks the window
max_gap_s = {found.max_gap_s:g}  # a longer step in time breaks the window
warm_up = 30  # rows after a gap before a streaming detector counts

"""


def _channel(column: str) -> str:
    """A channel of the recipe from a column's heading, which may carry the unit: `pressure [bar]`."""
    name, unit = read_heading(column)
    of_file = "" if name == column else f"column = {toml_text(column)}\n"
    return f"[[channels]]\nname = {toml_text(name)}\n{of_file}unit = {toml_text(unit)}\n"


def toml_text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False)
