"""A file that only takes up room, given back when a full disk would keep the outbox from its work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

RESERVE_BYTES = 1 << 20
"""Room for some hundred commits and deletions on a disk that others have filled."""


class Reserve:
    """Holds and releases the file."""

    def __init__(self, path: Path) -> None:
        """Take the path; nothing is written yet."""
        self._path = path

    def hold(self) -> None:
        """Take up the room, unless it is held already or would take the last of the disk.

        Raises:
            OSError: the disk cannot be written.
        """
        if self._path.exists() and self._path.stat().st_size >= RESERVE_BYTES:
            return
        if shutil.disk_usage(self._path.parent).free < 2 * RESERVE_BYTES:
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)

    def release(self) -> bool:
        """Give the room back; False when there was none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
