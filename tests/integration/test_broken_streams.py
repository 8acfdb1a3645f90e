"""The agent as a process, a real broker, and cameras on the network that send what a camera should not."""

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
from tests.mjpeg_server import MjpegServer

VIEW = cv2.resize(np.random.default_rng(0).integers(40, 200, (12, 16, 3), np.uint8), (160, 120))
RUBBISH = b"sensor failed\n" * 20
TOLD_S = 60.0
"""Longest wait for the agent to say what it should, on a busy machine; an idle one takes three."""


def pictures(width: int = 160, height: int = 120, *, grey: bool = False) -> list[bytes]:
    """The view at some size, four times with other noise, as JPEG."""
    made = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 2, VIEW.shape)
        view = cv2.resize(np.clip(VIEW + noise, 0, 255).astype(np.uint8), (width, height))
        made.append(cv2.imencode(".jpg", cv2.cvtColor(view, cv2.COLOR_BGR2GRAY) if grey else view)[1].tobytes())
    return made


def tiny(side: int) -> list[bytes]:
    return pictures(side, side)


SENT = {
    "well": pictures(),
    "broken": [*pictures(), RUBBISH],
    "cut": [*pictures() * 8, pictures()[0][:3000]],
    "grey": pictures(grey=True),
    "mixed": [*pictures(), *pictures(grey=True)],
    "rubbish": [RUBBISH],
    "specks": tiny(4),
    "tiny": tiny(16),
}
"""What the camera of each stream sends at first."""
WATCHED = ("well", "broken", "cut", "grey", "mixed")
"""Those that are watched all the same, without an alert."""


def settings(name: str, url: str) -> str:
    return f"""\
[streams.{name}.source]
kind = "network_camera"
url = "{url}"
stall_s = 1.0

[streams.{name}.camera]
health = {{ learn_frames = 4, confirm_s = 0.5 }}
prefilter = {{ learn_frames = 20, learn_s = 1.0, rule = {{ hold_off_s = 1.0 }} }}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def cameras() -> Iterator[dict[str, MjpegServer]]:
    made = {name: MjpegServer(list(sent)) for name, sent in SENT.items()}
    yield made
    for each in made.values():
        each.close()


class Told:
    """What was published of the streams."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def states(self, stream: str) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self._listener.payloads(f"anomalite/bench/{stream}/state") if each]

    def events(self, stream: str) -> list[str]:
        return [each["event_type"] for each in self._listener.events() if each["stream"] == stream]

    def wait(self, stream: str, fault: str | None, detail: str = "") -> None:
        """Wait until the stream is in this state; no fault: until it is watched."""

        def now() -> bool:
            last = (self.states(stream) or [{}])[-1]
            return last.get("fault", "") == fault and detail in last["detail"] and (fault or last["anomaly"] == "OFF")

        wait_until(now, f"{stream}: {fault or 'OFF'} {detail}; it is {self.states(stream)[-1:]}", TOLD_S)


def test_what_cannot_be_used_is_dropped_and_told_and_what_is_odd_is_watched(
    tmp_path: Path, broker: Broker, cameras: dict[str, MjpegServer]
) -> None:
    streams = "\n".join(settings(name, server.url) for name, server in cameras.items())
    with Listener(broker) as listener, AgentRun(tmp_path, broker, streams) as agent:
        told = Told(listener)
        for name in WATCHED:
            told.wait(name, None)
        told.wait("rubbish", "no_data", "ended or gave no frame in time")
        told.wait("specks", "no_data", "no frame that can be used (expected 8 pixels a side")
        told.wait("tiny", "camera", "expected frames of at least 64 x 24 pixels, got 16 x 16")
        cameras["well"].pictures[:] = pictures(320, 240)
        cameras["rubbish"].pictures[:] = cameras["specks"].pictures[:] = pictures()
        for name in WATCHED:
            cameras[name].sent = 0
        told.wait("rubbish", None)
        told.wait("specks", None)
        for name in ("rubbish", "specks"):
            wait_until(lambda name=name: "sensor_ok" in told.events(name), f"{name} is over", TOLD_S)
        wait_until(lambda: min(cameras[name].sent for name in WATCHED) > 100, "another 100 pictures", TOLD_S)
        status = agent.status()
        assert agent.stop() == 0
    counts = status["counts"]
    for name in WATCHED:
        assert told.events(name) == []
        assert {state["fault"] for state in told.states(name)} == {"calibrating", None}
        assert (counts[name]["reopened"], cameras[name].connections) == (0, 1)
    assert counts["well"]["frames_dropped"] == counts["grey"]["frames_dropped"] == 0
    assert counts["broken"]["frames_dropped"] > 20
    assert status["streams"]["tiny"]["detail"].startswith("expected frames")
    assert {(each["reader_restarts"], each["watcher_restarts"]) for each in counts.values()} == {(0, 0)}
    assert set(told.events("rubbish")) == set(told.events("specks")) == {"sensor_fault", "sensor_ok"}
    assert "failed" not in agent.log


def test_pictures_that_shrink_to_specks_in_the_middle_of_a_stream_are_another_scene_and_no_anomaly(
    tmp_path: Path, broker: Broker, cameras: dict[str, MjpegServer]
) -> None:
    server = cameras["well"]
    with Listener(broker) as listener, AgentRun(tmp_path, broker, settings("well", server.url)) as agent:
        told = Told(listener)
        told.wait("well", None)
        for sent, alerts in ((tiny(4), 2), (pictures(), 4)):  # each time an alert, and that it is over
            server.pictures[:] = sent
            wait_until(lambda alerts=alerts: len(told.events("well")) == alerts, "another scene, which heals", TOLD_S)
            told.wait("well", None)
        assert agent.stop() == 0
    assert set(told.events("well")) == {"scene_changed"}
    assert server.connections == 1
