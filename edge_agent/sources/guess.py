"""What a sensor speaks, guessed from a sample of its bytes.

Every way to read the sample that its lines suggest is tried with the real framing; the one that understands most
readings and drops least wins. Names come from headers, objects and pairs, else they are `channel_1` and so on. A field
is the time where its name or its looks say so, or where it is the unnamed first one and rises as fast as time goes by.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.contract.records import NS, Channel, Times, read_heading
from edge_agent.errors import FrameError
from edge_agent.sources.binary import HEADER, SYNC, TIME, FrameHeader, intact
from edge_agent.sources.formats import DELIMITERS, Counters, Format, FormatSettings
from edge_agent.sources.framing import make_framing
from edge_agent.sources.lines import MISSING, TIME_NAMES, pairs_of, split_fields
from edge_agent.sources.times import NS_PER_UNIT, TimeUnit, to_ns

CLOCK_NAMES = TIME_NAMES | {"millis", "micros", "uptime", "elapsed"}
"""Names of times, of a calendar or since a sensor's start, in lower case."""

LOOKED_AT = 200
"""Lines that the suggestions are drawn from; all of the sample is then read with them."""

CLOCK_TOLERANCE = 0.2
"""How far an unnamed first field may rise faster or slower than time goes by and still be a time, relative."""

UNDERSTOOD = 0.5
"""Share of lines or frames that must be readings; below it the sample is something else."""

TIME_FIELD = "time"
"""Name given to an unnamed time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """How to read a sensor, and how well that went."""

    settings: FormatSettings
    """Format, delimiter, columns and time column."""
    channels: tuple[Channel, ...]
    """Names, and units where a header gives them."""
    rate_hz: float | None
    """Readings a second, by their own time where they have one; None: too few to tell."""
    readings: int
    """Understood in the sample."""
    dropped: int
    """Lines or frames not understood; the cut ends of the sample are not counted."""


def guess(sample: bytes, seconds: float) -> Guess:
    """Guess how to read a sensor from the bytes that it sent in `seconds` (0: unknown, as for a file).

    Raises:
        FrameError: nothing arrived, or nothing in it is understood; the message says what to look at.
    """
    if not sample:
        raise FrameError(f"nothing arrived in {seconds:g} s: is the sensor powered, is it the right port?")
    tried = [_try(sample, seconds, settings, channels) for settings, channels in _suggestions(sample, seconds)]
    best = max(tried, key=lambda found: (found.readings - found.dropped, len(found.channels)), default=None)
    if best is None or best.readings < UNDERSTOOD * (best.readings + best.dropped) or not best.readings:
        printable = sum(byte in _TEXT for byte in sample) / len(sample)
        hint = "is it text with numbers at all?" if printable > _MOSTLY else "is the baud rate right?"
        raise FrameError(f"{len(sample)} bytes arrived but make no readings, they begin with {sample[:40]!r}: {hint}")
    return best


_TEXT = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))
_MOSTLY = 0.9
"""Share of printable bytes above which a sample is text; a wrong baud rate gives about a third."""

_NESTED = re.compile(r"[;|\t,]")
"""In a field that is no number: the line was split at the wrong delimiter."""

Suggestion = tuple[FormatSettings, tuple[Channel, ...]]


def _try(sample: bytes, seconds: float, settings: FormatSettings, channels: tuple[Channel, ...]) -> Guess:
    """Read the sample; its first and last line may be cut and are left out where there are others."""
    counters = Counters()
    framing = make_framing(settings, channels, counters)
    rows = framing.feed(sample if settings.format == Format.BINARY else _uncut(sample))
    own = [part.t_ns for part in rows if part.t_ns is not None]
    rate_hz = _rate_hz(np.concatenate(own)) if own else None
    if rate_hz is None and seconds > 0 and counters.readings > 1:
        rate_hz = counters.readings / seconds
    return Guess(
        settings=settings,
        channels=channels,
        rate_hz=rate_hz,
        readings=counters.readings,
        dropped=counters.frames_dropped,
    )


def _uncut(sample: bytes) -> bytes:
    """Drop a last line without its end, and a first one that may be the rest of one, unless it is a header."""
    text = sample.replace(b"\r", b"\n")
    text = text[: text.rfind(b"\n") + 1]
    first, end, rest = text.partition(b"\n")
    return (
        rest
        if rest.strip() and not _is_header(split_fields(first.decode(errors="replace"), ","))
        else first + end + rest
    )


def _rate_hz(t_ns: Times) -> float | None:
    """By the median step; None where most steps are 0 (a time too coarse for the rate)."""
    steps = np.diff(t_ns)
    rising = steps[steps > 0]
    return float(NS / np.median(rising)) if len(rising) and len(rising) * 2 > len(steps) else None


def _suggestions(sample: bytes, seconds: float) -> Iterator[Suggestion]:
    yield from _binary(sample)
    lines = [line.strip() for line in _uncut(sample).decode(errors="replace").split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines:
        share_s = seconds * min(1.0, LOOKED_AT / len(lines))
        yield from _named(lines[:LOOKED_AT], share_s)
        yield from _csv(lines[:LOOKED_AT], share_s)


def _binary(sample: bytes) -> Iterator[Suggestion]:
    found: Counter[tuple[int, bool]] = Counter()
    at = sample.find(SYNC)
    while 0 <= at <= len(sample) - HEADER.size:
        header = FrameHeader.read(sample, at)
        if header is not None and intact(sample, at, header):
            found[header.channels, bool(header.flags & TIME)] += 1
        at = sample.find(SYNC, at + len(SYNC))
    for (count, timed), _ in found.most_common(1):
        settings = FormatSettings(format=Format.BINARY, time_column=TIME_FIELD if timed else "")
        yield settings, _numbered(count)


def _named(lines: list[str], seconds: float) -> Iterator[Suggestion]:
    """JSON and pairs: all names that hold a number in most of the lines that hold them."""
    objects, arrays, pairs = [], [], []
    for line in lines:
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            read = None
        objects += [read] if isinstance(read, dict) else []
        arrays += [read] if isinstance(read, list) else []
        try:
            pairs += [pairs_of(line)] if read is None else []
        except FrameError:
            continue
    for format_, found in ((Format.JSON, objects), (Format.KEYVALUE, pairs)):
        names = list(dict.fromkeys(name for one in found for name in one))
        fields = {name: [str(one[name]) for one in found if one.get(name) is not None] for name in names}
        yield from _table(FormatSettings(format=format_), fields, seconds, named=True)
    if arrays:
        width = Counter(map(len, arrays)).most_common(1)[0][0]
        rows = [[str(value) for value in array] for array in arrays if len(array) == width]
        yield from _table(FormatSettings(format=Format.JSON), _columns(rows), seconds, named=False)


def _csv(lines: list[str], seconds: float) -> Iterator[Suggestion]:
    for delimiter in DELIMITERS:
        for decimal in (".", ","):
            if delimiter == decimal:
                continue
            try:
                split = [[field.strip() for field in split_fields(line, delimiter)] for line in lines]
            except FrameError:
                continue
            width = Counter(map(len, split)).most_common(1)[0][0]
            settings = FormatSettings(delimiter=delimiter if width > 1 else "", decimal=decimal)
            rows = [[field.replace(decimal, ".") for field in row] for row in split if len(row) == width]
            header = next((row for row in rows if _is_header(row)), None)
            values = [row for row in rows if not _is_header(row)]
            if any(_NESTED.search(field) and not _is_number(field) for row in values for field in row):
                continue
            fields = _columns(values)
            if header and len(set(header)) == width and fields:
                fields = dict(zip(header, fields.values(), strict=True))
            yield from _table(settings, fields, seconds, named=header is not None)


def _is_header(row: list[str]) -> bool:
    return all(field and not _is_number(field) and not _is_time(field) for field in row)


def _columns(rows: list[list[str]]) -> dict[str, list[str]]:
    return {f"channel_{i}": list(column) for i, column in enumerate(zip(*rows, strict=True), start=1)}


def _table(
    settings: FormatSettings, fields: dict[str, list[str]], seconds: float, *, named: bool
) -> Iterator[Suggestion]:
    """Tell time, numbers and other text apart."""
    numeric = [name for name, values in fields.items() if _mostly(_is_number, values)]
    time, unit = _time_field(fields, numeric, seconds, named=named)
    channels = tuple(_channel(name) for name in numeric if name != time)
    if not channels:
        return
    if named:
        yield replace(settings, time_column=time, time_unit=unit), channels
        return
    number = iter(range(1, len(fields) + 1))
    columns = tuple(TIME_FIELD if name == time else f"channel_{next(number)}" for name in fields)
    channels = tuple(Channel(name=column) for column, name in zip(columns, fields, strict=True) if name in numeric)
    channels = tuple(channel for channel in channels if channel.name != TIME_FIELD)
    settings = replace(settings, time_column=TIME_FIELD if time else "", time_unit=unit)
    usual = columns == settings.column_names(channels)
    yield replace(settings, columns=() if usual else columns), channels


def _channel(name: str) -> Channel:
    plain, unit = read_heading(name)
    return Channel(name=plain, unit=unit)


def _time_field(
    fields: dict[str, list[str]], numeric: list[str], seconds: float, *, named: bool
) -> tuple[str, TimeUnit]:
    """Name and unit of the time; an empty name: there is none."""
    for name, values in fields.items():
        if named and read_heading(name)[0].lower() in CLOCK_NAMES and _mostly(_is_time, values):
            return name, _unit(values, seconds) if name in numeric else TimeUnit.AUTO
        if name not in numeric and _mostly(_is_time, values):
            return name, TimeUnit.AUTO
    first = next(iter(fields), "")
    if not named and first in numeric and len(fields) > 1:
        unit = _unit(fields[first], seconds)
        return (first, unit) if unit != TimeUnit.AUTO else ("", TimeUnit.AUTO)
    return "", TimeUnit.AUTO


def _unit(values: list[str], seconds: float) -> TimeUnit:
    """Unit in which these numbers rise as fast as time goes by; `auto`: in none."""
    numbers = np.array([float(value) for value in values if _is_number(value) and value.lower() not in MISSING])
    if len(numbers) < 3 or seconds <= 0 or np.any(np.diff(numbers) < 0):  # noqa: PLR2004 - two steps at least
        return TimeUnit.AUTO
    for unit, scale in NS_PER_UNIT.items():
        if abs((numbers[-1] - numbers[0]) * scale / (seconds * NS) - 1) < CLOCK_TOLERANCE:
            return unit
    return TimeUnit.AUTO


def _mostly(test: object, values: list[str]) -> bool:
    return bool(values) and callable(test) and sum(map(test, values)) > UNDERSTOOD * len(values)


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return text.lower() in MISSING
    return True


def _is_time(text: str) -> bool:
    try:
        to_ns(text)
    except FrameError:
        return False
    return True


def _numbered(count: int) -> tuple[Channel, ...]:
    return tuple(Channel(name=f"channel_{i}") for i in range(1, count + 1))
