"""Readings from standard input, as another program writes them: `mosquitto_sub ... | edge-agent run`.

Nothing is lost: a slow reader makes the writer wait. Without a time column the reading time is that of arrival, so a
recording that is piped in faster than it was made needs one.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from typing import ClassVar

from edge_agent.contract.records import Block, Channel
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources.formats import FormatSettings
from edge_agent.sources.intake import Intake

CHUNK_BYTES = 65_536
"""Read at once: what a pipe holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StdinSettings(FormatSettings):
    """What comes in on standard input."""

    kind: ClassVar[str] = "stdin"


class StdinSource:
    """Reads a file descriptor to its end."""

    lossless = True

    def __init__(
        self,
        settings: StdinSettings,
        clock: Clock,
        channels: tuple[Channel, ...],
        rate_hz: float | None = None,
        descriptor: int = 0,
    ) -> None:
        """Read `descriptor`, standard input by default; it belongs to the caller and is never closed here."""
        self.channels = channels
        self.own_time = bool(settings.time_column)
        self._intake = Intake(settings, clock, channels, rate_hz)
        self._descriptor = descriptor
        self._open = self._ended = False

    def open(self) -> None:
        """Begin to read.

        Raises:
            SourceUnavailable: the program was started without a standard input.
        """
        try:
            os.fstat(self._descriptor)
        except OSError as error:
            raise SourceUnavailable(f"standard input is closed: {error}") from error
        self._open = True

    def read(self, timeout_s: float) -> Block | None:
        """Wait for bytes and return the first block that is ready."""
        if (block := self._intake.take()) is not None:
            return block
        if not self._open:
            raise SourceUnavailable("standard input is not open: open it first")
        if self._ended:
            raise EndOfData("standard input has ended")
        if select.select([self._descriptor], [], [], timeout_s)[0]:
            self._receive()
        block = self._intake.take()
        if block is None and self._ended:
            raise EndOfData("standard input has ended")
        return block

    def close(self) -> None:
        """Stop reading; what is unfinished is kept for the next `open`."""
        self._open = False

    def status(self) -> dict[str, int | float | str]:
        """Counters."""
        return self._intake.counters.status()

    def _receive(self) -> None:
        try:
            data = os.read(self._descriptor, CHUNK_BYTES)
        except OSError as error:
            raise SourceUnavailable(f"standard input failed: {error}") from error
        if data:
            self._intake.put(data)
        else:
            self._ended = True
            self._intake.finish()
