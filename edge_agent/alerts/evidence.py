"""Raw readings beside an alert, on disk under a quota, so that a person can see what the agent saw.

    20261121T225555-<event id>.npz    `context` float32 [n, C], `context_t_ns` int64 [n], `window` float32 [T, C] if any
    20261121T225555-<event id>.json   channels with units, and what the alert said

Files appear complete or not at all (written aside, synced, renamed; the JSON last). The oldest go first. A disk that
takes nothing costs the evidence, never the alert.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_agent.alerts.settings import EvidenceSettings
from edge_agent.contract.records import Block, Channel, Floats
from edge_agent.contract.wire import utc_text

_LOG = logging.getLogger(__name__)

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Evidence:
    """The folder; `keep` may be called from any thread."""

    def __init__(self, folder: Path, settings: EvidenceSettings) -> None:
        """Take the folder and its quota; nothing is written yet."""
        self._folder, self._settings = folder, settings
        self._lock = threading.Lock()
        self._failing = False

    def keep(
        self,
        event_id: str,
        *,
        channels: Sequence[Channel],
        context: Block,
        window: Floats | None,
        meta: dict[str, object],
    ) -> Path | None:
        """Write the readings of an alert.

        Args:
            event_id: of the alert.
            channels: of the columns.
            context: the readings up to the alert.
            window: float32 [T, C] that was scored, where there is one.
            meta: what else to note; JSON values.

        Returns:
            The path of the .npz relative to the folder; None where nothing was kept.
        """
        if not _ID.fullmatch(event_id):
            raise ValueError(f"an event id has 1 to 64 letters, digits, _ or -, got {event_id[:80]!r}")
        if not self._settings.max_bytes:
            return None
        stamp = re.sub(r"[-:]|\..*", "", utc_text(int(context.t_ns[-1]))) if len(context) else "00000000T000000"
        name = f"{stamp}-{event_id}"
        noted = {"id": event_id, "channels": [{"name": c.name, "unit": c.unit} for c in channels], **meta}
        text = json.dumps(noted, ensure_ascii=False, indent=1, default=str).encode("utf-8", "replace")
        with self._lock:
            return self._write(name, _packed(context, window), text)

    @property
    def used_bytes(self) -> int:
        """Bytes that evidence takes now."""
        return sum(size for _, size, _ in self._files())

    def _write(self, name: str, arrays: bytes, text: bytes) -> Path | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._make_room(len(arrays) + len(text)):
                return None
            self._put(f"{name}.npz", arrays)
            self._put(f"{name}.json", text)
        except OSError as error:
            _LOG.log(logging.DEBUG if self._failing else logging.WARNING, "evidence cannot be kept: %s", error)
            self._failing = True
            return None
        if self._failing:
            _LOG.info("evidence is kept again")
        self._failing = False
        return Path(f"{name}.npz")

    def _put(self, name: str, content: bytes) -> None:
        """Write one file so that it is there complete, or not at all."""
        aside = self._folder / f".{name}.part"
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._folder / name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _make_room(self, size: int) -> bool:
        """Remove the oldest until `size` bytes fit; False when they never will."""
        if size > self._settings.max_bytes:
            return False
        files = self._files()
        used = sum(held for _, held, _ in files)
        for _, held, path in files:
            if used + size <= self._settings.max_bytes:
                break
            path.unlink(missing_ok=True)
            used -= held
        return True

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return time, size and path of all files, oldest first; parts left by a crash are among them."""
        found = []
        try:
            for entry in os.scandir(self._folder):
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        except OSError:
            return []
        return sorted(found)


def _packed(context: Block, window: Floats | None) -> bytes:
    buffer = io.BytesIO()
    if window is None:
        np.savez_compressed(buffer, context=context.values, context_t_ns=context.t_ns)
    else:
        np.savez_compressed(buffer, context=context.values, context_t_ns=context.t_ns, window=window)
    return buffer.getvalue()
