"""The link against a real mosquitto: what must hold whatever happens to the broker and the network."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import jsonschema
import pytest

from edge_agent.alerts import connection, link
from edge_agent.alerts.outbox import Outbox
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.contract.asyncapi import MESSAGES, description
from edge_agent.contract.records import Stage
from edge_agent.contract.wire import (
    Anomaly,
    ClockState,
    HealthPayload,
    ImageKind,
    ScorePayload,
    StatePayload,
    utc_text,
)
from tests.alert_payloads import DEVICE, alert
from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.conftest import TOPICS, Device

Make = Callable[..., Device]
JPEG = bytes([0xFF, 0xD8, 0xFF, 0xE0]) + b"x" * 1000
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@BOTH
def test_alerts_arrive_in_order_and_leave_the_outbox(device: Make, broker: Broker, protocol: str) -> None:
    one = device(broker, protocol=protocol)
    for index in range(30):
        one.outbox.put(alert(f"e{index}"))
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: one.outbox.stats().depth == 0, "the outbox is empty")
        one.outbox.put(alert("e30"))
        wait_until(lambda: len(listener.keys()) == 31, "31 alerts arrived")

    assert [event["id"] for event in listener.events()] == [f"e{index}" for index in range(31)]
    assert [event["seq"] for event in listener.events()] == list(range(1, 32))
    assert one.link.stats().protocol == protocol
    assert one.link.stats().delivered == 31


def test_each_connect_tells_state_info_and_what_is_retained(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        one = device(broker)
        one.link.publish_state("pump", StatePayload(anomaly=Anomaly.OFF))
        one.link.publish_state("pump", StatePayload(anomaly=Anomaly.ON))
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")
        broker.kill()
        wait_until(lambda: not one.link.connected, "the loss is noticed")
        one.link.publish_state("pump", StatePayload(anomaly=None))
        broker.start()
        with Listener(broker) as listener:
            wait_until(lambda: listener.payloads(TOPICS.stream_state("pump")), "the state is there again")
            wait_until(lambda: listener.payloads(TOPICS.info), "info is there again")

    assert json.loads(listener.payloads(TOPICS.stream_state("pump"))[-1])["anomaly"] is None
    assert listener.payloads(TOPICS.state)[-1] == b"online"
    assert json.loads(listener.payloads(TOPICS.info)[-1])["session"] == one.outbox.session
    assert one.link.stats().reconnects == 1


def test_states_are_retained_for_whoever_comes_later(device: Make, broker: Broker) -> None:
    one = device(broker)
    one.link.publish_state("pump", StatePayload(anomaly=Anomaly.ON, level=0.9))
    one.link.start()
    with Listener(broker) as early:
        wait_until(lambda: early.payloads(TOPICS.stream_state("pump")), "the state arrived")
    with Listener(broker) as late:
        wait_until(lambda: len(late.messages) >= 3, "state, info and stream state are retained")

    assert all(message.retain for message in late.messages)


def test_an_orderly_end_says_offline_without_a_will(device: Make, broker: Broker) -> None:
    one = device(broker)
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: listener.payloads(TOPICS.state) == [b"online"], "online")
        one.outbox.put(alert("last"))
        one.link.stop(5)
        wait_until(lambda: listener.payloads(TOPICS.state) == [b"online", b"offline"], "offline")

    assert [event["id"] for event in listener.events()] == ["last"]
    assert not one.link.alive


def test_the_will_tells_when_the_device_is_gone(device: Make, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WILL_DELAY_S", 1)
    one = device(broker)
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: listener.payloads(TOPICS.state) == [b"online"], "online")
        monkeypatch.setattr("edge_agent.backoff.Backoff.delay_s", lambda _self: 60.0)
        cut(one)
        wait_until(lambda: listener.payloads(TOPICS.state) == [b"online", b"offline"], "the will")


def test_a_short_break_does_not_say_offline_on_mqtt_5(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="5")
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: listener.payloads(TOPICS.state) == [b"online"], "online")
        cut(one)
        wait_until(lambda: one.link.stats().connects == 2, "connected again")
        one.outbox.put(alert("after"))
        wait_until(listener.keys, "an alert after the break")

    assert b"offline" not in listener.payloads(TOPICS.state)


def cut(one: Device) -> None:
    """Break the connection as a dying network does: no DISCONNECT is sent."""
    assert one.link._connection
    sock = one.link._connection._paho.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


@BOTH
def test_a_broker_that_stops_and_starts_again_loses_no_alert(device: Make, tmp_path: Path, protocol: str) -> None:
    with Broker(tmp_path / "broker") as broker:
        one = device(broker, protocol=protocol)
        one.link.start()
        with Listener(broker) as first:
            for index in range(20):
                one.outbox.put(alert(f"e{index}"))
            wait_until(lambda: len(first.keys()) >= 3, "some alerts arrived")
            broker.stop()
        for index in range(20, 40):
            one.outbox.put(alert(f"e{index}"))
        broker.start()
        with Listener(broker) as second:
            one.outbox.put(alert("last"))
            wait_until(lambda: one.outbox.stats().depth == 0, "the outbox is empty")
            wait_until(lambda: any(event["id"] == "last" for event in second.events()), "the last alert arrived")

    both = first.events() + second.events()
    assert {event["id"] for event in both} >= {f"e{index}" for index in range(40) if index not in range(21)}
    assert [event["seq"] for event in second.events()] == sorted(event["seq"] for event in second.events())
    by_key: dict[tuple[str, int], str] = {}
    for event in both:
        assert by_key.setdefault((event["session"], event["seq"]), event["id"]) == event["id"]


def test_an_alert_whose_acknowledgement_is_lost_comes_again_with_the_same_number(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="5")
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: listener.payloads(TOPICS.info), "connected")
        broker_ear = one.link._connection
        assert broker_ear
        broker_ear._paho.on_publish = None
        one.outbox.put(alert("twice"))
        wait_until(lambda: len(listener.events()) == 1, "it arrived once")
        cut(one)
        wait_until(lambda: len(listener.events()) == 2, "it arrived again")

    first, second = listener.events()
    assert (first["session"], first["seq"], first["id"]) == (second["session"], second["seq"], second["id"])
    assert len(listener.keys()) == 1


CHILD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from edge_agent.alerts.link import Link
    from edge_agent.alerts.outbox import Outbox
    from edge_agent.alerts.settings import MqttSettings, OutboxSettings
    from edge_agent.clock import SystemClock
    from edge_agent.contract.wire import InfoPayload
    from tests.alert_payloads import DEVICE, alert
    from tests.integration.conftest import TOPICS

    path, port = Path(sys.argv[1]), int(sys.argv[2])
    clock = SystemClock()
    outbox = Outbox(path, OutboxSettings(), clock, device=DEVICE)
    birth = lambda: InfoPayload(agent="0", device=DEVICE, session=outbox.session, boot_id="", streams={})
    Link(MqttSettings(host="127.0.0.1", port=port), TOPICS, outbox, clock=clock, birth=birth).start()
    for _ in range(200):
        record = outbox.put(alert("e"), open_events=[{"id": "e"}])
        print(record.session, record.seq, flush=True)
    time.sleep(60)
    """
)


def test_kill_9_loses_no_committed_alert(device: Make, broker: Broker, tmp_path: Path) -> None:
    committed: list[tuple[str, int]] = []
    with Listener(broker) as listener:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, tmp_path / "state" / "outbox.db", str(broker.port)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout
        reader = threading.Thread(target=read_keys, args=(child.stdout, committed))
        reader.start()
        try:
            wait_until(lambda: len(listener.keys()) >= 5 and len(committed) >= 60, "the child commits and delivers", 30)
        finally:
            child.kill()
            child.wait()
            reader.join()
            child.stdout.close()

        one = device(broker)
        assert one.outbox.open_events("pump") == [{"id": "e"}]
        pending = one.outbox.stats().depth
        assert pending > 0
        one.link.start()
        last = one.outbox.put(alert("end"))
        wait_until(lambda: last.key in set(listener.keys()), "everything came", 60)

    arrived = listener.keys()
    assert set(committed) <= set(arrived)
    assert arrived == [(last.session, seq) for seq in range(1, last.seq + 1)]


def read_keys(lines: IO[str], committed: list[tuple[str, int]]) -> None:
    """Collect what the child says it has committed; a line cut off by the kill says nothing."""
    for line in lines:
        if line.endswith("\n"):
            session, seq = line.split()
            committed.append((session, int(seq)))


def test_a_broker_that_says_nothing_any_more_is_noticed(
    device: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "DEAD_KEEPALIVES", 0.2)
    monkeypatch.setattr(link, "TURN_S", 0.1)
    with Broker(tmp_path / "broker") as broker:
        one = device(broker)
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")
        broker.freeze()
        one.outbox.put(alert("held"))
        wait_until(lambda: "connection is dead" in one.link.stats().last_reason, "the silence is noticed")
        monkeypatch.setattr(link, "DEAD_KEEPALIVES", 1.5)
        broker.thaw()
        with Listener(broker) as listener:
            wait_until(lambda: one.link.connected, "connected again")
            one.outbox.put(alert("after"))
            wait_until(lambda: "after" in {event["id"] for event in listener.events()}, "alerts flow again")
        wait_until(lambda: one.outbox.stats().depth == 0, "every alert was acknowledged")


def test_an_alert_delivered_late_is_historical(device: Make, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    one = device(broker)
    one.outbox.put(alert("late"))
    monkeypatch.setattr(one.clock, "monotonic_ns", lambda now=one.clock.monotonic_ns: now() + 40 * 10**9)
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: len(listener.events()) == 1, "the late one")
        one.outbox.put(alert("now"))
        wait_until(lambda: len(listener.events()) == 2, "both")

    assert [(event["id"], event["historical"]) for event in listener.events()] == [("late", True), ("now", False)]


def test_on_mqtt_5_alerts_are_cloud_events(device: Make, broker: Broker) -> None:
    one = device(broker, protocol="5")
    with Listener(broker) as listener:
        one.link.start()
        one.outbox.put(alert("e"))
        wait_until(listener.events, "the alert")
        one.link.publish_score("pump", ScorePayload(time=utc_text(0), score=1.0, stage=Stage.NETWORK))
        wait_until(lambda: listener.payloads(TOPICS.score("pump")), "the score")

    by_topic = {message.topic: message for message in listener.messages}
    event, score = by_topic[TOPICS.event("pump")], by_topic[TOPICS.score("pump")]
    assert event.properties
    assert score.properties
    assert dict(event.properties.UserProperty)["source"] == f"/{DEVICE}/pump"
    assert event.properties.ContentType == "application/json"
    assert 0 < score.properties.MessageExpiryInterval <= 60
    assert score.qos == 0


def test_scores_are_not_kept_while_offline(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        one = device(broker)
        one.link.publish_score("pump", ScorePayload(time=utc_text(0), stage=Stage.NETWORK))
        one.link.start()
        with Listener(broker) as listener:
            one.outbox.put(alert("marker"))
            wait_until(listener.events, "the marker")

    assert listener.payloads(TOPICS.score("pump")) == []


def test_what_is_published_is_what_asyncapi_describes(device: Make, broker: Broker) -> None:
    one = device(broker)
    with Listener(broker) as listener:
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")
        one.link.publish_state("pump", StatePayload(anomaly=None))
        one.link.publish_score("pump", ScorePayload(time=utc_text(0), score=1.0, stage=Stage.NETWORK))
        one.link.publish(
            TOPICS.health,
            HealthPayload(
                time=utc_text(0),
                uptime_s=1.0,
                rss_bytes=1,
                clock=ClockState.SYNCED,
                outbox=one.outbox.stats(),
                link=one.link.stats(),
                streams={},
            ),
        )
        for kind in ImageKind:
            one.link.publish_image("pump", kind, JPEG, "e")
        one.outbox.put(alert("e"))
        wait_until(lambda: len({message.topic for message in listener.messages}) == len(MESSAGES), "one of each")

    document = description()
    addresses = {
        name: re.sub(r"\{\w+\}", "[a-zA-Z0-9_-]{1,64}", channel["address"])
        for name, channel in document["channels"].items()
    }
    by_name = {message.name: message for message in MESSAGES}
    for message in listener.messages:
        (name,) = [name for name, address in addresses.items() if re.fullmatch(address, message.topic)]
        schema = document["components"]["schemas"][name]
        text = message.payload.decode("latin-1" if message.payload == JPEG else "utf-8")
        value = text if by_name[name].payload is None else json.loads(text)
        jsonschema.validate(value, schema, jsonschema.Draft7Validator)
        assert message.qos == by_name[name].qos


def test_two_devices_with_one_name_are_suspected_where_the_broker_does_not_tell(
    device: Make, broker: Broker, tmp_path: Path
) -> None:
    one, other = device(broker), Device(tmp_path / "other", broker)
    one.link.start()
    wait_until(lambda: one.link.connected, "the first is connected")
    other.link.start()
    try:
        wait_until(lambda: "perhaps another device has our client id" in one.link.stats().last_reason, "the suspicion")
    finally:
        other.close()


def test_two_take_overs_in_a_minute_are_a_conflict(device: Make) -> None:
    with ScriptedBroker(lambda _level: [CONNACK_5, bytes([0xE0, 2, 0x8E, 0])]) as broker:
        one = device(broker, protocol="5")
        one.link.start()
        wait_until(lambda: one.link.stats().problems == ("client_id_conflict",), "the conflict")

        assert one.link.stats().connects == 2
        assert "our client id" in one.link.stats().last_reason


@pytest.mark.parametrize(("protocol", "limit"), [("5", "message_size_limit 2000"), ("3.1.1", "max_packet_size 2000")])
def test_a_poison_alert_is_given_up_and_the_others_arrive(
    device: Make, tmp_path: Path, protocol: str, limit: str
) -> None:
    with Broker(tmp_path / "broker", extra=limit) as broker:
        one = device(broker, protocol=protocol)
        one.outbox.put(alert("before"))
        one.outbox.put(alert("poison", text="x" * 1000, detail="y" * 1000))
        one.outbox.put(alert("after"))
        with Listener(broker) as listener:
            one.link.start()
            wait_until(lambda: one.outbox.stats().depth == 0, "the outbox is empty", 30)
            wait_until(lambda: len(listener.keys()) >= 3, "the others and a report arrived")

    ids = [event["id"] for event in listener.events() if event["event_type"] == "anomaly"]
    reports = [event for event in listener.events() if event["event_type"] == "outbox_overflow"]
    assert set(ids) == {"before", "after"}
    assert reports[0]["reason"] == "refused"
    assert reports[0]["dropped"]["ranges"] == [[2, 2]]
    assert one.link.stats().given_up == 1


def test_a_broker_that_names_its_limit_is_never_sent_more(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", extra="max_packet_size 2000") as broker:
        one = device(broker, protocol="5")
        one.outbox.put(alert("large", text="x" * 1000, detail="y" * 1000))
        one.outbox.put(alert("small"))
        with Listener(broker) as listener:
            one.link.start()
            wait_until(lambda: one.outbox.stats().depth == 0, "the outbox is empty")
            wait_until(lambda: len(listener.keys()) == 2, "the small one and the report")

    assert one.link.stats().connects == 1
    assert one.link.stats().given_up == 1


CONNACK_4, CONNACK_5 = bytes([0x20, 2, 0, 0]), bytes([0x20, 3, 0, 0, 0])
OLD_VERSION = bytes([0x20, 2, 0, 1])
"""How a broker from before 2018 answers MQTT 5: unacceptable protocol version, in the words of 3.1.1."""


class ScriptedBroker:
    """Answers each CONNECT with given packets; hangs up after none, or after a refusal."""

    unix = False

    def __init__(self, answers: Callable[[int], list[bytes]]) -> None:
        self.levels: list[int] = []
        self.connects: list[bytes] = []
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connects.append(client.recv(1000))
            level = self.connects[-1][8]
            self.levels.append(level)
            answers = self._answers(level)
            for packet in answers:
                client.sendall(packet)
            if len(answers) and answers[-1] != OLD_VERSION:
                self._open.append(client)
            else:
                client.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for client in self._open:
            client.close()


@pytest.mark.parametrize(("answer", "tries"), [([OLD_VERSION], 1), ([], 3)])
def test_an_old_broker_is_spoken_to_in_its_own_version(device: Make, answer: list[bytes], tries: int) -> None:
    with ScriptedBroker(lambda level: [CONNACK_4] if level == 4 else answer) as old:
        one = device(old, read_back=False)
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")

        assert old.levels == [5] * tries + [4]
        assert one.link.stats().protocol == "3.1.1"
        one.close()


def test_the_session_outlives_the_delay_of_the_will_or_there_would_be_none(device: Make) -> None:
    with ScriptedBroker(lambda _level: [CONNACK_5]) as broker:
        one = device(broker, protocol="5")
        one.link.start()
        wait_until(lambda: one.link.connected, "connected")
        one.close()

    session_expiry, will_delay = bytes([0x11, 0, 0, 0, 60]), bytes([0x18, 0, 0, 0, 30])
    assert session_expiry in broker.connects[0]
    assert will_delay in broker.connects[0]


def test_a_birth_that_fails_stops_no_alert(device: Make, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    one = device(broker)
    monkeypatch.setattr(one.link, "_birth", lambda: 1 / 0)
    one.outbox.put(alert("e"))
    with Listener(broker) as listener:
        one.link.start()
        wait_until(listener.events, "the alert")


def test_an_error_inside_the_link_is_survived(device: Make, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    one = device(broker)
    pending, failures = one.outbox.pending, iter([RuntimeError("a bug"), RuntimeError("another")])

    def sometimes(*values: object, **more: object) -> object:
        for failure in failures:
            raise failure
        return pending(*values, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(one.outbox, "pending", sometimes)
    one.outbox.put(alert("e"))
    with Listener(broker) as listener:
        one.link.start()
        wait_until(listener.events, "the alert")

    assert one.link.alive
    assert one.link.stats().connects == 3


def test_start_needs_no_broker_and_stop_is_quick(device: Make, tmp_path: Path) -> None:
    one = device(Broker(tmp_path / "never-started"))
    one.link.start()
    one.outbox.put(alert("waits"))
    wait_until(lambda: "unreachable" in one.link.stats().problems, "nobody there is told")

    one.link.stop(1)
    assert not one.link.alive
    again = Outbox(tmp_path / "state" / "outbox.db", OutboxSettings(), one.clock, device=DEVICE)
    assert again.stats().depth == 1
    again.close()


def test_a_unix_socket_will_do(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "b", unix=True) as broker:
        one = device(broker)
        one.outbox.put(alert("e"))
        with Listener(broker) as listener:
            one.link.start()
            wait_until(listener.events, "the alert")
