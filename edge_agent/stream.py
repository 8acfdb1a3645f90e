"""One stream of readings while it runs: a reader thread and a watcher thread joined by a bounded queue.

    source --reader--> queue of blocks --watcher--> pipeline -> Sink (states, scores, alerts, evidence)

The reader opens the source, reopens it with back-off when it goes away, and reports silence. The watcher feeds the
pipeline. Overflow rule of the queue: a lossless source (file, stdin) waits; of any other the newest block is dropped,
counted, and the next one is marked as a gap, so that no reading is ever lost silently.

What happens when a part fails is said in `watch_loop.py`.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.backoff import Backoff
from edge_agent.contract.records import NS, Block, Decision, Fault, Unknown
from edge_agent.errors import EndOfData, SourceError
from edge_agent.ports import Clock, Source
from edge_agent.watch_loop import READ_TIMEOUT_S, Supervision, WatchCounts, WatchLoop

_log = logging.getLogger(__name__)

QUEUE_BLOCKS = 512
"""Blocks between reader and watcher: at 20 blocks a second, 25 s of a watcher held up by a slow disk."""


class Sink(Protocol):
    """Where a stream's decisions go; called from the watcher thread alone."""

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Take the decisions of one block (None: of a fault found outside the readings)."""

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back, once it may go out, or at once at the end; called at every turn."""


class Watcher(Protocol):
    """What turns blocks into decisions: a pipeline, or learning that becomes one."""

    def feed(self, block: Block) -> list[Decision]:
        """Decide what the block completes."""

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings."""


@dataclass(slots=True)
class StreamCounts(WatchCounts):
    """What happened to a stream of readings."""

    readings: int = 0
    blocks_dropped: int = 0
    readings_dropped: int = 0
    reopened: int = 0


class Stream(WatchLoop[Block, Watcher]):
    """Runs one source through one watcher.

    Args:
        name: of the stream, as in the topics.
        source: where readings come from.
        watcher: makes the watcher; called in the watcher thread, so that a slow model never delays another stream, and
            again after a failure.
        sink: where decisions go.
        clock: monotonic time for silence and progress.
        no_data_s: silence in seconds that is reported as `no_data`.
        supervision: told of every turn of the two loops.
        backoff: delays between attempts to open the source.
        wait: waits so many seconds, or less when the stream is to stop; None: really.
    """

    counts: StreamCounts

    def __init__(
        self,
        name: str,
        source: Source,
        watcher: Callable[[], Watcher],
        sink: Sink,
        *,
        clock: Clock,
        no_data_s: float,
        supervision: Supervision,
        backoff: Backoff,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(name, watcher, clock=clock, supervision=supervision, wait=wait)
        self.source = source
        self.counts = StreamCounts()
        self.last_reading_ns: int | None = None
        self.heard_ns: int | None = None
        self.no_data_s = no_data_s
        self._sink, self._backoff = sink, backoff
        self._queue: queue.Queue[Block | Unknown | None] = queue.Queue(QUEUE_BLOCKS)
        self._lost = self._dropping = self._away = self._ended = False

    # The reader thread.

    def run_reader(self) -> None:
        """Open, read, reopen until stopped or the source has no more."""
        while not self._stopping.is_set():
            try:
                self._read_until_lost()
            except EndOfData:
                self._close_source()
                break
            except SourceError as error:
                self._source_lost(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the source is opened again
                _log.exception("stream %s: reading failed", self.name)
                self.counts.reader_restarts += 1
                self._source_lost(f"reading failed: {error!r}")
        self._close_source()
        self._put(None)
        self._supervision.rested(self.reader_name)

    def _read_until_lost(self) -> None:
        self.source.open()
        began_ns = self._clock.monotonic_ns()
        self._backoff.succeeded(began_ns / NS)
        _log.info("stream %s: source open", self.name)
        self._away = silent = False
        while not self._stopping.is_set():
            block = self.source.read(READ_TIMEOUT_S)
            self._supervision.turned(self.reader_name)
            now = self._clock.monotonic_ns()
            if block is not None:
                self.heard_ns, began_ns, silent = now, now, False
                self._backoff.succeeded(now / NS)
                self._take(block)
            elif not silent and now - began_ns > self.no_data_s * NS:
                silent = True
                self._report(
                    Fault.NO_DATA, f"no reading for {self.no_data_s:.0f} s; is the sensor powered and connected?"
                )

    def _source_lost(self, problem: str) -> None:
        """Release the source, report it, and wait: a port still held would come back under another name."""
        self._close_source()
        delay_s = self._backoff.delay_s()
        level = logging.DEBUG if self._away else logging.WARNING
        _log.log(level, "stream %s: %s; next try in %.0f s", self.name, problem, delay_s)
        self.counts.reopened += 1
        self._away = self._lost = True
        self._report(Fault.NO_DATA, problem)
        self._pause(delay_s, self.reader_name)

    def _close_source(self) -> None:
        try:
            self.source.close()
        except Exception:  # noqa: BLE001 - it is opened again, which tells whether that matters
            _log.exception("stream %s: the source does not close", self.name)

    def _report(self, fault: Fault, detail: str) -> None:
        """Queue a fault that is not in the readings, at the reading time it would have had."""
        last = self.last_reading_ns
        self._put(Unknown(t_ns=self._clock.now_ns() if last is None else last + 1, fault=fault, detail=detail))

    def _take(self, block: Block) -> None:
        self.counts.readings += len(block)
        self.last_reading_ns = int(block.t_ns[-1])
        if self._lost:
            block = replace(block, gap=True)
        if self.source.lossless:
            self._put(block)
        else:
            try:
                self._queue.put_nowait(block)
            except queue.Full:
                self._drop(block)
                return
        self._lost = self._dropping = False

    def _drop(self, block: Block) -> None:
        if not self._dropping:
            _log.warning("stream %s: readings come faster than they are decided; some are dropped", self.name)
        self._lost = self._dropping = True
        self._count_dropped(block)

    def _count_dropped(self, block: Block) -> None:
        self.counts.blocks_dropped += 1
        self.counts.readings_dropped += len(block)

    def _put(self, item: Block | Unknown | None) -> None:
        """Queue an item that must not be dropped, waiting for room; nobody makes room after the watcher's end."""
        while not self.finished.is_set():
            try:
                self._queue.put(item, timeout=READ_TIMEOUT_S)
            except queue.Full:
                self._supervision.turned(self.reader_name)
            else:
                return

    # The watcher thread.

    def _next(self) -> Block | Unknown | None:
        try:
            item = self._queue.get(timeout=READ_TIMEOUT_S)
        except queue.Empty:
            return None
        self._ended = item is None
        return item

    def _over(self) -> bool:
        return self._ended

    def _decide(self, watcher: Watcher, item: Block | Unknown) -> None:
        if isinstance(item, Block):
            self._sink.decided(item, watcher.feed(item))
        else:
            self._sink.decided(None, [watcher.unknown(item)])

    def _tell(self, decision: Decision) -> None:
        self._sink.decided(None, [decision])

    def _settle(self, *, end: bool = False) -> None:
        self._sink.settle(end=end)

    def _lose(self, item: Block) -> None:
        self._count_dropped(item)

    def _time_ns(self, item: Block | None) -> int:
        if item is not None and len(item):
            return int(item.t_ns[-1])
        return self._clock.now_ns() if self.last_reading_ns is None else self.last_reading_ns
