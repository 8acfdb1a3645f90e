"""Which serial ports there are, and what speaks on one."""

from __future__ import annotations

import re
from pathlib import Path

from edge_agent.sources.guess import Guess, guess

__all__ = ["BY_ID", "Guess", "guess", "ports", "unstable_name"]

BY_ID = Path("/dev/serial/by-id")
"""Where udev names USB ports after maker, product and serial number."""

_PORT_PATTERNS = ("ttyUSB*", "ttyACM*", "ttyAMA*", "serial[0-9]")
_RENUMBERED = re.compile(r"^/dev/tty(USB|ACM)\d+$")


def ports(by_id: Path = BY_ID, dev: Path = Path("/dev")) -> list[str]:
    """Serial ports of this machine, stable names first; a port that has one is not named twice."""
    stable = sorted(by_id.iterdir()) if by_id.is_dir() else []
    named = {port.resolve() for port in stable}
    bare = sorted(port for pattern in _PORT_PATTERNS for port in dev.glob(pattern))
    return [str(port) for port in stable] + [str(port) for port in bare if port.resolve() not in named]


def unstable_name(port: str, by_id: Path = BY_ID) -> str:
    """Why a port's name may belong to another sensor tomorrow, and the better one; empty: it is fine."""
    if not _RENUMBERED.match(port):
        return ""
    same = [str(name) for name in sorted(by_id.iterdir()) if name.resolve() == Path(port)] if by_id.is_dir() else []
    better = same[0] if same else f"a name below {by_id}"
    return f"{port} is numbered in the order of plugging in and may be another sensor tomorrow: use {better}"
