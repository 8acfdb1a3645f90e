"""The two threads of a stream, and the watcher's loop: what readings and frames have in common.

    source --reader--> what waits between them --watcher--> decisions

A part that fails is logged, counted and begun again with growing waits, and the stream's state says so meanwhile: a
reader that fails is a source that went away (`no_data`); a watcher that fails is a model that cannot decide (`model`),
what it failed on is counted as dropped, what waits is decided by the watcher that replaces it. The other part never
notices.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from edge_agent.contract.records import NS, Decision, Fault, Unknown
from edge_agent.read_loop import LoopCounts, ReadLoop
from edge_agent.supervised_loop import READ_TIMEOUT_S, SupervisedLoop

_log = logging.getLogger(__name__)

LONGEST_RESTART_S = 30.0
"""Longest wait before a watcher that keeps failing is made again, seconds: loading a model takes a few."""


Item = TypeVar("Item")
Watcher = TypeVar("Watcher")


class WatchLoop(SupervisedLoop, ABC, Generic[Item, Watcher]):
    """Runs the watcher of one stream, and starts and stops its reader.

    Args:
        reader: of the stream, which has its name, clock and supervision.
        watcher: makes the watcher; called in the watcher thread, so that a slow model never delays another stream, and
            again after a failure.
        wait: waits so many seconds, or less when the watcher is to stop; None: really.
    """

    reader: ReadLoop[Item]
    counts: LoopCounts
    """Of reader and watcher."""

    def __init__(
        self,
        reader: ReadLoop[Item],
        watcher: Callable[[], Watcher],
        *,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(reader.name, "watcher", clock=reader.clock, supervision=reader.supervision, wait=wait)
        self.reader, self.counts = reader, reader.counts
        self.finished = threading.Event()
        self.ready = threading.Event()
        self._make_watcher = watcher
        self._item: Item | Unknown | None = None
        self._decided = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        self._threads = [
            threading.Thread(target=self.reader.run, name=self.reader.thread_name, daemon=True),
            threading.Thread(target=self.run, name=self.thread_name, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Stop reading, and end once what was read is decided; returns at once."""
        super().ask_to_stop()
        self.reader.ask_to_stop()

    def stop(self, timeout_s: float) -> bool:
        """Stop reading, decide what was read, and end; False where a thread did not end in time."""
        self.ask_to_stop()
        deadline = self.clock.monotonic_ns() + int(timeout_s * NS)
        for thread in self._threads:
            thread.join(max(0.0, (deadline - self.clock.monotonic_ns()) / NS))
        return not any(thread.is_alive() for thread in self._threads)

    @abstractmethod
    def _next(self) -> Item | Unknown | None:
        """Return what was read and is to be decided next; None where nothing came for `READ_TIMEOUT_S`."""

    @abstractmethod
    def _over(self) -> bool:
        """Whether all that was read has been taken and no more will come."""

    @abstractmethod
    def _decide(self, watcher: Watcher, item: Item | Unknown) -> None:
        """Decide, and tell."""

    @abstractmethod
    def _tell(self, decision: Decision) -> None:
        """Tell a state while there is no watcher."""

    @abstractmethod
    def _settle(self, *, end: bool = False) -> None:
        """Publish what was held back, once it may go out, or at once at the end; called at every turn."""

    @abstractmethod
    def _lose(self, item: Item) -> None:
        """Count what will not be decided."""

    def run(self) -> None:
        """Decide what comes, until there is no more, after a failure with a new watcher; the body of a thread."""
        problem, failures = "", 0
        while True:
            decided = self._decided
            try:
                self._watch(problem)
            except Exception as error:  # noqa: BLE001 - whatever it is, watching goes on
                failures = 1 if self._decided > decided else failures + 1
                problem = f"watching failed and begins again: {error!r}"
                if not self._watch_failed(problem, failures) or self._over():
                    self._settle_after_failure()
                    break
            else:
                break
        self.reader.unwatched.set()
        self.finished.set()
        self._rested()

    def _watch(self, problem: str) -> None:
        self._rested()
        watcher = self._make_watcher()
        if problem:
            self._decide(watcher, Unknown(t_ns=self._failed_ns(), fault=Fault.MODEL, detail=problem))
        self.ready.set()
        while True:
            self._item = self._next()
            self._turned()
            self._settle()
            if self._item is not None:
                self._decide(watcher, self._item)
                self._decided += 1
                self._item = None
            elif self._over():
                self._settle(end=True)
                return

    def _watch_failed(self, problem: str, failures: int) -> bool:
        """Count what is lost, say so, and wait; False where the stream is to stop and no watcher can be made."""
        _log.log(logging.ERROR if failures == 1 else logging.DEBUG, "stream %s: %s", self.name, problem, exc_info=True)
        self.counts.watcher_restarts += 1
        state = Decision(t_ns=self._failed_ns(), anomaly=None, fault=Fault.MODEL, detail=problem)
        item, self._item = self._item, None
        if item is not None and not isinstance(item, Unknown):
            self._lose(item)
        try:
            self._tell(state)
        except Exception:  # noqa: BLE001 - it may be the telling that failed
            _log.exception("stream %s: its state cannot be told", self.name)
        if self._stopping.is_set():
            return item is not None or self._give_up()
        self._pause(min(LONGEST_RESTART_S, READ_TIMEOUT_S * 2.0 ** (failures - 1)))
        return True

    def _settle_after_failure(self) -> None:
        """Publish what was held back, though no watcher is made any more."""
        try:
            self._settle(end=True)
        except Exception:  # noqa: BLE001 - it may be what failed
            _log.exception("stream %s: what was held back cannot be published", self.name)

    def _give_up(self) -> bool:
        """Count what will not be decided any more."""
        while (item := self._next()) is not None:
            if not isinstance(item, Unknown):
                self._lose(item)
        _log.error("stream %s: stopped, and what it had read is not decided", self.name)
        return False

    def _failed_ns(self) -> int:
        """Return the reading time at which a watcher failed."""
        if self._item is None or isinstance(self._item, Unknown):
            return self.reader.latest_ns()
        return self.reader.time_of(self._item)
