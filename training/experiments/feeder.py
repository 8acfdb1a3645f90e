"""A pseudo-terminal that speaks like a sensor on a serial port: CSV lines with a header and their own time."""

from __future__ import annotations

import os
import pty
import threading
import time
import tty

import numpy as np

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.sources.times import from_ns

HEADER_PAUSE_S = 0.3
"""Silence before the header, seconds: shows a reader that the next byte begins a line."""


class SerialFeeder:
    """Writes readings to a pseudo-terminal, faster than they were taken.

    Args:
        channels: names and units for the header.
        readings: what to send, all of it.
        speed: times as fast as the readings' own time.
    """

    def __init__(self, channels: tuple[Channel, ...], readings: Block, speed: float) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._channels, self._readings, self._speed = channels, readings, speed
        self._stopping = threading.Event()
        self.finished = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Stop sending and pull the plug."""
        self._stopping.set()
        os.close(self._slave)
        os.close(self._master)
        if self._thread.ident is not None:
            self._thread.join(5)

    def _feed(self) -> None:
        self._stopping.wait(HEADER_PAUSE_S)
        self._send(",".join(["time", *(channel.heading for channel in self._channels)]))
        begun_s, first_ns = time.monotonic(), int(self._readings.t_ns[0])
        for t_ns, row in zip(self._readings.t_ns.tolist(), self._readings.values, strict=True):
            due_s = begun_s + (t_ns - first_ns) / NS / self._speed
            if self._stopping.wait(max(0.0, due_s - time.monotonic())):
                return
            self._send(",".join([from_ns(t_ns), *(_number(value) for value in row)]))
        self.finished.set()

    def _send(self, line: str) -> None:
        try:
            os.write(self._master, line.encode() + b"\n")
        except OSError:
            self._stopping.set()


def _number(value: np.float32) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
