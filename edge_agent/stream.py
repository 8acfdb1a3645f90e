"""One stream while it runs: a reader thread and a watcher thread joined by a bounded queue.

    source --reader--> queue of blocks --watcher--> pipeline -> Sink (states, scores, alerts, evidence)

The reader opens the source, reopens it with back-off when it goes away, and reports silence. The watcher feeds the
pipeline. Overflow rule of the queue: a lossless source (file, stdin) waits; of any other the newest block is dropped,
counted, and the next one is marked as a gap, so that no reading is ever lost silently.

A part that fails is logged, counted and begun again with growing waits, and the stream's state says so meanwhile: a
reader that fails is a source that went away (`no_data`); a watcher that fails is a model that cannot decide (`model`),
the block it failed on is counted as dropped, what waits in the queue is decided by the watcher that replaces it. The
other part never notices.
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
LONGEST_RESTART_S = 30.0
"""Longest wait before a watcher that keeps failing is made again, seconds: loading a model takes a few."""


class Sink(Protocol):
    """Where a stream's decisions go; called from the watcher thread alone."""

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Take the decisions of one block (None: of a fault found outside the readings)."""

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back, once it may go out, or at once at the end; called at every turn."""


class Supervision(Protocol):
    """Who is expected to move; feeds the watchdog (`health/progress.py`)."""

    def turned(self, name: str) -> None:
        """Note that a loop turned or a long call begins, and expect it to move again."""

    def rested(self, name: str) -> None:
        """Expect nothing more until it turns again."""


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
        watcher: makes the watcher; called in the watcher thread, so that a slow model never delays another stream, and
            again after a failure.
        sink: where decisions go.
        clock: monotonic time for silence and progress.
        no_data_s: silence in seconds that is reported as `no_data`.
        supervision: told of every turn of the two loops.
        backoff: delays between attempts to open the source.
        wait: waits so many seconds, or less when the stream is to stop; None: really.
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
        supervision: Supervision,
        backoff: Backoff,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.counts = StreamCounts()
        self.finished = threading.Event()
        self.ready = threading.Event()
        self.last_reading_ns: int | None = None
        self.heard_ns: int | None = None
        self.no_data_s = no_data_s
        self.reader_name, self.watcher_name = f"{name}-reader", f"{name}-watcher"
        self._make_watcher = watcher
        self._sink, self._clock, self._supervision, self._backoff = sink, clock, supervision, backoff
        self._queue: queue.Queue[Block | Unknown | None] = queue.Queue(QUEUE_BLOCKS)
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._lost = self._dropping = self._away = False
        self._item: Block | Unknown | None = None
        self._ended = False
        self._decided = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        self._threads = [
            threading.Thread(target=self.run_reader, name=self.reader_name, daemon=True),
            threading.Thread(target=self.run_watcher, name=self.watcher_name, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Stop reading, and end once what was read is decided; returns at once."""
        self._stopping.set()

    def stop(self, timeout_s: float) -> bool:
        """Stop reading, decide what was read, and end; False where a thread did not end in time."""
        self.ask_to_stop()
        deadline = self._clock.monotonic_ns() + int(timeout_s * NS)
        for thread in self._threads:
            thread.join(max(0.0, (deadline - self._clock.monotonic_ns()) / NS))
        return not any(thread.is_alive() for thread in self._threads)

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

    def run_watcher(self) -> None:
        """Decide what comes, until the end mark; after a failure with a new watcher."""
        problem, failures = "", 0
        while True:
            decided = self._decided
            try:
                self._watch(problem)
            except Exception as error:  # noqa: BLE001 - whatever it is, watching goes on
                failures = 1 if self._decided > decided else failures + 1
                problem = f"watching failed and begins again: {error!r}"
                if not self._watch_failed(problem, failures) or self._ended:
                    break
            else:
                break
        self.finished.set()
        self._supervision.rested(self.watcher_name)

    def _watch(self, problem: str) -> None:
        self._supervision.rested(self.watcher_name)
        watcher = self._make_watcher()
        if problem:
            self._sink.decided(None, [watcher.unknown(self._model_fault(problem))])
        self.ready.set()
        while True:
            try:
                self._item = self._queue.get(timeout=READ_TIMEOUT_S)
            except queue.Empty:
                self._turn()
                continue
            self._turn()
            if self._item is None:
                self._ended = True
                self._sink.settle(end=True)
                return
            self._decide(watcher, self._item)
            self._item = None

    def _turn(self) -> None:
        self._supervision.turned(self.watcher_name)
        self._sink.settle()

    def _decide(self, watcher: Watcher, item: Block | Unknown) -> None:
        if isinstance(item, Block):
            self._sink.decided(item, watcher.feed(item))
        else:
            self._sink.decided(None, [watcher.unknown(item)])
        self._decided += 1

    def _watch_failed(self, problem: str, failures: int) -> bool:
        """Count what is lost, say so, and wait; False where the stream is to stop and no watcher can be made."""
        _log.log(logging.ERROR if failures == 1 else logging.DEBUG, "stream %s: %s", self.name, problem, exc_info=True)
        self.counts.watcher_restarts += 1
        had_item = self._item is not None
        if isinstance(self._item, Block):
            self._count_dropped(self._item)
        state = Decision(t_ns=self._model_fault("").t_ns, anomaly=None, fault=Fault.MODEL, detail=problem)
        self._item = None
        try:
            self._sink.decided(None, [state])
        except Exception:  # noqa: BLE001 - it may be the sink that failed
            _log.exception("stream %s: its state cannot be told", self.name)
        if self._stopping.is_set():
            return had_item or self._give_up()
        self._pause(min(LONGEST_RESTART_S, READ_TIMEOUT_S * 2.0 ** (failures - 1)), self.watcher_name)
        return True

    def _give_up(self) -> bool:
        """Count what will not be decided any more."""
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, Block):
                self._count_dropped(item)
        _log.error("stream %s: stopped; %d readings in all were never decided", self.name, self.counts.readings_dropped)
        return False

    def _model_fault(self, detail: str) -> Unknown:
        """Return the fault of a watcher that failed, at the reading time it failed at."""
        item, last = self._item, self.last_reading_ns
        if isinstance(item, Block) and len(item):
            t_ns = int(item.t_ns[-1])
        else:
            t_ns = self._clock.now_ns() if last is None else last
        return Unknown(t_ns=t_ns, fault=Fault.MODEL, detail=detail)

    def _pause(self, delay_s: float, thread: str) -> None:
        """Wait in slices that the watchdog sees."""
        deadline = self._clock.monotonic_ns() + int(delay_s * NS)
        while not self._stopping.is_set() and (left := deadline - self._clock.monotonic_ns()) > 0:
            self._supervision.turned(thread)
            self._wait(min(left / NS, READ_TIMEOUT_S))
