"""Secrets from files that only their owner can read, and from systemd's credentials folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edge_agent.alerts.settings import MqttSettings
from edge_agent.errors import EdgeAgentError, Problem

UNSET = "__unset__"
"""What the unit puts into a credential that nobody has set (systemd 252 allows no empty value)."""

MAX_SECRET_BYTES = 64 << 10
"""A password or a key; MQTT carries at most 65,535 bytes of password."""


class SecretError(EdgeAgentError):
    """A file with a secret is not there, not readable, or readable by others."""


def secret_path(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a secret is: a bare name in systemd's credentials folder, anything else as it stands."""
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(folder) / name if folder and "/" not in name else Path(name)


def check_secret(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of a secret that only its owner can read; systemd guards its own folder.

    Raises:
        SecretError: it is not there, no file, or readable by others.
    """
    path = secret_path(name, environ)
    try:
        status = path.stat()
    except OSError as error:
        raise SecretError(f"the secret {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"the secret {path} must be a file")
    guarded = path.parent == Path(environ.get("CREDENTIALS_DIRECTORY") or "/nowhere")
    if not guarded and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SecretError(
            f"the secret {path} has mode {stat.S_IMODE(status.st_mode):04o}, others may read it: chmod 0600 {path}"
        )
    return path


def read_secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a secret without its line end; empty when the unit says that it is not set.

    Raises:
        SecretError: as `check_secret`, or too large, or not UTF-8.
    """
    path = check_secret(name, environ)
    try:
        if path.stat().st_size > MAX_SECRET_BYTES:
            raise SecretError(f"the secret {path} has more than {MAX_SECRET_BYTES} bytes")
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"the secret {path} cannot be read: {error}") from error
    return "" if text == UNSET else text


def check_files(settings: MqttSettings, environ: Mapping[str, str] = os.environ) -> list[Problem]:
    """Return what is wrong with the files that the link needs, for `edge-agent check`."""
    problems = []
    for field in ("password_file", "key_file"):
        if name := getattr(settings, field):
            try:
                check_secret(name, environ)
            except SecretError as error:
                problems.append(Problem(place=f"mqtt.{field}", message=str(error)))
    problems += [
        Problem(place=f"mqtt.{field}", message=f"{name} cannot be read", hint="a PEM file is expected")
        for field in ("ca_file", "cert_file")
        if (name := getattr(settings, field)) and not os.access(secret_path(name, environ), os.R_OK)
    ]
    return problems
