"""The tables behind the outbox: SQLite, one transaction at a time, no policy.

    alerts   one row an alert, in the order of commit; (session, seq) is unique
    state    `session`, `seq` (last number given), and `open/<stream>` (open events as JSON)

On disk: WAL with `synchronous=FULL`, so that a commit survives a power cut. `max_page_count` is a hard wall around the
file; policy keeps well below it. Nothing is cached here, so a second process may use the same file. Every method may
raise `sqlite3.Error`; `edge_agent.alerts.failover` decides what that means.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.contract.records import NS

PAGE_BYTES = 4096
"""SQLite's page, and the block of every file system and SD card we meet."""

VERSION = 1
"""Of the tables, kept in `user_version`; a file with another one is set aside."""

_WAL_PAGES = 128
"""Pages after which the write-ahead log is folded into the file: half a megabyte beside the file, and
one more sync in some 50 alerts."""

_BUSY_MS = 5000
"""Milliseconds to wait for another process (`edge-agent test-alert`) to finish its transaction."""

_TABLES = """
CREATE TABLE IF NOT EXISTS alerts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, seq INTEGER NOT NULL, stream TEXT NOT NULL,
  report INTEGER NOT NULL, rank INTEGER NOT NULL, put_ns INTEGER NOT NULL, run TEXT NOT NULL, run_ns INTEGER NOT NULL,
  body BLOB NOT NULL, UNIQUE (session, seq));
CREATE INDEX IF NOT EXISTS expendable ON alerts (report, rank, id);
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_COLUMNS = "session, seq, stream, report, rank, put_ns, run, run_ns, body"

Key = tuple[str, int]
"""(session, seq): what an alert is known by, here and at every consumer."""


@dataclass(frozen=True, slots=True)
class Record:
    """A committed alert."""

    session: str
    seq: int
    stream: str
    report: bool
    """It reports dropped alerts: goes last when room is needed."""
    rank: int
    """Severity; 0 matters least."""
    put_ns: int
    """UTC of the commit."""
    run: str
    """The life of the agent that committed it."""
    run_ns: int
    """Monotonic time of the commit within that life."""
    body: bytes
    """The payload, JSON."""

    @property
    def key(self) -> Key:
        """What the alert is known by."""
        return self.session, self.seq

    def age_s(self, *, utc_ns: int, run: str, run_ns: int) -> float:
        """Return seconds since the commit: exact within one life of the agent, else by UTC, which may have jumped."""
        return (run_ns - self.run_ns if run == self.run else utc_ns - self.put_ns) / NS


class CorruptStoreError(sqlite3.DatabaseError):
    """The file is no database of ours, or a broken one."""


class Store:
    """One database, on disk or in memory. Not thread-safe: the outbox holds the lock."""

    def __init__(self, path: Path | None, max_bytes: int) -> None:
        """Open or create.

        Args:
            path: the file; None for one in memory.
            max_bytes: hard wall around the file.

        Raises:
            CorruptStoreError: the file is broken or of another version.
            sqlite3.Error: it cannot be opened or written.
        """
        self.max_pages = max_bytes // PAGE_BYTES
        target = ":memory:" if path is None else str(path)
        self._db = sqlite3.connect(target, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        if self._pragma("user_version") not in (0, VERSION):
            raise CorruptStoreError(
                f"the outbox has version {self._pragma('user_version')} of its tables, expected {VERSION}"
            )
        if (found := self._pragma("quick_check(1)")) != "ok":
            raise CorruptStoreError(f"the outbox is damaged: {found}")
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={_WAL_PAGES}",
            f"journal_size_limit={_WAL_PAGES * PAGE_BYTES}",
            f"max_page_count={self.max_pages}",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        with self.transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={VERSION}")
            self._db.execute("INSERT OR IGNORE INTO state VALUES ('session', ?), ('seq', '0')", (uuid.uuid4().hex,))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything in the block, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @property
    def session(self) -> str:
        """Name of this database's life; sequence numbers count within it."""
        return str(self._db.execute("SELECT value FROM state WHERE key = 'session'").fetchone()[0])

    def next_seq(self) -> int:
        """Take the next sequence number (inside a transaction)."""
        row = self._db.execute("UPDATE state SET value = value + 1 WHERE key = 'seq' RETURNING value").fetchall()
        return int(row[0][0])

    def insert(self, record: Record) -> None:
        """Add an alert behind all others."""
        values = (
            record.session, record.seq, record.stream, record.report, record.rank,
            record.put_ns, record.run, record.run_ns, record.body,
        )  # fmt: skip
        self._db.execute(f"INSERT INTO alerts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - _COLUMNS is ours

    def replace_body(self, key: Key, body: bytes) -> None:
        """Rewrite an alert that nobody has seen yet."""
        self._db.execute("UPDATE alerts SET body = ? WHERE session = ? AND seq = ?", (body, *key))

    def delete(self, keys: Collection[Key]) -> int:
        """Remove alerts, each in a transaction of its own unless one is open; returns how many there were."""
        before = self._db.total_changes
        self._db.executemany("DELETE FROM alerts WHERE session = ? AND seq = ?", keys)
        return self._db.total_changes - before

    def oldest(self, limit: int, blocked: Collection[str] = ()) -> list[Record]:
        """Return the first alerts in order of commit, without those of blocked streams."""
        marks = ", ".join("?" * len(blocked))
        return self._records(f"WHERE stream NOT IN ({marks}) ORDER BY id LIMIT ?", (*blocked, limit))

    def find(self, key: Key) -> Record | None:
        """Return one alert, or None when it is not here."""
        found = self._records("WHERE session = ? AND seq = ?", key)
        return found[0] if found else None

    def expendable(self) -> Record | None:
        """Return what goes first when room is needed: least severe, then oldest, reports last."""
        found = self._records("ORDER BY report, rank, id LIMIT 1", ())
        return found[0] if found else None

    def put_before(self, utc_ns: int, limit: int) -> list[Record]:
        """Return the first alerts that were committed before a moment."""
        return self._records("WHERE put_ns < ? ORDER BY id LIMIT ?", (utc_ns, limit))

    def stamp(self, before_ns: int, utc_ns: int) -> None:
        """Give alerts committed before any possible time the present one."""
        if self._db.execute("SELECT 1 FROM alerts WHERE put_ns < ? LIMIT 1", (before_ns,)).fetchone():
            with self.transaction():
                self._db.execute("UPDATE alerts SET put_ns = ? WHERE put_ns < ?", (utc_ns, before_ns))

    def depth(self) -> int:
        """Alerts waiting."""
        return int(self._db.execute("SELECT count(*) FROM alerts").fetchone()[0])

    def used_pages(self) -> int:
        """Pages in use; the file may be larger, never smaller."""
        return int(self._pragma("page_count")) - int(self._pragma("freelist_count"))

    def read_state(self, key: str) -> Any:
        """Return a JSON value kept under a key, or None."""
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def write_state(self, key: str, value: str) -> None:
        """Keep a JSON text under a key (inside a transaction)."""
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    def state_like(self, prefix: str) -> dict[str, str]:
        """Return the JSON texts under keys with a prefix."""
        return dict(
            self._db.execute("SELECT key, value FROM state WHERE key >= ? AND key < ?", (prefix, prefix + "\x7f"))
        )

    def close(self) -> None:
        """Close; what is committed stays."""
        self._db.close()

    def _pragma(self, text: str) -> Any:
        return self._db.execute(f"PRAGMA {text}").fetchone()[0]

    def _records(self, condition: str, values: tuple[object, ...]) -> list[Record]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM alerts {condition}", values)  # noqa: S608 - fixed texts
        return [Record(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in rows]
