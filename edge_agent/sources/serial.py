"""Readings from a serial port.

One chunk at a time: wait for the first byte, let bytes gather for `gather_s`, take all there are. That costs some 25
wake-ups a second whatever the rate, and the kernel's buffer (4 kB, 64 kB behind it) holds what comes meanwhile.

A port that is opened while its sensor talks begins in the middle of a line. The rest of a CSV line may look like a
whole one, so there the first line is dropped, unless the port was quiet for `QUIET_S` before it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import select
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import serial

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources import discovery
from edge_agent.sources.formats import FormatSettings, in_range
from edge_agent.sources.intake import Intake

log = logging.getLogger(__name__)

QUIET_S = 0.1
"""Silence that shows that the next byte begins a line: sensors send a line in one go, adapters deliver within 20 ms."""

CHUNK_BYTES = 65_536
"""Most that one look takes: the kernel holds no more for a port."""

TIOCGICOUNT = 0x545D
"""Linux: read the interrupt counters of a serial line; 0x545D on x86 and Arm."""

_ICOUNT = struct.Struct("=11i36x")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialSettings(FormatSettings):
    """A serial port and what comes out of it."""

    kind: ClassVar[str] = "serial"

    port: str
    """Device path, best below /dev/serial/by-id: ttyUSB0 may be another sensor tomorrow."""
    baud: int = 115_200
    """300 to 4,000,000 bit/s; USB devices without a real serial line ignore it."""
    dtr: bool = True
    """Raise DTR when opening; false keeps most Arduinos from starting anew."""
    gather_s: float = 0.04
    """0 to 0.5 s that bytes gather before they are read: fewer wake-ups for later readings."""

    def __post_init__(self) -> None:
        """Refuse what no port can be."""
        FormatSettings.__post_init__(self)
        if not self.port.strip():
            raise ValueError("port must be a device path such as /dev/serial/by-id/usb-..., got an empty string")
        in_range("baud", self.baud, 300, 4_000_000)
        in_range("gather_s", self.gather_s, 0, 0.5)


class SerialSource:
    """Reads a port; see the module."""

    lossless = False

    def __init__(
        self,
        settings: SerialSettings,
        clock: Clock,
        channels: tuple[Channel, ...],
        rate_hz: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the settings; `rate_hz` spaces the readings of a chunk, `sleep` waits while bytes gather."""
        self.channels = channels
        self.own_time = bool(settings.time_column)
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._intake = Intake(settings, clock, channels, rate_hz)
        self._port: serial.Serial | None = None
        self._opened = self._warned = False
        self._silent_ns: int | None = None
        self._overruns: int | None = None
        self._lost_in_driver = 0

    def open(self) -> None:
        """Open the port for us alone; what had arrived before is discarded."""
        self.close()
        settings = self._settings
        port = open_port(settings)
        self._port = port
        self._intake.resync(lost=self._opened, partial=True)
        self._opened, self._silent_ns, self._overruns = True, 0, _overruns(port)
        warning = discovery.unstable_name(settings.port)
        if warning and not self._warned:
            log.warning("%s", warning)
            self._warned = True

    def read(self, timeout_s: float) -> Block | None:
        """Wait for bytes, let more gather, and return the first block that is ready."""
        if (block := self._intake.take()) is not None:
            return block
        if self._port is None:
            raise SourceUnavailable(f"{self._settings.port} is not open: open it first")
        if data := self._receive(self._port, timeout_s):
            self._intake.put(data)
        return self._intake.take()

    def close(self) -> None:
        """Release the port."""
        if self._port is not None:
            port, self._port = self._port, None
            with contextlib.suppress(serial.SerialException, OSError):
                port.close()

    def status(self) -> dict[str, int | float | str]:
        """Counters; `overruns`: bytes lost in the port's hardware or driver, where it counts them."""
        return self._intake.counters.status() | {"overruns": self._lost_in_driver}

    def _receive(self, port: serial.Serial, timeout_s: float) -> bytes:
        """Bytes that came before and while they gathered; what came just before the plug was pulled is not lost."""
        data = bytearray()
        try:
            if self._wait(port, timeout_s):
                _drain(port, data)
                self._sleep(min(self._settings.gather_s, timeout_s))
                _drain(port, data)
                self._count_overruns(port)
        except (serial.SerialException, OSError) as error:
            if not data:
                raise SourceUnavailable(f"{self._settings.port} went away: {error}") from error
        return bytes(data)

    def _wait(self, port: serial.Serial, timeout_s: float) -> bool:
        """Wait for a first byte; False when none came."""
        began_ns = self._clock.monotonic_ns()
        ready = bool(select.select([port], [], [], timeout_s)[0])
        if self._silent_ns is not None:
            self._silent_ns += self._clock.monotonic_ns() - began_ns
            if ready:
                if self._silent_ns >= QUIET_S * NS:
                    self._intake.resync(lost=False, partial=False)
                self._silent_ns = None
        return ready

    def _count_overruns(self, port: serial.Serial) -> None:
        """Mark a gap where the driver lost bytes that no line or frame would miss."""
        before, self._overruns = self._overruns, _overruns(port)
        if before is not None and self._overruns is not None and self._overruns > before:
            self._lost_in_driver += self._overruns - before
            self._intake.counters.last_error = f"{self._settings.port}: the driver lost bytes; is the machine too busy?"
            self._intake.mark_gap()


def open_port(settings: SerialSettings) -> serial.Serial:
    """Open a port for us alone, with no wait in its reads.

    Raises:
        SourceUnavailable: it does not open; the message says what to do.
    """
    port = serial.Serial(baudrate=settings.baud, timeout=0, exclusive=True)
    port.port = settings.port
    port.dtr = settings.dtr
    try:
        port.open()
    except (serial.SerialException, OSError, ValueError) as error:
        raise SourceUnavailable(_why_not(settings, error)) from error
    return port


def _drain(port: serial.Serial, data: bytearray) -> None:
    """Append what the port holds."""
    while len(data) < CHUNK_BYTES and (chunk := port.read(CHUNK_BYTES)):
        data += chunk


def _overruns(port: serial.Serial) -> int | None:
    """Overruns that the driver has counted, in hardware and buffer; None where it does not count (a pty)."""
    try:
        counters = fcntl.ioctl(port.fileno(), TIOCGICOUNT, bytes(_ICOUNT.size))
    except OSError:
        return None
    _cts, _dsr, _rng, _dcd, _rx, _tx, _frame, overrun, _parity, _brk, buffer_overrun = _ICOUNT.unpack(counters)
    return int(overrun + buffer_overrun)


def _why_not(settings: SerialSettings, error: Exception) -> str:
    """Say why a port does not open, and what to do."""
    port = settings.port
    number = getattr(error, "errno", None)
    text = str(error)
    if not Path(port).exists():
        there = ", ".join(discovery.ports()) or "none"
        return f"{port} is not there: plug it in, or name one that is ({there})"
    if number == errno.EBUSY or "exclusively lock" in text:
        return f"{port} is busy: another program has it open; end that one first (`fuser {port}` names it)"
    if number in (errno.EACCES, errno.EPERM):
        return f"{port} is not permitted: add the user to group dialout (`usermod -aG dialout USER`) and log in again"
    if "configure port" in text or number == errno.ENOTTY:
        return f"{port} is no serial port: name one that is ({', '.join(discovery.ports()) or 'none found'})"
    return f"{port} does not open at {settings.baud} bit/s: {error}"
