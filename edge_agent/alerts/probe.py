"""Ask a broker whether it would take us, without being the agent: for `edge-agent check`."""

from __future__ import annotations

import os
import time

from edge_agent.alerts.connection import Answered, Connection, Lost
from edge_agent.alerts.reconnect import of_answer, of_error, of_loss
from edge_agent.alerts.settings import MqttSettings
from edge_agent.contract.wire import Topics
from edge_agent.errors import EdgeAgentError


def probe(settings: MqttSettings, device: str) -> str:
    """Connect once under a name of its own, which does not disturb a running agent, and leave.

    Returns:
        Why the broker would not take us, in words; empty where it does.
    """
    topics = Topics(root=settings.root, device=device)
    protocol = "3.1.1" if settings.protocol == "3.1.1" else "5"
    problem = _try(settings, topics, protocol)
    if problem and settings.protocol == "auto":
        problem = problem if not _try(settings, topics, "3.1.1") else ""
    return problem


def _try(settings: MqttSettings, topics: Topics, protocol: str) -> str:
    own = bool(settings.cert_file)
    try:
        connection = Connection(
            settings, client_id=f"anomalite-{topics.device}-check", will_topic=topics.state, protocol=protocol
        )
        connection.open()
    except (OSError, ValueError, EdgeAgentError) as error:
        return of_error(error, settings.address).words
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    until = time.monotonic() + settings.connect_timeout_s
    try:
        while (left := until - time.monotonic()) > 0:
            for happening in connection.turn(left, wake):
                if isinstance(happening, Lost):
                    return of_loss(
                        happening.code, happening.name, answered=False, log=connection.log, own_certificate=own
                    ).words
                if isinstance(happening, Answered):
                    return of_answer(happening.code, happening.name).words if happening.code else ""
        return f"{settings.address} took the connection and does not answer"
    finally:
        connection.close()
        os.close(wake)
