"""The file of the outbox: opened as it is, or set aside where it is damaged, and a fresh one begun."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.alerts.store import CorruptStoreError, Store

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_PRIMARY = 0xFF
"""Mask from SQLite's extended to its primary result codes."""


class Database:
    """Opens the file, and knows what became of a damaged one.

    Args:
        path: of the file; its log and a damaged predecessor lie beside it.
        max_bytes: how large it may become.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.damage = ""
        """What was wrong with a file that was set aside, and where it is, until that has been reported."""
        self._path, self._max_bytes = path, max_bytes

    def open(self) -> Store:
        """Open the database; a damaged one is set aside first.

        Raises:
            sqlite3.Error: neither works.
            OSError: the same.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Store(self._path, self._max_bytes)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self.set_aside(error)
            return Store(self._path, self._max_bytes)

    def set_aside(self, damage: Exception) -> None:
        """Rename the database and its log over an older damaged one, so that the disk stays bounded.

        Raises:
            OSError: the disk cannot be written.
        """
        aside = self._path.with_name(self._path.name + ".damaged")
        for suffix in ("-wal", "-shm", ""):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
            else:
                aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        self.damage = f"{damage}, kept as {aside.name}"


def is_damage(error: Exception) -> bool:
    """Say whether the file is the problem, and not the disk."""
    return isinstance(error, CorruptStoreError) or _code(error) in _CORRUPT


def is_full(error: Exception) -> bool:
    """Say whether the disk has no room."""
    return _code(error) == sqlite3.SQLITE_FULL


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY
