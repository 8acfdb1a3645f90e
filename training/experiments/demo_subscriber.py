"""Who takes the alerts of a demonstration: a plain MQTT client, as Home Assistant or a fleet tool would be."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.contract.wire import EVENT_ID, ONLINE, ImageKind
from training.experiments.broker import Broker
from training.experiments.demo_device import STOP_S

Payload = dict[str, Any]
"""A payload of the agent, parsed."""

ALIVE_S = 0.05
"""Seconds between two looks at whether the agent still runs while it is waited for."""


def alert_line(alert: Payload) -> str:
    """Return an alert as one line for a person."""
    when = alert["window"]["end"] if alert["window"] else alert["time"]
    return f"{when}  {alert_words(alert)}"


def alert_words(alert: Payload) -> str:
    """Return what an alert says, without its time."""
    level = "" if alert["level"] is None else f"  level {alert['level']:.2f}"
    return f"{alert['event_type']:<16}{alert['severity']:<9}{level}  {alert['text']}"


class Subscriber:
    """Keeps what an agent publishes and tells of each alert as it comes; connected from the `with` on.

    Args:
        broker: to connect to.
        tell: called once for each alert, in the client's thread.
        tell_score: the same for each score that is published.
    """

    def __init__(
        self,
        broker: Broker,
        tell: Callable[[Payload], object] = lambda alert: print(alert_line(alert), flush=True),
        tell_score: Callable[[Payload], object] | None = None,
    ) -> None:
        self._broker, self._tell, self._tell_score = broker, tell, tell_score
        self.alerts: list[Payload] = []
        """In the order in which they came, each once."""
        self.scores: list[Payload] = []
        self.pictures: dict[str, dict[ImageKind, bytes]] = {}
        """JPEGs by the id of their event."""
        self._seen: set[tuple[str, int]] = set()
        self._online = threading.Event()
        speaks_5 = broker.protocol != "3.1.1"
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="demo-subscriber",
            protocol=MQTTProtocolVersion.MQTTv5 if speaks_5 else MQTTProtocolVersion.MQTTv311,
        )
        self._client.on_connect = lambda client, *_: client.subscribe("anomalite/#", qos=1)
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect."""
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait_online(self, agent: subprocess.Popen[bytes]) -> None:
        """Wait until the agent says that it is online."""
        for _ in range(round(STOP_S / ALIVE_S)):
            if self._online.wait(ALIVE_S):
                return
            if agent.poll() is not None:
                break
        raise SystemExit("the agent did not come online; see agent.log")

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        del client, data
        kind = message.topic.rpartition("/")[2]
        if kind == "state" and message.payload == ONLINE:
            self._online.set()
        elif kind == "event":
            self._take(json.loads(message.payload))
        elif kind == "score":
            self.scores.append(json.loads(message.payload))
            if self._tell_score:
                self._tell_score(self.scores[-1])
        elif kind in set(ImageKind):
            self.pictures.setdefault(self._event_of(message), {})[ImageKind(kind)] = bytes(message.payload)

    def _take(self, alert: Payload) -> None:
        key = (alert["session"], alert["seq"])
        if key not in self._seen:
            self._seen.add(key)
            self.alerts.append(alert)
            self._tell(alert)

    def _event_of(self, message: mqtt.MQTTMessage) -> str:
        """Return the id of a picture's event: with MQTT 3.1.1, which carries none, the latest that opened."""
        told = dict(getattr(message.properties, "UserProperty", ()))
        opened = [alert["id"] for alert in self.alerts if alert["life"] == "open"]
        return str(told.get(EVENT_ID) or (opened[-1] if opened else ""))
