"""One connection to a broker: paho-mqtt behind a thin class that keeps it from doing what it does badly.

paho queues what is published while offline, its reconnects have no jitter, and an exception in a callback ends its
network thread while it still calls itself connected. So: a fresh paho client for each connection, no thread of its own
(the link's thread turns it), nothing published unless it is up, and callbacks that only note what happened.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.alerts.credentials import SecretError, check_secret, read_secret, secret_path
from edge_agent.alerts.delivery import IN_FLIGHT, Limits, Message
from edge_agent.alerts.settings import MqttSettings
from edge_agent.contract.wire import OFFLINE

_LOG = logging.getLogger(__name__)

WILL_DELAY_S = 30
"""Seconds that an MQTT 5 broker waits with `offline`, so that a short break is none."""

SESSION_EXPIRY_S = 2 * WILL_DELAY_S
"""Seconds that an MQTT 5 broker keeps our session: the will is sent when it ends, so it must outlast the delay."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The broker answered the connection."""

    code: int
    name: str
    limits: Limits
    keepalive_s: int | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A PUBACK came."""

    number: int
    code: int
    name: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A SUBACK came."""

    granted: bool


@dataclass(frozen=True, slots=True)
class Received:
    """A message came."""

    topic: str
    payload: bytes
    retained: bool
    """It was stored before we subscribed."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is over."""

    code: int
    name: str
    hung_up: bool
    """The other end closed it; False: our own timeout."""


Happening = Answered | Acknowledged | Subscribed | Received | Lost


def _noted(callback: Callable[..., None]) -> Callable[..., None]:
    """Let no exception out of a callback."""

    @functools.wraps(callback)
    def wrapped(self: Connection, *values: Any) -> None:
        try:
            callback(self, *values)
        except Exception:  # noqa: BLE001 - it would end in paho
            _LOG.exception("%s failed", callback.__name__)

    return wrapped


class Connection:
    """Opened once, turned until it is lost, then thrown away."""

    def __init__(self, settings: MqttSettings, *, client_id: str, will_topic: str, protocol: str) -> None:
        """Prepare; nothing is opened yet.

        Raises:
            SecretError: the password, the key or a certificate cannot be read, or others may read a secret.
        """
        self._settings = settings
        self._is_5 = protocol == "5"
        self._happened: list[Happening] = []
        self._lost = False
        self._heard_s = time.monotonic()
        self.log = ""
        """What the socket last complained of."""
        version = MQTTProtocolVersion.MQTTv5 if self._is_5 else MQTTProtocolVersion.MQTTv311
        self._paho = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._is_5 else True,
            protocol=version,
            transport="unix" if settings.transport == "unix" else "tcp",
            reconnect_on_failure=False,
        )
        self._paho.connect_timeout = settings.connect_timeout_s
        self._paho.max_inflight_messages_set(2 * IN_FLIGHT)
        self._paho.will_set(
            will_topic, OFFLINE, qos=1, retain=True, properties=self._properties(PacketTypes.WILLMESSAGE)
        )
        if settings.username:
            password = read_secret(settings.password_file) if settings.password_file else None
            self._paho.username_pw_set(settings.username, password)
        self._tls = _tls(settings) if settings.tls else None
        if self._tls is not None:
            self._paho.tls_set_context(self._tls)
        self._hook()

    def _hook(self) -> None:
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_publish = self._on_publish
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = self._on_message
        self._paho.on_log = self._on_log

    def open(self) -> None:
        """Connect the socket, shake hands, and ask the broker in; its answer comes as `Answered`.

        Raises:
            OSError: nobody there, no answer in time, or no trust (ssl.SSLError).
        """
        try:
            self._paho.connect(
                self._settings.host,
                self._settings.effective_port,
                self._settings.keepalive_s,
                clean_start=True if self._is_5 else MQTT_CLEAN_START_FIRST_ONLY,
                properties=self._properties(PacketTypes.CONNECT),
            )
        except BaseException:
            if self._tls is not None and self._tls.sock is not None:
                self._tls.sock.close()
            raise
        self._heard_s = time.monotonic()

    def turn(self, timeout_s: float, wake: int) -> list[Happening]:
        """Wait for the broker or for the descriptor `wake`, do what is to be done, and return what happened."""
        sock = self._paho.socket()
        if sock is not None:
            self._serve(sock, timeout_s, wake)
        if self._paho.socket() is None and not self._lost:
            self._note_lost(0, self.log or "connection closed", hung_up=True)
        happened, self._happened = self._happened, []
        return happened

    def _serve(self, sock: Any, timeout_s: float, wake: int) -> None:
        buffered = getattr(sock, "pending", int)() > 0
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(sock, select.POLLIN | (select.POLLOUT if self._paho.want_write() else 0))
        ready = dict(poll.poll(0 if buffered else max(0, int(timeout_s * 1000 + 0.999))))
        if wake in ready:
            os.read(wake, 8)
        events = ready.get(sock.fileno(), 0)
        if buffered or events & ~select.POLLOUT:
            self._heard_s = time.monotonic()
            self._paho.loop_read()
        if events & select.POLLOUT and self._paho.socket() is not None:
            self._paho.loop_write()
        self._paho.loop_misc()

    @property
    def silent_s(self) -> float:
        """Seconds since something last came from the broker."""
        return time.monotonic() - self._heard_s

    @property
    def is_choked(self) -> bool:
        """The network does not take what we have sent already."""
        return self._paho.want_write()

    def publish(self, message: Message) -> int:
        """Send a message; returns its packet number. Only call it while the connection is up."""
        properties = self._properties(PacketTypes.PUBLISH, message)
        info = self._paho.publish(message.topic, message.payload, message.qos, message.retain, properties)
        return info.mid

    def subscribe(self, topic: str) -> None:
        """Ask for a topic."""
        self._paho.subscribe(topic, qos=1)

    def unsubscribe(self, topic: str) -> None:
        """Ask for a topic no more."""
        self._paho.unsubscribe(topic)

    def close(self) -> None:
        """Leave in good order; the last will is not sent."""
        self._lost = True
        self._paho.disconnect()
        sock = self._paho.socket()
        if sock is not None:
            self._paho.loop_write()
        self.drop()

    def drop(self) -> None:
        """Cut the connection as it is: the broker will send the last will."""
        self._lost = True
        sock = self._paho.socket()
        if sock is not None:
            sock.close()

    def _properties(self, packet: int, message: Message | None = None) -> Properties | None:
        """Return what MQTT 5 adds to a packet; None on 3.1.1."""
        if not self._is_5:
            return None
        properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        if packet == PacketTypes.WILLMESSAGE:
            properties.WillDelayInterval = WILL_DELAY_S
        elif packet == PacketTypes.CONNECT:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        elif message is not None:
            if message.expiry_s is not None:
                properties.MessageExpiryInterval = message.expiry_s
            if message.content_type:
                properties.ContentType = message.content_type
            if message.properties:
                properties.UserProperty = list(message.properties)
        return properties

    def _note_lost(self, code: int, name: str, *, hung_up: bool) -> None:
        if not self._lost:
            self._lost = True
            self._happened.append(Lost(code, name, hung_up))

    @_noted
    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        limits = Limits(
            in_flight=getattr(properties, "ReceiveMaximum", IN_FLIGHT),
            packet_bytes=getattr(properties, "MaximumPacketSize", 1 << 28),
            retain=bool(getattr(properties, "RetainAvailable", 1)),
        )
        keepalive_s = getattr(properties, "ServerKeepAlive", None)
        self._happened.append(Answered(reason.value, str(reason), limits, keepalive_s))

    @_noted
    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._note_lost(reason.value, str(reason), hung_up=str(reason) != "Keep alive timeout")

    @_noted
    def _on_publish(self, _client: Any, _data: Any, number: int, reason: ReasonCode, _properties: Any) -> None:
        self._happened.append(Acknowledged(number, reason.value, str(reason)))

    @_noted
    def _on_subscribe(
        self, _client: Any, _data: Any, _number: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._happened.append(Subscribed(all(not reason.is_failure for reason in reasons)))

    @_noted
    def _on_message(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        self._happened.append(Received(message.topic, bytes(message.payload), message.retain))

    @_noted
    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level in (LogLevel.MQTT_LOG_ERR, LogLevel.MQTT_LOG_WARNING):
            self.log = text
        _LOG.debug("paho: %s", text)


class _Tls(ssl.SSLContext):
    """Remembers its socket, since paho forgets to close one whose handshake failed."""

    sock: ssl.SSLSocket | None = None

    def wrap_socket(self, *values: Any, **more: Any) -> ssl.SSLSocket:
        """Wrap and remember."""
        self.sock = super().wrap_socket(*values, **more)
        return self.sock


def _tls(settings: MqttSettings) -> _Tls:
    """Return a context that trusts the named authorities alone and presents our certificate.

    Raises:
        SecretError: a file cannot be read or is not what it should be.
    """
    key = check_secret(settings.key_file) if settings.key_file else None
    try:
        context = _Tls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.ca_file:
            context.load_verify_locations(settings.ca_file)
        else:
            context.load_default_certs()
        if settings.cert_file:
            context.load_cert_chain(secret_path(settings.cert_file), key, password=_no_password)
    except OSError as error:
        names = ", ".join(filter(None, (settings.ca_file, settings.cert_file, settings.key_file)))
        raise SecretError(f"TLS needs PEM files that fit together in {names}: {error}") from error
    return context


def _no_password() -> str:
    """Refuse to ask a terminal for the password of a key: there is none."""
    raise ssl.SSLError("the key is encrypted: the agent needs one without a password, protected by its mode")
