"""Lines of text to readings and back: CSV, key=value, JSON. Pure; `framing` finds the lines.

A decoder takes whole lines and is all or nothing: it gives a row for every line, or raises FrameError and has learnt
nothing. `framing` then asks again for each half. A channel that is not in a line, an empty field and `NA`, `null` or
`nan` are missing values (NaN). `inf` and numbers too large for float32 stay infinite: windows treat them as missing.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

import numpy as np

from edge_agent.contract.records import Block, Channel, Floats, Times, read_heading
from edge_agent.errors import FrameError
from edge_agent.sources.formats import DELIMITERS, Columns, FormatSettings
from edge_agent.sources.times import TimeUnit, from_ns, to_ns

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""Written for a value that is missing; compared in lower case."""

NAME = re.compile(r"^[^\W\d][^,;|\t\"]{0,63}$")
"""What a header's field looks like: begins with a letter or underscore, at most 64 characters."""

LEAST_UNKNOWN_NAMES = 2
"""A header without a known name has at least two: one word may be any chatter of a sensor that starts."""

TIME_NAMES = frozenset({"time", "datetime", "date_time", "timestamp", "date", "ts"})
"""Names of time columns, in lower case."""

Decoded = tuple[Floats, Times | None]
"""float32 [n, C] and int64 [n], or None where the lines carry no time."""


class LineDecoder(Protocol):
    """One format of line."""

    tail_looks_whole: bool
    """The rest of a line whose beginning was lost may pass for a whole one."""
    complaint: str
    """What the last header lacked, in words; empty: nothing."""

    def learn(self, line: str) -> bool:
        """Take the line as a header if it is one, and say whether it was."""

    def decode(self, lines: Sequence[str]) -> Decoded:
        """Read at least one line, a row each.

        Raises:
            FrameError: at least one is no reading.
        """


class CsvDecoder:
    """Numbers between delimiters, in a fixed order or in that of a header."""

    tail_looks_whole = True

    def __init__(self, settings: FormatSettings, channels: tuple[Channel, ...]) -> None:
        """Expect the settings' columns until a header says otherwise."""
        self._settings = settings
        self._channels = channels
        self._delimiter = settings.delimiter
        self._has_read = False
        self._columns = Columns.named(settings.column_names(channels), channels, settings.time_column)
        self.complaint = self._columns.complaint

    def learn(self, line: str) -> bool:
        """Take as a header a line of names with a known one among them.

        Before the first reading so many names as there should be are a header too, if only to say that they are wrong.
        """
        line = line.lstrip("\ufeff")
        delimiter = self._delimiter or self._guess(line)
        names = tuple(name.strip() for name in split_fields(line, delimiter)) if delimiter else ()
        if not names or not all(NAME.match(name) and name.lower() not in MISSING for name in names):
            return False
        wrong = not self._has_read and len(names) == self._columns.width >= LEAST_UNKNOWN_NAMES
        if len(set(names)) < len(names) or not (wrong or self._known(names)):
            return False
        columns = Columns.named(names, self._channels, self._settings.time_column)
        self._delimiter, self._columns, self.complaint = delimiter, columns, columns.complaint
        return True

    def decode(self, lines: Sequence[str]) -> Decoded:
        """Read all lines at once, column by column."""
        delimiter = self._delimiter or self._guess(lines[0])
        if not delimiter:
            raise FrameError(f"expected {self._columns.width} fields, got {lines[0][:80]!r}")
        fields = self._fields(lines, delimiter)
        width, settings = self._columns.width, self._settings
        if len(lines) > 1 and all(where is None for where in self._columns.channels):
            raise FrameError(f"{self._columns.complaint}: a better header may be among the lines")
        if settings.time_column and self._columns.time is None:
            raise FrameError(self._columns.complaint)
        values = np.full((len(lines), len(self._channels)), np.nan, dtype=np.float32)
        with np.errstate(over="ignore"):
            for channel, where in enumerate(self._columns.channels):
                if where is not None:
                    values[:, channel] = _numbers(fields[where::width], settings.decimal)
        t_ns = None
        if self._columns.time is not None:
            t_ns = _times(fields[self._columns.time :: width], settings.time_unit)
        self._delimiter, self._has_read = delimiter, True
        return values, t_ns

    def _fields(self, lines: Sequence[str], delimiter: str) -> list[str]:
        """All fields of all lines in one list; each line has the expected number."""
        width = self._columns.width
        text = delimiter.join(lines)
        if '"' in text or delimiter == " ":
            split = [split_fields(line, delimiter) for line in lines]
            counts = {len(fields) for fields in split}
            flat = [field for fields in split for field in fields]
        else:
            counts = {line.count(delimiter) + 1 for line in lines}
            flat = text.split(delimiter)
        if counts != {width}:
            wrong = next(count for count in counts if count != width)
            raise FrameError(f"expected {width} fields, got {wrong} in {lines[0][:80]!r}")
        return flat

    def _known(self, fields: Iterable[str]) -> int:
        """How many fields are names that this stream has."""
        expected = {channel.name for channel in self._channels} | {self._settings.time_column} - {""}
        found = {field.strip() for field in fields}
        return len(expected & (found | {read_heading(field)[0] for field in found}))

    def _guess(self, line: str) -> str:
        """Delimiter that finds most known names, or else gives the expected number of fields; empty: none does."""

        def fit(delimiter: str) -> tuple[int, bool]:
            fields = split_fields(line, delimiter)
            return self._known(fields), len(fields) == self._columns.width

        best = max((d for d in DELIMITERS if d != self._settings.decimal), key=fit)
        return best if any(fit(best)) else ""


class KeyValueDecoder:
    """`name=value` or `name:value` pairs, separated by commas, semicolons or tabs, or else by blanks."""

    tail_looks_whole = False
    complaint = ""

    def __init__(self, settings: FormatSettings, channels: tuple[Channel, ...]) -> None:
        """Look for the channels' names."""
        self._settings = settings
        self._channels = channels

    def learn(self, line: str) -> bool:  # noqa: ARG002 - the names are in every line
        """Never: there are no headers."""
        return False

    def decode(self, lines: Sequence[str]) -> Decoded:
        """Read line by line."""
        return _by_name([pairs_of(line) for line in lines], self._settings, self._channels)


class JsonDecoder:
    """An object by names, or an array in the order of the columns, on a line."""

    tail_looks_whole = False
    complaint = ""

    def __init__(self, settings: FormatSettings, channels: tuple[Channel, ...]) -> None:
        """Look for the channels' names."""
        self._settings = settings
        self._channels = channels
        self._names = settings.column_names(channels)

    def learn(self, line: str) -> bool:  # noqa: ARG002 - the names are in every object
        """Never: there are no headers."""
        return False

    def decode(self, lines: Sequence[str]) -> Decoded:
        """Read line by line."""
        return _by_name([self._object(line) for line in lines], self._settings, self._channels)

    def _object(self, line: str) -> dict[str, object]:
        try:
            # Decimals stay text, so that a time in them is read exactly.
            read = json.loads(line, parse_float=str)
        except (ValueError, RecursionError) as error:
            raise FrameError(f"expected a line of JSON, got {line[:80]!r}") from error
        if isinstance(read, list) and len(read) == len(self._names):
            return dict(zip(self._names, read, strict=True))
        if isinstance(read, dict):
            return read
        raise FrameError(f"expected a JSON object or an array of {len(self._names)}, got {line[:80]!r}")


def make_decoder(settings: FormatSettings, channels: tuple[Channel, ...]) -> LineDecoder:
    """Return the decoder of a line format.

    Raises:
        ValueError: the format is not one of lines.
    """
    decoders: dict[str, Callable[[FormatSettings, tuple[Channel, ...]], LineDecoder]] = {
        "csv": CsvDecoder,
        "keyvalue": KeyValueDecoder,
        "json": JsonDecoder,
    }
    if settings.format not in decoders:
        raise ValueError(f"expected a line format ({', '.join(decoders)}), got {settings.format!r}")
    return decoders[settings.format](settings, channels)


def find_time_name(line: str, taken: Iterable[str]) -> str:
    """Name of a time column in a header, an object or pairs; empty: there is none but `taken` names."""
    for word in re.split(r"[,;|\t\"{}=]+", line.lstrip("\ufeff")):
        name = word.strip()
        if read_heading(name)[0].lower() in TIME_NAMES and name not in taken:
            return name
    return ""


def header_problem(line: str, settings: FormatSettings, channels: tuple[Channel, ...]) -> str:
    """What a header lacks for these channels, in words; empty: nothing, or the line is no header."""
    decoder = make_decoder(settings, channels)
    return decoder.complaint if decoder.learn(line.rstrip("\r\n")) else ""


def encode_lines(
    block: Block, settings: FormatSettings, channels: tuple[Channel, ...], *, header: bool = False
) -> bytes:
    """Write readings as lines that the decoder with the same settings reads back to the last bit.

    Args:
        block: the readings; their time is written where `settings.time_column` names it.
        settings: a line format; `columns` is not used: the time comes first, then the channels.
        channels: names of the block's columns.
        header: begin CSV with a line of names.
    """
    names = ([settings.time_column] if settings.time_column else []) + [channel.name for channel in channels]
    encode = _ENCODERS[settings.format]
    delimiter = settings.delimiter or (";" if settings.decimal == "," else ",")
    lines = [delimiter.join(names)] if header and settings.format == "csv" else []
    for values, t_ns in zip(block.values.tolist(), block.t_ns.tolist(), strict=True):
        time = [from_ns(t_ns, settings.time_unit)] if settings.time_column else []
        numbers = ["" if math.isnan(value) else f"{value:.9g}".replace(".", settings.decimal) for value in values]
        lines.append(encode(names, time + numbers, delimiter))
    return "".join(f"{line}\n" for line in lines).encode()


def _csv_line(_names: list[str], fields: list[str], delimiter: str) -> str:
    return delimiter.join(fields)


def _keyvalue_line(names: list[str], fields: list[str], _delimiter: str) -> str:
    return ",".join(f"{name}={field}" for name, field in zip(names, fields, strict=True) if field)


def _json_line(names: list[str], fields: list[str], _delimiter: str) -> str:
    pairs = (f"{json.dumps(name)}:{_json_value(field)}" for name, field in zip(names, fields, strict=True))
    return "{" + ",".join(pairs) + "}"


def _json_value(field: str) -> str:
    if not field:
        return "null"
    try:
        number = float(field)
    except ValueError:
        return json.dumps(field)
    return field if math.isfinite(number) else json.dumps(number)


_ENCODERS = {"csv": _csv_line, "keyvalue": _keyvalue_line, "json": _json_line}


def split_fields(line: str, delimiter: str) -> list[str]:
    """Fields of a CSV line, without their quotes.

    Raises:
        FrameError: its quotes make no sense.
    """
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise FrameError(f"expected quoted fields, got {line[:80]!r}") from error


def pairs_of(line: str) -> dict[str, object]:
    """Names and values of a key=value line.

    Raises:
        FrameError: something in it is no pair, or a name comes twice.
    """
    found: dict[str, object] = {}
    for pair in re.split(r"[,;\t]" if re.search(r"[,;\t]", line) else r"\s+", line.strip()):
        if not pair.strip():
            continue
        name, sign, value = pair.partition("=") if "=" in pair else pair.partition(":")
        if not sign or name.strip() in found:
            raise FrameError(f"expected name=value once per name, got {pair[:40]!r}")
        found[name.strip()] = value.strip()
    return found


def _numbers(fields: Sequence[str], decimal: str) -> list[float]:
    if decimal == ",":
        fields = [field.replace(",", ".") for field in fields]
    if _is_plain("".join(fields)):
        try:
            return list(map(float, fields))
        except ValueError:
            pass
    return [_number(field) for field in fields]


def _is_plain(text: str) -> bool:
    """Whether `float` reads it as a sensor would mean it: Python also takes `1_000` and the digits of other scripts."""
    return text.isascii() and "_" not in text


def _times(fields: Sequence[object], unit: TimeUnit) -> Times:
    return np.array([_time(field, unit) for field in fields], dtype=np.int64)


def _time(field: object, unit: TimeUnit) -> int:
    if isinstance(field, bool) or not isinstance(field, str | int | float):
        raise FrameError(f"expected a time, got {str(field)[:40]!r}")
    return to_ns(field, unit)


def _number(value: object) -> float:
    """A float of what a line holds for a channel; NaN where it is missing."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FrameError(f"expected a number, got {str(value)[:40]!r}")
    if isinstance(value, str) and not _is_plain(value):
        raise FrameError(f"expected a number, got {value[:40]!r}")
    try:
        return float(value)
    except ValueError as error:
        raise FrameError(f"expected a number, got {str(value)[:40]!r}") from error
    except OverflowError:
        return math.inf if cast(int, value) > 0 else -math.inf


def _by_name(objects: list[dict[str, object]], settings: FormatSettings, channels: tuple[Channel, ...]) -> Decoded:
    for found in objects:
        if not any(channel.name in found for channel in channels):
            raise FrameError(f"expected at least one of {', '.join(c.name for c in channels)}, got {list(found)[:8]}")
    with np.errstate(over="ignore"):
        values = np.array([[_number(found.get(c.name)) for c in channels] for found in objects], dtype=np.float32)
    if not settings.time_column:
        return values, None
    return values, _times([found.get(settings.time_column) for found in objects], settings.time_unit)
