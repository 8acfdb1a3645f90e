"""Pictures of alerts against a real mosquitto: retained, the newest alone, never before an alert."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTMessage

from edge_agent.contract.wire import MAX_IMAGE_BYTES, ImageKind
from tests.alert_payloads import alert
from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.conftest import TOPICS, Device

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
