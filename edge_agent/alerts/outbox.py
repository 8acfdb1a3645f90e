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

Here is the choice between disk and memory, and what a failing disk asks for. The file is in
`edge_agent.alerts.database`, limits and reports in `edge_agent.alerts.ledger`, the rows in `edge_agent.alerts.store`.
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
from typing import Any, TypeVar

from edge_agent.alerts.database import Database, is_damage, is_full
from edge_agent.alerts.ledger import Ledger
from edge_agent.alerts.overflow import DropReason, Reporter
from edge_agent.alerts.reserve import Reserve
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.alerts.store import PAGE_BYTES, Key, Record, Store
from edge_agent.contract.records import NS
from edge_agent.contract.wire import (
    MAX_PAYLOAD_BYTES,
    ClockState,
    Dropped,
    EventPayload,
    OutboxHealth,
    check_stream,
    to_json,
)
from edge_agent.ports import Clock

_LOG = logging.getLogger(__name__)

RAM_BYTES = 4 << 20
"""Limit of what waits in memory while the disk cannot be written: some thousand alerts, no burden at 512 MB of RAM."""

HEAL_S = 60.0
"""Seconds between tries to get back to disk, and between looks for alerts that are too old."""

EARLIEST_NS = 1_704_067_200 * NS
"""Start of 2024: a clock before that was never set, so no age can be computed from it."""

DELETE_AT_ONCE = 20
"""Delivered alerts deleted in one transaction: as many as may be in flight. The rest goes when all is sent."""

MOVE_AT_ONCE = 100
"""Alerts moved from memory to disk in one transaction, which bounds the log beside the file."""

MAX_OPEN_BYTES = 64 << 10
"""Open events of one stream as JSON; one takes some 300 bytes and a stream has one or two."""

_STAMP_BYTES = 64
"""Room that `session`, `seq` and `historical` take in a payload when they are filled in."""

_COMMITS = 1000
"""Commits that the time from decision to commit is judged by."""

T = TypeVar("T")


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
        self._settings, self._clock, self._streams = settings, clock, tuple(streams)
        self._database = Database(path, settings.max_bytes)
        self._reporter = Reporter(device=device, boot_id=boot_id, clock=clock, clock_state=clock_state)
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        self._lock = threading.RLock()
        self._run = uuid.uuid4().hex
        self._disk: Ledger | None = None
        self._ram: Ledger | None = None
        self._on_ram = False
        self._problem = ""
        self._undeleted: set[Key] = set()
        self._dropped = 0
        self._commits_ms: deque[float] = deque(maxlen=_COMMITS)
        self._next_care_ns = clock.monotonic_ns()
        self._open_disk()
        self._care()

    @property
    def session(self) -> str:
        """Session of the next alert."""
        with self._lock:
            return self._guarded(lambda ledger: ledger.store.session)

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
            record, kept = self._guarded(lambda ledger: ledger.commit(event, opened))
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
            unwanted = self._undeleted.union(skip)
            found: list[Record] = []
            for ledger in self._ledgers():
                if len(found) < limit:
                    found += self._waiting(ledger, limit - len(found), unwanted, blocked)
            if not found and not skip:
                self._forget()
            return found

    def acknowledge(self, keys: Collection[Key]) -> None:
        """Forget alerts that the broker has taken: at once here, on disk some at a time, since each deletion is a sync.

        A crash in between sends them again, with the same numbers.
        """
        with self._lock:
            in_ram = {key for key in keys if self._ram is not None and self._ram.store.delete([key])}
            self._undeleted.update(key for key in keys if key not in in_ram)
            if len(self._undeleted) >= DELETE_AT_ONCE:
                self._forget()

    def give_up(self, key: Key, detail: str) -> None:
        """Drop an alert that the broker will never take, and report it."""
        with self._lock:
            record = next(filter(None, (ledger.store.find(key) for ledger in self._ledgers())), None)
            if record is None:
                return
            self._guarded(lambda ledger: ledger.drop([record], DropReason.REFUSED, detail))
            if self._on_ram:
                self._undeleted.add(key)
        self.notify()

    def open_events(self, stream: str) -> list[dict[str, Any]]:
        """Return the events that were open when the stream's last alert was committed."""
        with self._lock:
            for ledger in reversed(self._ledgers()):
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
            for ledger in self._ledgers():
                try:
                    depth += ledger.store.depth()
                    pages += ledger.store.used_pages()
                    oldest = oldest or next(iter(ledger.store.oldest(1)), None)
                except sqlite3.Error as error:
                    _LOG.debug("the outbox cannot be counted: %s", error)
            commits = sorted(self._commits_ms)
            return OutboxHealth(
                mode="ram" if self._on_ram else "disk",
                depth=max(0, depth - len(self._undeleted)),
                bytes=pages * PAGE_BYTES,
                oldest_s=None if oldest is None else max(0.0, round(self.age_s(oldest), 1)),
                dropped=self._dropped + sum(ledger.dropped for ledger in self._ledgers()),
                problem=self._problem,
                commit_p50_ms=_quantile(commits, 0.5),
                commit_p99_ms=_quantile(commits, 0.99),
            )

    def close(self) -> None:
        """Close the database; what waits on disk stays there."""
        with self._lock:
            self._forget()
            for ledger in self._ledgers():
                self._dropped += ledger.dropped
                ledger.store.close()
            self._disk = self._ram = None

    def _ledgers(self) -> list[Ledger]:
        """Return what holds alerts, in the order in which they came."""
        return [ledger for ledger in (self._disk, self._ram) if ledger is not None]

    def _waiting(self, ledger: Ledger, limit: int, unwanted: Collection[Key], blocked: Collection[str]) -> list[Record]:
        try:
            records = ledger.store.oldest(limit + len(unwanted), blocked)
        except sqlite3.Error as error:
            self._disk_failed(error)
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
        if self._on_ram:
            self._heal()
        if self._on_ram:
            return
        self._forget()
        if (utc_ns := self._clock.now_ns()) >= EARLIEST_NS:
            self._guarded(lambda ledger: self._expire(ledger, utc_ns))
        try:
            self._reserve.hold()
        except OSError as error:
            _LOG.debug("no reserve for a full disk: %s", error)

    def _expire(self, ledger: Ledger, utc_ns: int) -> None:
        """Drop by age, once alerts committed before the clock was set have got a believable time."""
        ledger.store.stamp(EARLIEST_NS, utc_ns)
        ledger.expire(utc_ns - int(self._settings.max_age_s * NS))

    def _forget(self) -> None:
        """Delete from disk what was acknowledged."""
        if not self._undeleted or self._on_ram:
            return
        self._guarded(lambda ledger: ledger.forget(self._undeleted))
        if not self._on_ram:
            self._undeleted.clear()

    def _guarded(self, work: Callable[[Ledger], T]) -> T:
        """Run `work` on the disk, after relief or on a fresh database where that helps, else in memory."""
        for _ in range(3):
            if self._on_ram or self._disk is None:
                break
            try:
                return work(self._disk)
            except sqlite3.Error as error:
                self._disk_failed(error)
        return work(self._memory())

    def _disk_failed(self, error: Exception) -> None:
        """Do what the error asks for: a fresh database, room on the disk, or RAM mode."""
        if is_damage(error):
            self._begin_afresh(error)
        elif not is_full(error) or not self._relieve():
            self._go_to_ram(error)

    def _relieve(self) -> bool:
        """Give a full disk the reserve; False when there was none left."""
        if not self._reserve.release():
            return False
        _LOG.warning("the disk is full: the outbox lives on its reserve")
        return True

    def _memory(self) -> Ledger:
        self._on_ram = True
        if self._ram is None:
            self._ram = self._ledger(Store(None, min(RAM_BYTES, self._settings.max_bytes)))
        return self._ram

    def _go_to_ram(self, error: Exception) -> None:
        self._problem = f"alerts wait in memory, since the disk cannot be written: {error}"
        if not self._on_ram:
            _LOG.warning("%s", self._problem)
        self._on_ram = True

    def _ledger(self, store: Store) -> Ledger:
        return Ledger(store, self._clock, self._reporter, self._run)

    def _open_disk(self) -> None:
        """Begin on disk, or in memory where that does not work."""
        try:
            self._disk = self._ledger(self._database.open())
            self._report_damage(self._disk)
        except (sqlite3.Error, OSError) as error:
            self._go_to_ram(error)

    def _begin_afresh(self, damage: Exception) -> None:
        """Leave a database that turned out damaged while it was open; opening it again may well find nothing."""
        if self._disk is not None:
            self._dropped += self._disk.dropped
            self._disk.store.close()
            self._disk = None
        try:
            self._database.set_aside(damage)
        except OSError as error:
            self._go_to_ram(error)
        else:
            self._open_disk()

    def _report_damage(self, ledger: Ledger) -> None:
        """Say on every stream that alerts may be lost."""
        damage = self._database.damage
        if not damage:
            return
        self._problem = f"the outbox was damaged and a new one was begun: {damage}"
        _LOG.error("%s", self._problem)
        for stream in self._streams:
            dropped = Dropped(session="", ranges=(), count=0)
            ledger.commit(self._reporter.event(stream, dropped, DropReason.CORRUPT, damage), None)
        self._database.damage = ""

    def _heal(self) -> None:
        """Go back to disk if it can be written again, and take along what came in the meantime."""
        fresh: Store | None = None
        try:
            fresh = self._database.open()
            self._move(fresh)
        except (sqlite3.Error, OSError) as error:
            _LOG.debug("still no disk for the outbox: %s", error)
            if fresh is not None and self._disk is None:
                self._disk = self._ledger(fresh)
            elif fresh is not None:
                fresh.close()
            return
        self.close()
        self._disk, self._on_ram, self._problem = self._ledger(fresh), False, ""
        self._report_damage(self._disk)
        _LOG.info("the outbox is on disk again")

    def _move(self, target: Store) -> None:
        """Take open events and alerts, with their numbers, from memory to disk, step by step."""
        with target.transaction():
            target.delete(self._undeleted)
            target.write_state("healed", json.dumps(self._clock.now_ns()))
            for key, value in self._ram.store.state_like("open/").items() if self._ram else ():
                target.write_state(key, value)
        self._undeleted.clear()
        while self._ram and (records := self._ram.store.oldest(MOVE_AT_ONCE)):
            with target.transaction():
                for record in records:
                    target.insert(record)
            self._ram.store.delete([record.key for record in records])


def _open_text(events: Sequence[dict[str, Any]]) -> str:
    text = json.dumps(list(events), allow_nan=False)
    if len(text) > MAX_OPEN_BYTES:
        raise ValueError(f"open events of a stream have at most {MAX_OPEN_BYTES} bytes of JSON, got {len(text)}")
    return text


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    """Return the q-quantile by nearest rank, in the unit of the values; None without any."""
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3) if ordered else None
