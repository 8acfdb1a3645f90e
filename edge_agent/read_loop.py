"""The reader's loop: what readings and frames have in common.

    source --ReadLoop--> what waits for the watcher: what was read, or the fault `no_data`

The source is opened, read, and opened anew with growing waits when it goes away; silence is told once. Whatever fails
while reading is a source that went away. Of failures in a row, until something is read again, the first is logged as a
warning.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from edge_agent.backoff import Backoff
from edge_agent.contract.records import NS, Fault, Unknown
from edge_agent.contract.words import duration
from edge_agent.errors import EndOfData, SourceError
from edge_agent.ports import Clock
from edge_agent.supervised_loop import READ_TIMEOUT_S, SupervisedLoop, Supervision

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class _Readable(Protocol[Item_co]):
    """What sources of readings and of frames have in common (`ports.py`)."""

    lossless: bool

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> Item_co | None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class LoopCounts:
    """What happened to a stream since the agent started, whatever its source gives."""

    reader_restarts: int = 0
    """Failures that were not the source's own errors."""
    watcher_restarts: int = 0
    reopened: int = 0


class ReadLoop(SupervisedLoop, ABC, Generic[Item]):
    """Reads one source.

    Args:
        name: of the stream, as in the topics.
        source: what is read.
        clock: monotonic time for silence.
        no_data_s: silence in seconds that is told as `no_data`.
        supervision: told of every turn.
        backoff: delays between attempts to open the source.
        wait: waits so many seconds, or less when the reader is to stop; None: really.
    """

    SILENCE: ClassVar[str]
    """Silence in words, with a place for how long."""

    counts: LoopCounts

    def __init__(
        self,
        name: str,
        source: _Readable[Item],
        *,
        clock: Clock,
        no_data_s: float,
        supervision: Supervision,
        backoff: Backoff,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(name, "reader", clock=clock, supervision=supervision, wait=wait)
        self.source = source
        self.no_data_s = no_data_s
        self.last_ns: int | None = None
        """Reading time of what was read last."""
        self.heard_ns: int | None = None
        """Monotonic time of its arrival."""
        self.unwatched = threading.Event()
        """Set when the watcher has ended: nobody takes any more what is read."""
        self._backoff = backoff
        self._away = False

    @staticmethod
    @abstractmethod
    def time_of(item: Item) -> int:
        """Return the reading time of what was read, nanoseconds."""

    @abstractmethod
    def _take(self, item: Item) -> None:
        """Leave what was read to the watcher."""

    @abstractmethod
    def _tell(self, fault: Unknown) -> None:
        """Leave the watcher a fault that is in nothing that was read."""

    @abstractmethod
    def _end(self) -> None:
        """Say that nothing more will come."""

    def age_s(self) -> float | None:
        """Return for how long nothing was read, seconds; None before the first."""
        return None if self.heard_ns is None else (self.clock.monotonic_ns() - self.heard_ns) / NS

    def latest_ns(self) -> int:
        """Return the reading time of what was read last, that of now before the first."""
        return self.clock.now_ns() if self.last_ns is None else self.last_ns

    def run(self) -> None:
        """Open, read, reopen until stopped or the source has no more; the body of a thread."""
        while not self._stopping.is_set():
            try:
                self._read_until_lost()
            except EndOfData:
                break
            except SourceError as error:
                self._lost(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the source is opened again
                _log.exception("stream %s: reading failed", self.name)
                self.counts.reader_restarts += 1
                self._lost(f"reading failed: {error!r}")
        self._close()
        self._end()
        self._rested()

    def _read_until_lost(self) -> None:
        self._turned()
        self.source.open()
        began_ns = self.clock.monotonic_ns()
        self._backoff.succeeded(began_ns / NS)
        _log.info("stream %s: source open", self.name)
        silent = False
        while not self._stopping.is_set():
            item = self.source.read(READ_TIMEOUT_S)
            self._turned()
            now_ns = self.clock.monotonic_ns()
            if item is not None:
                self.heard_ns, began_ns, silent, self._away = now_ns, now_ns, False, False
                self._backoff.succeeded(now_ns / NS)
                self.last_ns = self.time_of(item)
                self._take(item)
            elif not silent and now_ns - began_ns > self.no_data_s * NS:
                silent = True
                self._tell_no_data(self.SILENCE.format(duration(self.no_data_s)))

    def _lost(self, problem: str) -> None:
        """Release the source, say so, and wait: a port still held would come back under another name."""
        self._close()
        delay_s = self._backoff.delay_s()
        level = logging.DEBUG if self._away else logging.WARNING
        _log.log(level, "stream %s: %s; next try in %.0f s", self.name, problem, delay_s)
        self.counts.reopened += 1
        self._away = True
        self._tell_no_data(problem)
        self._pause(delay_s)

    def _tell_no_data(self, detail: str) -> None:
        """Tell it at the reading time that it would have had."""
        t_ns = self.clock.now_ns() if self.last_ns is None else self.last_ns + 1
        self._tell(Unknown(t_ns=t_ns, fault=Fault.NO_DATA, detail=detail))

    def _close(self) -> None:
        try:
            self.source.close()
        except Exception:  # noqa: BLE001 - it is opened again, which tells whether that matters
            _log.exception("stream %s: the source does not close", self.name)
