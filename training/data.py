"""Recordings in: CSV, CSV.gz and Parquet files become float32 readings with reading time and labels.

Bad cells are never guessed at: what is not a finite number becomes a missing value (NaN), which the windower holds for
a few samples or lets break the window, as on the device. Rows without a readable time and lines with too many cells are
dropped. All of it is counted and told.

Labels mark rows that are known to be faulty: a column above 0, or a CSV of intervals:

    start,end
    2020-03-09 10:24:33,2020-03-09 10:31:03
"""

from __future__ import annotations

import gzip
import hashlib
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Channel, Floats, Times
from edge_agent.contract.words import counted
from training.recipe import ChannelSettings, DataSettings, TimeUnit

TEXT_SUFFIXES = (".csv", ".csv.gz", ".txt", ".tsv")
PARQUET_SUFFIXES = (".parquet", ".pq")

DELIMITERS = ",;\t|"
"""Separators that are guessed from the header line."""

TICKS_NS = {
    TimeUnit.SECONDS: NS,
    TimeUnit.MILLISECONDS: 1_000_000,
    TimeUnit.MICROSECONDS: 1_000,
    TimeUnit.NANOSECONDS: 1,
}

LARGEST_SECONDS = 1e11
"""Times since the epoch below this are seconds (it is the year 5138); each finer unit is 1,000 times larger."""

MOST_BAD_CELLS = 0.5
"""Share of unreadable cells above which a column is taken to be no channel at all."""

MOST_STANDING_TIMES = 0.01
"""Share of rows whose time does not rise above which the time column is taken to be too coarse or not a time."""


class DataError(Exception):
    """The data cannot be used; the message says which file and column, what was expected and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """One file of readings, in time order."""

    name: str
    values: Floats
    """float32 [n, C]; NaN is a missing value."""
    t_ns: Times
    """int64 [n] reading time."""
    labels: NDArray[np.bool_] | None
    """bool [n], True where known to be faulty; None: nothing is known."""
    sha256: str
    """Of the file's bytes."""
    remarks: tuple[str, ...] = ()
    """What was wrong with the data and what was done about it."""

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.t_ns)


def read_table(path: Path, delimiter: str = "") -> pd.DataFrame:
    """Read a file as text columns (CSV) or typed columns (Parquet); `attrs["dropped"]` counts lines that did not fit.

    Raises:
        DataError: not there, empty, without a header, binary, or of another kind.
    """
    name = path.name.lower()
    if not name.endswith((*PARQUET_SUFFIXES, *TEXT_SUFFIXES)):
        raise DataError(f"{path}: expected .csv, .csv.gz or .parquet, got {path.suffix or 'no suffix'!r}")
    try:
        table = pd.read_parquet(path) if name.endswith(PARQUET_SUFFIXES) else _read_text(path, delimiter)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; file names in a recipe are relative to the recipe") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if table.empty:
        raise DataError(f"{path} has a header but no readings")
    table.columns = [str(column).strip() for column in table.columns]
    if any(letter < " " and not letter.isspace() for letter in "".join(table.columns)):
        raise DataError(
            f"{path} is not text: expected a header line with the names of the columns, got control characters"
        )
    return table


def _read_text(path: Path, delimiter: str) -> pd.DataFrame:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        table = pd.read_csv(
            path,
            sep=delimiter or guess_delimiter(path),
            dtype=str,
            index_col=False,
            skipinitialspace=True,
            on_bad_lines="warn",
            encoding="utf-8-sig",
            encoding_errors="replace",
        )
    table.attrs["dropped"] = sum(str(warning.message).count("Skipping line") for warning in told)
    return table


def guess_delimiter(path: Path) -> str:
    """The separator that occurs most often in the header line."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(1 << 16)
    if not header.strip():
        raise DataError(f"{path} is empty: expected a header line with the names of the columns")
    return max(DELIMITERS, key=header.count)


def read_recording(
    path: Path,
    settings: DataSettings,
    channels: tuple[ChannelSettings, ...],
    rate_hz: float,
    labels_file: Path | None = None,
) -> Recording:
    """Read one file as the recipe says.

    Raises:
        DataError: a column is missing or not numeric, times do not rise, labels do not fit.
    """
    table = read_table(path, settings.delimiter)
    remarks = (
        [f"dropped {counted(dropped, 'line')} with too many cells"] if (dropped := table.attrs.get("dropped")) else []
    )
    t_ns, readable = _times(table, settings, rate_hz, path)
    if not readable.all():
        remarks.append(f"dropped {counted(int((~readable).sum()), 'row')} without a readable time")
        table, t_ns = table[readable], t_ns[readable]
    _check_rising(t_ns, path, remarks)
    values = np.stack([_numbers(table, channel.column or channel.name, path, remarks) for channel in channels], axis=1)
    labels = _labels(table, settings, t_ns, labels_file, path)
    return Recording(
        name=path.name, values=values, t_ns=t_ns, labels=labels, sha256=_sha256(path), remarks=tuple(remarks)
    )


def find_channels(path: Path, settings: DataSettings) -> tuple[ChannelSettings, ...]:
    """Every column of a file that is mostly numbers and is neither time, label nor ignored."""
    table = read_table(path, settings.delimiter)
    apart = {settings.time_column, settings.label_column, *settings.ignore_columns}
    names = [name for name in table.columns if name not in apart and numeric_share(table[name]) > 1 - MOST_BAD_CELLS]
    if not names:
        raise DataError(
            f"{path}: no numeric column left for a channel; columns are {', '.join(table.columns)}, "
            f"delimiter {settings.delimiter or guess_delimiter(path)!r}"
        )
    return tuple(ChannelSettings(name=name) for name in names)


def numeric_share(column: pd.Series) -> float:
    """Share of the cells of a column that are finite numbers."""
    return float(np.isfinite(pd.to_numeric(column, errors="coerce").to_numpy(np.float64)).mean())


def parse_times(column: pd.Series, unit: TimeUnit) -> tuple[Times, NDArray[np.bool_]]:
    """Reading time in ns since the epoch, and which cells could be read; text is UTC unless it says otherwise."""
    numbers = (
        pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        if not _is_datetime(column)
        else np.full(len(column), np.nan)
    )
    readable = np.isfinite(numbers)
    if readable.mean() >= 1 - MOST_BAD_CELLS:
        tick = TICKS_NS[_guess_unit(numbers[readable]) if unit is TimeUnit.AUTO else unit]
        whole = np.where(readable, np.floor(np.nan_to_num(numbers)), 0)
        fraction = np.where(readable, np.nan_to_num(numbers) - whole, 0)
        return whole.astype(np.int64) * tick + np.round(fraction * tick).astype(np.int64), readable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        stamps = pd.DatetimeIndex(
            pd.to_datetime(column, errors="coerce", utc=True, format=None if _is_datetime(column) else "ISO8601")
        )
        if stamps.isna().mean() > MOST_BAD_CELLS:
            stamps = pd.DatetimeIndex(pd.to_datetime(column, errors="coerce", utc=True))
    readable = ~np.asarray(stamps.isna())
    return stamps.as_unit("ns").asi8.astype(np.int64), readable


def _is_datetime(column: pd.Series) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def _guess_unit(numbers: NDArray[np.float64]) -> TimeUnit:
    largest = float(np.median(np.abs(numbers)))
    for power, unit in enumerate((TimeUnit.SECONDS, TimeUnit.MILLISECONDS, TimeUnit.MICROSECONDS)):
        if largest < LARGEST_SECONDS * 1000**power:
            return unit
    return TimeUnit.NANOSECONDS


def _times(table: pd.DataFrame, settings: DataSettings, rate_hz: float, path: Path) -> tuple[Times, NDArray[np.bool_]]:
    if not settings.time_column:
        return (np.arange(len(table)) * (NS / rate_hz)).round().astype(np.int64), np.ones(len(table), bool)
    t_ns, readable = parse_times(_column(table, settings.time_column, path), settings.time_unit)
    if readable.mean() < 1 - MOST_BAD_CELLS:
        raise DataError(
            f"{path}: column {settings.time_column!r} should hold times (ISO 8601 or a number), got for instance "
            f"{table[settings.time_column].iloc[0]!r}"
        )
    return t_ns, readable


def _check_rising(t_ns: Times, path: Path, remarks: list[str]) -> None:
    standing = int((np.diff(t_ns) <= 0).sum())
    if standing > MOST_STANDING_TIMES * len(t_ns):
        raise DataError(
            f"{path}: time does not rise in {standing} of {len(t_ns)} rows; sort the file, give a finer time column, "
            'or leave time_column = "" to count rows at rate_hz'
        )
    if standing:
        remarks.append(f"time does not rise in {counted(standing, 'row')}: windows break there")


def _column(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    if name not in table.columns:
        raise DataError(f"{path} has no column {name!r}; it has {', '.join(map(repr, table.columns))}")
    return table[name]


def _numbers(table: pd.DataFrame, name: str, path: Path, remarks: list[str]) -> Floats:
    column = _column(table, name, path)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    bad = ~np.isfinite(values)
    if bad.mean() > MOST_BAD_CELLS:
        first = column[bad].iloc[0]
        raise DataError(
            f"{path}: column {name!r} should hold numbers, but {int(bad.sum())} of {len(bad)} cells do not, "
            f"for instance {first!r}"
        )
    if bad.any():
        remarks.append(f"{name!r} has {counted(int(bad.sum()), 'missing value')}: cells that are not finite numbers")
    return np.where(bad, np.float32(np.nan), values)


def _labels(
    table: pd.DataFrame, settings: DataSettings, t_ns: Times, labels_file: Path | None, path: Path
) -> NDArray[np.bool_] | None:
    if settings.label_column:
        column = _column(table, settings.label_column, path)
        numbers = pd.to_numeric(
            column.replace({"True": 1, "False": 0, "true": 1, "false": 0}), errors="coerce"
        ).to_numpy(np.float64)
        if np.isnan(numbers).any():
            raise DataError(
                f"{path}: label column {settings.label_column!r} must be 0 (normal) or above (faulty) in every row, "
                f"got for instance {column[np.isnan(numbers)].iloc[0]!r}"
            )
        return np.asarray(numbers > 0)
    if labels_file is None:
        return None
    labels = np.zeros(len(t_ns), bool)
    for start, end in read_intervals(labels_file, settings.time_unit):
        labels |= (t_ns >= start) & (t_ns <= end)
    return labels


def read_intervals(path: Path, unit: TimeUnit) -> list[tuple[int, int]]:
    """Faulty intervals [ns, ns] of a labels CSV.

    Raises:
        DataError: not a CSV with `start,end`, a time cannot be read, or an end before its start.
    """
    table = read_table(path)
    edges = []
    for name in ("start", "end"):
        t_ns, readable = parse_times(_column(table, name, path), unit)
        if not readable.all():
            row = int(np.argmin(readable))
            raise DataError(f"{path}: line {row + 2}: {name} is not a time: {table[name].iloc[row]!r}")
        edges.append(t_ns)
    if (edges[1] < edges[0]).any():
        row = int(np.argmax(edges[1] < edges[0]))
        raise DataError(f"{path}: line {row + 2}: the interval ends before it starts")
    return [(int(start), int(end)) for start, end in zip(*edges, strict=True)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_channels(settings: tuple[ChannelSettings, ...]) -> tuple[Channel, ...]:
    """The channels as the device knows them."""
    return tuple(channel.channel() for channel in settings)
