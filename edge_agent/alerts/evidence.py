"""What the agent saw, beside an alert, on disk under a quota.

Of readings:

    20261121T225555-<event id>.npz    `context` float32 [n, C], `context_t_ns` int64 [n], `window` float32 [T, C] if any
    20261121T225555-<event id>.json   channels with units, and what the alert said

Of a frame:

    20261121T225555-<event id>.jpg           the frame as it came, nothing drawn into it
    20261121T225555-<event id>.heatmap.jpg   its map in colours, if any
    20261121T225555-<event id>.npz           `map` float16 [h, w] and `unit`: map * unit is the map in the model's unit
    20261121T225555-<event id>.json          a FrameNote: what the alert said, and every region that stood out

Files appear complete or not at all (written aside, synced, renamed; the JSON last). The oldest alert goes first, with
all its files. A disk that takes nothing costs the evidence, never the alert.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.alerts.settings import EvidenceSettings
from edge_agent.contract import strict_json
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.records import Block, Channel, Floats
from edge_agent.contract.wire import utc_text

_LOG = logging.getLogger(__name__)

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedRegion:
    """A part of the frame that stood out."""

    box: tuple[float, ...]
    """(left, top, right, bottom) in 0..1."""
    score: float
    area: float
    """Share of the image, 0..1."""
    zone: str = ""
    class_: str | None = None
    """The likeliest kind of defect; None: not told."""
    class_score: float | None = None
    """Its probability among the kinds that the model knows."""
    relative: float | None = None
    """How strange it is: 0 as usual, 1 the threshold where it is; None: not told."""

    def __post_init__(self) -> None:
        """Refuse a box outside the image."""
        _check_box(self.box)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameNote:
    """What an alert said of a frame."""

    id: str
    stream: str
    event_type: str
    t_ns: int
    """Reading time of the frame."""
    text: str = ""
    score: float | None = None
    level: float | None = None
    median: float | None = None
    """Of normal maps; None: there was no map."""
    threshold: float | None = None
    """Of maps."""
    box: tuple[float, ...] | None = None
    """Where the event is, as in a region."""
    class_: str | None = None
    """Of which kind it is, likewise."""
    relative: float | None = None
    """How strange it is there, as in a region."""
    regions: tuple[NotedRegion, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a box outside the image."""
        if self.box is not None:
            _check_box(self.box)


class Evidence:
    """The folder; `keep` and `keep_frame` may be called from any thread."""

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
        if not self._settings.max_bytes:
            return None
        arrays: dict[str, NDArray[np.generic]] = {"context": context.values, "context_t_ns": context.t_ns}
        if window is not None:
            arrays["window"] = window
        noted = {"id": event_id, "channels": [{"name": c.name, "unit": c.unit} for c in channels], **meta}
        name = _name(int(context.t_ns[-1]) if len(context) else 0, event_id)
        return self._write(name, {".npz": write_npz(arrays), ".json": _json(noted)})

    def keep_frame(self, note: FrameNote, *, image: bytes, heatmap: bytes | None, values: Floats | None) -> Path | None:
        """Write the frame of an alert.

        Args:
            note: what the alert said.
            image: JPEG of the frame.
            heatmap: JPEG of its map, where there is one.
            values: float32 [h, w], the map itself.

        Returns:
            The path of the frame relative to the folder; None where nothing was kept.
        """
        if not self._settings.max_bytes:
            return None
        files = {".jpg": image}
        if heatmap is not None:
            files[".heatmap.jpg"] = heatmap
        if values is not None:
            files[".npz"] = write_npz(_halved(values))
        return self._write(_name(note.t_ns, note.id), files | {".json": _json(strict_json.plain(note))})

    @property
    def used_bytes(self) -> int:
        """Bytes that evidence takes now."""
        return sum(size for _, size, _ in self._files())

    def _write(self, name: str, files: Mapping[str, bytes]) -> Path | None:
        """Write the files of one alert, by their endings and in this order; return the first."""
        with self._lock:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                if not self._make_room(sum(map(len, files.values()))):
                    return None
                for ending, content in files.items():
                    self._put(name + ending, content)
            except OSError as error:
                _LOG.log(logging.DEBUG if self._failing else logging.WARNING, "evidence cannot be kept: %s", error)
                self._failing = True
                return None
            if self._failing:
                _LOG.info("evidence is kept again")
            self._failing = False
        return Path(name + next(iter(files)))

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
        alerts: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        for _, held, path in files:
            alerts[path.name.removeprefix(".").partition(".")[0]].append((held, path))
        for parts in alerts.values():
            if used + size <= self._settings.max_bytes:
                break
            for held, path in parts:
                path.unlink(missing_ok=True)
                used -= held
        return True

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return time, size and path of all files, oldest first; parts left by a crash are among them."""
        found = []
        try:
            entries = list(os.scandir(self._folder))
        except OSError:
            return []
        for entry in entries:
            with suppress(FileNotFoundError):  # renamed or removed since
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        return sorted(found)


def _check_box(box: tuple[float, ...]) -> None:
    if len(box) != 4 or not all(0 <= side <= 1 for side in box):  # noqa: PLR2004 - a box has four sides
        raise ValueError(f"a box is [left, top, right, bottom] in 0..1, got {list(box)}")


def _name(t_ns: int, event_id: str) -> str:
    """Return the common name of the files of an alert.

    Raises:
        ValueError: the id could lead out of the folder.
    """
    if not _ID.fullmatch(event_id):
        raise ValueError(f"an event id has 1 to 64 letters, digits, _ or -, got {event_id[:80]!r}")
    stamp = re.sub(r"[-:]|\..*", "", utc_text(t_ns)) if t_ns else "00000000T000000"
    return f"{stamp}-{event_id}"


def _json(noted: dict[str, object]) -> bytes:
    return json.dumps(noted, ensure_ascii=False, indent=1, default=str).encode("utf-8", "replace")


def _halved(values: Floats) -> dict[str, NDArray[np.generic]]:
    """Return a map in half the bytes: its unit is its largest value, since many a score is beyond float16's 65504."""
    largest = float(np.abs(values).max(initial=0.0))
    unit = largest if 0 < largest < np.inf else 1.0
    return {"map": (values / unit).astype(np.float16), "unit": np.array(unit)}
