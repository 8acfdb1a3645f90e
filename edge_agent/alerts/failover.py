"""The ledger on disk, and the one in memory that takes its place while the disk cannot be written.

What a failing disk asks for: a damaged file is set aside, reported on every stream, and a fresh one begun; a full disk
gets back the reserve; on any other error memory takes over, with a session of its own, until `heal` has moved its
alerts to disk, with their numbers. Alerts that were delivered are deleted from disk some at a time, since each deletion
is a sync; until then they are `delivered`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from edge_agent.alerts.database import Database, is_damage, is_full
from edge_agent.alerts.ledger import Ledger
from edge_agent.alerts.overflow import DropReason, Reporter
from edge_agent.alerts.reserve import Reserve
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.alerts.store import Key, Store
from edge_agent.contract.wire import Dropped
from edge_agent.ports import Clock

_LOG = logging.getLogger(__name__)

RAM_BYTES = 4 << 20
"""Limit of what waits in memory while the disk cannot be written: some thousand alerts, no burden at 512 MB of RAM."""

DELETE_AT_ONCE = 20
"""Delivered alerts deleted in one transaction: as many as may be in flight. The rest goes when all is sent."""

MOVE_AT_ONCE = 100
"""Alerts moved from memory to disk in one transaction, which bounds the log beside the file."""

T = TypeVar("T")


class Failover:
    """Chooses between disk and memory. Not thread-safe: the outbox holds the lock.

    Args:
        path: file of the database; its log, the reserve and a damaged predecessor lie beside it.
        settings: limits.
        clock: for stamps.
        reporter: writes reports.
        run: name of this life of the agent.
        streams: where a damaged database is reported.
    """

    def __init__(
        self,
        path: Path,
        settings: OutboxSettings,
        clock: Clock,
        *,
        reporter: Reporter,
        run: str,
        streams: Sequence[str],
    ) -> None:
        self.disk: Ledger | None = None
        self.ram: Ledger | None = None
        self.on_ram = False
        """Memory takes what comes."""
        self.problem = ""
        """In words, for `health`."""
        self.delivered: set[Key] = set()
        """Alerts that are still on disk and nobody wants any more."""
        self._settings, self._clock, self._streams = settings, clock, tuple(streams)
        self._reporter, self._run = reporter, run
        self._database = Database(path, settings.max_bytes)
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        self._dropped = 0
        self._open_disk()

    @property
    def dropped(self) -> int:
        """Alerts dropped so far, in this life."""
        return self._dropped + sum(ledger.dropped for ledger in self.all())

    def all(self) -> list[Ledger]:
        """Return what holds alerts, in the order in which they came."""
        return [ledger for ledger in (self.disk, self.ram) if ledger is not None]

    def run(self, work: Callable[[Ledger], T]) -> T:
        """Run `work` on the disk, after relief or on a fresh database where that helps, else in memory."""
        for _ in range(3):
            if self.on_ram or self.disk is None:
                break
            try:
                return work(self.disk)
            except sqlite3.Error as error:
                self.disk_failed(error)
        return work(self._memory())

    def disk_failed(self, error: Exception) -> None:
        """Do what the error asks for: a fresh database, room on the disk, or memory."""
        if is_damage(error):
            self._begin_afresh(error)
        elif not is_full(error) or not self._relieve():
            self._go_to_ram(error)

    def acknowledge(self, keys: Collection[Key]) -> None:
        """Take note of what was delivered, and delete it as far as that is due."""
        in_ram = {key for key in keys if self.ram is not None and self.ram.store.delete([key])}
        self.delivered.update(key for key in keys if key not in in_ram)
        if len(self.delivered) >= DELETE_AT_ONCE:
            self.forget()

    def forget(self) -> None:
        """Delete from disk what was delivered."""
        if not self.delivered or self.on_ram:
            return
        self.run(lambda ledger: ledger.forget(self.delivered))
        if not self.on_ram:
            self.delivered.clear()

    def give_up(self, key: Key, detail: str) -> bool:
        """Drop an alert that the broker will never take, and report it; False where it is not here."""
        record = next(filter(None, (ledger.store.find(key) for ledger in self.all())), None)
        if record is None:
            return False
        self.run(lambda ledger: ledger.drop([record], DropReason.REFUSED, detail))
        if self.on_ram:
            self.delivered.add(key)
        return True

    def heal(self) -> None:
        """Go back to disk if it can be written again, and take along what came in the meantime."""
        fresh: Store | None = None
        try:
            fresh = self._database.open()
            self._move(fresh)
        except (sqlite3.Error, OSError) as error:
            _LOG.debug("still no disk for the outbox: %s", error)
            if fresh is not None and self.disk is None:
                self.disk = self._ledger(fresh)
            elif fresh is not None:
                fresh.close()
            return
        self.close()
        self.disk, self.on_ram, self.problem = self._ledger(fresh), False, ""
        self._report_damage(self.disk)
        _LOG.info("the outbox is on disk again")

    def hold_reserve(self) -> None:
        """Take up the room that a full disk is given back, where there is any."""
        try:
            self._reserve.hold()
        except OSError as error:
            _LOG.debug("no reserve for a full disk: %s", error)

    def close(self) -> None:
        """Close what is open; what waits on disk stays there."""
        self.forget()
        for ledger in self.all():
            self._dropped += ledger.dropped
            ledger.store.close()
        self.disk = self.ram = None

    def _relieve(self) -> bool:
        """Give a full disk the reserve; False when there was none left."""
        if not self._reserve.release():
            return False
        _LOG.warning("the disk is full: the outbox lives on its reserve")
        return True

    def _memory(self) -> Ledger:
        self.on_ram = True
        if self.ram is None:
            self.ram = self._ledger(Store(None, min(RAM_BYTES, self._settings.max_bytes)))
        return self.ram

    def _go_to_ram(self, error: Exception) -> None:
        self.problem = f"alerts wait in memory, since the disk cannot be written: {error}"
        if not self.on_ram:
            _LOG.warning("%s", self.problem)
        self.on_ram = True

    def _ledger(self, store: Store) -> Ledger:
        return Ledger(store, self._clock, self._reporter, self._run)

    def _open_disk(self) -> None:
        """Begin on disk, or in memory where that does not work."""
        try:
            self.disk = self._ledger(self._database.open())
            self._report_damage(self.disk)
        except (sqlite3.Error, OSError) as error:
            self._go_to_ram(error)

    def _begin_afresh(self, damage: Exception) -> None:
        """Leave a database that turned out damaged while it was open; opening it again may well find nothing."""
        if self.disk is not None:
            self._dropped += self.disk.dropped
            self.disk.store.close()
            self.disk = None
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
        self.problem = f"the outbox was damaged and a new one was begun: {damage}"
        _LOG.error("%s", self.problem)
        for stream in self._streams:
            dropped = Dropped(session="", ranges=(), count=0)
            ledger.commit(self._reporter.event(stream, dropped, DropReason.CORRUPT, damage), None)
        self._database.damage = ""

    def _move(self, target: Store) -> None:
        """Take open events and alerts, with their numbers, from memory to disk, step by step."""
        with target.transaction():
            target.delete(self.delivered)
            target.write_state("healed", json.dumps(self._clock.now_ns()))
            for key, value in self.ram.store.state_like("open/").items() if self.ram else ():
                target.write_state(key, value)
        self.delivered.clear()
        while self.ram and (records := self.ram.store.oldest(MOVE_AT_ONCE)):
            with target.transaction():
                for record in records:
                    target.insert(record)
            self.ram.store.delete([record.key for record in records])
