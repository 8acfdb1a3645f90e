"""Files that are whole or not there."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge_agent.errors import ManifestError

_log = logging.getLogger(__name__)

Kept = TypeVar("Kept")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a power cut leaves the old one or the new one; folders above it are made.

    Raises:
        OSError: the disk refuses; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_kept(path: Path, max_bytes: int) -> bytes:
    """Read what a stream keeps in its folder.

    Raises:
        FileNotFoundError: there is none.
        ManifestError: it cannot be read, or is larger than anything that is kept there.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    if len(content) > max_bytes:
        raise ManifestError(f"{path} has more than {max_bytes} bytes: it was not written by this agent; remove it")
    return content


def load_kept(path: Path, load: Callable[[Path], Kept]) -> Kept | None:
    """Load what a stream keeps in its folder; None where it is not there or, with a warning, cannot be used."""
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except (OSError, ManifestError) as error:
        _log.warning("stream %s: %s", path.parent.name, error)
        return None
