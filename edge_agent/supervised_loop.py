"""A loop in a thread of its own, as the watchdog sees it: what readers and watchers have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.contract.records import NS
from edge_agent.ports import Clock

READ_TIMEOUT_S = 0.5
"""Longest wait in one read, seconds: bounds how fast a stream stops and how often its progress is seen."""


class Supervision(Protocol):
    """Who is expected to move; feeds the watchdog (`health/progress.py`)."""

    def turned(self, name: str) -> None:
        """Note that a loop turned or a long call begins, and expect it to move again."""

    def rested(self, name: str) -> None:
        """Expect nothing more until it turns again."""


class SupervisedLoop:
    """Says when it turns, waits in slices that the watchdog sees, and stops when asked.

    Args:
        name: of the stream, as in the topics.
        part: of the stream that this is: `reader` or `watcher`.
        clock: monotonic time of waits.
        supervision: told of every turn.
        wait: waits so many seconds, or less when the loop is to stop; None: really.
    """

    def __init__(
        self,
        name: str,
        part: str,
        *,
        clock: Clock,
        supervision: Supervision,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.name = name
        self.thread_name = f"{name}-{part}"
        """As threads, supervision and the log know it."""
        self.clock, self.supervision = clock, supervision
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def ask_to_stop(self) -> None:
        """Stop soon; returns at once."""
        self._stopping.set()

    def _turned(self) -> None:
        self.supervision.turned(self.thread_name)

    def _rested(self) -> None:
        self.supervision.rested(self.thread_name)

    def _pause(self, delay_s: float) -> None:
        """Wait before trying again, unless it is to stop."""
        deadline_ns = self.clock.monotonic_ns() + round(delay_s * NS)
        while not self._stopping.is_set() and (left_ns := deadline_ns - self.clock.monotonic_ns()) > 0:
            self._turned()
            self._wait(min(left_ns / NS, READ_TIMEOUT_S))
