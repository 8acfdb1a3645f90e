"""Tell systemd how the service is: the sd_notify protocol (`man 3 sd_notify`), one datagram of `NAME=value` lines.

Outside systemd nothing is sent. A lost or slow receiver never harms the agent: the worst that follows is a restart.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

LOG = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 1.0
"""Seconds that a full queue at the receiver may hold us up: systemd reads within milliseconds."""


def notify(environ: Mapping[str, str] | None = None, **fields: str | int) -> bool:
    r"""Send fields such as `READY=1`, `WATCHDOG=1`, `STOPPING=1` or `STATUS="waiting for the port"` in one datagram.

    Args:
        environ: where `NOTIFY_SOCKET` is looked up: a path, or with a leading `@` an abstract name.
        fields: a value is a single line: a line break becomes a space, or it would begin another field.

    Returns:
        Whether it was sent: False outside systemd, or when the socket failed.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not address:
        return False
    message = "\n".join(f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as service_manager:
            service_manager.settimeout(_SEND_TIMEOUT_S)
            service_manager.sendto(message.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as error:
        LOG.warning("systemd was not told %r at %s: %s", message, address, error)
        return False
    return True


def watchdog_s(environ: Mapping[str, str] | None = None) -> float | None:
    """Return the seconds within which systemd expects each `WATCHDOG=1`; None where it set this process no watchdog."""
    variables = os.environ if environ is None else environ
    limit_us = variables.get("WATCHDOG_USEC", "")
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not limit_us.isdecimal():
        return None
    return int(limit_us) / 1e6 or None
