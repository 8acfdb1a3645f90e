"""Readings from a recording: lines or frames, plain or gzipped, at its own pace, faster, or as fast as can be.

Nothing is lost: a slow reader makes it wait. CSV finds its time column by name (`TIME_NAMES`) unless told; a recording
without times counts its rows at the stream's rate from 1970 on, so that a replay repeats itself to the nanosecond.
"""

from __future__ import annotations

import gzip
import io
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import FrameError, SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources.formats import Counters, Format, FormatSettings, Rows, in_range
from edge_agent.sources.framing import make_framing
from edge_agent.sources.lines import find_time_name, header_problem
from edge_agent.sources.pacing import PacedBlocks

log = logging.getLogger(__name__)

CHUNK_BYTES = 65_536
"""Read at once: some thousand lines, decoded together."""

Recorded = io.BufferedReader | gzip.GzipFile
"""An open recording; its `read1` gives what a damaged .gz still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings(FormatSettings):
    """A recording."""

    kind: ClassVar[str] = "replay"

    path: str
    """The file; a name that ends in .gz is unpacked on the way."""
    speed: float = 1.0
    """How many times faster than recorded, up to 1,000,000; 0: as fast as the reader takes."""

    def __post_init__(self) -> None:
        """Refuse an empty path and a negative speed."""
        FormatSettings.__post_init__(self)
        if not self.path:
            raise ValueError("path must name a recording, got an empty string")
        in_range("speed", self.speed, 0, 1e6)


class ReplaySource:
    """Plays a recording; see the module."""

    own_time = True
    lossless = True

    def __init__(
        self,
        settings: ReplaySettings,
        clock: Clock,
        channels: tuple[Channel, ...],
        rate_hz: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the settings; `rate_hz` is needed where the recording has no times."""
        self.channels = channels
        self._settings = settings
        self._clock = clock
        self._rate_hz = rate_hz
        self._sleep = sleep
        self._counters = Counters()
        self._file: Recorded | None = None
        self._paced: PacedBlocks | None = None
        self._row = 0

    def open(self) -> None:
        """Open the recording at its beginning.

        Raises:
            SourceUnavailable: it is not there, has no such channels, or neither times nor a rate.
        """
        again = self._paced is not None
        self.close()
        path = Path(self._settings.path)
        try:
            self._file = gzip.GzipFile(path, "rb") if path.suffix == ".gz" else path.open("rb")
            first = self._file.readline(self._settings.max_line_bytes).decode(errors="replace")
            self._file.seek(0)
            settings = self._with_time(first)
        except (OSError, EOFError, zlib.error) as error:
            self.close()
            raise SourceUnavailable(f"{path} cannot be read: {error}") from error
        except FrameError as error:
            self.close()
            raise SourceUnavailable(f"{path}: {error}") from error
        except SourceUnavailable:
            self.close()
            raise
        self._row = 0
        blocks = self._blocks(settings, self._file, gap=again)
        self._paced = PacedBlocks(blocks, self._clock, self._sleep, settings.speed)

    def read(self, timeout_s: float) -> Block | None:
        """Readings that are due."""
        if self._file is None or self._paced is None:
            raise SourceUnavailable(f"{self._settings.path} is not open: open it first")
        return self._paced.read(timeout_s)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def status(self) -> dict[str, int | float | str]:
        """Counters."""
        return self._counters.status()

    def _with_time(self, first: str) -> ReplaySettings:
        """Settings that name the time column, where the first line shows one."""
        settings = self._settings
        if settings.format != Format.BINARY:
            if not settings.time_column and not settings.columns:
                found = find_time_name(first, [channel.name for channel in self.channels])
                settings = replace(settings, time_column=found)
            if problem := header_problem(first, settings, self.channels):
                raise SourceUnavailable(f"{settings.path}: {problem}")
        if not settings.time_column and not self._rate_hz:
            raise SourceUnavailable(f"{settings.path} has no time column: name one in time_column, or give a rate_hz")
        return settings

    def _blocks(self, settings: ReplaySettings, file: Recorded, *, gap: bool) -> Iterator[Block]:
        framing = make_framing(settings, self.channels, self._counters)
        framing.resync(lost=gap, partial=False)
        try:
            while data := file.read1(CHUNK_BYTES):
                self._counters.bytes += len(data)
                yield from map(self._block, framing.feed(data))
            yield from map(self._block, framing.finish())
        except (OSError, EOFError, zlib.error) as error:
            self._counters.last_error = f"{settings.path} is damaged, its rest is lost: {error}"
            log.warning("%s", self._counters.last_error)
        if not self._counters.readings:
            raise SourceUnavailable(f"{settings.path} holds no readings: {self._counters.last_error or 'it is empty'}")

    def _block(self, rows: Rows) -> Block:
        count = len(rows.values)
        t_ns = rows.t_ns
        if t_ns is None:
            t_ns = np.rint(np.arange(self._row, self._row + count) * (NS / cast(float, self._rate_hz))).astype(np.int64)
        self._row += count
        return Block(values=rows.values, t_ns=t_ns, gap=rows.gap)
