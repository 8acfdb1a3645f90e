"""`evidence`: what was kept beside the alerts, and what was strange drawn over the frame that fired."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.alerts.kept_evidence import Kept, find, kept_in
from edge_agent.cli.parser import Misused
from edge_agent.config import config_path, load
from edge_agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.alerts.evidence import FrameNote
    from edge_agent.vision.pictures import Mark

MAX_OVERLAY_BYTES = 16 << 20
"""Largest overlay, for a person on this machine: any frame fits at the best quality."""


def evidence(arguments: argparse.Namespace) -> int:
    """List the evidence, show that of one event, or draw its overlay."""
    folder = load(config_path(arguments.config)).state_path / "evidence"
    if arguments.id is None:
        if arguments.overlay:
            raise Misused("--overlay needs the ID of an event: `edge-agent evidence` lists them")
        return _list(folder, as_json=arguments.json)
    kept = find(folder, arguments.id)
    if arguments.overlay:
        draw(kept, Path(arguments.overlay))
    told = _told(kept)
    if arguments.json:
        print(json.dumps(told, indent=2))
        return 0
    print(_line(told))
    for path in kept.files:
        print(f"  {path}")
    if arguments.overlay:
        print(f"overlay: {arguments.overlay}")
    return 0


def draw(kept: Kept, target: Path) -> None:
    """Draw map and regions of an alert over its frame, into a new JPEG.

    Raises:
        EdgeAgentError: the evidence is damaged or has no frame, the file is there already, or OpenCV is missing.
        OSError: the file cannot be written.
    """
    from edge_agent.vision.pictures import HeatScale, decode_jpeg, encode_jpeg, overlay

    note, jpeg, values = kept.frame()
    try:
        scale = None
        if note.median is not None and note.threshold is not None:
            scale = HeatScale(median=note.median, threshold=note.threshold)
        drawn = encode_jpeg(overlay(decode_jpeg(jpeg), values, scale, marks(note)), MAX_OVERLAY_BYTES)
    except ValueError as error:
        raise EdgeAgentError(f"{kept.name} is damaged: {error}") from error
    try:
        with target.open("xb") as file:
            file.write(drawn)
    except FileExistsError as error:
        raise EdgeAgentError(f"{target} is already there: choose another file for --overlay") from error


def marks(note: FrameNote) -> list[Mark]:
    """Return the boxes of all regions, and that of the event where it is none of them; labelled by `_label`."""
    from edge_agent.vision.pictures import Mark

    regions = {each.box: _label(each.class_, each.zone, each.relative) for each in note.regions}
    if note.box is not None:
        regions.setdefault(note.box, _label(note.class_, "", note.relative))
    return [Mark(box=box, label=label) for box, label in regions.items()]


def _label(kind: str | None, zone: str, relative: float | None) -> str:
    """Say what is where and how strange it is, which is 0 as usual and 1 at the threshold."""
    return ", ".join(filter(None, (kind, zone, "" if relative is None else f"{relative:.1f} (threshold 1)")))


def _list(folder: Path, *, as_json: bool) -> int:
    told = [_told(each) for each in kept_in(folder)]
    if as_json:
        print(json.dumps(told, indent=2))
    elif told:
        print("\n".join(map(_line, told)))
    else:
        print(f"no evidence yet in {folder}")
    return 0


def _told(kept: Kept) -> dict[str, Any]:
    """Return what is said of one alert; a note that cannot be read is told as its problem."""
    told: dict[str, Any] = {
        "id": kept.id,
        "time": kept.name.partition("-")[0],
        "bytes": kept.size_bytes,
        "files": [str(path) for path in kept.files],
        "problem": "",
    }
    try:
        note = kept.note()
    except (EdgeAgentError, OSError) as error:
        return told | {"stream": "", "event_type": "", "class": "", "text": "", "problem": str(error)}
    words = {key: str(note.get(key) or "") for key in ("stream", "event_type", "class")}
    return told | words | {"text": str(note.get("text") or note.get("detail") or "")}


def _line(told: dict[str, Any]) -> str:
    said = f"DAMAGED: {told['problem']}" if told["problem"] else told["text"]
    what = f"{told['stream']} {told['event_type']}".strip()
    return f"{told['time']}  {told['id']}  {told['bytes'] / 1000:,.0f} kB  {what}  {said}".rstrip()
