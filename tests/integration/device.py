"""A device in a test: a sensor on a real pseudo-terminal, and the agent as a process of its own.

sensor = Sensor(folder / "sensor")          # a port that can be unplugged and comes back under the same name
with AgentProcess(folder, broker, sensor) as agent:
    sensor.send(pump.take(100))
    agent.kill()                             # as kill -9
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import tty
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from edge_agent.contract.records import NS, Block
from edge_agent.sources.pump import PUMP_CHANNELS
from tests.integration.broker import Broker, wait_until

NAMES = tuple(channel.name for channel in PUMP_CHANNELS)


class Sensor:
    """A serial port under a name that stays, like one below /dev/serial/by-id."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master = self._slave = -1
        self.plug()

    def plug(self) -> None:
        """Plug it in."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.link.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        """Pull it out: the port vanishes while it is being read."""
        self.link.unlink()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        while data:
            data = data[os.write(self._master, data) :]

    def send(self, block: Block) -> None:
        """Send readings as lines with their own time; a missing value is an empty field."""
        for t_ns, row in zip(block.t_ns.tolist(), block.values, strict=True):
            fields = ["" if np.isnan(value) else f"{value:.7g}" for value in row]
            self.send_bytes(",".join([f"{t_ns // NS}.{t_ns % NS:09d}", *fields]).encode() + b"\n")

    def close(self) -> None:
        """End it, if it is plugged in."""
        if self._master >= 0:
            self.unplug()


class AgentRun:
    """`edge-agent run` in a process of its own, with its settings and state in a folder.

    Args:
        folder: of settings, state and log.
        broker: to connect to.
        streams: the settings of the streams, TOML.
    """

    def __init__(self, folder: Path, broker: Broker, streams: str) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._broker = broker
        self.configure(streams)

    def configure(self, streams: str) -> None:
        """Write the settings, for the next start."""
        self.config.write_text(f"""\
device = "bench"
state_dir = "{self.folder / "state"}"

[mqtt]
host = "127.0.0.1"
port = {self._broker.port}

{streams}""")

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text(errors="replace")

    def start(self) -> Self:
        """Start it and wait until it has opened its port."""
        opened = self.log.count("source open") if (self.folder / "agent.log").exists() else 0
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.log.count("source open") > opened, "the agent opens its port", 30)
        return self

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it in good order and return its exit code."""
        return self._end(signal.SIGTERM)

    def status(self) -> dict[str, Any]:
        """What `edge-agent status --json` says; empty while it does not answer."""
        words = [sys.executable, "-m", "edge_agent", "status", "--json", "--config", str(self.config)]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(answer.stdout)
            return found
        return {}

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGKILL)
        if error is not None:
            print(self.log[-6000:])


class AgentProcess(AgentRun):
    """An agent that watches a pump at a serial port."""

    def __init__(
        self, folder: Path, broker: Broker, sensor: Sensor, bundle: Path | None = None, extra: str = ""
    ) -> None:
        channels = ", ".join(f'{{ name = "{c.name}", unit = "{c.unit}" }}' for c in PUMP_CHANNELS)
        of_bundle = f'bundle = "{bundle}"' if bundle else f"channels = [{channels}]"
        super().__init__(
            folder,
            broker,
            f"""\
[streams.pump]
{of_bundle}
{extra}

[streams.pump.source]
kind = "serial"
port = "{sensor.link}"
columns = ["time", {", ".join(f'"{name}"' for name in NAMES)}]
time_column = "time"
""",
        )
