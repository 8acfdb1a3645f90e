from __future__ import annotations

import random
import socket
import ssl

import pytest

from edge_agent.alerts.credentials import SecretError
from edge_agent.alerts.reconnect import (
    CONFLICT_S,
    LONG_S,
    SILENT_REFUSALS,
    Ended,
    Reason,
    Reconnect,
    of_answer,
    of_error,
    of_loss,
)

LOST = Ended(Reason.UNREACHABLE, "gone")
SILENT = Ended(Reason.NO_ANSWER, "hung up")


@pytest.fixture
def reconnect() -> Reconnect:
    return Reconnect("auto", random.Random(1))


def untrusted(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (SecretError("the secret x has mode 0644"), Reason.SECRET_UNREADABLE, "mode 0644"),
        (untrusted("self-signed certificate"), Reason.BROKER_UNTRUSTED, "self-signed certificate: check ca_file"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] alert"), Reason.CERTIFICATE_REFUSED, "check cert_file"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), Reason.UNREACHABLE, "is this the TLS port"),
        (TimeoutError(), Reason.NO_ANSWER, "does not answer"),
        (socket.gaierror(-2, "Name or service not known"), Reason.UNREACHABLE, "cannot be resolved"),
        (ConnectionRefusedError(111, "Connection refused"), Reason.UNREACHABLE, "Connection refused"),
    ],
)
def test_a_connection_that_cannot_be_made_is_diagnosed(error: Exception, reason: Reason, words: str) -> None:
    ended = of_error(error, "broker:8883 (TLS)")

    assert ended.reason is reason
    assert words in ended.words


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0x84, Reason.UNSUPPORTED),
        (0x85, Reason.NOT_AUTHORISED),
        (0x86, Reason.NOT_AUTHORISED),
        (0x87, Reason.NOT_AUTHORISED),
        (0x88, Reason.REFUSED),
    ],
)
def test_a_refusal_is_diagnosed_and_named(code: int, reason: Reason) -> None:
    ended = of_answer(code, "Bad user name or password")

    assert ended.reason is reason
    assert reason is Reason.UNSUPPORTED or "Bad user name or password" in ended.words


def test_a_client_certificate_turned_down_after_the_handshake_is_diagnosed() -> None:
    log = "failed to receive on socket: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)"

    ended = of_loss(0, "closed", answered=False, log=log, own_certificate=True)

    assert ended.reason is Reason.CERTIFICATE_REFUSED


def test_a_broker_that_hangs_up_without_a_word_leaves_a_hint() -> None:
    assert "may refuse our certificate" in of_loss(0, "closed", answered=False, log="", own_certificate=True).words
    assert "certificate" not in of_loss(0, "closed", answered=False, log="", own_certificate=False).words


def test_delays_grow_with_full_jitter_up_to_five_minutes(reconnect: Reconnect) -> None:
    delays = [reconnect.ended(LOST, 0.0) for _ in range(200)]

    assert all(1 <= delay <= 300 for delay in delays)
    assert max(delays[:2]) <= 4
    assert max(delays[10:]) > 200
    assert min(delays[10:]) < 60


def test_the_delay_begins_anew_only_after_five_minutes_up(reconnect: Reconnect) -> None:
    for _ in range(20):
        reconnect.ended(LOST, 0.0)
    reconnect.holds(0.0)
    reconnect.holds(299.0)
    after_a_short_time = [reconnect.ended(LOST, 299.0) for _ in range(10)]
    reconnect.holds(300.0)
    reconnect.holds(600.0)

    assert max(after_a_short_time) > 4
    assert reconnect.ended(LOST, 600.0) <= 2


@pytest.mark.parametrize("reason", [Reason.NOT_AUTHORISED, Reason.BROKER_UNTRUSTED, Reason.CERTIFICATE_REFUSED])
def test_where_only_a_person_can_help_the_wait_is_long_at_once(reconnect: Reconnect, reason: Reason) -> None:
    assert LONG_S / 2 <= reconnect.ended(Ended(reason, ""), 0.0) <= LONG_S
    assert reconnect.problem is reason


def test_one_take_over_is_a_stale_connection_two_in_a_minute_are_a_conflict(reconnect: Reconnect) -> None:
    taken = of_loss(0x8E, "Session taken over", answered=True, log="", own_certificate=False)

    assert reconnect.ended(taken, 0.0) < 5
    assert reconnect.problem is Reason.TAKEN_OVER
    assert reconnect.ended(taken, CONFLICT_S) >= LONG_S / 2
    assert reconnect.problem is Reason.CLIENT_ID_CONFLICT


def test_take_overs_far_apart_are_no_conflict(reconnect: Reconnect) -> None:
    taken = of_loss(0x8E, "Session taken over", answered=True, log="", own_certificate=False)
    reconnect.ended(taken, 0.0)
    reconnect.ended(taken, CONFLICT_S + 1)

    assert reconnect.problem is Reason.TAKEN_OVER


def test_a_conflict_stays_in_sight_for_a_minute_of_connection(reconnect: Reconnect) -> None:
    taken = of_loss(0x8E, "Session taken over", answered=True, log="", own_certificate=False)
    reconnect.ended(taken, 0.0)
    reconnect.ended(taken, 1.0)
    reconnect.holds(2.0)
    assert reconnect.problem is Reason.CLIENT_ID_CONFLICT
    reconnect.holds(1.0 + CONFLICT_S + 1)
    assert reconnect.problem is None


def test_a_broker_that_knows_only_3_1_1_is_asked_so_at_once(reconnect: Reconnect) -> None:
    assert reconnect.protocol == "5"
    assert reconnect.ended(of_answer(0x84, "Unsupported protocol version"), 0.0) == 0
    assert reconnect.protocol == "3.1.1"


def test_a_broker_that_hangs_up_on_mqtt_5_is_tried_with_3_1_1(reconnect: Reconnect) -> None:
    protocols = []
    for _ in range(SILENT_REFUSALS + 1):
        protocols.append(reconnect.protocol)
        reconnect.ended(SILENT, 0.0)

    assert protocols == ["5"] * SILENT_REFUSALS + ["3.1.1"]


def test_a_protocol_that_is_set_is_kept() -> None:
    reconnect = Reconnect("5", random.Random(1))
    for _ in range(10):
        reconnect.ended(SILENT, 0.0)

    assert reconnect.ended(of_answer(0x84, ""), 0.0) >= LONG_S / 2
    assert reconnect.protocol == "5"


def test_a_broker_that_keeps_hanging_up_without_a_reason_raises_a_suspicion(reconnect: Reconnect) -> None:
    hung_up = of_loss(0x80, "Unspecified error", answered=True, log="", own_certificate=False)
    shutting_down = of_loss(0x8B, "Server shutting down", answered=True, log="", own_certificate=False)

    assert [("another device" in reconnect.words(hung_up, at)) for at in (0.0, 30.0, 60.0, 200.0)] == [
        False,
        False,
        True,
        False,
    ]
    assert not any("another device" in reconnect.words(shutting_down, at) for at in (300.0, 301.0, 302.0))
