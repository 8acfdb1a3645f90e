"""`calibrate` of a camera: its scene and its reference are set aside, and learned anew at the next start."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from edge_agent.cli.checks import answers
from edge_agent.cli.parser import Misused
from edge_agent.config import Settings
from edge_agent.errors import EdgeAgentError
from edge_agent.watched_camera import REFERENCE_FILE, SCENE_FILE

BEFORE: Final = ".before"
"""What is put behind the name of a file that was set aside."""


def learn_anew(arguments: argparse.Namespace, settings: Settings, stream: str) -> int:
    """Set the scene aside, or take it back."""
    if arguments.data:
        raise Misused("--data is for sensors: a camera learns its scene while it watches, at the next start")
    if answers(settings.status_path):
        raise EdgeAgentError("the agent runs and would write its scene again: stop it first, systemctl stop edge-agent")
    folder = settings.stream_path(stream)
    moved = [name for name in (SCENE_FILE, REFERENCE_FILE) if _move(folder, name, arguments)]
    if arguments.json:
        print(json.dumps({"stream": stream, "undone" if arguments.undo else "set_aside": moved}))
    elif arguments.undo:
        print("the scene of before is used from the next start on" if moved else "there is no scene of before")
    elif arguments.dry_run:
        print(f"would set aside: {', '.join(moved) or 'nothing, no scene is learned yet'} (--dry-run)")
    else:
        was = "" if moved else "; there was none yet"
        print(f"the scene is learned anew at the next start{was}. Back: edge-agent calibrate --undo --stream {stream}")
    return 0


def _move(folder: Path, name: str, arguments: argparse.Namespace) -> bool:
    """Rename one file, one way or the other; returns whether it is there."""
    source, target = folder / name, folder / f"{name}{BEFORE}"
    if arguments.undo:
        source, target = target, source
    if source.exists() and not arguments.dry_run:
        source.replace(target)
        return True
    return source.exists()
