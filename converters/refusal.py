"""Why a format is not shipped: an outcome with reasons and figures, not a crash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

MOST_BRIEF: Final = 2
"""Limits that the line of a terminal names; how many more there are it counts."""

TERMINAL_COLUMNS: Final = 116
"""Length from which a line is told clause by clause: that of the legends above it."""


class Refused(Exception):
    """A graph, a threshold or a whole bundle is refused.

    Args:
        message: why, with all figures, and what to do instead.
        limits: that were missed, each with what came and what is allowed; empty: the message is all there is.
    """

    def __init__(self, message: str, limits: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.limits = tuple(limits)

    def brief(self) -> str:
        """The first limits alone, for the line of a terminal."""
        more = len(self.limits) - MOST_BRIEF
        named = "; ".join(self.limits[:MOST_BRIEF]) or str(self)
        return f"{named}; and {more} more" if more > 0 else named


def left_out(refused: Mapping[str, str], not_made: Mapping[str, str]) -> Iterator[str]:
    """Lines on formats that are not in a bundle, and why, in full."""
    for outcome, formats in (("refused", refused), ("not made", not_made)):
        for graph_format, reason in formats.items():
            yield ""
            yield from clauses(f"{graph_format} {outcome}: {reason}")


def clauses(told: str) -> Iterator[str]:
    """Lines for a terminal: of one that is too long each clause has its own, indented from the second on."""
    indent = ""
    for line in told.splitlines():
        for clause in [line] if len(line) <= TERMINAL_COLUMNS else line.split("; "):
            yield indent + clause.strip()
            indent = "  "
