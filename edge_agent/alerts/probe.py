"""Ask a broker whether it would take us, or a message, without being the agent: for `edge-agent check, test-alert`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from edge_agent.alerts.connection import Acknowledged, Answered, Connection, Lost
from edge_agent.alerts.delivery import SUCCESS_BELOW, Message
from edge_agent.alerts.reconnect import of_answer, of_error, of_loss
from edge_agent.alerts.settings import MqttSettings
from edge_agent.contract.wire import Topics
from edge_agent.errors import EdgeAgentError


def probe(settings: MqttSettings, device: str, messages: Sequence[Message] = (), timeout_s: float | None = None) -> str:
    """Connect once under a name of its own, which does not disturb a running agent, send something, and leave.

    Args:
        settings: which broker.
        device: whose topics.
        messages: to send, with QoS 1.
        timeout_s: seconds for all of it, at most `connect_timeout_s` of the settings; None: that long.

    Returns:
        Why the broker would not take us or a message, in words; empty where it did.
    """
    settings = replace(settings, connect_timeout_s=min(settings.connect_timeout_s, timeout_s or float("inf")))
    topics = Topics(root=settings.root, device=device)
    visit = _Visit(settings, topics, "3.1.1" if settings.protocol == "3.1.1" else "5")
    problem = visit.talk(messages)
    if problem and settings.protocol == "auto" and not visit.accepted:
        problem = problem if _Visit(settings, topics, "3.1.1").talk(messages) else ""
    return problem


class _Visit:
    """One connection from its opening to its end."""

    def __init__(self, settings: MqttSettings, topics: Topics, protocol: str) -> None:
        self._settings, self._topics, self._protocol = settings, topics, protocol
        self.accepted = False
        """The broker took the connection."""

    def talk(self, messages: Sequence[Message]) -> str:
        """Connect, send, and leave; returns what went wrong."""
        try:
            connection = Connection(
                self._settings,
                client_id=f"anomalite-{self._topics.device}-check",
                will_topic=self._topics.state,
                protocol=self._protocol,
            )
            connection.open()
        except (OSError, ValueError, EdgeAgentError) as error:
            return of_error(error, self._settings.address).words
        wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            return self._serve(connection, messages, wake)
        finally:
            connection.close()
            os.close(wake)

    def _serve(self, connection: Connection, messages: Sequence[Message], wake: int) -> str:
        until = time.monotonic() + self._settings.connect_timeout_s
        waiting: dict[int, str] = {}
        while (left := until - time.monotonic()) > 0:
            for happening in connection.turn(left, wake):
                if isinstance(happening, Lost):
                    return self._of_loss(happening, connection)
                if isinstance(happening, Answered):
                    if happening.code:
                        return of_answer(happening.code, happening.name).words
                    self.accepted = True
                    waiting = {connection.publish(message): message.topic for message in messages}
                elif isinstance(happening, Acknowledged):
                    topic = waiting.pop(happening.number, "")
                    if happening.code >= SUCCESS_BELOW:
                        return f"the broker refuses {topic}: {happening.name}: check its access rules"
            if self.accepted and not waiting:
                return ""
        return f"{self._settings.address} took the connection and does not answer"

    def _of_loss(self, lost: Lost, connection: Connection) -> str:
        own = bool(self._settings.cert_file)
        ended = of_loss(lost.code, lost.name, answered=self.accepted, log=connection.log, own_certificate=own)
        return ended.words
