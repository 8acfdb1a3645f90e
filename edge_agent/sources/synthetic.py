"""Readings of the simulated pump, as if its sensors were connected: for first steps, demonstrations and tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from edge_agent.contract.records import Block, Channel
from edge_agent.errors import SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources.formats import Counters, in_range, one_of
from edge_agent.sources.pacing import PacedBlocks
from edge_agent.sources.pump import MAX_SEVERITY, PUMP_CHANNELS, RATES_HZ, START_NS, Pump, PumpFault, PumpFaultKind

NO_FAULT = ""

BLOCK_ROWS = 64
"""Rows simulated ahead of time."""

MOST_ROWS = 10**12
"""Largest `rows`: thirty years at a thousand a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSettings:
    """A simulated pump and what goes wrong with it."""

    kind: ClassVar[str] = "synthetic"

    seed: int = 0
    """Same seed, same readings; 0 and up."""
    rate_hz: float = 1.0
    """0.001 to 50,000 readings a second."""
    speed: float = 1.0
    """How many times faster than real, up to 1,000,000; 0: as fast as the reader takes."""
    rows: int = 0
    """Readings after which it ends; 0: never."""
    fault: str = NO_FAULT
    """`leak`, `blockage`, `cavitation`, `bearing_wear`, `stuck` or `lost`; empty: none."""
    fault_start_s: float = 0.0
    """When it begins, in seconds of reading time since the first reading."""
    fault_duration_s: float = 60.0
    """How long it lasts; above 0 s."""
    fault_severity: float = 1.0
    """0 to 100; 1: a technician would stop the pump."""
    fault_onset_s: float = 0.0
    """How long it takes to grow; 0 s and up."""
    fault_channel: str = "flow"
    """Which sensor is `stuck` or `lost`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        in_range("seed", self.seed, 0, 2**63)
        in_range("rate_hz", self.rate_hz, *RATES_HZ)
        in_range("speed", self.speed, 0, 1e6)
        in_range("rows", self.rows, 0, MOST_ROWS)
        in_range("fault_severity", self.fault_severity, 0, MAX_SEVERITY)
        one_of("fault", self.fault, (NO_FAULT, *PumpFaultKind))
        _ = self.faults

    @property
    def faults(self) -> tuple[PumpFault, ...]:
        """The fault as the pump takes it."""
        if self.fault == NO_FAULT:
            return ()
        fault = PumpFault(
            kind=PumpFaultKind(self.fault),
            start_s=self.fault_start_s,
            duration_s=self.fault_duration_s,
            severity=self.fault_severity,
            onset_s=self.fault_onset_s,
            channel=self.fault_channel,
        )
        return (fault,)


class SyntheticSource:
    """Gives the pump's readings at their time; opened again it goes on where it was."""

    own_time = True
    lossless = True

    def __init__(
        self,
        settings: SyntheticSettings,
        clock: Clock,
        channels: tuple[Channel, ...] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Give `channels` of the pump in that order; none named: all.

        Raises:
            ValueError: the pump has no such channel.
        """
        names = [channel.name for channel in PUMP_CHANNELS]
        for channel in channels:
            one_of("channel of the simulated pump", channel.name, tuple(names))
        self.channels = channels or PUMP_CHANNELS
        self._columns = [names.index(channel.name) for channel in self.channels]
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._counters = Counters()
        self._open = False
        start_ns = START_NS if not settings.speed else clock.now_ns()
        self._pump = Pump(settings.seed, settings.rate_hz, settings.faults, start_ns)
        self._paced = PacedBlocks(self._blocks(), clock, sleep, settings.speed)

    def open(self) -> None:
        """Switch it on."""
        self._open = True

    def read(self, timeout_s: float) -> Block | None:
        """Readings that are due."""
        if not self._open:
            raise SourceUnavailable("the simulated pump is switched off: open it first")
        block = self._paced.read(timeout_s)
        self._counters.readings += len(block) if block else 0
        return block

    def close(self) -> None:
        """Switch it off; what is due meanwhile comes when it is opened again."""
        self._open = False

    def status(self) -> dict[str, int | float | str]:
        """Counters."""
        return self._counters.status()

    def _blocks(self) -> Iterator[Block]:
        left = self._settings.rows or MOST_ROWS
        while left > 0:
            block = self._pump.take(min(BLOCK_ROWS, left))
            left -= len(block)
            yield Block(values=block.values[:, self._columns], t_ns=block.t_ns)
