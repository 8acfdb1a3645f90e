"""How the machine is: memory, load, temperature, disk, throttling and clock, read from /proc, /sys and /run.

What a machine does not have (a temperature sensor in a container) is None, never 0. The root of these folders is an
argument, so a test can describe any machine as a folder of files.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.contract.records import NS
from edge_agent.contract.wire import ClockState
from edge_agent.health.clock import Chrony, clock_state

_MILLI = 1000
"""The kernel's thermal zones count thousandths of a degree."""

_THROTTLED_NOW = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}
"""Bits of the Raspberry Pi firmware's `get_throttled`; bits 16 and up tell the same of the past and are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """One look at the machine and at this process."""

    uptime_s: float
    """Seconds this agent has run."""
    rss_bytes: int
    cpu_share: float | None
    """Share of one core used since the look before (1.0 is one core busy); None at the first look."""
    temperature_c: float | None
    """The hottest thermal zone, degrees Celsius."""
    throttled: str | None
    """What slows the processor right now, such as `under_voltage`; empty: nothing; None: this machine does not say."""
    disk_free_bytes: int | None
    """Free for this user where the state lives; None when the folder cannot be asked."""
    disk_read_only: bool | None
    clock: ClockState

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self) | {"clock": self.clock.value}


class Machine:
    """Measures; keeps only what the CPU share and the uptime need from look to look."""

    def __init__(self, state: Path, *, started_ns: int, root: Path = Path("/"), chrony: Chrony | None = None) -> None:
        """Take the folder that the state lives in, the monotonic start time, and where `proc`, `sys` and `run` are."""
        self._state = state
        self._started_ns = started_ns
        self._root = root
        self._chrony = chrony or Chrony()
        self._cpu: tuple[int, float] | None = None

    def measure(self, now_ns: int, utc_ns: int) -> Measurements:
        """Look once, at the monotonic time `now_ns`, when the system clock shows `utc_ns` since the epoch."""
        free, read_only = disk(self._state)
        return Measurements(
            uptime_s=round((now_ns - self._started_ns) / NS, 1),
            rss_bytes=rss_bytes(self._root),
            cpu_share=self._cpu_share(now_ns),
            temperature_c=temperature_c(self._root),
            throttled=throttled(self._root),
            disk_free_bytes=free,
            disk_read_only=read_only,
            clock=clock_state(self._root, utc_ns / NS, self._chrony),
        )

    def _cpu_share(self, now_ns: int) -> float | None:
        """Return CPU seconds a second since the look before."""
        before, used_s = self._cpu, time.process_time()
        self._cpu = now_ns, used_s
        if before is None or now_ns <= before[0]:
            return None
        return round((used_s - before[1]) * NS / (now_ns - before[0]), 4)


def rss_bytes(root: Path) -> int:
    """Return the memory this process holds now: `ru_maxrss` would be the most it ever held."""
    pages = (root / "proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def temperature_c(root: Path) -> float | None:
    """Return the hottest of the kernel's thermal zones; a zone that fails to answer is passed over."""
    degrees = [_number(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    return max((value / _MILLI for value in degrees if value is not None), default=None)


def throttled(root: Path) -> str | None:
    """Return the Raspberry Pi firmware's present complaints, joined by commas."""
    for path in sorted((root / "sys/devices/platform").glob("*/*firmware/get_throttled")):
        bits = _number(path, base=16)
        if bits is not None:
            return ",".join(word for bit, word in _THROTTLED_NOW.items() if bits >> bit & 1)
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/in0_lcrit_alarm")):
        if (path.parent / "name").is_file() and (path.parent / "name").read_text().strip() == "rpi_volt":
            return "under_voltage" if _number(path) else ""
    return None


def disk(folder: Path) -> tuple[int | None, bool | None]:
    """Return the bytes free for this user and whether the file system is mounted read-only."""
    try:
        return shutil.disk_usage(folder).free, bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return None, None


def _number(path: Path, base: int = 10) -> int | None:
    """Read an integer that the kernel shows as a file; None when the device behind it does not answer."""
    try:
        return int(path.read_text().strip(), base)
    except (OSError, ValueError):
        return None
