"""Numbers as people say them, alike on device and workstation."""

from __future__ import annotations

import itertools

UNITS_S = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
"""Units of time, each with its length in seconds; a duration is told in one and the next smaller."""


def duration(seconds: float) -> str:
    """A length of time in at most two units: `0.25 s`, `2 min 19 s`, `4 h 11 min`, `3 d`.

    Args:
        seconds: 0 or more.
    """
    for (unit, length), (smaller, part) in itertools.pairwise(UNITS_S):
        if round(seconds) >= length:
            count, rest = divmod(round(seconds / part), length // part)
            return f"{count} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.3g} s"


def counted(number: float, noun: str) -> str:
    """A number of things: `1 file`, `2 files`; the plural of the noun ends with s."""
    told = f"{number:g}" if isinstance(number, float) else f"{number:,}"
    return f"{told} {noun}" + ("" if number == 1 else "s")
