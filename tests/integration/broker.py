"""A real mosquitto on loopback for tests: rules, passwords, TLS, persistence, and ends of every kind.

    with Broker(tmp_path) as broker:                     # plain TCP, everyone may do everything
        broker.stop(); broker.start()                    # the same port again
        broker.kill()                                    # as a power cut

`Listener` collects what arrives, in order. Waiting is always for a condition with a deadline (`wait_until`).
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

START_S = 10.0
"""Longest time mosquitto may take to listen; it takes 30 ms on an idle machine."""

WAIT_S = 15.0
"""Longest time to wait for something that should happen at once."""


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Return as soon as the condition holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.005)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Tls:
    """Certificates for a TLS listener."""

    ca: Path
    cert: Path
    key: Path
    require_client: bool = False


@dataclass
class Broker:
    """One mosquitto process.

    Args:
        folder: for its settings, log, store and socket.
        unix: listen on a socket in the folder instead of a port.
        tls: listen with TLS.
        acl: rules; None: everything is allowed.
        passwords: of users; None: anonymous.
        extra: lines for the settings file.
        persistent: keep retained messages and sessions over `stop` and `start`.
    """

    folder: Path
    unix: bool = False
    tls: Tls | None = None
    acl: str | None = None
    passwords: dict[str, str] | None = None
    extra: str = ""
    persistent: bool = False
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Write the settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self.config.write_text(self._settings())

    @property
    def config(self) -> Path:
        return self.folder / "mosquitto.conf"

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _settings(self) -> str:
        lines = ["user root", f"listener 0 {self.socket}" if self.unix else f"listener {self.port} 127.0.0.1"]
        if self.tls:
            lines += [f"cafile {self.tls.ca}", f"certfile {self.tls.cert}", f"keyfile {self.tls.key}"]
            lines += ["require_certificate true", "use_identity_as_username true"] if self.tls.require_client else []
        if self.passwords is None:
            lines.append("allow_anonymous true")
        else:
            lines += ["allow_anonymous false", f"password_file {self._password_file()}"]
        if self.acl is not None:
            (self.folder / "acl").write_text(self.acl)
            lines.append(f"acl_file {self.folder / 'acl'}")
        if self.persistent:
            lines += [
                "persistence true",
                f"persistence_location {self.folder}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        lines += [f"log_dest file {self.folder / 'log'}", "log_type all", self.extra]
        return "\n".join(lines) + "\n"

    def _password_file(self) -> Path:
        path = self.folder / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in (self.passwords or {}).items()))
        path.chmod(0o600)
        subprocess.run([_program("mosquitto_passwd"), "-U", path], check=True, capture_output=True)
        return path

    def start(self) -> Self:
        """Start it and wait until it takes connections."""
        self.process = subprocess.Popen(
            [_program("mosquitto"), "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mosquitto did not start: {self.log if (self.folder / 'log').exists() else ''}")
            time.sleep(0.005)
        return self

    def _listens(self) -> bool:
        family = socket.AF_UNIX if self.unix else socket.AF_INET
        with socket.socket(family) as probe:
            return probe.connect_ex(str(self.socket) if self.unix else ("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it in good order: it saves what it keeps."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it say nothing more while its connections stay open."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(10)
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGKILL)


def _program(name: str) -> str:
    """Return the path of a program; Debian keeps mosquitto out of the PATH of plain users."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin")
    assert found, f"{name} is needed: apt-get install mosquitto"
    return found


class Listener:
    """A client that subscribes and keeps every message, in order."""

    def __init__(
        self,
        broker: Broker,
        topic: str = "#",
        *,
        user: str = "",
        password: str = "",
        protocol: str = "5",
        tls: Any = None,
    ) -> None:
        version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
        self.messages: list[MQTTMessage] = []
        self._ready = threading.Event()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=version, transport="unix" if broker.unix else "tcp")
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.reconnect_delay_set(1, 1)
        if user:
            self._client.username_pw_set(user, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.connect(str(broker.socket) if broker.unix else "127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(WAIT_S), "the listener cannot subscribe"

    def payloads(self, topic: str) -> list[bytes]:
        """Return what came on a topic."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def events(self) -> list[dict[str, Any]]:
        """Return the alerts that came, duplicates and all."""
        return [json.loads(message.payload) for message in list(self.messages) if message.topic.endswith("/event")]

    def keys(self) -> list[tuple[str, int]]:
        """Return (session, seq) of the alerts that came, without duplicates, in the order of their first arrival."""
        return list(dict.fromkeys((event["session"], event["seq"]) for event in self.events()))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
