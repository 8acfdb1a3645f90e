"""The link to the broker: one thread that connects, tells who is here, delivers alerts, and starts over when that ends.

    wait (full jitter) -> connect -> CONNACK -> `state` = online, `info`, every state -> scores and alerts -> images
    -> lost -> …

The thread alone touches the connection. `publish*` only leave the newest payload for it and wake it; `Outbox.put` does
the same through `Outbox.notify`. What to send and what an answer means is decided in `delivery`, how long to wait in
`reconnect`; here are the thread, the clock and the socket. The connection is dead when the broker closed it, when
nothing came for 1.5 keepalives, or when a message has waited that long for its PUBACK. Nothing that goes wrong ends
the thread.

On MQTT 3.1.1 a publish that the broker's rules deny is acknowledged and dropped. So there the link subscribes to its
own `state` before it publishes it, and holds the alerts until that message has come back (setting `read_back`).
"""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable

from edge_agent.alerts.certificate import CertificateWatch
from edge_agent.alerts.connection import (
    Acknowledged,
    Answered,
    Connection,
    Happening,
    Lost,
    Received,
    Subscribed,
)
from edge_agent.alerts.credentials import secret_path
from edge_agent.alerts.delivery import Delivery, Message, Outcome
from edge_agent.alerts.outbox import Outbox
from edge_agent.alerts.read_back import ReadBack
from edge_agent.alerts.reconnect import Ended, Reason, Reconnect, of_answer, of_error, of_loss
from edge_agent.alerts.settings import MqttSettings
from edge_agent.contract.records import NS
from edge_agent.contract.wire import (
    OFFLINE,
    ONLINE,
    ImageKind,
    InfoPayload,
    LinkHealth,
    ScorePayload,
    StatePayload,
    Topics,
    to_json,
)
from edge_agent.errors import EdgeAgentError
from edge_agent.ports import Clock

_LOG = logging.getLogger(__name__)

DEAD_KEEPALIVES = 1.5
"""Keepalives without a sign of life, or without a PUBACK that is due, after which the connection is dead (MQTT 5,
3.1.2.10)."""

TURN_S = 5.0
"""Longest turn without anything to do: bounds how late a dead connection is noticed."""

PUBLISH_DENIED = "publish_denied"
"""Among the `problems` of `health`: the broker's rules do not let us write all our topics."""


class Link:
    """Delivers what waits in the outbox and publishes states and scores."""

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        outbox: Outbox,
        *,
        clock: Clock,
        birth: Callable[[], InfoPayload],
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            settings: which broker.
            topics: of this device.
            outbox: where alerts wait.
            clock: the monotonic one paces and times out.
            birth: makes `info`, asked at each connect from the link's thread.
            rng: of the jitter; seeded in tests.
        """
        self._settings, self._topics, self._outbox, self._clock, self._birth = settings, topics, outbox, clock, birth
        self._reconnect = Reconnect(settings.protocol, rng or random.Random())  # noqa: S311 - jitter, no secret
        self._delivery = Delivery(topics)
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._stopping = threading.Event()
        self._drain_until_ns = 0
        self._connection: Connection | None = None
        self._up = self._waiting = False
        self._keepalive_s = float(settings.keepalive_s)
        self._last_reason = ""
        self._denied: set[str] = set()
        self._connects = self._delivered = self._given_up = 0
        self._read_back = ReadBack()
        names = (settings.cert_file, settings.ca_file)
        self._certificates = CertificateWatch([secret_path(name) for name in names if name], clock)

    # For the other threads

    def start(self) -> None:
        """Begin to connect; needs no broker."""
        self._outbox.notify = self.wake
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        """Send what waits for at most `drain_s`, say `offline`, and end; what is left stays in the outbox."""
        self._drain_until_ns = self._clock.monotonic_ns() + int(drain_s * NS)
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(drain_s + 1)
        self._outbox.notify = lambda: None

    def wake(self) -> None:
        """Let the thread look for something to send."""
        os.eventfd_write(self._wake, 1)

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    @property
    def connected(self) -> bool:
        """The broker has accepted the connection, and it holds as far as we know."""
        return self._up

    def publish(self, topic: str, payload: object) -> None:
        """Retain a payload dataclass under a topic: the newest wins, and is told again at each connect."""
        with self._lock:
            self._delivery.retain(topic, to_json(payload))
        self.wake()

    def publish_state(self, stream: str, payload: StatePayload) -> None:
        """Retain the state of a stream."""
        self.publish(self._topics.stream_state(stream), payload)

    def publish_score(self, stream: str, payload: ScorePayload) -> None:
        """Publish a score if connected: at most one a second, the newest; nothing is kept for later."""
        if not self._up:
            return
        with self._lock:
            self._delivery.score(stream, to_json(payload))
        self.wake()

    def publish_image(self, stream: str, kind: ImageKind, jpeg: bytes, event_id: str) -> None:
        """Retain a picture of an alert: the newest wins, goes out when no alert waits, and again at each connect.

        Raises:
            ValueError: it is larger than MAX_IMAGE_BYTES.
        """
        with self._lock:
            self._delivery.image(self._topics.image(stream, kind), jpeg, event_id)
        self.wake()

    def stats(self) -> LinkHealth:
        """Return what `health` says of the link."""
        problems = {str(self._reconnect.problem)} if self._reconnect.problem else set()
        if self._denied:
            problems.add(PUBLISH_DENIED)
        return LinkHealth(
            connected=self._up,
            protocol=self._reconnect.protocol,
            connects=self._connects,
            reconnects=max(0, self._connects - 1),
            last_reason=self._last_reason,
            problems=tuple(sorted(problems)),
            delivered=self._delivered,
            given_up=self._given_up,
            certificate_days=self._certificates.days,
        )

    # The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                ended = self._one_connection()
            except Exception as error:  # noqa: BLE001 - the thread outlives everything
                _LOG.exception("the link stumbled and starts over")
                ended = Ended(Reason.UNREACHABLE, f"internal error: {error!r}")
            self._up, self._connection = False, None
            if self._stopping.is_set():
                return
            self._pause(self._note_end(ended))

    def _note_end(self, ended: Ended) -> float:
        before, now_s = self._last_reason, self._clock.monotonic_ns() / NS
        self._last_reason = self._reconnect.words(ended, now_s)
        delay_s = self._reconnect.ended(ended, now_s)
        level = logging.DEBUG if before == self._last_reason else logging.WARNING
        _LOG.log(level, "%s; again in %.0f s", self._last_reason, delay_s)
        return delay_s

    def _pause(self, delay_s: float) -> None:
        """Wait; only the end cuts it short, since nothing can be sent."""
        self._stopping.wait(delay_s)

    def _one_connection(self) -> Ended:
        """Connect, serve until it ends, and say why it did."""
        self._certificates.look()
        device = self._topics.device
        try:
            connection = Connection(
                self._settings,
                client_id=self._settings.client_id or f"anomalite-{device}",
                will_topic=self._topics.state,
                protocol=self._reconnect.protocol,
            )
            connection.open()
        except (OSError, ValueError, EdgeAgentError) as error:
            return of_error(error, self._settings.address)
        self._connection = connection
        try:
            return self._await_answer(connection) or self._serve(connection)
        finally:
            connection.drop()

    def _await_answer(self, connection: Connection) -> Ended | None:
        """Wait for CONNACK; None when the broker let us in."""
        until_ns = self._clock.monotonic_ns() + int(self._settings.connect_timeout_s * NS)
        while not self._stopping.is_set():
            left_s = (until_ns - self._clock.monotonic_ns()) / NS
            if left_s <= 0:
                return Ended(Reason.NO_ANSWER, f"{self._settings.address} took the connection and does not answer")
            for happening in connection.turn(min(left_s, TURN_S), self._wake):
                if isinstance(happening, Lost):
                    return self._of_loss(happening, connection)
                if isinstance(happening, Answered):
                    if happening.code:
                        return of_answer(happening.code, happening.name)
                    self._begin(connection, happening)
                    return None
        return Ended(Reason.UNREACHABLE, "stopped")

    def _begin(self, connection: Connection, answer: Answered) -> None:
        """Be online: everything retained is told again, `state` and `info` first."""
        self._keepalive_s = float(answer.keepalive_s or self._settings.keepalive_s)
        self._connects += 1
        self._denied.clear()
        with self._lock:
            self._delivery.retain(self._topics.state, ONLINE)
            self._delivery.connected(answer.limits, self._topics.state, self._topics.info)
            self._delivery.hold_alerts = self._settings.read_back and self._reconnect.protocol == "3.1.1"
        self._read_back.settle()
        if self._delivery.hold_alerts:
            self._read_back.ask(self._clock.monotonic_ns())
            connection.subscribe(self._topics.state)
        try:
            self.publish(self._topics.info, self._birth())
        except Exception:  # noqa: BLE001 - whoever makes it, the link goes on
            _LOG.exception("info cannot be made")
        self._up = True
        _LOG.info("connected to %s with MQTT %s", self._settings.address, self._reconnect.protocol)

    def _serve(self, connection: Connection) -> Ended:
        while True:
            now_ns = self._clock.monotonic_ns()
            self._reconnect.holds(now_ns / NS)
            drained = self._send(connection, now_ns)
            if self._stopping.is_set() and (drained or now_ns >= self._drain_until_ns):
                return self._leave(connection)
            for happening in connection.turn(self._turn_s(now_ns), self._wake):
                ended = self._take(connection, happening)
                if ended is not None:
                    return ended
            self._check_read_back(connection)
            if (ended := self._check_life(connection)) is not None:
                return ended
            self._certificates.look()

    def _send(self, connection: Connection, now_ns: int) -> bool:
        """Send what may go out now; True when nothing waits and nothing is in flight."""
        with self._lock:
            messages = self._delivery.states()
            if not connection.is_choked:
                messages += self._delivery.scores(now_ns)
            for message in messages:
                self._publish(connection, message, now_ns)
            wanted = self._delivery.alerts_wanted(now_ns)
            skip, blocked = self._delivery.skip(), self._delivery.blocked(now_ns)
        records = self._outbox.pending(1, skip=skip, blocked=blocked)
        self._waiting = bool(records)
        for record in records[:wanted]:
            self._send_alert(connection, self._delivery.alert(record, self._outbox.age_s(record)), now_ns)
        with self._lock:
            if not records and not connection.is_choked:
                for message in self._delivery.images():
                    self._publish(connection, message, now_ns)
            if not records and not skip and not blocked:
                self._delivery.nothing_waits()
            return not records and not self._delivery.in_flight

    def _send_alert(self, connection: Connection, message: Message, now_ns: int) -> None:
        if message.record is not None and not self._delivery.fits(message):
            self._given_up += 1
            self._outbox.give_up(message.record.key, "larger than the broker takes")
            return
        with self._lock:
            self._publish(connection, message, now_ns)

    def _publish(self, connection: Connection, message: Message, now_ns: int) -> None:
        number = connection.publish(message)
        if message.qos:
            self._delivery.sent(number, message, now_ns)

    def _turn_s(self, now_ns: int) -> float:
        """Return how long the thread may wait for the network."""
        with self._lock:
            next_ns = self._delivery.next_ns(now_ns, waiting=self._waiting)
        longest_s = min(TURN_S, self._keepalive_s / 4)
        if self._stopping.is_set():
            longest_s = min(longest_s, (self._drain_until_ns - now_ns) / NS)
        return max(0.0, min(longest_s, (next_ns - now_ns) / NS))

    def _take(self, connection: Connection, happening: Happening) -> Ended | None:
        """Act on what the broker did."""
        if isinstance(happening, Lost):
            with self._lock:
                outcome = self._delivery.lost(hung_up=happening.hung_up, words=happening.name)
            self._act(outcome)
            return self._of_loss(happening, connection, answered=True)
        if isinstance(happening, Acknowledged):
            with self._lock:
                outcome = self._delivery.acknowledged(
                    happening.number, happening.code, happening.name, self._clock.monotonic_ns()
                )
            self._act(outcome)
        elif isinstance(happening, Received):
            self._take_own(connection, happening)
        elif isinstance(happening, Subscribed) and not happening.granted:
            self._deny(self._topics.state, "the broker does not let us read it back")
        return None

    def _act(self, outcome: Outcome) -> None:
        if outcome.delivered:
            self._outbox.acknowledge(outcome.delivered)
            self._delivered += len(outcome.delivered)
        for key, detail in outcome.given_up:
            self._given_up += 1
            _LOG.error("alert %d is given up: %s", key[1], detail)
            self._outbox.give_up(key, detail)
        if outcome.denied:
            self._deny(outcome.denied, "the broker's rules do not let us write it")

    def _leave(self, connection: Connection) -> Ended:
        """Say `offline` ourselves, since an orderly end sends no last will."""
        with self._lock:
            self._delivery.retain(self._topics.state, OFFLINE)
            messages = self._delivery.states()
        for message in messages:
            connection.publish(message)
        connection.close()
        return Ended(Reason.UNREACHABLE, "stopped", answered=True)

    def _of_loss(self, lost: Lost, connection: Connection, *, answered: bool = False) -> Ended:
        own = bool(self._settings.cert_file)
        return of_loss(lost.code, lost.name, answered=answered, log=connection.log, own_certificate=own)

    def _check_life(self, connection: Connection) -> Ended | None:
        now_ns = self._clock.monotonic_ns()
        limit_s = DEAD_KEEPALIVES * self._keepalive_s
        with self._lock:
            waits_s = self._delivery.longest_wait_s(now_ns)
        silent_s = connection.silent_s
        if silent_s <= limit_s and waits_s <= limit_s:
            return None
        what = f"nothing came for {silent_s:.0f} s" if silent_s > limit_s else f"no PUBACK for {waits_s:.0f} s"
        with self._lock:
            self._delivery.lost(hung_up=False, words=what)
        return Ended(Reason.NO_ANSWER, f"the connection is dead: {what}", answered=True)

    # Whether the broker lets us write

    def _take_own(self, connection: Connection, message: Received) -> None:
        """Take our own `state` coming back live: what we publish is not dropped."""
        if message.topic != self._topics.state or message.retained or message.payload != ONLINE:
            return
        self._read_back.settle()
        self._denied.discard(self._topics.state)
        self._delivery.hold_alerts = False
        connection.unsubscribe(self._topics.state)

    def _check_read_back(self, connection: Connection) -> None:
        now_ns = self._clock.monotonic_ns()
        if not self._read_back.is_overdue(now_ns):
            return
        self._deny(self._topics.state, "it did not come back, so the broker drops what we write, or hides it from us")
        connection.subscribe(self._topics.state)
        with self._lock:
            self._publish(connection, Message(topic=self._topics.state, payload=ONLINE, qos=1, retain=True), now_ns)

    def _deny(self, topic: str, words: str) -> None:
        if topic not in self._denied:
            _LOG.error("publishing to %s is denied: %s: check the broker's access rules", topic, words)
        self._denied.add(topic)
