"""What is sent next, and what an answer or its absence means. Pure: times, records and codes in, messages out.

Order in each turn: the retained states (`state` and `info` first after a connect), then alerts, then scores.

- At most `IN_FLIGHT` messages await their PUBACK; alerts leave at most `REPLAY_PER_S` a second.
- A retained state is the newest of its topic: one in flight, and after a connect every one goes out again.
- An image is retained as states are, but waits for every alert that may go out, and one is in flight at a time: a new
  alert has at most one image before it on a slow line.
- An alert leaves the outbox when its PUBACK says success. "Not authorised" and "quota exceeded" block its stream for
  `BLOCKED_S`; the alert stays.
- Poison: when the broker hangs up, what was in flight is suspect, and from then on messages go one at a time, so that
  the next hang-up names its cause. A message that was alone in flight at `POISON_TRIES` hang-ups, each on a connection
  that had taken another message before, is given up: an alert with a report, a state until it changes.
- Scores: newest of a stream, at most one a second, only while connected, expiring after `SCORE_EXPIRY_S`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from edge_agent.alerts.store import Key, Record
from edge_agent.contract.records import NS
from edge_agent.contract.wire import EVENT_ID, MAX_IMAGE_BYTES, MAX_PAYLOAD_BYTES, Topics, to_json

IN_FLIGHT = 20
"""Messages without PUBACK: paho's own limit, below the receive maximum of every broker that we know."""

REPLAY_PER_S = 50
"""Alerts a second, so that a device that was away for a week does not drown the broker or its radio link."""

HISTORICAL_S = 30.0
"""An alert that leaves later than this after its commit is marked `historical`."""

SCORE_SPACING_S = 1.0
"""Between two scores of a stream."""

SCORE_EXPIRY_S = 60
"""After which the broker need not deliver a score any more (MQTT 5)."""

BLOCKED_S = 300.0
"""Pause of a stream whose alerts the broker denies: only a person can change its rules."""

POISON_TRIES = 5
"""Hang-ups that one message may cause, so that a flapping network is not taken for a poison message."""

PACKET_OVERHEAD_BYTES = 64
"""Headers, lengths and the fixed properties of a PUBLISH, beside topic, payload and user properties."""

_PROPERTY_BYTES = 5
"""Identifier and two lengths of one user property."""

SUCCESS_BELOW = 0x80
"""Reason codes from here on are failures (MQTT 5, 2.4)."""
_DENIED, _QUOTA = 0x87, 0x97

_JPEG = "image/jpeg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One PUBLISH."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    expiry_s: int | None = None
    properties: tuple[tuple[str, str], ...] = ()
    """User properties (MQTT 5)."""
    content_type: str = ""
    """MQTT 5; empty: not told."""
    record: Record | None = None
    """The alert that it carries."""
    version: int = 0
    """Of the retained state that it carries."""

    @property
    def name(self) -> Key | str:
        """What is remembered of a message that may be poison."""
        return self.record.key if self.record else self.topic


@dataclass(slots=True)
class _Retained:
    payload: bytes
    event_id: str = ""
    """Of the alert that an image belongs to; empty: a state."""
    version: int = 1
    sent_version: int = 0
    """Last version handed to the broker on this connection; 0: none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker told when it accepted the connection."""

    in_flight: int = IN_FLIGHT
    packet_bytes: int = 1 << 28
    retain: bool = True


@dataclass(slots=True)
class Outcome:
    """What an answer means for the outbox."""

    delivered: list[Key] = field(default_factory=list)
    given_up: list[tuple[Key, str]] = field(default_factory=list)
    denied: str = ""
    """Topic that the broker denies us; empty: none."""


class Delivery:
    """Keeps what is in flight and what waits to be retained. Not thread-safe: the link holds the lock."""

    def __init__(self, topics: Topics) -> None:
        """Take the device's topics."""
        self._topics = topics
        self._retained: dict[str, _Retained] = {}
        self._scores: dict[str, bytes] = {}
        self._score_sent_ns: dict[str, int] = {}
        self._in_flight: dict[int, tuple[Message, int]] = {}
        self._limits = Limits()
        self._next_alert_ns = 0
        self._blocked_ns: dict[str, int] = {}
        self._suspects: set[Key | str] = set()
        self._tries: dict[Key | str, int] = {}
        self._accepted = 0
        self._muted: dict[str, int] = {}
        self.hold_alerts = False
        """Alerts stay in the outbox: the broker may be dropping what we publish."""

    # What others hand in

    def retain(self, topic: str, payload: bytes) -> None:
        """Set the newest payload of a retained topic."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"{topic}: a payload has at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
        self._keep(topic, payload, "")

    def image(self, topic: str, jpeg: bytes, event_id: str) -> None:
        """Set the newest image of a topic.

        Raises:
            ValueError: it is larger than MAX_IMAGE_BYTES.
        """
        if len(jpeg) > MAX_IMAGE_BYTES:
            raise ValueError(f"{topic}: an image has at most {MAX_IMAGE_BYTES} bytes, got {len(jpeg)}")
        self._keep(topic, jpeg, event_id)

    def _keep(self, topic: str, payload: bytes, event_id: str) -> None:
        known = self._retained.setdefault(topic, _Retained(payload, event_id))
        if (known.payload, known.event_id) != (payload, event_id):
            known.payload, known.event_id, known.version = payload, event_id, known.version + 1

    def score(self, stream: str, payload: bytes) -> None:
        """Set the newest score of a stream."""
        self._scores[stream] = payload

    # What to send

    def connected(self, limits: Limits, *first: str) -> None:
        """Begin with a new connection: nothing is in flight and every state is to be told again.

        Args:
            limits: what the broker takes.
            first: topics that go before all others.
        """
        self._limits = limits
        self._retained = {t: self._retained[t] for t in (*first, *self._retained) if t in self._retained}
        self._in_flight.clear()
        self._scores.clear()
        self._accepted = 0
        for retained in self._retained.values():
            retained.sent_version = 0

    @property
    def room(self) -> int:
        """Messages that may go out now: all but one wait while a poison message is looked for."""
        window = 1 if self._suspects else min(IN_FLIGHT, self._limits.in_flight)
        return max(0, window - len(self._in_flight))

    @property
    def in_flight(self) -> int:
        """Messages without PUBACK."""
        return len(self._in_flight)

    def states(self) -> list[Message]:
        """Return the retained states that are due, as far as there is room."""
        return self._due(images=False)[: self.room]

    def images(self) -> list[Message]:
        """Return the image that is due, if any, while no other is in flight; call it when no alert may go out."""
        flying = any(message.content_type == _JPEG for message, _ in self._in_flight.values())
        return [] if flying else self._due(images=True)[: min(1, self.room)]

    def _due(self, *, images: bool) -> list[Message]:
        """Return the retained messages of one sort that the broker does not have yet and takes."""
        flying = {message.topic for message, _ in self._in_flight.values()}
        due = [
            Message(
                topic=topic,
                payload=kept.payload,
                qos=1,
                retain=self._limits.retain,
                properties=((EVENT_ID, kept.event_id),) if images else (),
                content_type=_JPEG if images else "",
                version=kept.version,
            )
            for topic, kept in self._retained.items()
            if bool(kept.event_id) is images
            and kept.version != kept.sent_version
            and topic not in flying
            and self._muted.get(topic) != kept.version
        ]
        return [message for message in due if self.fits(message)]

    def alerts_wanted(self, now_ns: int) -> int:
        """Return how many alerts may go out now: at most one, since they are spaced."""
        if self.hold_alerts or now_ns < self._next_alert_ns:
            return 0
        return min(1, self.room)

    def skip(self) -> set[Key]:
        """Return the alerts in flight."""
        return {message.record.key for message, _ in self._in_flight.values() if message.record}

    def blocked(self, now_ns: int) -> set[str]:
        """Return the streams whose alerts must wait."""
        self._blocked_ns = {stream: until for stream, until in self._blocked_ns.items() if until > now_ns}
        return set(self._blocked_ns)

    def alert(self, record: Record, age_s: float) -> Message:
        """Return the message for an alert of the given age in seconds."""
        payload = json.loads(record.body)
        payload["historical"] = not -HISTORICAL_S <= age_s <= HISTORICAL_S
        return Message(
            topic=self._topics.event(record.stream),
            payload=to_json(payload),
            qos=1,
            properties=cloud_event(payload),
            content_type="application/json",
            record=record,
        )

    def scores(self, now_ns: int) -> list[Message]:
        """Return the scores that are due, and forget them."""
        due = [s for s in self._scores if now_ns - self._score_sent_ns.get(s, -(1 << 62)) >= SCORE_SPACING_S * NS]
        for stream in due:
            self._score_sent_ns[stream] = now_ns
        return [
            Message(topic=self._topics.score(s), payload=self._scores.pop(s), qos=0, expiry_s=SCORE_EXPIRY_S)
            for s in due
        ]

    def fits(self, message: Message) -> bool:
        """Say whether the broker takes a message of this size."""
        properties = sum(len(name) + len(value.encode()) + _PROPERTY_BYTES for name, value in message.properties)
        size = len(message.topic) + len(message.payload) + properties + PACKET_OVERHEAD_BYTES
        return size <= self._limits.packet_bytes

    def sent(self, number: int, message: Message, now_ns: int) -> None:
        """Take note that a message with QoS 1 went out under a packet number."""
        self._in_flight[number] = message, now_ns
        if message.record:
            self._next_alert_ns = now_ns + NS // REPLAY_PER_S
        elif message.topic in self._retained:
            # Last in the queue from now on, so that one stream's images never keep back another's.
            kept = self._retained[message.topic] = self._retained.pop(message.topic)
            kept.sent_version = message.version

    def next_ns(self, now_ns: int, *, waiting: bool) -> int:
        """Return when there may be something to send again without anything new (monotonic; far away: not at all).

        Args:
            now_ns: monotonic time.
            waiting: alerts are in the outbox that could go out but for their spacing.
        """
        moments = [self._score_sent_ns.get(stream, now_ns) + int(SCORE_SPACING_S * NS) for stream in self._scores]
        moments += self._blocked_ns.values()
        if waiting and not self.hold_alerts and self.room:
            moments.append(self._next_alert_ns)
        return min(moments, default=1 << 62)

    # What came back

    def acknowledged(self, number: int, code: int, name: str, now_ns: int) -> Outcome:
        """Take a PUBACK.

        Args:
            number: of the packet.
            code: its reason; success below 0x80.
            name: the reason in words.
            now_ns: monotonic time.
        """
        outcome = Outcome()
        found = self._in_flight.pop(number, None)
        if found is None:
            return outcome
        message = found[0]
        self._suspects.discard(message.name)
        if code < SUCCESS_BELOW:
            self._accepted += 1
            self._tries.pop(message.name, None)
            if message.record:
                outcome.delivered.append(message.record.key)
            return outcome
        if code == _DENIED:
            outcome.denied = message.topic
        if message.record and code in (_DENIED, _QUOTA):
            self._blocked_ns[message.record.stream] = now_ns + int(BLOCKED_S * NS)
        elif message.record and self._blame(message.name):
            outcome.given_up.append((message.record.key, f"the broker answers: {name}"))
        return outcome

    def lost(self, *, hung_up: bool, words: str) -> Outcome:
        """Take the end of the connection.

        Args:
            hung_up: the broker ended it; False: silence, or we did.
            words: why.
        """
        outcome = Outcome()
        lost = [message for message, _ in self._in_flight.values()]
        self._in_flight.clear()
        if not hung_up or not lost:
            return outcome
        if len(lost) == 1 and self._accepted and self._blame(lost[0].name):
            self._suspects.discard(lost[0].name)
            if lost[0].record:
                outcome.given_up.append((lost[0].record.key, f"the broker hangs up on it: {words}"))
            else:
                self._muted[lost[0].topic] = lost[0].version
            return outcome
        self._suspects.update(message.name for message in lost)
        return outcome

    def longest_wait_s(self, now_ns: int) -> float:
        """Return how long the oldest message in flight has waited for its PUBACK."""
        return max(((now_ns - sent_ns) / NS for _, sent_ns in self._in_flight.values()), default=0.0)

    def nothing_waits(self) -> None:
        """Say that no alert is left to send: those that were suspected are gone."""
        self._suspects = {name for name in self._suspects if isinstance(name, str)}
        self._tries = {name: tries for name, tries in self._tries.items() if isinstance(name, str)}

    def _blame(self, name: Key | str) -> bool:
        """Count a failure that a message caused alone; True when it is to be given up."""
        self._tries[name] = self._tries.get(name, 0) + 1
        if self._tries[name] < POISON_TRIES:
            return False
        del self._tries[name]
        return True


def cloud_event(payload: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the CloudEvents 1.0 attributes of an alert: user properties in the MQTT binding's binary mode."""
    return (
        ("specversion", "1.0"),
        ("id", f"{payload['session']}-{payload['seq']}"),
        ("source", f"/{payload['device']}/{payload['stream']}"),
        ("type", f"anomalite.{payload['event_type']}"),
        ("subject", str(payload["id"])),
        ("time", str(payload["time"])),
    )
