"""Which alerts were dropped, and the `outbox_overflow` event that says so. No I/O."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from edge_agent.contract.records import EventKind, Life
from edge_agent.contract.wire import ClockState, Dropped, EventPayload, Severity, utc_text
from edge_agent.ports import Clock

MAX_RANGES = 256
"""Ranges in one report: some 4 kB of JSON. A report with more is closed and another one begun."""


class DropReason(StrEnum):
    """Why alerts were dropped (the `reason` of `outbox_overflow`)."""

    FULL = "full"
    """The outbox is at its limit: least severe and oldest first."""
    AGE = "age"
    """Not delivered within the age limit."""
    REFUSED = "refused"
    """The broker will not take it, whatever we do."""
    CORRUPT = "corrupt"
    """The database was damaged and set aside."""


@dataclass(slots=True)
class Ranges:
    """A set of sequence numbers, kept as sorted runs that do not touch."""

    runs: list[tuple[int, int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        """Add the run first..last, joining it with the runs that it touches.

        >>> ranges = Ranges([(1, 3), (7, 8)])
        >>> ranges.add(4, 6)
        >>> ranges.runs
        [(1, 8)]
        """
        index = bisect_right(self.runs, (first - 1, first - 1))
        if index and self.runs[index - 1][1] >= first - 1:
            index -= 1
        end = index
        while end < len(self.runs) and self.runs[end][0] <= last + 1:
            first, last = min(first, self.runs[end][0]), max(last, self.runs[end][1])
            end += 1
        self.runs[index:end] = [(first, last)]

    @property
    def count(self) -> int:
        """Numbers in the set."""
        return sum(last - first + 1 for first, last in self.runs)

    @property
    def is_full(self) -> bool:
        """One more run would not fit into a report."""
        return len(self.runs) >= MAX_RANGES

    def as_dropped(self, session: str) -> Dropped:
        """Return the part of the report that consumers read."""
        return Dropped(session=session, ranges=tuple(self.runs), count=self.count)


def words(dropped: Dropped, reason: DropReason, detail: str) -> str:
    """Say in words what was dropped and why."""
    why = {
        DropReason.FULL: "the outbox is full",
        DropReason.AGE: "they could not be delivered in time",
        DropReason.REFUSED: "the broker refuses them",
        DropReason.CORRUPT: "the outbox was damaged and a new one was begun",
    }[reason]
    many = f"{dropped.count} alerts" if dropped.count else "An unknown number of alerts"
    return f"{many} dropped: {why}" + (f" ({detail})" if detail else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Writes the outbox's own events."""

    device: str
    boot_id: str
    clock: Clock
    clock_state: Callable[[], ClockState]

    def event(self, stream: str, dropped: Dropped, reason: DropReason, detail: str = "") -> EventPayload:
        """Return the `outbox_overflow` event for what was dropped."""
        return EventPayload(
            event_type=EventKind.OUTBOX_OVERFLOW,
            life=Life.OPEN,
            id=uuid.uuid4().hex,
            device=self.device,
            stream=stream,
            time=utc_text(self.clock.now_ns()),
            clock=self.clock_state(),
            boot_id=self.boot_id,
            severity=Severity.WARNING,
            text=words(dropped, reason, detail),
            reason=reason,
            detail=detail,
            dropped=dropped,
        )
