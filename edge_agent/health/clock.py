"""Whether the system clock can be believed.

Asking the kernel (`adjtimex`) fails under `ProtectClock=yes`, so this asks what keeps the clock: systemd-timesyncd
leaves a file that it touches at every successful poll, chrony answers `chronyc`. A small computer without a battery
starts in 1970 or at the time of its last shutdown: `unsynced` until something has set the clock since boot.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.contract.wire import ClockState

HOLDOVER_S = 3 * 2048.0
"""Seconds without a successful poll after which a clock is on its own: three of the longest poll intervals of timesyncd
(`PollIntervalMaxSec=2048`); a crystal drifts some 0.1 s in that time."""

_CHRONYC_TIMEOUT_S = 2.0
"""Seconds for chronyc to answer: it asks a daemon on this machine."""

_TRACKING_FIELDS = 14
"""Columns of `chronyc -c tracking`: the fourth is the time of the last update, the last one the leap status."""


def _run(command: Sequence[str]) -> str:
    """Return what a command prints; its failures are OSError or SubprocessError."""
    return subprocess.run(  # noqa: S603 - a fixed command
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_CHRONYC_TIMEOUT_S, check=True
    ).stdout


class Chrony:
    """What chrony says, through its own client."""

    def __init__(self, run: Callable[[Sequence[str]], str] = _run) -> None:
        """Take what runs a command and returns its output."""
        self._run = run

    def last_sync_s(self) -> float | None:
        """Return the time of the last update, seconds since the epoch; None when not synchronised or not answering."""
        try:
            fields = self._run(("chronyc", "-n", "-c", "tracking")).strip().split(",")
            if len(fields) < _TRACKING_FIELDS or fields[-1] == "Not synchronised":
                return None
            return float(fields[3])
        except (OSError, subprocess.SubprocessError, ValueError):
            return None


def clock_state(root: Path, utc_s: float, chrony: Chrony) -> ClockState:
    """Judge the clock from the age of its last synchronisation.

    Args:
        root: where `run` is.
        utc_s: the system clock, seconds since the epoch.
        chrony: asked only where chrony's run folder exists and timesyncd has left no word.
    """
    try:
        last_s: float | None = (root / "run/systemd/timesync/synchronized").stat().st_mtime
    except OSError:
        last_s = chrony.last_sync_s() if (root / "run/chrony").exists() else None
    if last_s is None:
        return ClockState.UNSYNCED
    return ClockState.SYNCED if abs(utc_s - last_s) <= HOLDOVER_S else ClockState.HOLDOVER
