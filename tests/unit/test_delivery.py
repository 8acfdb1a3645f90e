from __future__ import annotations

import json

import pytest

from edge_agent.alerts.delivery import (
    BLOCKED_S,
    IN_FLIGHT,
    POISON_TRIES,
    REPLAY_PER_S,
    Delivery,
    Limits,
    Message,
    cloud_event,
)
from edge_agent.alerts.store import Record
from edge_agent.contract.records import NS
from edge_agent.contract.wire import MAX_IMAGE_BYTES, Topics, to_json
from tests.alert_payloads import DEVICE, alert

TOPICS = Topics("anomalite", DEVICE)
DENIED, QUOTA, UNSPECIFIED = 0x87, 0x97, 0x80


def record(seq: int, stream: str = "pump") -> Record:
    body = to_json(alert(f"e{seq}", stream=stream))
    return Record("a" * 32, seq, stream, report=False, rank=1, put_ns=0, run="r", run_ns=0, body=body)


@pytest.fixture
def delivery() -> Delivery:
    made = Delivery(TOPICS)
    made.connected(Limits())
    return made


def send(delivery: Delivery, number: int, now_ns: int = 0, stream: str = "pump") -> Message:
    message = delivery.alert(record(number, stream), 0.0)
    delivery.sent(number, message, now_ns)
    return message


def test_alerts_leave_at_most_fifty_a_second(delivery: Delivery) -> None:
    sent, now_ns = [], 0
    while now_ns < 3 * NS:
        if delivery.alerts_wanted(now_ns):
            send(delivery, len(sent), now_ns)
            delivery.acknowledged(len(sent), 0, "Success", now_ns)
            sent.append(now_ns)
        now_ns += NS // 1000

    for start in range(0, 2 * NS, NS // 7):
        assert sum(start <= moment < start + NS for moment in sent) <= REPLAY_PER_S
    assert len(sent) == 3 * REPLAY_PER_S


def test_at_most_twenty_are_in_flight(delivery: Delivery) -> None:
    now_ns = 0
    for number in range(100):
        now_ns += NS
        if delivery.alerts_wanted(now_ns):
            send(delivery, number, now_ns)

    assert delivery.in_flight == IN_FLIGHT
    assert len(delivery.skip()) == IN_FLIGHT


def test_a_broker_that_takes_fewer_at_once_gets_fewer(delivery: Delivery) -> None:
    delivery.connected(Limits(in_flight=2))
    send(delivery, 1)
    send(delivery, 2)

    assert delivery.room == 0


def test_an_acknowledged_alert_may_leave_the_outbox(delivery: Delivery) -> None:
    message = send(delivery, 1)

    assert message.record
    assert delivery.acknowledged(1, 0x10, "No matching subscribers", 0).delivered == [message.record.key]
    assert delivery.acknowledged(1, 0, "Success", 0).delivered == []


def test_an_alert_that_leaves_late_is_historical(delivery: Delivery) -> None:
    late = {age: json.loads(delivery.alert(record(1), age).payload)["historical"] for age in (0, 29.9, 30.1, -40, -1)}

    assert late == {0: False, 29.9: False, 30.1: True, -40: True, -1: False}


def test_an_alert_carries_its_cloud_event_attributes(delivery: Delivery) -> None:
    attributes = dict(delivery.alert(record(7), 0.0).properties)

    assert attributes["specversion"] == "1.0"
    assert attributes["type"] == "anomalite.anomaly"
    assert attributes["source"] == f"/{DEVICE}/pump"
    assert attributes["subject"] == "e7"
    first, second = (dict(cloud_event({**json.loads(record(1).body), "seq": n})) for n in (1, 2))
    assert first["id"] != second["id"]


def test_the_newest_retained_state_wins(delivery: Delivery) -> None:
    for payload in (b"1", b"2", b"3"):
        delivery.retain("t", payload)

    assert [(m.topic, m.payload, m.retain, m.qos) for m in delivery.states()] == [("t", b"3", True, 1)]


def test_a_state_waits_while_one_of_its_topic_is_in_flight(delivery: Delivery) -> None:
    delivery.retain("t", b"1")
    delivery.sent(1, delivery.states()[0], 0)
    delivery.retain("t", b"2")
    assert delivery.states() == []

    delivery.acknowledged(1, 0, "Success", 0)
    assert [m.payload for m in delivery.states()] == [b"2"]


def test_a_state_that_has_not_changed_is_told_once_a_connection(delivery: Delivery) -> None:
    delivery.retain("t", b"1")
    delivery.sent(1, delivery.states()[0], 0)
    delivery.acknowledged(1, 0, "Success", 0)
    delivery.retain("t", b"1")
    assert delivery.states() == []

    delivery.connected(Limits())
    assert [m.payload for m in delivery.states()] == [b"1"]


def test_named_topics_go_first_after_a_connect(delivery: Delivery) -> None:
    for topic in ("stream", "info", "state"):
        delivery.retain(topic, b"x")
    delivery.connected(Limits(), "state", "info", "unknown")

    assert [m.topic for m in delivery.states()] == ["state", "info", "stream"]


def test_a_broker_without_retained_messages_is_sent_none(delivery: Delivery) -> None:
    delivery.retain("t", b"1")
    delivery.connected(Limits(retain=False))

    assert [m.retain for m in delivery.states()] == [False]


def test_scores_leave_at_most_once_a_second_the_newest_and_expire(delivery: Delivery) -> None:
    delivery.score("pump", b"1")
    delivery.score("pump", b"2")
    first = delivery.scores(0)
    delivery.score("pump", b"3")

    assert [(m.payload, m.qos, m.expiry_s, m.retain) for m in first] == [(b"2", 0, 60, False)]
    assert delivery.scores(NS - 1) == []
    assert delivery.next_ns(NS // 2, waiting=False) == NS
    assert [m.payload for m in delivery.scores(NS)] == [b"3"]
    assert delivery.scores(2 * NS) == []


def test_scores_of_an_earlier_connection_are_forgotten(delivery: Delivery) -> None:
    delivery.score("pump", b"1")
    delivery.connected(Limits())

    assert delivery.scores(0) == []


@pytest.mark.parametrize("code", [DENIED, QUOTA])
def test_an_alert_that_is_denied_stays_and_its_stream_waits(delivery: Delivery, code: int) -> None:
    send(delivery, 1)
    outcome = delivery.acknowledged(1, code, "Not authorized", 0)

    assert outcome.delivered == []
    assert outcome.given_up == []
    assert outcome.denied == (TOPICS.event("pump") if code == DENIED else "")
    assert delivery.blocked(int(BLOCKED_S * NS) - 1) == {"pump"}
    assert delivery.blocked(int(BLOCKED_S * NS)) == set()


def test_alerts_are_held_where_the_broker_may_drop_them(delivery: Delivery) -> None:
    delivery.hold_alerts = True

    assert delivery.alerts_wanted(NS) == 0


def hang_up(delivery: Delivery, number: int, *, accepted: bool = True) -> list[int]:
    """Connect, have something else accepted, send one alert, and lose the connection; return what is given up."""
    delivery.connected(Limits())
    if accepted:
        delivery.retain("state", b"online")
        for message in delivery.states():
            delivery.sent(1000, message, 0)
            delivery.acknowledged(1000, 0, "Success", 0)
    send(delivery, number)
    return [key[1] for key, _ in delivery.lost(hung_up=True, words="Packet too large").given_up]


def test_an_alert_at_which_the_broker_hangs_up_again_and_again_is_given_up(delivery: Delivery) -> None:
    assert [hang_up(delivery, 1) for _ in range(POISON_TRIES)] == [[]] * (POISON_TRIES - 1) + [[1]]


def test_a_broker_that_takes_nothing_at_all_is_no_proof_of_poison(delivery: Delivery) -> None:
    assert not any(hang_up(delivery, 1, accepted=False) for _ in range(3 * POISON_TRIES))


def test_silence_is_no_proof_of_poison(delivery: Delivery) -> None:
    for _ in range(3 * POISON_TRIES):
        delivery.connected(Limits())
        send(delivery, 1)
        assert delivery.lost(hung_up=False, words="no PUBACK").given_up == []


def test_after_a_hang_up_messages_go_one_at_a_time_until_the_suspects_have_passed(delivery: Delivery) -> None:
    for number in (1, 2, 3):
        send(delivery, number)
    assert delivery.lost(hung_up=True, words="").given_up == []
    delivery.connected(Limits())

    rooms = []
    for number in (1, 2, 3):
        rooms.append(delivery.room)
        send(delivery, number)
        rooms.append(delivery.room)
        delivery.acknowledged(number, 0, "Success", 0)

    assert rooms == [1, 0, 1, 0, 1, 0]
    assert delivery.room == IN_FLIGHT


def test_a_poison_among_many_is_found_and_the_others_are_delivered(delivery: Delivery) -> None:
    waiting, delivered, given_up, connections, packet = list(range(1, 41)), [], [], 0, 0
    while waiting:
        connections += 1
        delivery.connected(Limits())
        delivery.retain("state", b"online")
        flying: list[tuple[int, int]] = []
        for message in delivery.states():
            delivery.sent(0, message, 0)
            delivery.acknowledged(0, 0, "Success", 0)
        alive = True
        while alive and waiting:
            for seq in [s for s in waiting if s not in [f[1] for f in flying]][: delivery.room]:
                packet += 1
                send_as(delivery, packet, seq)
                flying.append((packet, seq))
            number, seq = flying.pop(0)
            if seq == 17:
                lost = [key[1] for key, _ in delivery.lost(hung_up=True, words="").given_up]
                given_up += lost
                waiting = [s for s in waiting if s not in lost]
                alive = False
            else:
                delivery.acknowledged(number, 0, "Success", 0)
                delivered.append(seq)
                waiting.remove(seq)

    assert given_up == [17]
    assert delivered == [s for s in range(1, 41) if s != 17]
    assert connections <= POISON_TRIES + 2


def send_as(delivery: Delivery, packet: int, seq: int) -> None:
    delivery.sent(packet, delivery.alert(record(seq), 0.0), 0)


def test_a_poison_state_is_left_out_until_it_changes(delivery: Delivery) -> None:
    delivery.retain("info", b"too large")
    for _ in range(POISON_TRIES):
        delivery.connected(Limits())
        send(delivery, 1)
        delivery.acknowledged(1, 0, "Success", 0)
        delivery.sent(2, delivery.states()[0], 0)
        delivery.lost(hung_up=True, words="")

    delivery.connected(Limits())
    assert delivery.states() == []
    delivery.retain("info", b"smaller")
    assert [m.payload for m in delivery.states()] == [b"smaller"]


def test_an_alert_that_the_broker_answers_with_an_error_again_and_again_is_given_up(delivery: Delivery) -> None:
    outcomes = []
    for _ in range(POISON_TRIES):
        send(delivery, 1)
        outcomes.append(delivery.acknowledged(1, UNSPECIFIED, "Unspecified error", 0).given_up)

    assert [bool(given_up) for given_up in outcomes] == [False] * (POISON_TRIES - 1) + [True]


def test_a_message_larger_than_the_broker_takes_does_not_fit(delivery: Delivery) -> None:
    message = delivery.alert(record(1), 0.0)
    delivery.retain("t", b"x" * 600)

    delivery.connected(Limits(packet_bytes=500))
    assert not delivery.fits(message)
    assert delivery.states() == []
    delivery.connected(Limits(packet_bytes=2000))
    assert delivery.fits(message)
    assert len(delivery.states()) == 1


def test_the_oldest_message_without_answer_is_known(delivery: Delivery) -> None:
    assert delivery.longest_wait_s(9 * NS) == 0
    send(delivery, 1, 1 * NS)
    send(delivery, 2, 5 * NS)

    assert delivery.longest_wait_s(9 * NS) == 8


# Images.


def due(delivery: Delivery) -> list[tuple[str, bytes]]:
    return [(message.topic, message.payload) for message in delivery.images()]


def test_an_image_is_retained_and_names_its_event(delivery: Delivery) -> None:
    delivery.image("pump/image", b"jpeg", "e1")

    (message,) = delivery.images()
    assert (message.qos, message.retain, message.content_type) == (1, True, "image/jpeg")
    assert message.properties == (("event_id", "e1"),)
    assert delivery.states() == []


def test_the_newest_image_of_a_topic_wins(delivery: Delivery) -> None:
    for number in range(3):
        delivery.image("pump/image", b"%d" % number, f"e{number}")

    assert [m.properties for m in delivery.images()] == [(("event_id", "e2"),)]


def test_one_image_is_in_flight_at_a_time_and_all_have_their_turn(delivery: Delivery) -> None:
    sent = []
    for number in range(6):
        delivery.image("a/image", b"a%d" % number, "e")
        delivery.image("b/image", b"b%d" % number, "e")
        (message,) = delivery.images()
        delivery.sent(number, message, 0)
        assert delivery.images() == []
        delivery.acknowledged(number, 0, "Success", 0)
        sent.append(message.topic)

    assert sent == ["a/image", "b/image"] * 3


def test_the_same_picture_of_another_event_is_news(delivery: Delivery) -> None:
    delivery.image("pump/image", b"jpeg", "e1")
    delivery.sent(1, delivery.images()[0], 0)
    delivery.acknowledged(1, 0, "Success", 0)
    assert delivery.images() == []

    delivery.image("pump/image", b"jpeg", "e2")
    assert len(delivery.images()) == 1


def test_the_newest_image_is_told_again_on_a_new_connection(delivery: Delivery) -> None:
    delivery.image("pump/image", b"jpeg", "e1")
    delivery.sent(1, delivery.images()[0], 0)
    delivery.acknowledged(1, 0, "Success", 0)

    delivery.connected(Limits())
    assert due(delivery) == [("pump/image", b"jpeg")]


def test_an_image_larger_than_the_broker_takes_is_not_sent(delivery: Delivery) -> None:
    delivery.connected(Limits(packet_bytes=1000))
    delivery.image("pump/image", b"x" * 1000, "e1")
    delivery.image("pump/heatmap", b"x" * 800, "e1")
    assert [topic for topic, _ in due(delivery)] == ["pump/heatmap"]


def test_an_image_above_the_limit_is_refused(delivery: Delivery) -> None:
    delivery.image("pump/image", b"x" * MAX_IMAGE_BYTES, "e1")
    with pytest.raises(ValueError, match="at most 131072 bytes, got 131073"):
        delivery.image("pump/image", b"x" * (MAX_IMAGE_BYTES + 1), "e1")


def test_an_image_on_which_the_broker_hangs_up_again_and_again_is_left_out(delivery: Delivery) -> None:
    delivery.image("pump/image", b"poison", "e1")
    for _ in range(POISON_TRIES):
        delivery.connected(Limits())
        send(delivery, 1)
        delivery.acknowledged(1, 0, "Success", 0)
        delivery.sent(2, delivery.images()[0], 0)
        delivery.lost(hung_up=True, words="")

    delivery.connected(Limits())
    assert delivery.images() == []
    delivery.image("pump/image", b"jpeg", "e2")
    assert due(delivery) == [("pump/image", b"jpeg")]
