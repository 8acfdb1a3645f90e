"""The time a sensor or a file writes beside its readings, as nanoseconds since the Unix epoch.

Understood: ISO 8601 with `T` or a space (`2020-03-09 10:14:33`, `2020-03-09T10:14:33.5+01:00`; UTC where no offset is
written) and numbers in seconds, milliseconds, microseconds or nanoseconds. With `auto` the unit follows from the size,
as in the table below; times since a sensor's own start (such as `millis()`) need their unit said.

    below 1e11   seconds        1e11 s is the year 5138
    below 1e14   milliseconds
    below 1e17   microseconds
    above        nanoseconds
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from edge_agent.contract.records import NS
from edge_agent.errors import FrameError


class TimeUnit(StrEnum):
    """How a time is written."""

    AUTO = "auto"
    ISO = "iso"
    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


NS_PER_UNIT = {TimeUnit.S: NS, TimeUnit.MS: 1_000_000, TimeUnit.US: 1_000, TimeUnit.NS: 1}

LATEST_NS = 2**63 - 1
"""Largest time that int64 nanoseconds hold (the year 2262); anything above is not a time."""

_AUTO_LIMITS = ((1e11, TimeUnit.S), (1e14, TimeUnit.MS), (1e17, TimeUnit.US), (math.inf, TimeUnit.NS))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_ns(value: str | float, unit: TimeUnit = TimeUnit.AUTO) -> int:
    """Nanoseconds since the Unix epoch of one written time.

    Integers and plain decimals are exact; a number in exponent form is as exact as float64.

    Raises:
        FrameError: it is no time, or outside 1970 to 2262.
    """
    try:
        ns = _number_to_ns(str(value).strip(), unit) if unit != TimeUnit.ISO else _iso_to_ns(str(value).strip())
    except (ValueError, OverflowError) as error:
        raise FrameError(f"expected a time ({unit}), got {str(value)[:40]!r}") from error
    if not 0 <= ns <= LATEST_NS:
        raise FrameError(f"expected a time between 1970 and 2262, got {str(value)[:40]!r}")
    return ns


def from_ns(t_ns: int, unit: TimeUnit = TimeUnit.AUTO) -> str:
    """Write a time so that `to_ns` with the same unit reads it back (ISO 8601 to the microsecond, numbers exactly)."""
    if unit in (TimeUnit.AUTO, TimeUnit.ISO):
        return (_EPOCH + t_ns // 1000 * _MICROSECOND).isoformat().replace("+00:00", "Z")
    scale = NS_PER_UNIT[unit]
    whole, rest = divmod(t_ns, scale)
    return str(whole) if not rest else f"{whole}.{rest:0{len(str(scale)) - 1}d}"


def _iso_to_ns(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND * 1000


def _number_to_ns(text: str, unit: TimeUnit) -> int:
    try:
        number = float(text)
    except ValueError:
        if unit == TimeUnit.AUTO:
            return _iso_to_ns(text)
        raise
    if not math.isfinite(number) or not text.isascii() or "_" in text:
        raise ValueError(text)
    if unit == TimeUnit.AUTO:
        unit = next(fits for limit, fits in _AUTO_LIMITS if abs(number) < limit)
    scale = NS_PER_UNIT[unit]
    whole, _, fraction = text.partition(".")
    if whole.isdecimal() and (fraction.isdecimal() or not fraction):
        return int(whole) * scale + round(float(f"0.{fraction or 0}") * scale)
    return round(number * scale)
