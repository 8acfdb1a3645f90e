"""What `evidence.py` has kept, read back for a person who asks: any file may be gone or damaged by now."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.alerts.evidence import FrameNote
from edge_agent.contract import strict_json
from edge_agent.contract.arrays import read_npz
from edge_agent.contract.records import Floats
from edge_agent.errors import EdgeAgentError

MAX_NOTE_BYTES: Final = 1 << 20
"""Largest note that is read; one of 32 regions has some 6 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The files of one alert."""

    name: str
    """What they have in common: the time and the id."""
    files: tuple[Path, ...]
    size_bytes: int

    @property
    def id(self) -> str:
        """Of the event."""
        return self.name.partition("-")[2]

    def file(self, ending: str) -> Path | None:
        """Return the file with an ending such as `.jpg`; None: there is none."""
        return next((path for path in self.files if path.name == self.name + ending), None)

    def note(self) -> dict[str, Any]:
        """Return what was noted of the alert.

        Raises:
            EdgeAgentError: the note is gone or damaged.
        """
        return strict_json.parse(self._read(".json"), place=f"{self.name}.json", max_bytes=MAX_NOTE_BYTES)

    def frame(self) -> tuple[FrameNote, bytes, Floats | None]:
        """Return the note, the JPEG and the map, float32 [h, w], of an alert of a camera.

        Raises:
            EdgeAgentError: it is of readings, or a file is gone or damaged.
        """
        if not any(path.suffix == ".jpg" for path in self.files):
            raise EdgeAgentError(f"alert {self.id} has no frame: nothing can be drawn over it")
        note = strict_json.read(FrameNote, self.note(), f"{self.name}.json")
        return note, self._read(".jpg"), self._map() if self.file(".npz") else None

    def _map(self) -> Floats:
        arrays = read_npz(self._read(".npz"), f"{self.name}.npz")
        values, unit = arrays.get("map"), arrays.get("unit")
        if values is None or unit is None or values.ndim != 2 or unit.ndim or not values.size:  # noqa: PLR2004 - a map
            raise EdgeAgentError(f"{self.name}.npz holds no map of a frame: it is damaged")
        return (values.astype(np.float64) * unit.astype(np.float64)).astype(np.float32)

    def _read(self, ending: str) -> bytes:
        path = self.file(ending)
        try:
            if path is not None:
                return path.read_bytes()
        except FileNotFoundError:
            pass
        raise EdgeAgentError(f"{self.name}{ending} is gone: it made room for newer evidence, or was never written")


def kept_in(folder: Path) -> list[Kept]:
    """Return the evidence in a folder, newest first.

    Raises:
        OSError: the folder may not be read.
    """
    alerts: dict[str, dict[Path, int]] = defaultdict(dict)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # it made room since
            if path.is_file() and not path.name.startswith("."):
                alerts[path.name.partition(".")[0]][path] = path.stat().st_size
    return [
        Kept(name=name, files=tuple(sizes), size_bytes=sum(sizes.values()))
        for name, sizes in sorted(alerts.items(), reverse=True)
    ]


def find(folder: Path, wanted: str) -> Kept:
    """Return the evidence of an event, named by its id or how it begins.

    Raises:
        EdgeAgentError: there is none, or several begin so.
        OSError: the folder may not be read.
    """
    found = [each for each in kept_in(folder) if each.id.startswith(wanted)]
    exact = [each for each in found if each.id == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise EdgeAgentError(
            f"no evidence of an event {wanted!r} in {folder}: `edge-agent evidence` lists what there is"
        )
    raise EdgeAgentError(f"{len(found)} events begin with {wanted!r}: {', '.join(each.id for each in found[:5])}")
