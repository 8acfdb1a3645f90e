"""From bytes to blocks: framing and reading time, as every source of bytes needs them."""

from __future__ import annotations

from collections import deque

from edge_agent.contract.records import Block, Channel
from edge_agent.ports import Clock
from edge_agent.sources.arrival import ArrivalTimes, OwnTimes
from edge_agent.sources.formats import Counters, FormatSettings, Rows
from edge_agent.sources.framing import make_framing


class Intake:
    """Takes what a device sends and keeps the blocks that are ready."""

    def __init__(
        self, settings: FormatSettings, clock: Clock, channels: tuple[Channel, ...], rate_hz: float | None
    ) -> None:
        """Read lines or frames of `channels`; `rate_hz` spaces readings without their own time."""
        self.counters = Counters()
        self._framing = make_framing(settings, channels, self.counters)
        self._arrival = ArrivalTimes(clock, rate_hz)
        self._own = OwnTimes(self._arrival)
        self._gap = False
        self._ready: deque[Block] = deque()

    def put(self, data: bytes) -> None:
        """Take bytes that have just arrived."""
        self.counters.bytes += len(data)
        self._keep(self._framing.feed(data))

    def finish(self) -> None:
        """Take what is left at the end of the stream."""
        self._keep(self._framing.finish())

    def take(self) -> Block | None:
        """The oldest block that is ready."""
        return self._ready.popleft() if self._ready else None

    def resync(self, *, lost: bool, partial: bool) -> None:
        """Begin a new stream, as `Framing.resync`; blocks that are ready stay."""
        self._framing.resync(lost=lost, partial=partial)
        self._arrival.restart()

    def mark_gap(self) -> None:
        """Readings were lost without a trace in the bytes: the next block follows a gap."""
        self._gap = True

    def _keep(self, parts: list[Rows]) -> None:
        arrived = sum(len(rows.values) for rows in parts if rows.t_ns is None)
        times = self._arrival.stamp(arrived) if arrived else None
        for rows in parts:
            if rows.t_ns is not None:
                t_ns, anew = self._own.place(rows.t_ns)
            elif times is not None:
                t_ns, anew, times = times[: len(rows.values)], False, times[len(rows.values) :]
            self._ready.append(Block(values=rows.values, t_ns=t_ns, gap=rows.gap or anew or self._gap))
            self._gap = False
