"""One stream while it runs: a reader thread and a watcher thread joined by a bounded queue.

    source --reader--> queue of blocks --watcher--> pipeline -> Sink (states, scores, alerts, evidence)

The reader opens the source, reopens it with back-off when it goes away, and reports silence. The watcher feeds the
pipeline. Overflow rule of the queue: a lossless source (file, stdin) waits; of any other the newest block is dropped,
counted, and the next one is marked as a gap, so that no reading is ever lost silently. A thread that fails is
logged, counted and started again by itself; the other one never notices.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.backoff import Backoff
from edge_agent.contract.records import NS, Block, Decision, Fault, Unknown
from edge_agent.errors import EndOfData, SourceError
from edge_agent.ports import Clock, Source

_log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.5
"""Longest wait in one read, seconds: bounds how fast a stream stops and how often its progress is seen."""
QUEUE_BLOCKS = 512
"""Blocks between reader and watcher: at 20 blocks a second, 25 s of a watcher held up by a slow disk."""


class Sink(Protocol):
    """Where a stream's decisions go; called from the watcher thread alone."""

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Take the decisions of one block (None: of a fault found outside the readings)."""


class Watcher(Protocol):
    """What turns blocks into decisions: a pipeline, or learning that becomes one."""

    def feed(self, block: Block) -> list[Decision]:
        """Decide what the block completes."""

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings."""


@dataclass(slots=True)
class StreamCounts:
    """What happened to a stream since the agent started."""

    readings: int = 0
    blocks_dropped: int = 0
    readings_dropped: int = 0
    reopened: int = 0
    reader_restarts: int = 0
    watcher_restarts: int = 0


class Stream:
    """Runs one source through one watcher.

    Args:
        name: of the stream, as in the topics.
        source: where readings come from.
        watcher: makes the watcher; called in the watcher thread, so that a slow model never delays another stream.
        sink: where decisions go.
        clock: monotonic time for silence and progress.
        no_data_s: silence in seconds that is reported as `no_data`.
        turned: told with a thread's name each time its loop turns; feeds the watchdog.
        backoff: delays between attempts to open the source.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        watcher: Callable[[], Watcher],
        sink: Sink,
        *,
        clock: Clock,
        no_data_s: float,
        turned: Callable[[str], None],
        backoff: Backoff,
    ) -> None:
        self.name = name
        self.source = source
        self.counts = StreamCounts()
        self.finished = threading.Event()
        self.ready = threading.Event()
        self.last_reading_ns: int | None = None
        self.heard_ns: int | None = None
        self.no_data_s = no_data_s
        self._make_watcher = watcher
        self._watcher: Watcher | None = None
        self._sink, self._clock, self._turned, self._backoff = sink, clock, turned, backoff
        self._queue: queue.Queue[Block | Unknown | None] = queue.Queue(QUEUE_BLOCKS)
        self._stopping = threading.Event()
        self._lost = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        self._threads = [
            threading.Thread(
                target=self._forever, args=(self._read, "reader"), name=f"{self.name}-reader", daemon=True
            ),
            threading.Thread(
                target=self._forever, args=(self._watch, "watcher"), name=f"{self.name}-watcher", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Stop reading, decide what was read, and end; False where a thread did not end in time."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def watcher(self) -> Watcher | None:
        """The watcher, once made."""
        return self._watcher

    def alive(self) -> bool:
        """Whether both threads run, or the source has ended in good order."""
        return self.finished.is_set() or all(thread.is_alive() for thread in self._threads)

    def _forever(self, work: Callable[[], None], part: str) -> None:
        """Run a loop until it ends in good order; a bug in it is logged, counted, and the loop begun again."""
        while True:
            try:
                work()
            except Exception:  # noqa: BLE001 - whatever it is, watching goes on
                _log.exception("stream %s: the %s failed and starts again", self.name, part)
                self.counts.reader_restarts += part == "reader"
                self.counts.watcher_restarts += part == "watcher"
                self._stopping.wait(READ_TIMEOUT_S)
                self._lost = True
            else:
                return

    def _read(self) -> None:
        """Reader thread: open, read, reopen until stopped or the source has no more."""
        while not self._stopping.is_set():
            try:
                self._read_until_lost()
            except EndOfData:
                break
            except SourceError as error:
                self._source_lost(str(error))
            finally:
                self.source.close()
        self._put(None)

    def _read_until_lost(self) -> None:
        self.source.open()
        self._backoff.succeeded(self._clock.monotonic_ns() / NS)
        _log.info("stream %s: source open", self.name)
        self.heard_ns, silent = self._clock.monotonic_ns(), False
        while not self._stopping.is_set():
            block = self.source.read(READ_TIMEOUT_S)
            self._turned(f"{self.name}-reader")
            now = self._clock.monotonic_ns()
            if block is not None:
                self.heard_ns, silent = now, False
                self._backoff.succeeded(now / NS)
                self._take(block)
            elif not silent and now - self.heard_ns > self.no_data_s * NS:
                silent = True
                self._report(
                    Fault.NO_DATA, f"no reading for {self.no_data_s:.0f} s; is the sensor powered and connected?"
                )

    def _source_lost(self, problem: str) -> None:
        delay_s = self._backoff.delay_s()
        level = logging.WARNING if self.counts.reopened == 0 or not self._lost else logging.DEBUG
        _log.log(level, "stream %s: %s; next try in %.0f s", self.name, problem, delay_s)
        self.counts.reopened += 1
        self._lost = True
        self._report(Fault.NO_DATA, problem)
        deadline = self._clock.monotonic_ns() + int(delay_s * NS)
        while self._clock.monotonic_ns() < deadline and not self._stopping.wait(min(delay_s, READ_TIMEOUT_S)):
            self._turned(f"{self.name}-reader")

    def _report(self, fault: Fault, detail: str) -> None:
        """Queue a fault that is not in the readings, at the reading time it would have had."""
        last = self.last_reading_ns
        self._put(Unknown(t_ns=self._clock.now_ns() if last is None else last + 1, fault=fault, detail=detail))

    def _take(self, block: Block) -> None:
        self.counts.readings += len(block)
        self.last_reading_ns = int(block.t_ns[-1])
        if self._lost:
            block, self._lost = replace(block, gap=True), False
        if self.source.lossless:
            self._put(block)
            return
        try:
            self._queue.put_nowait(block)
        except queue.Full:
            if not self.counts.blocks_dropped:
                _log.warning("stream %s: readings come faster than they are decided; some are dropped", self.name)
            self.counts.blocks_dropped += 1
            self.counts.readings_dropped += len(block)
            self._lost = True

    def _put(self, item: Block | Unknown | None) -> None:
        """Queue an item that must not be dropped, waiting for room."""
        while True:
            try:
                self._queue.put(item, timeout=READ_TIMEOUT_S)
            except queue.Full:
                self._turned(f"{self.name}-reader")
            else:
                return

    def _watch(self) -> None:
        """Watcher thread: decide what comes, until the end mark; after a failure with a new watcher."""
        watcher = self._watcher = self._make_watcher()
        self.ready.set()
        while True:
            try:
                item = self._queue.get(timeout=READ_TIMEOUT_S)
            except queue.Empty:
                self._turned(f"{self.name}-watcher")
                continue
            self._turned(f"{self.name}-watcher")
            if item is None:
                self.finished.set()
                return
            block = item if isinstance(item, Block) else None
            decisions = watcher.feed(item) if isinstance(item, Block) else [watcher.unknown(item)]
            self._sink.decided(block, decisions)
