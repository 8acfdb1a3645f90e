"""Who may do what: TLS, passwords, and the broker's rules, with a real mosquitto."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.alerts import read_back
from tests.alert_payloads import DEVICE, alert
from tests.integration.broker import Broker, Listener, Tls, wait_until
from tests.integration.conftest import TOPICS, Device
from tests.integration.pki import Authority

Make = Callable[..., Device]
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
ACL = (Path(__file__).parents[2] / "systemd" / "mosquitto-acl.conf").read_text()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def tls_broker(folder: Path, authority: Authority, *, days: float = 90, require_client: bool = False) -> Broker:
    pair = authority.issue("broker", days=days)
    return Broker(folder / "broker", tls=Tls(authority.cert, pair.cert, pair.key, require_client))


def context(authority: Authority, *, user: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=authority.cert)
    if user:
        pair = authority.issue(user)
        made.load_cert_chain(pair.cert, pair.key)
    return made


def reason(one: Device, problem: str) -> str:
    """Return what the link says once it has named the problem."""
    wait_until(lambda: problem in one.link.stats().problems, f"the link says {problem}")
    assert not one.link.connected
    assert one.link.alive
    return one.link.stats().last_reason


def delivers(one: Device, listener: Listener) -> None:
    one.link.start()
    one.outbox.put(alert("e"))
    wait_until(listener.events, "the alert arrived")
    wait_until(lambda: one.outbox.stats().depth == 0, "and was acknowledged")


@BOTH
def test_alerts_go_over_tls(device: Make, tmp_path: Path, authority: Authority, protocol: str) -> None:
    with tls_broker(tmp_path, authority) as broker, Listener(broker, tls=context(authority)) as listener:
        one = device(broker, tls=True, ca_file=str(authority.cert), protocol=protocol)
        delivers(one, listener)

    assert one.link.stats().certificate_days == pytest.approx(365, abs=1)


def test_a_client_certificate_is_shown(device: Make, tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue(DEVICE, days=20)
    with (
        tls_broker(tmp_path, authority, require_client=True) as broker,
        Listener(broker, tls=context(authority, user="viewer")) as listener,
    ):
        one = device(broker, tls=True, ca_file=str(authority.cert), cert_file=str(pair.cert), key_file=str(pair.key))
        delivers(one, listener)

    assert one.link.stats().certificate_days == pytest.approx(20, abs=1)


def test_a_broker_of_another_authority_is_not_trusted(device: Make, tmp_path: Path, authority: Authority) -> None:
    with tls_broker(tmp_path, authority) as broker:
        one = device(broker, tls=True, ca_file=str(Authority(tmp_path / "other", "other").cert))
        one.link.start()

        assert "check ca_file" in reason(one, "broker_untrusted")


def test_a_broker_with_an_expired_certificate_is_not_trusted(
    device: Make, tmp_path: Path, authority: Authority
) -> None:
    with tls_broker(tmp_path, authority, days=-1) as broker:
        one = device(broker, tls=True, ca_file=str(authority.cert))
        one.link.start()

        assert "certificate has expired" in reason(one, "broker_untrusted")


@pytest.mark.parametrize("wrong", ["of another authority", "expired"])
def test_a_client_certificate_that_is_refused_is_named(
    device: Make, tmp_path: Path, authority: Authority, wrong: str
) -> None:
    signer = authority if wrong == "expired" else Authority(tmp_path / "other", "other")
    pair = signer.issue(DEVICE, days=-1 if wrong == "expired" else 90)
    with tls_broker(tmp_path, authority, require_client=True) as broker:
        one = device(broker, tls=True, ca_file=str(authority.cert), cert_file=str(pair.cert), key_file=str(pair.key))
        one.link.start()

        assert "check cert_file" in reason(one, "certificate_refused")


def test_a_broker_that_wants_a_certificate_says_so(device: Make, tmp_path: Path, authority: Authority) -> None:
    with tls_broker(tmp_path, authority, require_client=True) as broker:
        one = device(broker, tls=True, ca_file=str(authority.cert))
        one.link.start()

        assert "check cert_file" in reason(one, "certificate_refused")


def test_tls_on_a_plain_port_is_diagnosed(device: Make, broker: Broker, authority: Authority) -> None:
    one = device(broker, tls=True, ca_file=str(authority.cert), connect_timeout_s=2.0)
    one.link.start()

    wait_until(lambda: one.link.stats().problems, "a problem")
    assert "TLS" in one.link.stats().last_reason


def test_plain_words_on_a_tls_port_are_diagnosed(device: Make, tmp_path: Path, authority: Authority) -> None:
    with tls_broker(tmp_path, authority) as broker:
        one = device(broker, protocol="5")
        one.link.start()

        assert "hung up without an answer" in reason(one, "no_answer")


def test_a_port_where_nobody_answers_is_diagnosed(device: Make, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        broker.freeze()
        one = device(broker, connect_timeout_s=0.3)
        one.link.start()

        assert "does not answer" in reason(one, "no_answer")


def test_a_key_that_others_may_read_is_not_used(device: Make, tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue(DEVICE)
    pair.key.chmod(0o644)
    with tls_broker(tmp_path, authority) as broker:
        one = device(broker, tls=True, ca_file=str(authority.cert), cert_file=str(pair.cert), key_file=str(pair.key))
        one.link.start()

        assert "chmod 0600" in reason(one, "secret_unreadable")


def test_a_key_of_another_certificate_is_named(device: Make, tmp_path: Path, authority: Authority) -> None:
    pair, other = authority.issue(DEVICE), authority.issue("other")
    with tls_broker(tmp_path, authority) as broker:
        one = device(broker, tls=True, ca_file=str(authority.cert), cert_file=str(pair.cert), key_file=str(other.key))
        one.link.start()

        assert "fit together" in reason(one, "secret_unreadable")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("right\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Broker]:
    """A broker with the access rules that the project ships."""
    users = {DEVICE: "right", "other-device": "right", "viewer": "right", "operator": "right"}
    with Broker(tmp_path / "broker", acl=ACL, passwords=users) as running:
        yield running


@BOTH
def test_a_device_with_its_password_delivers_under_the_shipped_rules(
    device: Make, ruled: Broker, password: Path, protocol: str
) -> None:
    with Listener(ruled, "anomalite/#", user="viewer", password="right") as listener:
        one = device(ruled, username=DEVICE, password_file=str(password), protocol=protocol)
        delivers(one, listener)

    assert one.link.stats().problems == ()


@BOTH
def test_a_wrong_password_is_named_and_not_tried_again_soon(
    device: Make, ruled: Broker, password: Path, protocol: str
) -> None:
    password.write_text("wrong")
    one = device(ruled, username=DEVICE, password_file=str(password), protocol=protocol)
    one.link.start()

    assert "check username" in reason(one, "not_authorised")
    assert ruled.log.count("New connection") <= 2


@BOTH
def test_a_device_under_anothers_name_keeps_its_alerts_and_says_publish_denied(
    device: Make, ruled: Broker, password: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "READ_BACK_S", 0.5)
    with Listener(ruled, "anomalite/#", user="viewer", password="right") as listener:
        one = device(ruled, username="other-device", password_file=str(password), protocol=protocol)
        one.outbox.put(alert("e"))
        one.link.start()
        wait_until(lambda: "publish_denied" in one.link.stats().problems, "the denial is told")

    assert one.outbox.stats().depth == 1
    assert listener.events() == []


def test_an_old_stored_online_is_no_proof_that_we_may_write(
    device: Make, tmp_path: Path, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "READ_BACK_S", 0.5)
    acl = f"user {DEVICE}\ntopic read anomalite/#\nuser viewer\ntopic readwrite anomalite/#\n"
    with Broker(tmp_path / "broker", acl=acl, passwords={DEVICE: "right", "viewer": "right"}) as broker:
        writer = Writer(broker, "viewer")
        assert writer.may_write(TOPICS.state, b"online", retain=True)
        writer.close()
        one = device(broker, username=DEVICE, password_file=str(password), protocol="3.1.1")
        one.outbox.put(alert("e"))
        one.link.start()
        wait_until(lambda: "publish_denied" in one.link.stats().problems, "the denial is told")

    assert one.outbox.stats().depth == 1


def test_alerts_flow_once_the_rules_are_right_on_3_1_1(
    device: Make, tmp_path: Path, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "READ_BACK_S", 0.3)
    monkeypatch.setattr(read_back, "READ_BACK_AGAIN_S", 0.3)
    users = {DEVICE: "right", "viewer": "right"}
    with Broker(tmp_path / "broker", acl="user viewer\ntopic read #\n", passwords=users) as broker:
        one = device(broker, username=DEVICE, password_file=str(password), protocol="3.1.1")
        one.outbox.put(alert("e"))
        one.link.start()
        wait_until(lambda: "publish_denied" in one.link.stats().problems, "the denial is told")
        (tmp_path / "broker" / "acl").write_text(ACL)
        with Listener(broker, "anomalite/#", user="viewer", password="right") as listener:
            reload(broker)
            wait_until(listener.events, "the alert arrived")
        wait_until(lambda: one.link.stats().problems == (), "the problem is gone")


def reload(broker: Broker) -> None:
    """Let the broker read its rules again."""
    assert broker.process
    broker.process.send_signal(signal.SIGHUP)


def test_without_read_back_a_3_1_1_broker_is_believed(device: Make, tmp_path: Path, password: Path) -> None:
    acl = f"user {DEVICE}\ntopic write anomalite/{DEVICE}/#\nuser viewer\ntopic read anomalite/#\n"
    users = {DEVICE: "right", "viewer": "right"}
    with (
        Broker(tmp_path / "broker", acl=acl, passwords=users) as broker,
        Listener(broker, "anomalite/#", user="viewer", password="right") as listener,
    ):
        one = device(broker, username=DEVICE, password_file=str(password), protocol="3.1.1", read_back=False)
        delivers(one, listener)


class Writer:
    """Publishes as some user and tells what the broker answered."""

    def __init__(self, broker: Broker, user: str) -> None:
        self.answers: dict[int, int] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(user, "right")
        self._client.on_publish = self._note
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def _note(self, _client: Any, _data: Any, number: int, code: Any, _properties: Any) -> None:
        self.answers[number] = code.value

    def may_write(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> bool:
        number = self._client.publish(topic, payload, qos=1, retain=retain).mid
        wait_until(lambda: number in self.answers, "an answer")
        return self.answers[number] < 0x80

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize(
    ("user", "topic", "allowed"),
    [
        (DEVICE, TOPICS.state, True),
        (DEVICE, TOPICS.event("pump"), True),
        (DEVICE, f"homeassistant/device/{DEVICE}/config", True),
        (DEVICE, "anomalite/other-device/state", False),
        (DEVICE, f"anomalite/{DEVICE}x/state", False),
        (DEVICE, "homeassistant/device/other-device/config", False),
        (DEVICE, "homeassistant/status", False),
        (DEVICE, "anything/else", False),
        ("viewer", TOPICS.state, False),
        ("operator", f"anomalite/{DEVICE}/cmd/calibrate/1", True),
        ("operator", f"anomalite/{DEVICE}/ota/chunk", True),
        ("operator", TOPICS.event("pump"), False),
    ],
)
def test_the_shipped_rules_let_a_device_write_below_its_own_name_only(
    ruled: Broker, user: str, topic: str, allowed: bool
) -> None:
    writer = Writer(ruled, user)
    try:
        assert writer.may_write(topic) is allowed
    finally:
        writer.close()


def test_the_shipped_rules_hide_other_devices_from_a_device(ruled: Broker) -> None:
    with (
        Listener(ruled, "#", user="other-device", password="right") as nosy,
        Listener(ruled, "anomalite/#", user="viewer", password="right") as viewer,
    ):
        writer = Writer(ruled, DEVICE)
        writer.may_write(TOPICS.state)
        wait_until(lambda: viewer.payloads(TOPICS.state), "the viewer sees it")
        writer.close()

        assert nosy.payloads(TOPICS.state) == []
