"""Fixtures for tests against a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.alerts.link import Link
from edge_agent.alerts.outbox import Outbox
from edge_agent.alerts.settings import MqttSettings, OutboxSettings
from edge_agent.clock import SystemClock
from edge_agent.contract.wire import InfoPayload, Topics
from tests.alert_payloads import DEVICE
from tests.integration.broker import Broker

TOPICS = Topics("anomalite", DEVICE)


class Device:
    """Outbox and link of one device, as the agent wires them."""

    def __init__(self, folder: Path, broker: Any, **settings: Any) -> None:
        self.clock = SystemClock()
        self.outbox = Outbox(folder / "outbox.db", OutboxSettings(), self.clock, device=DEVICE, streams=("pump", "fan"))
        given = {"host": "127.0.0.1", "port": broker.port, "keepalive_s": 5} | settings
        if broker.unix:
            given |= {"host": str(broker.socket), "transport": "unix", "port": 1}
        self.link = Link(MqttSettings(**given), TOPICS, self.outbox, clock=self.clock, birth=self.info)

    def info(self) -> InfoPayload:
        return InfoPayload(agent="0.1.0", device=DEVICE, session=self.outbox.session, boot_id="5d4c", streams={})

    def close(self) -> None:
        self.link.stop(0)
        self.outbox.close()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Device]]:
    """Make devices that are stopped at the end; they reconnect within 0.2 s, so that no test waits for jitter."""
    made: list[Device] = []
    monkeypatch.setattr("edge_agent.backoff.Backoff.delay_s", lambda _self: 0.2)

    def make(broker: Any, **settings: Any) -> Device:
        made.append(Device(tmp_path / "state", broker, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that allows everything."""
    with Broker(tmp_path / "broker") as running:
        yield running
