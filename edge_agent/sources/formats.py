"""How the bytes of a sensor become readings: the settings, and the rows that come of them.

The formats are described for the makers of sensors in `docs/line-protocol.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from edge_agent.contract.records import Channel, Floats, Times, read_heading
from edge_agent.sources.times import TimeUnit


class Format(StrEnum):
    """What a stream of bytes is made of."""

    CSV = "csv"
    """Lines of numbers between delimiters."""
    KEYVALUE = "keyvalue"
    """Lines of `a=1 b=2`."""
    JSON = "json"
    """Lines with an object or an array each."""
    BINARY = "binary"
    """Frames with a check sum."""


DELIMITERS = (",", ";", "\t", "|", " ")
"""What separates the fields of a CSV line, in the order tried; a space stands for any run of blanks."""

MAX_LINE_BYTES = 1 << 20
"""Largest `max_line_bytes`: 1 MiB, so that a stream without line ends cannot fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSettings:
    """How to read a stream of bytes."""

    format: Format = Format.CSV
    """`csv`, `keyvalue` (a=1 b=2), `json` (an object or an array a line) or `binary` (frames with CRC)."""
    delimiter: str = ""
    """Between the fields of a CSV line, one character; empty: guessed from the first line that fits."""
    decimal: str = "."
    """Decimal sign of a CSV line: a point or a comma."""
    columns: tuple[str, ...] = ()
    """Field names of CSV lines without a header, and of JSON arrays, in order; fields that are no channel are ignored.
    Empty: the time column, where there is one, then the channels."""
    time_column: str = ""
    """Name of the field that holds the time of the reading; empty: the time of arrival.
    Binary frames: any name, where they carry a time."""
    time_unit: TimeUnit = TimeUnit.AUTO
    """`iso`, `s`, `ms`, `us`, `ns` since 1970 or since the sensor's start; `auto`: by its looks."""
    max_line_bytes: int = 65_536
    """64 to 1,048,576 bytes; a longer line is dropped."""

    def __post_init__(self) -> None:
        """Refuse what no stream can look like."""
        one_of("format", self.format, tuple(Format))
        one_of("decimal", self.decimal, (".", ","))
        one_of("time_unit", self.time_unit, tuple(TimeUnit))
        if len(self.delimiter) > 1 or self.delimiter in ('"', "\n", "\r"):
            raise ValueError(f"delimiter must be one character or empty, got {self.delimiter!r}")
        if self.delimiter and self.delimiter == self.decimal:
            raise ValueError(f"delimiter and decimal sign must differ, got {self.delimiter!r} for both")
        if len(set(self.columns)) != len(self.columns) or "" in self.columns:
            raise ValueError(f"columns must be different names, got {list(self.columns)}")
        if self.columns and self.time_column and self.time_column not in self.columns:
            raise ValueError(f"time_column {self.time_column!r} must be one of columns, got {list(self.columns)}")
        in_range("max_line_bytes", self.max_line_bytes, 64, MAX_LINE_BYTES)

    def column_names(self, channels: tuple[Channel, ...]) -> tuple[str, ...]:
        """Names of the fields of a line that does not name them."""
        time = (self.time_column,) if self.time_column else ()
        return self.columns or time + tuple(channel.name for channel in channels)


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where the channels and the time stand among the fields of a line."""

    width: int
    """Fields in a line."""
    channels: tuple[int | None, ...]
    """Field of each channel; None: not in the line, so the channel is lost."""
    time: int | None
    """Field of the time; None: not in the line."""
    complaint: str = ""
    """What the names lack, in words; empty: nothing."""

    @classmethod
    def named(cls, names: tuple[str, ...], channels: tuple[Channel, ...], time_column: str) -> Columns:
        """Find channels by name in a header, whose names may carry units: `pressure [bar]`, `pressure (bar)`.

        A channel whose unit is not the expected one counts as lost: its figures mean something else.
        """
        plain, units = zip(*map(read_heading, names), strict=True)
        found: list[int | None] = []
        complaints: list[str] = []
        for channel in channels:
            where = _index(channel.name, names, plain)
            if where is None:
                complaints.append(f"no {channel.name!r}")
            elif channel.name not in names and units[where] and channel.unit and units[where] != channel.unit:
                complaints.append(f"{channel.name!r} in {units[where]}, expected {channel.unit}")
                where = None
            found.append(where)
        time = _index(time_column, names, plain) if time_column else None
        if time_column and time is None:
            complaints.append(f"no time column {time_column!r}")
        complaint = f"the header {', '.join(names)} has " + " and ".join(complaints) if complaints else ""
        return cls(width=len(names), channels=tuple(found), time=time, complaint=complaint)


def _index(name: str, names: tuple[str, ...], plain: tuple[str, ...]) -> int | None:
    return names.index(name) if name in names else plain.index(name) if name in plain else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Consecutive readings as they were written, before they have a time of arrival."""

    values: Floats
    """float32 [n, C]."""
    t_ns: Times | None
    """int64 [n] their own time; None where they carry none."""
    gap: bool = False
    """Something was lost before the first row."""


def joined(parts: list[Rows]) -> list[Rows]:
    """Join rows that no gap separates, in as few arrays as can be."""
    stretches: list[list[Rows]] = []
    for rows in parts:
        if rows.gap or not stretches:
            stretches.append([])
        stretches[-1].append(rows)
    return [_concatenated(stretch) for stretch in stretches]


def _concatenated(stretch: list[Rows]) -> Rows:
    if len(stretch) == 1:
        return stretch[0]
    own = [rows.t_ns for rows in stretch if rows.t_ns is not None]
    return Rows(
        values=np.concatenate([rows.values for rows in stretch]),
        t_ns=np.concatenate(own) if own else None,
        gap=stretch[0].gap,
    )


@dataclass(slots=True)
class Counters:
    """What went through a source; one thread counts, any may look."""

    readings: int = 0
    bytes: int = 0
    frames_dropped: int = 0
    """Lines or frames that could not be understood."""
    bytes_dropped: int = 0
    """Bytes in them, and between frames."""
    frames_lost: int = 0
    """Binary frames missing by their sequence numbers."""
    last_error: str = ""

    def drop(self, size: int, reason: str) -> None:
        """Count one line or frame of `size` bytes that was dropped."""
        self.frames_dropped += 1
        self.bytes_dropped += size
        self.last_error = reason

    def status(self) -> dict[str, int | float | str]:
        """The counters as `Source.status` gives them."""
        counts: dict[str, int | float | str] = {
            "readings": self.readings,
            "bytes": self.bytes,
            "frames_dropped": self.frames_dropped,
            "bytes_dropped": self.bytes_dropped,
            "frames_lost": self.frames_lost,
        }
        return counts | {"last_error": self.last_error} if self.last_error else counts
