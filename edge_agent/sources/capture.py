"""Frames that arrive when the world sends them: one source around any device, with a watchdog.

A device that gives no frame for `stall_s` is taken to be gone, whatever it says of itself: the source raises, its
reader closes it, waits with growing delays and opens it anew. That heals a hung USB camera and a network stream whose
far end vanished without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge_agent.contract.frames import Frame, Pixels
from edge_agent.contract.records import NS
from edge_agent.errors import FrameError, SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources.arrival import ArrivalTimes
from edge_agent.sources.pixels import FrameCounters


class Device(Protocol):
    """An open camera or stream."""

    def read(self, timeout_s: float) -> Pixels | None:
        """Return the next picture; None: none came.

        Raises:
            FrameError: it cannot be used.
            SourceUnavailable: the device is gone.
        """

    def close(self) -> None:
        """Release it; never raises."""


class CaptureSource:
    """Gives the frames of a device as they arrive."""

    own_time = False
    lossless = False

    def __init__(self, name: str, open_device: Callable[[], Device], stall_s: float, clock: Clock) -> None:
        """Open nothing yet.

        Args:
            name: of the device, in words that may be logged.
            open_device: opens it, or raises SourceUnavailable with what to do.
            stall_s: silence in seconds after which it counts as gone.
            clock: looked at for arrival and silence.
        """
        self._name = name
        self._open_device = open_device
        self._stall_s = stall_s
        self._clock = clock
        self._arrival = ArrivalTimes(clock, None)
        self._counters = FrameCounters(name)
        self._device: Device | None = None
        self._heard_ns = 0
        self._last_ns = 0
        self._unusable = ""

    def open(self) -> None:
        """Open the device."""
        self.close()
        self._device = self._open_device()
        self._heard_ns = self._clock.monotonic_ns()
        self._unusable = ""

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame."""
        if self._device is None:
            raise SourceUnavailable(f"{self._name} is not open: open it first")
        try:
            pixels = self._device.read(timeout_s)
        except FrameError as error:
            self._counters.drop(str(error))
            self._unusable = f" that can be used ({error})"
            pixels = None
        now_ns = self._clock.monotonic_ns()
        if pixels is None:
            if now_ns - self._heard_ns > self._stall_s * NS:
                raise SourceUnavailable(
                    f"{self._name} gave no frame{self._unusable} for {self._stall_s:g} s: opening it anew"
                )
            return None
        self._heard_ns, self._unusable = now_ns, ""
        self._last_ns = max(self._last_ns + 1, self._arrival.now_ns())
        return self._counters.frame(pixels, self._last_ns)

    def close(self) -> None:
        """Release the device."""
        if self._device is not None:
            device, self._device = self._device, None
            device.close()

    def status(self) -> dict[str, int | float | str]:
        """Counters."""
        return self._counters.status()
