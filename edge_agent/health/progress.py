"""The watchdog, fed from progress: systemd restarts the agent when a loop stops turning or a call does not return.

    loop of a stream:  turned("pump")  at every turn: the read returned or timed out, and what it gave was handled
    one long call:     turned("pump scorer") before it, rested("pump scorer") after it

From `turned` on, a name must turn again or rest within `limit_s`. So a sensor that speaks every three minutes (its
read times out and the loop turns) and a broker that is away (nobody waits for it) trip nothing; a read, a scorer or a
disk that never comes back does. Waiting (a back-off) is done in slices shorter than `limit_s`, with a turn after each.

Time is passed in, monotonic nanoseconds; nothing here reads a clock, starts a thread or is driven by a timer of its
own: the agent's main loop calls `Watchdog.tick`, so a main loop that hangs starves the watchdog too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.contract.records import NS
from edge_agent.health.notify import notify

LOG = logging.getLogger(__name__)

LIMIT_S = 10.0
"""Seconds a name may go without a turn: reads wait one second at most, a slow SD card holds a commit for a few."""

FEEDS = 3
"""Feeds in one watchdog period: two may be lost or late before systemd acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Something that should have moved and did not."""

    name: str
    for_s: float
    """Seconds since its last turn."""

    def __str__(self) -> str:
        """Return words for the log and for systemd's status line."""
        return f"{self.name}: no progress for {self.for_s:.0f} s"


class Progress:
    """Who last moved when; any thread may report."""

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        """Supervise nothing until something turns."""
        if not limit_s > 0:
            raise ValueError(f"limit_s must be above 0, got {limit_s}")
        self._limit_ns = int(limit_s * NS)
        self._turned_ns: dict[str, int] = {}
        self._lock = threading.Lock()

    def turned(self, name: str, now_ns: int) -> None:
        """Note that `name` moved at the monotonic time `now_ns`, and expect it to move again."""
        with self._lock:
            self._turned_ns[name] = now_ns

    def rested(self, name: str) -> None:
        """Expect nothing more of `name` until it turns again: its call returned, or its source is finished."""
        with self._lock:
            self._turned_ns.pop(name, None)

    def stuck(self, now_ns: int) -> tuple[Stuck, ...]:
        """Return what has not moved for longer than the limit, the longest first."""
        with self._lock:
            waiting = [(now_ns - turned_ns, name) for name, turned_ns in self._turned_ns.items()]
        return tuple(
            Stuck(name=name, for_s=for_ns / NS)
            for for_ns, name in sorted(waiting, reverse=True)
            if for_ns > self._limit_ns
        )


class Watchdog:
    """Feeds systemd's watchdog while everything progresses, and says what does not."""

    def __init__(self, progress: Progress, watchdog_s: float | None, send: Callable[..., bool] = notify) -> None:
        """Take systemd's limit in seconds (None: nothing is fed, what is stuck is still logged)."""
        self._progress = progress
        self._send = send
        self._feed_ns = None if watchdog_s is None else int(watchdog_s / FEEDS * NS)
        self._fed_ns: int | None = None
        self._stuck: frozenset[str] = frozenset()

    def tick(self, now_ns: int) -> tuple[Stuck, ...]:
        """Feed if it is time and nothing is stuck; called about every second by the main loop, with monotonic time."""
        stuck = self._progress.stuck(now_ns)
        self._tell(stuck)
        due = self._feed_ns is not None and (self._fed_ns is None or now_ns - self._fed_ns >= self._feed_ns)
        if due and not stuck and self._send(WATCHDOG=1):
            self._fed_ns = now_ns
        return stuck

    def _tell(self, stuck: tuple[Stuck, ...]) -> None:
        """Log what is newly stuck and what recovered, once each."""
        names = frozenset(each.name for each in stuck)
        for each in stuck:
            if each.name not in self._stuck:
                LOG.warning("%s; the watchdog is not fed until it moves", each)
        for name in sorted(self._stuck - names):
            LOG.info("%s moves again", name)
        self._stuck = names
