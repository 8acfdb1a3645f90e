"""The agent as a process, a real broker, a real pseudo-terminal, and everything that goes wrong between them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import NS, Block
from edge_agent.sources.pump import Pump, PumpFault, PumpFaultKind
from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.device import AgentProcess, Sensor

EVENT = "anomalite/bench/pump/event"
STATE = "anomalite/bench/pump/state"
WARM_ROWS = 60
"""Rows after which windows of 16 are being decided."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", persistent=True) as running:
        yield running


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    made = Sensor(tmp_path / "sensor")
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path, broker: Broker, sensor: Sensor, pump_bundle: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path, broker, sensor, pump_bundle) as running:
        yield running


def healthy() -> Pump:
    return Pump(seed=11)


def broken(start_s: float = WARM_ROWS, duration_s: float = 100.0) -> Pump:
    """A pump that cavitates badly for a while."""
    return Pump(
        seed=11,
        faults=(PumpFault(kind=PumpFaultKind.CAVITATION, start_s=start_s, duration_s=duration_s, severity=2.0),),
    )


def kinds(listener: Listener) -> list[str]:
    """Types of the alerts that came, without duplicates."""
    seen = {(event["session"], event["seq"]): event["event_type"] for event in listener.events()}
    return list(seen.values())


def last_state(listener: Listener) -> dict[str, Any]:
    payloads = listener.payloads(STATE)
    return json.loads(payloads[-1]) if payloads else {}


def wait_kinds(listener: Listener, *expected: str) -> None:
    wait_until(lambda: all(kind in kinds(listener) for kind in expected), f"{expected} in {kinds(listener)}", 30)


def wait_state(listener: Listener, **expected: object) -> dict[str, Any]:
    wait_until(
        lambda: all(last_state(listener).get(key) == value for key, value in expected.items()),
        f"the state {expected}, last is {last_state(listener)}",
        30,
    )
    return last_state(listener)


def test_a_fault_is_told_and_its_end_too(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        pump = broken()
        sensor.send(pump.take(WARM_ROWS + 30))
        wait_state(listener, anomaly="ON", fault=None)
        sensor.send(pump.take(200))
        wait_kinds(listener, "anomaly", "anomaly_cleared")
        wait_state(listener, anomaly="OFF")
    events = listener.events()
    opened = next(event for event in events if event["event_type"] == "anomaly")
    assert opened["id"] == next(event for event in events if event["event_type"] == "anomaly_cleared")["id"]
    assert opened["grade"] == "provisional"
    assert opened["p_value"] is None
    assert opened["top"][0][0] == "vibration"
    assert "vibration" in opened["text"]
    assert opened["window"]["start"].startswith("2026-01-01T00:0")
    with np.load(agent.folder / "state" / "evidence" / opened["snapshot"]) as evidence:
        assert evidence["window"].shape == (16, 5)
        assert len(evidence["context"]) > 16


def test_the_birth_and_the_health_are_retained(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    sensor.send(healthy().take(WARM_ROWS))
    with Listener(broker) as listener:
        wait_until(lambda: listener.payloads("anomalite/bench/health"), "health")
        wait_until(lambda: listener.payloads("anomalite/bench/info"), "info")
        assert listener.payloads("anomalite/bench/state")[-1] == b"online"
    info = json.loads(listener.payloads("anomalite/bench/info")[-1])
    assert info["streams"]["pump"]["channels"] == ["flow", "pressure", "current", "vibration", "temperature"]
    assert info["streams"]["pump"]["grade"] in {"provisional", None}
    assert agent.status()["link"]["connected"]


def test_alerts_of_a_time_without_broker_arrive_once_it_is_back(
    agent: AgentProcess, broker: Broker, sensor: Sensor
) -> None:
    broker.stop()
    pump = broken()
    sensor.send(pump.take(WARM_ROWS + 300))
    wait_until(lambda: agent.status().get("outbox", {}).get("depth", 0) >= 2, "alerts wait on disk", 30)
    broker.start()
    with Listener(broker) as listener:
        wait_until(lambda: {"anomaly", "anomaly_cleared"} <= set(kinds(listener)), "the alerts arrive", 60)
    assert kinds(listener).index("anomaly") < kinds(listener).index("anomaly_cleared")


def test_alerts_that_wait_survive_a_kill_with_their_ids(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    broker.stop()
    sensor.send(broken().take(WARM_ROWS + 300))
    wait_until(lambda: agent.status().get("outbox", {}).get("depth", 0) >= 2, "alerts wait on disk", 30)
    told = agent.log
    agent.kill()
    broker.start()
    with Listener(broker) as listener:
        agent.start()
        wait_kinds(listener, "anomaly", "anomaly_cleared", "agent_restarted")
    ids = {event["id"] for event in listener.events() if event["event_type"] == "anomaly"}
    assert len(ids) == 1
    assert ids.pop() in told
    seqs = [seq for _, seq in listener.keys()]  # noqa: SIM118 - no dictionary
    assert seqs == sorted(seqs)


def test_an_event_goes_on_with_its_id_after_a_kill(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        pump = broken(duration_s=300)
        sensor.send(pump.take(WARM_ROWS + 60))
        wait_kinds(listener, "anomaly")
        agent.kill()
        agent.start()
        sensor.send(pump.take(100))
        wait_state(listener, anomaly="ON")
        sensor.send(pump.take(1500))
        wait_kinds(listener, "anomaly_cleared")
    events = [event for event in listener.events() if event["event_type"].startswith("anomaly")]
    closing = next(i for i, event in enumerate(events) if event["event_type"] == "anomaly_cleared")
    assert {event["id"] for event in events[: closing + 1]} == {events[0]["id"]}  # a false alarm may follow
    assert events[closing]["reason"] == "normal"


def test_an_event_whose_fault_is_gone_after_a_kill_is_closed_as_such(
    agent: AgentProcess, broker: Broker, sensor: Sensor
) -> None:
    with Listener(broker) as listener:
        pump = broken(duration_s=70)
        sensor.send(pump.take(WARM_ROWS + 60))
        wait_kinds(listener, "anomaly")
        agent.kill()
        agent.start()
        pump.take(60)
        sensor.send(pump.take(300))
        wait_kinds(listener, "anomaly_cleared")
    assert next(e for e in listener.events() if e["event_type"] == "anomaly_cleared")["reason"] == "restart"


def test_an_unplugged_port_is_told_and_heals(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        pump = broken(start_s=600)
        sensor.send(pump.take(WARM_ROWS))
        wait_state(listener, anomaly="OFF")
        sensor.unplug()
        wait_kinds(listener, "sensor_fault")
        assert wait_state(listener, anomaly=None)["fault"] == "no_data"
        opened = agent.log.count("source open")
        sensor.plug()
        wait_until(lambda: agent.log.count("source open") > opened, "the port is opened again", 60)
        sensor.send(pump.take(300))
        wait_kinds(listener, "sensor_ok")
        wait_state(listener, anomaly="OFF")
        sensor.send(pump.take(300))
        wait_kinds(listener, "anomaly")
    faults = {event["id"] for event in listener.events() if event["event_type"] == "sensor_fault"}
    assert len(faults) == 1


def test_garbage_is_counted_and_hides_nothing(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        pump = broken(start_s=200)
        sensor.send(pump.take(WARM_ROWS))
        sensor.send_bytes(bytes(range(256)) * 20 + b"\n1,2\n" + "ü€,\n".encode() * 50)
        sensor.send(pump.take(240))
        wait_kinds(listener, "anomaly")
    assert agent.status()["counts"]["pump"]["frames_dropped"] >= 50


def changed(block: Block, channel: int, value: float) -> Block:
    values = block.values.copy()
    values[:, channel] = value
    return replace(block, values=values)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "flow"), (1e20, "flow")], ids=["lost", "out of range"])
def test_a_channel_that_cannot_be_right_is_a_sensor_fault_and_no_anomaly(
    agent: AgentProcess, broker: Broker, sensor: Sensor, value: float, word: str
) -> None:
    extra_limit = value == 1e20
    with Listener(broker) as listener:
        pump = healthy()
        sensor.send(pump.take(WARM_ROWS))
        wait_state(listener, anomaly="OFF")
        sensor.send(changed(pump.take(60), 0, value))
        if extra_limit:
            wait_kinds(listener, "anomaly")
            assert next(e for e in listener.events() if e["event_type"] == "anomaly")["severity"] == "critical"
            return
        wait_kinds(listener, "sensor_fault")
        assert word in wait_state(listener, anomaly=None, fault="sensor")["detail"]
        sensor.send(pump.take(200))
        wait_kinds(listener, "sensor_ok")
        wait_state(listener, anomaly="OFF")
    assert "anomaly" not in kinds(listener)


def test_a_stuck_channel_is_one_sensor_fault(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        pump = healthy()
        sensor.send(pump.take(WARM_ROWS))
        held = pump.take(300)
        sensor.send(changed(held, 3, float(held.values[0, 3])))
        wait_kinds(listener, "sensor_fault")
        assert "vibration" in wait_state(listener, fault="sensor")["detail"]
        sensor.send(pump.take(200))
        wait_kinds(listener, "sensor_ok")
    assert kinds(listener).count("sensor_fault") == 1


def test_a_jump_of_the_sensors_clock_is_a_gap_and_no_anomaly(
    agent: AgentProcess, broker: Broker, sensor: Sensor
) -> None:
    with Listener(broker) as listener:
        pump = healthy()
        sensor.send(pump.take(WARM_ROWS))
        for jump_s in (86_400, -7_200):
            block = pump.take(WARM_ROWS)
            sensor.send(replace(block, t_ns=block.t_ns + jump_s * NS))
        wait_until(
            lambda: agent.status()["counts"]["pump"]["readings"] >= 3 * WARM_ROWS - 1, "every reading is read", 30
        )
        wait_state(listener, anomaly="OFF", fault=None)
        assert kinds(listener) == []
        bad = broken(start_s=30)
        block = bad.take(200)
        sensor.send(replace(block, t_ns=block.t_ns + 30_000 * NS))
        wait_kinds(listener, "anomaly")


def test_another_rate_than_the_models_is_a_sensor_fault(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        sensor.send(Pump(seed=11, rate_hz=2.0).take(300))
        detail = wait_state(listener, anomaly=None, fault="sensor")["detail"]
    assert "2" in detail
    assert "1" in detail


def test_a_sensor_that_speaks_every_three_minutes_is_watched(tmp_path: Path, broker: Broker, sensor: Sensor) -> None:
    extra = "learning = { readings = 200, window = 8 }"
    with AgentProcess(tmp_path, broker, sensor, extra=extra) as agent, Listener(broker) as listener:
        rate_hz = 1 / 180
        pump = Pump(
            seed=3,
            rate_hz=rate_hz,
            faults=(PumpFault(kind=PumpFaultKind.CAVITATION, start_s=260 / rate_hz, duration_s=1e9, severity=4),),
        )
        sensor.send(pump.take(150))
        assert "learning" in wait_state(listener, fault="calibrating", anomaly=None)["detail"]
        sensor.send(pump.take(100))
        wait_state(listener, anomaly="OFF", fault=None)
        sensor.send(pump.take(60))
        wait_kinds(listener, "anomaly")
        assert agent.status()["streams"]["pump"]["model"] is None
    opened = next(e for e in listener.events() if e["event_type"] == "anomaly")
    assert opened["grade"] == "provisional"
    assert opened["stage"] == "prefilter"


def test_what_was_learned_on_site_outlives_a_kill(tmp_path: Path, broker: Broker, sensor: Sensor) -> None:
    extra = "learning = { readings = 200, window = 8 }"
    with AgentProcess(tmp_path, broker, sensor, extra=extra) as agent, Listener(broker) as listener:
        pump = broken(start_s=320)
        sensor.send(pump.take(250))
        wait_state(listener, anomaly="OFF", fault=None)
        agent.kill()
        agent.start()
        sensor.send(pump.take(200))
        wait_kinds(listener, "anomaly")


def test_another_order_of_channels_than_the_models_is_a_sensor_fault(
    tmp_path: Path, broker: Broker, sensor: Sensor, pump_bundle: Path
) -> None:
    extra = 'channels = [{name="pressure"}, {name="flow"}, {name="current"}, {name="vibration"}, {name="temperature"}]'
    with AgentProcess(tmp_path, broker, sensor, pump_bundle, extra), Listener(broker) as listener:
        sensor.send(healthy().take(WARM_ROWS))
        assert "order" in wait_state(listener, anomaly=None, fault="sensor")["detail"]


def test_a_bundle_that_cannot_be_read_leaves_the_device_learning(
    tmp_path: Path, broker: Broker, sensor: Sensor
) -> None:
    rubbish = tmp_path / "rubbish.bundle"
    rubbish.write_bytes(b"PK\x03\x04 no bundle at all")
    channels = (
        'channels = [{name="flow"}, {name="pressure"}, {name="current"}, {name="vibration"}, {name="temperature"}]'
    )
    extra = f"{channels}\nlearning = {{ readings = 200, window = 8 }}"
    with AgentProcess(tmp_path, broker, sensor, rubbish, extra), Listener(broker) as listener:
        pump = broken(start_s=300)
        sensor.send(pump.take(100))
        wait_state(listener, fault="calibrating")
        sensor.send(pump.take(150))
        wait_kinds(listener, "model_fault")
        state = wait_state(listener, anomaly="OFF", fault="model")
        assert "rubbish" in state["detail"]
        sensor.send(pump.take(100))
        wait_kinds(listener, "anomaly")


def test_it_stops_in_good_order(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    with Listener(broker) as listener:
        sensor.send(healthy().take(WARM_ROWS))
        wait_state(listener, anomaly="OFF")
        assert agent.stop() == 0
        wait_until(lambda: listener.payloads("anomalite/bench/state")[-1] == b"offline", "it says that it is offline")
    assert not (agent.folder / "state" / "running").exists()


def test_settings_that_cannot_be_used_end_it_with_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('device = "x"\n[streams.pump.source]\nkind = "serial"\nprot = "/dev/ttyUSB0"\n')
    result = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "--config", config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 78
    assert "did you mean port?" in result.stderr
    assert "streams.pump.source.port: is missing" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_broker_that_is_away_for_a_minute_loses_nothing(agent: AgentProcess, broker: Broker, sensor: Sensor) -> None:
    """What the short tests show, at the length that a restart of a real broker takes."""
    faults = tuple(
        PumpFault(kind=PumpFaultKind.CAVITATION, start_s=start_s, duration_s=60, severity=2.0)
        for start_s in (WARM_ROWS, WARM_ROWS + 600)
    )
    pump = Pump(seed=11, faults=faults)
    with Listener(broker) as listener:
        sensor.send(pump.take(WARM_ROWS + 300))
        wait_kinds(listener, "anomaly", "anomaly_cleared")
    broker.stop()
    sensor.send(pump.take(900))
    time.sleep(60)
    assert agent.status()["outbox"]["depth"] >= 2
    broker.start()
    with Listener(broker) as listener:
        longest_delay_s = 300  # the link waits up to so long between two attempts
        wait_until(lambda: {"anomaly", "anomaly_cleared"} <= set(kinds(listener)), "the alerts arrive", longest_delay_s)
    late = next(event for event in listener.events() if event["event_type"] == "anomaly")
    assert late["historical"]
    assert agent.status()["outbox"]["depth"] == 0
