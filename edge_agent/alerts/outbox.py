"""Alerts between decision and delivery: on disk before MQTT sees them, gone only after the broker's acknowledgement.

What holds:

1. `put` returns after the commit (SQLite, WAL, `synchronous=FULL`). The open events of the stream are saved in the same
   transaction, so a restart finds an alert and the event it belongs to, or neither.
2. An alert keeps its `session` and `seq` for ever; what is sent again after a crash is the same alert, and consumers
   drop it.
3. `seq` counts 1, 2, 3, … within a session (a life of the database). Whatever is dropped is reported by an
   `outbox_overflow` event of the same stream with the ranges, committed with the drop.
4. Limits in bytes and age. When full, the least severe go first, then the oldest, reports last. A new alert that
   matters less than all that wait is itself what goes.
5. A damaged database is set aside, reported on every stream, and a fresh one begun.
6. A disk that cannot be written means RAM mode: a session of its own in memory, moved to disk when that heals. A full
   disk first gets back the reserve, so that deletions go on.

The choice between disk and memory is in `edge_agent.alerts.failover`, limits and reports in `edge_agent.alerts.ledger`,
the rows in `edge_agent.alerts.store`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from edge_agent.alerts.failover import Failover
from edge_agent.alerts.ledger import Ledger
from edge_agent.alerts.overflow import Reporter
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.alerts.store import PAGE_BYTES, Key, Record
from edge_agent.contract.records import NS
from edge_agent.contract.wire import (
    MAX_PAYLOAD_BYTES,
    ClockState,
    EventPayload,
    OutboxHealth,
    check_stream,
    to_json,
)
from edge_agent.ports import Clock

_LOG = logging.getLogger(__name__)

HEAL_S = 60.0
"""Seconds between tries to get back to disk, and between looks for alerts that are too old."""

EARLIEST_NS = 1_704_067_200 * NS
"""Start of 2024: a clock before that was never set, so no age can be computed from it."""

MAX_OPEN_BYTES = 64 << 10
"""Open events of one stream as JSON; one takes some 300 bytes and a stream has one or two."""

_STAMP_BYTES = 64
"""Room that `session`, `seq` and `historical` take in a payload when they are filled in."""

_COMMITS = 1000
"""Commits that the time from decision to commit is judged by."""


class Outbox:
    """The queue of alerts; every method may be called from any thread."""

    def __init__(
        self,
        path: Path,
        settings: OutboxSettings,
        clock: Clock,
        *,
        device: str,
        boot_id: str = "",
        streams: Sequence[str] = (),
        clock_state: Callable[[], ClockState] = lambda: ClockState.UNSYNCED,
    ) -> None:
        """Open or create the database; a disk that cannot be used never stops the start.

        Args:
            path: file of the database; its log, the reserve and a damaged predecessor lie beside it.
            settings: limits.
            clock: UTC for stamps, the monotonic clock for ages and healing.
            device: named in the outbox's own reports, as are `boot_id` and what `clock_state` says then.
            boot_id: the kernel's.
            streams: where a damaged database is reported.
            clock_state: whether UTC can be believed.
        """
        self.notify: Callable[[], None] = lambda: None
        """Called after each commit, without the lock: the link sends what waits."""
        self._settings, self._clock = settings, clock
        self._lock = threading.RLock()
        self._run = uuid.uuid4().hex
        reporter = Reporter(device=device, boot_id=boot_id, clock=clock, clock_state=clock_state)
        self._ledgers = Failover(path, settings, clock, reporter=reporter, run=self._run, streams=streams)
        self._commits_ms: deque[float] = deque(maxlen=_COMMITS)
        self._next_care_ns = clock.monotonic_ns()
        self._care()

    @property
    def session(self) -> str:
        """Session of the next alert."""
        with self._lock:
            return self._ledgers.run(lambda ledger: ledger.store.session)

    def put(
        self, event: EventPayload, *, open_events: Sequence[dict[str, Any]] | None = None, decided_ns: int | None = None
    ) -> Record:
        """Commit an alert.

        Args:
            event: without `session` and `seq`, which are given here.
            open_events: the stream's open events from now on, JSON objects; None: as they were.
            decided_ns: monotonic time of the decision, for the time from decision to commit.

        Returns:
            What was committed. In an outbox full of alerts that matter more, that is the report of this one's drop and
            the open events: there is nothing left for the caller to do.

        Raises:
            ValueError: larger than a payload may be.
        """
        check_stream(event.stream)
        if (size := len(to_json(event))) > MAX_PAYLOAD_BYTES - _STAMP_BYTES:
            raise ValueError(f"an alert has at most {MAX_PAYLOAD_BYTES - _STAMP_BYTES} bytes of JSON, got {size}")
        opened = None if open_events is None else _open_text(open_events)
        with self._lock:
            self._care()
            record, kept = self._ledgers.run(lambda ledger: ledger.commit(event, opened))
            if decided_ns is not None:
                self._commits_ms.append((self._clock.monotonic_ns() - decided_ns) / 1e6)
        self.notify()
        if not kept:
            _LOG.warning("alert %d matters less than all that wait: dropped and reported", record.seq)
        return record

    def pending(self, limit: int, *, skip: Collection[Key] = (), blocked: Collection[str] = ()) -> list[Record]:
        """Return the next alerts to send, in order of commit.

        Args:
            limit: at most so many.
            skip: on their way already.
            blocked: streams that cannot be sent now.
        """
        with self._lock:
            self._care()
            unwanted = self._ledgers.delivered.union(skip)
            found: list[Record] = []
            for ledger in self._ledgers.all():
                if len(found) < limit:
                    found += self._waiting(ledger, limit - len(found), unwanted, blocked)
            if not found and not skip:
                self._ledgers.forget()
            return found

    def acknowledge(self, keys: Collection[Key]) -> None:
        """Forget alerts that the broker has taken: at once here, on disk some at a time, since each deletion is a sync.

        A crash in between sends them again, with the same numbers.
        """
        with self._lock:
            self._ledgers.acknowledge(keys)

    def give_up(self, key: Key, detail: str) -> None:
        """Drop an alert that the broker will never take, and report it."""
        with self._lock:
            found = self._ledgers.give_up(key, detail)
        if found:
            self.notify()

    def open_events(self, stream: str) -> list[dict[str, Any]]:
        """Return the events that were open when the stream's last alert was committed."""
        with self._lock:
            for ledger in reversed(self._ledgers.all()):
                try:
                    found = ledger.store.read_state(f"open/{stream}")
                except (sqlite3.Error, ValueError) as error:
                    _LOG.warning("open events of %s cannot be read: %s", stream, error)
                    continue
                if found is not None:
                    return list(found)
            return []

    def age_s(self, record: Record) -> float:
        """Return seconds since an alert was committed; negative when the clock was set back since an earlier life."""
        return record.age_s(utc_ns=self._clock.now_ns(), run=self._run, run_ns=self._clock.monotonic_ns())

    def stats(self) -> OutboxHealth:
        """Return what `health` says of the outbox."""
        with self._lock:
            self._care()
            depth, pages, oldest = 0, 0, None
            for ledger in self._ledgers.all():
                try:
                    depth += ledger.store.depth()
                    pages += ledger.store.used_pages()
                    oldest = oldest or next(iter(ledger.store.oldest(1)), None)
                except sqlite3.Error as error:
                    _LOG.debug("the outbox cannot be counted: %s", error)
            commits = sorted(self._commits_ms)
            return OutboxHealth(
                mode="ram" if self._ledgers.on_ram else "disk",
                depth=max(0, depth - len(self._ledgers.delivered)),
                bytes=pages * PAGE_BYTES,
                oldest_s=None if oldest is None else max(0.0, round(self.age_s(oldest), 1)),
                dropped=self._ledgers.dropped,
                problem=self._ledgers.problem,
                commit_p50_ms=_quantile(commits, 0.5),
                commit_p99_ms=_quantile(commits, 0.99),
            )

    def close(self) -> None:
        """Close the database; what waits on disk stays there."""
        with self._lock:
            self._ledgers.close()

    def _waiting(self, ledger: Ledger, limit: int, unwanted: Collection[Key], blocked: Collection[str]) -> list[Record]:
        try:
            records = ledger.store.oldest(limit + len(unwanted), blocked)
        except sqlite3.Error as error:
            self._ledgers.disk_failed(error)
            return []
        found = [record for record in records if record.key not in unwanted][:limit]
        ledger.close_reports(record.key for record in found if record.report)
        return found

    def _care(self) -> None:
        """Get back to disk, delete what could not be deleted, drop what is too old; at most every `HEAL_S`."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_care_ns:
            return
        self._next_care_ns = now_ns + int(HEAL_S * NS)
        if self._ledgers.on_ram:
            self._ledgers.heal()
        if self._ledgers.on_ram:
            return
        self._ledgers.forget()
        if (utc_ns := self._clock.now_ns()) >= EARLIEST_NS:
            self._ledgers.run(lambda ledger: self._expire(ledger, utc_ns))
        self._ledgers.hold_reserve()

    def _expire(self, ledger: Ledger, utc_ns: int) -> None:
        """Drop by age, once alerts committed before the clock was set have got a believable time."""
        ledger.store.stamp(EARLIEST_NS, utc_ns)
        ledger.expire(utc_ns - int(self._settings.max_age_s * NS))


def _open_text(events: Sequence[dict[str, Any]]) -> str:
    text = json.dumps(list(events), allow_nan=False)
    if len(text) > MAX_OPEN_BYTES:
        raise ValueError(f"open events of a stream have at most {MAX_OPEN_BYTES} bytes of JSON, got {len(text)}")
    return text


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    """Return the q-quantile by nearest rank, in the unit of the values; None without any."""
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3) if ordered else None
