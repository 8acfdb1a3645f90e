"""The agent as a process, a real broker, simulated cameras: scenes learned on site, odd things, ill cameras, kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.device import AgentRun

SPEED = 10.0
"""Times faster than real."""
ILL = ("covered", "frozen", "dark", "moved")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", persistent=True) as running:
        yield running


def camera(name: str, fault: str, *, start: int = 60, frames: int = 60) -> str:
    """Settings of a simulated station, five frames a second, that learns its scene in six seconds."""
    return f"""\
[streams.{name}.source]
kind = "synthetic_scene"
width = 160
height = 120
speed = {SPEED}
fault = "{fault}"
fault_start = {start}
fault_frames = {frames}

[streams.{name}.camera]
health = {{ learn_frames = 10 }}
prefilter = {{ learn_frames = 30, learn_s = 6.0, rule = {{ hold_off_s = 2.0 }} }}
"""


def states(listener: Listener, stream: str = "cell") -> list[tuple[str | None, str | None]]:
    """What was published of a stream: anomaly and fault, each once in a row."""
    told = [json.loads(payload) for payload in listener.payloads(f"anomalite/bench/{stream}/state") if payload]
    pairs = [(each["anomaly"], each["fault"]) for each in told]
    return [pair for i, pair in enumerate(pairs) if not i or pair != pairs[i - 1]]


def events(listener: Listener, stream: str = "cell") -> list[dict[str, Any]]:
    """The alerts of a stream, without duplicates."""
    return list({(e["session"], e["seq"]): e for e in listener.events() if e["stream"] == stream}.values())


def kinds(listener: Listener, stream: str = "cell") -> list[str]:
    return [event["event_type"] for event in events(listener, stream)]


def wait_kinds(listener: Listener, *expected: str, stream: str = "cell") -> None:
    wait_until(
        lambda: all(kind in kinds(listener, stream) for kind in expected),
        f"{expected} of {stream} in {kinds(listener, stream)}",
        60,
    )


def test_a_scene_is_learned_and_an_odd_thing_in_it_is_told_with_place_and_picture(
    tmp_path: Path, broker: Broker
) -> None:
    with Listener(broker) as listener, AgentRun(tmp_path, broker, camera("cell", "missing")) as agent:
        wait_kinds(listener, "anomaly", "anomaly_cleared")
        wait_until(lambda: states(listener)[-1] == ("OFF", None), "the state is OFF again")
        wait_until(lambda: listener.payloads("anomalite/bench/cell/heatmap"), "a heatmap comes")
        health = agent.status()["streams"]["cell"]
        agent.stop()
    assert states(listener)[:4] == [(None, "calibrating"), ("OFF", None), ("ON", None), ("OFF", None)]
    opened, closed = (next(e for e in events(listener) if e["life"] == life) for life in ("open", "close"))
    assert opened["id"] == closed["id"]
    assert (opened["grade"], opened["stage"]) == ("provisional", "prefilter")
    region = opened["region"]
    assert 0.15 < region["x"] < 0.35
    assert 0.4 < region["w"] < 0.7
    picture = cv2.imdecode(np.frombuffer(listener.payloads("anomalite/bench/cell/image")[-1], np.uint8), 1)
    assert picture.shape == (120, 160, 3)
    assert (tmp_path / "state" / "evidence" / opened["snapshot"]).exists()
    assert health["rate_hz"] == pytest.approx(5 * SPEED, rel=0.5)
    assert health["frames_dropped"] == 0
    assert sorted(each.name for each in (tmp_path / "state/streams/cell").iterdir()) == ["camera.npz", "scene.npz"]


def test_an_ill_camera_raises_its_own_state_and_light_at_another_level_a_scene_and_no_anomaly(
    tmp_path: Path, broker: Broker
) -> None:
    settings = "\n".join(camera(name, name, frames=90) for name in (*ILL, "dimmed"))
    with Listener(broker) as listener, AgentRun(tmp_path, broker, settings):
        for name in ILL:
            wait_kinds(listener, "sensor_fault", "sensor_ok", stream=name)
            wait_until(lambda name=name: states(listener, name)[-1] == ("OFF", None), f"{name} heals")
        wait_kinds(listener, "scene_changed", stream="dimmed")
        wait_until(lambda: states(listener, "dimmed").count(("OFF", None)) >= 2, "the scene heals", 30)
    for name in ILL:
        assert set(kinds(listener, name)) == {"sensor_fault", "sensor_ok"}
        assert (None, "camera") in states(listener, name)
        fault = next(e for e in events(listener, name) if e["event_type"] == "sensor_fault")
        assert (fault["fault"], fault["detail"].partition(":")[0]) == ("camera", name)
    assert set(kinds(listener, "dimmed")) == {"scene_changed"}
    assert (None, "scene") in states(listener, "dimmed")


def test_an_event_that_is_open_at_a_kill_goes_on_with_its_id(tmp_path: Path, broker: Broker) -> None:
    with Listener(broker) as listener, AgentRun(tmp_path, broker, camera("cell", "missing", frames=9999)) as agent:
        wait_kinds(listener, "anomaly")
        agent.kill()
        agent.configure(camera("cell", "missing", start=0, frames=30))
        agent.start()
        wait_kinds(listener, "anomaly_cleared")
    assert len({event["id"] for event in events(listener) if event["event_type"].startswith("anomaly")}) == 1
    closed = next(event for event in events(listener) if event["event_type"] == "anomaly_cleared")
    assert closed["reason"] == "normal"
    assert (None, "calibrating") not in states(listener)[2:]
