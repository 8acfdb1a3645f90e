"""A real MQTT broker on loopback for as long as it is needed: mosquitto where installed, else one from a wheel."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 10.0
"""Longest wait for the broker, seconds; mosquitto takes 30 ms, the one from a wheel 0.3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where it listens."""

    name: str
    port: int
    protocol: str
    """What `mqtt.protocol` is set to: the embedded one speaks 3.1.1 alone."""


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """Run a broker on a free port of loopback.

    Raises:
        RuntimeError: none is installed, or it does not start; the message says what to do.
    """
    port = _free_port()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto:
        with _mosquitto(mosquitto, folder, port):
            yield Broker(name="mosquitto", port=port, protocol="auto")
        return
    try:
        from iotcore import Broker as Embedded
    except ImportError as error:
        raise RuntimeError(
            "no MQTT broker: install mosquitto (apt install mosquitto) or iotcore (pip install iotcore)"
        ) from error
    with Embedded(port=port, listen="127.0.0.1"):
        _wait(port, None)
        yield Broker(name="the embedded broker (iotcore)", port=port, protocol="3.1.1")


@contextmanager
def _mosquitto(program: str, folder: Path, port: int) -> Iterator[None]:
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n", encoding="utf-8"
    )
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(settings)], stdin=subprocess.DEVNULL, stderr=log)
        try:
            _wait(port, process)
            yield
        finally:
            process.terminate()
            process.wait(START_S)


def _wait(port: int, process: subprocess.Popen[bytes] | None) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"mosquitto ended with code {process.returncode}; see mosquitto.log beside the results")
        with closing(socket.socket()) as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"the broker did not listen on port {port} within {START_S:.0f} s")


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
