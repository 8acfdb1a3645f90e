"""Settings of the outbox, the link to the broker, and the evidence on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20

MIN_KEEPALIVE_S = 5
"""Shorter ones wake radios and processors for nothing, and a busy broker looks dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """How many alerts wait on the device while the broker is away."""

    max_mib: float = 32.0
    """Most that waiting alerts may take on disk, in MiB; some 1,000 alerts a MiB."""
    max_age_days: float = 14.0
    """An alert that could not be delivered for so long is dropped, in days."""

    def __post_init__(self) -> None:
        """Refuse limits that hold nothing or never end."""
        if not 1 <= self.max_mib <= 1024:  # noqa: PLR2004 - up to a gigabyte
            raise ValueError(f"max_mib must be from 1 to 1024, got {self.max_mib}")
        if not 0 < self.max_age_days <= 366:  # noqa: PLR2004 - a year
            raise ValueError(f"max_age_days must be above 0 and at most 366, got {self.max_age_days}")

    @property
    def max_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.max_mib * _MIB)

    @property
    def max_age_s(self) -> float:
        """The limit in seconds."""
        return self.max_age_days * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSettings:
    """Readings and frames kept beside the alerts."""

    max_mib: float = 256.0
    """Most that evidence may take on disk, in MiB; the oldest goes first. 0: keep none."""

    def __post_init__(self) -> None:
        """Refuse a limit that is none."""
        if not 0 <= self.max_mib <= 1 << 20:
            raise ValueError(f"max_mib must be from 0 to {1 << 20}, got {self.max_mib}")

    @property
    def max_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.max_mib * _MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """Which broker, and how to reach it. Secrets are never settings: they are files that only their owner can read."""

    host: str = "localhost"
    """Name or address of the broker; with `transport = "unix"` the path of its socket."""
    port: int = 0
    """0: 8883 with TLS, 1883 without."""
    transport: str = "tcp"
    """`tcp` or `unix`."""
    protocol: str = "auto"
    """`5`, `3.1.1`, or `auto`: 5, and 3.1.1 with a broker that refuses it."""
    root: str = "anomalite"
    """Root of every topic."""
    client_id: str = ""
    """Empty: `anomalite-` and the device's name. Two clients with one id throw each other out."""
    username: str = ""
    """Empty: no user name is sent."""
    password_file: str = ""
    """File with the password, mode 0600; a bare name is looked up in systemd's credentials folder."""
    tls: bool = False
    """Encrypt, and check the broker's certificate."""
    ca_file: str = ""
    """PEM file of the authorities to trust; empty: the system's."""
    cert_file: str = ""
    """PEM file of our certificate, where the broker asks for one."""
    key_file: str = ""
    """PEM file of its key, mode 0600; a bare name is looked up in systemd's credentials folder."""
    keepalive_s: int = 60
    """Seconds of silence after which we ask the broker for a sign of life; dead after 1.5 times that."""
    connect_timeout_s: float = 15.0
    """Seconds from the first byte of a connection to the broker's answer."""
    read_back: bool = True
    """On MQTT 3.1.1, hold alerts until the broker has shown us our own `state`: what its rules deny it acknowledges and
    drops. Set to false for a broker that lets us write but not read our own topics."""

    def __post_init__(self) -> None:
        """Refuse what could never connect."""
        _one_of("transport", self.transport, "tcp", "unix")
        _one_of("protocol", self.protocol, "auto", "5", "3.1.1")
        if not self.host:
            raise ValueError("host must name the broker, got an empty string")
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port must be from 0 to 65535, got {self.port}")
        if not MIN_KEEPALIVE_S <= self.keepalive_s < 1 << 16:
            raise ValueError(f"keepalive_s must be from {MIN_KEEPALIVE_S} to 65535, got {self.keepalive_s}")
        if not 0 < self.connect_timeout_s <= 300:  # noqa: PLR2004 - the longest back-off
            raise ValueError(f"connect_timeout_s must be above 0 and at most 300, got {self.connect_timeout_s}")
        if not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", part) for part in self.root.split("/")):
            raise ValueError(f"root must be names of letters, digits, _ or -, joined by /, got {self.root[:80]!r}")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together: set both or none")
        if self.password_file and not self.username:
            raise ValueError("password_file needs a username")
        if (self.cert_file or self.ca_file) and not self.tls:
            raise ValueError("ca_file and cert_file need tls = true")
        if self.tls and self.transport == "unix":
            raise ValueError('tls needs transport = "tcp"')

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def address(self) -> str:
        """The broker in words, for messages."""
        if self.transport == "unix":
            return str(Path(self.host))
        return f"{self.host}:{self.effective_port}" + (" (TLS)" if self.tls else "")


def _one_of(name: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
