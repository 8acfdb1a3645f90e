"""Pictures of alerts against a real mosquitto: retained, the newest alone, never before an alert."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from paho.mqtt.client import MQTTMessage

from edge_agent.alerts.evidence import Evidence
from edge_agent.alerts.settings import EvidenceSettings
from edge_agent.contract.records import Decision
from edge_agent.contract.wire import MAX_IMAGE_BYTES, ClockState, ImageKind
from edge_agent.frame_account import FrameAccount
from edge_agent.reporting import Reporter
from edge_agent.vision.frame_pipeline import FrameDecision
from edge_agent.vision.pictures import decode_jpeg
from tests.alert_payloads import DEVICE, alert
from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.conftest import TOPICS, Device
from tests.unit.test_frame_account import OPENED, REGION, Limits
from tests.virtual_clock import EPOCH_NS

Make = Callable[..., Device]
IMAGE, HEATMAP = TOPICS.image("pump"), TOPICS.image("pump", ImageKind.HEATMAP)


def newest(listener: Listener, topic: str) -> MQTTMessage:
    wait_until(lambda: listener.payloads(topic), f"a message on {topic}")
    return [message for message in listener.messages if message.topic == topic][-1]


def event_id(message: MQTTMessage) -> str:
    assert message.properties
    return dict(message.properties.UserProperty)["event_id"]


def test_image_and_heatmap_are_retained_with_the_id_of_their_event(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="5")
    one.link.start()
    one.link.publish_image("pump", ImageKind.IMAGE, b"frame", "e1")
    one.link.publish_image("pump", ImageKind.HEATMAP, b"colours", "e1")
    with Listener(broker) as early:
        newest(early, IMAGE)
        newest(early, HEATMAP)
    with Listener(broker) as late:
        image, heatmap = newest(late, IMAGE), newest(late, HEATMAP)

    assert (image.payload, heatmap.payload) == (b"frame", b"colours")
    for message in (image, heatmap):
        assert (message.retain, message.qos, event_id(message)) == (True, 1, "e1")
        assert message.properties.ContentType == "image/jpeg"


def test_a_new_image_replaces_the_one_before(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="5")
    one.link.start()
    with Listener(broker) as listener:
        one.link.publish_image("pump", ImageKind.IMAGE, b"first", "e1")
        newest(listener, IMAGE)
        one.link.publish_image("pump", ImageKind.IMAGE, b"second", "e2")
        wait_until(lambda: listener.payloads(IMAGE) == [b"first", b"second"], "both images")
    with Listener(broker) as late:
        kept = newest(late, IMAGE)

    assert (kept.payload, event_id(kept)) == (b"second", "e2")


def test_on_3_1_1_images_come_without_properties(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="3.1.1")
    one.link.start()
    one.link.publish_image("pump", ImageKind.IMAGE, b"frame", "e1")
    with Listener(broker) as listener:
        image = newest(listener, IMAGE)

    assert image.payload == b"frame"
    assert not hasattr(image.properties, "UserProperty")


def test_the_newest_image_is_there_again_when_the_broker_has_forgotten_it(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        one = device(broker)
        one.link.start()
        with Listener(broker) as listener:
            one.link.publish_image("pump", ImageKind.IMAGE, b"before", "e1")
            newest(listener, IMAGE)
            broker.kill()
        wait_until(lambda: not one.link.connected, "the loss is noticed")
        one.link.publish_image("pump", ImageKind.IMAGE, b"lost", "e2")
        one.link.publish_image("pump", ImageKind.IMAGE, b"meanwhile", "e3")
        broker.start()
        with Listener(broker) as listener:
            image = newest(listener, IMAGE)

    assert (image.payload, event_id(image)) == (b"meanwhile", "e3")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_alerts_that_wait_go_before_every_image(device: Make, broker: Broker, protocol: str) -> None:
    one = device(broker, protocol=protocol)
    streams = [f"camera{number}" for number in range(8)]
    for stream in streams:
        one.link.publish_image(stream, ImageKind.IMAGE, os.urandom(MAX_IMAGE_BYTES), "e")
    for number in range(20):
        one.outbox.put(alert(f"e{number}"))
    with Listener(broker) as listener:
        one.link.start()
        for stream in streams:
            newest(listener, TOPICS.image(stream))

    topics = [message.topic.rpartition("/")[2] for message in listener.messages]
    assert [topic for topic in topics if topic in {"event", "image"}] == ["event"] * 20 + ["image"] * 8


def images_in_flight(one: Device) -> int:
    return sum(message.content_type == "image/jpeg" for message, _ in list(one.link._delivery._in_flight.values()))


def test_an_alert_waits_for_one_image_at_most(device: Make, broker: Broker) -> None:
    one = device(broker)
    streams = [f"camera{number}" for number in range(8)]
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")
        broker.freeze()
        for stream in streams:
            one.link.publish_image(stream, ImageKind.IMAGE, os.urandom(MAX_IMAGE_BYTES), "e")
        wait_until(lambda: images_in_flight(one), "an image is on its way")
        one.outbox.put(alert("urgent"))
        broker.thaw()
        for stream in streams:
            newest(listener, TOPICS.image(stream))

    topics = [message.topic.rpartition("/")[2] for message in listener.messages]
    assert topics.index("event") - topics.index("image") == 1


def test_an_alert_of_a_camera_brings_its_very_frame_small_enough_and_its_heatmap(
    device: Make, broker: Broker, tmp_path: Path
) -> None:
    one = device(broker, protocol="5")
    evidence = Evidence(tmp_path / "evidence", EvidenceSettings())
    account = FrameAccount("pump", evidence)
    account.use(Limits())
    reporter: Reporter[FrameDecision] = Reporter(
        stream="pump",
        device=DEVICE,
        boot_id="boot",
        account=account,
        own_time=True,
        alerts=one.outbox,
        publisher=one.link,
        clock=one.clock,
        clock_state=lambda: ClockState.SYNCED,
    )
    frame = np.random.default_rng(0).integers(0, 256, (240, 640, 3), dtype=np.uint8)
    found = FrameDecision(
        decision=Decision(t_ns=EPOCH_NS, anomaly=True, transitions=(OPENED,)),
        pixels=frame,
        map=np.full((4, 4), 30.0, np.float32),
        regions=(REGION,),
        where={OPENED.id: REGION},
    )
    one.link.start()
    reporter.decided(found, [found.decision])
    with Listener(broker) as listener:
        image, heatmap = newest(listener, IMAGE), newest(listener, HEATMAP)
        wait_until(lambda: one.outbox.stats().depth == 0, "the alert left")

    assert event_id(image) == event_id(heatmap) == OPENED.id
    (clean,) = [path for path in (tmp_path / "evidence").glob("*.jpg") if "heatmap" not in path.name]
    assert len(clean.read_bytes()) > MAX_IMAGE_BYTES >= len(image.payload)
    assert decode_jpeg(clean.read_bytes()).shape == decode_jpeg(heatmap.payload).shape == frame.shape
    small = decode_jpeg(image.payload)
    assert abs(small.mean() - frame.mean()) < 3
