"""From a stream's decisions to what people read: states, scores, alerts with words and evidence.

One `Reporter` per stream, called from its watcher thread alone. What an alert says and keeps is told by its `Account`,
which knows what the stream watches: readings (`readings_account.py`) or frames (`frame_account.py`).

The order for an alert is fixed: the account explains it, evidence to disk included (either may fail, the alert goes out
all the same), then the outbox commit, in one transaction with the events that are open once this alert has been told.
From that commit on the alert counts; everything before it is measured as the time from decision to commit. Only then
are its pictures, if any, handed to the link; while alerts wait for the outbox, the newest picture of each kind waits,
too.

An alert that the outbox does not take is kept here, in order, and offered again at every turn. Only one that it refuses
for what it says (`ValueError`) is not. A full outbox refuses none: it drops what matters least and reports that itself.

A state goes out at once when it changes and at most once a second otherwise; what was held back goes out in the next
second, readings or not, so the retained state is never an old one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import FAULT_EVENTS, OpenEvent
from edge_agent.contract.level import p_value
from edge_agent.contract.records import NS, Decision, EventKind, Fault, Life, Transition
from edge_agent.contract.wire import (
    Anomaly,
    ClockState,
    EventPayload,
    ImageKind,
    ModelRef,
    Region,
    ScorePayload,
    Severity,
    StatePayload,
    WindowRef,
    utc_text,
)
from edge_agent.errors import ManifestError
from edge_agent.ports import Clock

_log = logging.getLogger(__name__)

STATE_EVERY_S = 1.0
"""Shortest time between two published states that differ in figures only, seconds; a change of state goes out at
once."""
CRITICAL_LEVEL = 0.8
"""Level from which an alert is critical: x = 1.5, two and a half times as improbable (in -ln p) as the threshold."""
RATE_WINDOW_NS = 7 * 86_400 * NS
"""Span over which the achieved alarms per day are counted: a week holds every shift of a plant."""
READING_CLOCK_TOLERANCE_S = 2.0
"""How far UTC may have moved against the monotonic clock before it is taken for a clock that was set since the
start."""
MOST_UNSAVED = 1000
"""Alerts kept in memory while the outbox takes none, some 1 kB each; the oldest go first, counted and logged."""


class Alerts(Protocol):
    """The outbox, as the reporter needs it."""

    def put(
        self, event: EventPayload, *, open_events: Sequence[dict[str, Any]] | None = None, decided_ns: int | None = None
    ) -> object:
        """Commit an alert and the stream's open events in one transaction."""

    def open_events(self, stream: str) -> list[dict[str, Any]]:
        """Return the events that were open when the agent last ran."""


class Publisher(Protocol):
    """The link, as the reporter needs it."""

    def publish_state(self, stream: str, payload: StatePayload) -> None:
        """Publish the retained state of a stream; the newest wins."""

    def publish_score(self, stream: str, payload: ScorePayload) -> None:
        """Publish a score where the broker is connected; dropped otherwise."""

    def publish_image(self, stream: str, kind: ImageKind, jpeg: bytes, event_id: str) -> None:
        """Publish a picture of an alert, at most MAX_IMAGE_BYTES; the newest wins and goes out after the alerts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The readings, or the one frame, that an alert rests on, in reading time."""

    start_ns: int
    end_ns: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What an alert says beyond what was decided."""

    text: str
    calibration: Calibration | None = None
    """What the score of the alert is held against."""
    top: tuple[tuple[str, float], ...] | None = None
    """Channels and their shares, largest first."""
    window: Span | None = None
    region: Region | None = None
    snapshot: str | None = None
    """Evidence on disk, relative to its folder."""
    images: Mapping[ImageKind, bytes] = field(default_factory=dict)
    """JPEGs to publish, each of MAX_IMAGE_BYTES at most."""


Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class Account(Protocol[Item_contra]):
    """Knows what a stream watches, and puts it into words and evidence."""

    def remember(self, item: Item_contra) -> None:
        """Take what is decided next: a block of readings, or a frame."""

    def explain(self, transition: Transition, decision: Decision) -> Explained:
        """Return what an alert says; its evidence is on disk then."""


class Reporter(Generic[Item]):
    """Turns the decisions of one stream into payloads.

    Args:
        stream: its name.
        device: name of this device.
        boot_id: of this boot.
        account: puts into words and evidence what the stream watches.
        own_time: what the stream watches carries its own time.
        alerts: the outbox.
        publisher: the link.
        clock: for payload times.
        clock_state: how far they can be believed.
    """

    def __init__(
        self,
        *,
        stream: str,
        device: str,
        boot_id: str,
        account: Account[Item],
        own_time: bool,
        alerts: Alerts,
        publisher: Publisher,
        clock: Clock,
        clock_state: Callable[[], ClockState],
    ) -> None:
        self._stream, self._device, self._boot_id = stream, device, boot_id
        self._account, self._own_time = account, own_time
        self._alerts, self._publisher = alerts, publisher
        self._clock, self._clock_state = clock, clock_state
        self._state: tuple[bool | None, Fault | None] | None = None
        self._since = ""
        self._waiting: Decision | None = None
        self._published_ns = 0
        self._scored_ns = 0
        self._unsaved: deque[_Unsaved] = deque()
        self._pictures: dict[ImageKind, tuple[str, bytes]] = {}
        self._open_events: Callable[[], list[OpenEvent]] | None = None
        self.last: Decision | None = None
        self.model: ModelRef | None = None
        self.note = ""
        """What a person should know though the stream is well, such as that an older model watches."""
        self.opened: deque[int] = deque(maxlen=1000)
        self.lost_alerts = 0
        self._refused = False
        self._began_ns = clock.monotonic_ns()
        self._utc_minus_monotonic_ns = clock.now_ns() - self._began_ns

    def use(self, model: ModelRef | None, open_events: Callable[[], list[OpenEvent]], note: str = "") -> None:
        """Take the model whose decisions come from now on (None: there is none), and who knows what is open."""
        self.model, self._open_events, self.note = model, open_events, note

    def open_before(self) -> list[OpenEvent]:
        """Return the events that were open when the last alert was made: what a new watcher goes on with."""
        waiting = [each.open_events for each in self._unsaved if each.open_events is not None]
        events = []
        for each in waiting[-1] if waiting else self._alerts.open_events(self._stream):
            try:
                events.append(strict_json.read(OpenEvent, each, "open event"))
            except (ManifestError, ValueError) as error:
                _log.warning("stream %s: an event open before the restart cannot be read: %s", self._stream, error)
        return events

    def restarted(self) -> None:
        """Tell that the agent did not end in good order the last time."""
        event = EventPayload(
            event_type=EventKind.AGENT_RESTARTED,
            life=Life.OPEN,
            id=f"restart-{self._boot_id[:8]}-{self._clock.now_ns()}",
            device=self._device,
            stream=self._stream,
            time=utc_text(self._clock.now_ns()),
            clock=self._clock_state(),
            boot_id=self._boot_id,
            severity=Severity.INFO,
            text="The agent runs again; it had ended without stopping its streams",
        )
        self._unsaved.append(_Unsaved(event, None, None))
        self._save()

    def decided(self, item: Item | None, decisions: Sequence[Decision]) -> None:
        """Report the decisions of one block of readings or one frame (None: of a fault found outside them)."""
        decided_ns = self._clock.monotonic_ns()
        if item is not None:
            self._account.remember(item)
        told = [(decision, transition) for decision in decisions for transition in decision.transitions]
        open_now = self._open_events() if told and self._open_events else None
        for i, (decision, transition) in enumerate(told):
            still_open = None if open_now is None else open_after(open_now, [later for _, later in told[i + 1 :]])
            self._alert(transition, decision, decided_ns, still_open)
        if decisions:
            self.last = decisions[-1]
            self._publish(decisions[-1])

    def settle(self, *, end: bool = False) -> None:
        """Commit and publish what had to wait; `end`: there will be no more."""
        if self._unsaved:
            self._save()
        due = end or self._clock.monotonic_ns() - self._published_ns >= STATE_EVERY_S * NS
        if self._waiting is not None and due:
            self._publish_state(self._waiting)

    def alarms_per_day(self) -> float | None:
        """Return the anomaly events opened a day over the last seven days at most; None in the first hour."""
        now = self._clock.monotonic_ns()
        watched_ns = min(now - self._began_ns, RATE_WINDOW_NS)
        if watched_ns < 3600 * NS:
            return None
        opened = tuple(self.opened)
        if len(opened) == self.opened.maxlen:
            watched_ns = max(min(watched_ns, now - opened[0]), 1)
        recent = sum(1 for each in opened if now - each <= watched_ns)
        return round(recent * 86_400 * NS / watched_ns, 2)

    def _publish(self, decision: Decision) -> None:
        now = self._clock.monotonic_ns()
        state = (decision.anomaly, decision.fault)
        changed = state != self._state
        if changed:
            self._state, self._since = state, utc_text(self._clock.now_ns())
        self._waiting = decision
        if changed or now - self._published_ns >= STATE_EVERY_S * NS:
            self._publish_state(decision)
        if decision.fault is None and now - self._scored_ns >= STATE_EVERY_S * NS:
            self._scored_ns = now
            self._publisher.publish_score(
                self._stream,
                ScorePayload(
                    time=self._utc(decision.t_ns),
                    score=decision.score,
                    level=decision.level,
                    d2=decision.d2,
                    stage=decision.stage,
                ),
            )

    def _publish_state(self, decision: Decision) -> None:
        self._published_ns, self._waiting = self._clock.monotonic_ns(), None
        anomaly = None if decision.anomaly is None else Anomaly.ON if decision.anomaly else Anomaly.OFF
        payload = StatePayload(
            anomaly=anomaly,
            level=decision.level,
            score=decision.score,
            since=self._since,
            fault=decision.fault,
            detail=self.detail_of(decision),
        )
        self._publisher.publish_state(self._stream, payload)

    def detail_of(self, decision: Decision) -> str:
        """Return the words that go with a state."""
        return "; ".join(part for part in (decision.detail, self.note) if part)[:1000]

    def _alert(
        self, transition: Transition, decision: Decision, decided_ns: int, still_open: list[OpenEvent] | None
    ) -> None:
        said = self._explained(transition, decision)
        calibration = said.calibration
        if transition.kind is EventKind.ANOMALY:
            self.opened.append(self._clock.monotonic_ns())
        event = EventPayload(
            event_type=transition.kind,
            life=transition.life,
            id=transition.id,
            device=self._device,
            stream=self._stream,
            time=utc_text(self._clock.now_ns()),
            clock=self._clock_state(),
            boot_id=self._boot_id,
            severity=severity(transition),
            stage=transition.stage,
            level=transition.level,
            score=transition.score,
            threshold=calibration.threshold if calibration else None,
            p_value=_p(transition.score, calibration),
            grade=calibration.grade if calibration else None,
            text=said.text[:1000],
            reason=transition.reason,
            fault=transition.fault,
            detail=transition.detail[:1000],
            model=self.model,
            window=self._window_ref(said.window),
            top=said.top,
            region=said.region,
            snapshot=said.snapshot,
        )
        open_events = None if still_open is None else [strict_json.plain(each) for each in still_open]
        _log.info("stream %s: %s %s: %s", self._stream, event.event_type, event.id, event.text)
        self._unsaved.append(_Unsaved(event, open_events, decided_ns))
        self._pictures |= {kind: (event.id, jpeg) for kind, jpeg in said.images.items()}
        self._save()

    def _save(self) -> None:
        """Offer to the outbox what it has not taken yet, oldest first; pictures follow once it has taken all."""
        while self._unsaved:
            each = self._unsaved[0]
            try:
                self._alerts.put(each.event, open_events=each.open_events, decided_ns=each.decided_ns)
            except ValueError as error:
                self._lose(each.event, f"it can never be committed: {error}")
            except Exception as error:  # noqa: BLE001 - whatever a disk throws, the alert is not lost with it
                self._keep_unsaved(error)
                return
            self._unsaved.popleft()
        if self._refused:
            _log.info("stream %s: the outbox takes alerts again", self._stream)
        self._refused = False
        pictures, self._pictures = self._pictures, {}
        for kind, (event_id, jpeg) in pictures.items():
            self._publisher.publish_image(self._stream, kind, jpeg, event_id)

    def _keep_unsaved(self, error: Exception) -> None:
        level = logging.DEBUG if self._refused else logging.ERROR
        self._refused = True
        _log.log(level, "stream %s: the outbox takes no alert, %d wait: %r", self._stream, len(self._unsaved), error)
        while len(self._unsaved) > MOST_UNSAVED:
            self._lose(self._unsaved.popleft().event, "the outbox takes none")

    def _lose(self, event: EventPayload, why: str) -> None:
        self.lost_alerts += 1
        self._pictures = {kind: picture for kind, picture in self._pictures.items() if picture[0] != event.id}
        _log.error("stream %s: alert %s is lost: %s", self._stream, event.id, why)

    def _explained(self, transition: Transition, decision: Decision) -> Explained:
        try:
            return self._account.explain(transition, decision)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs the words and never the alert
            _log.warning("stream %s: alert %s cannot be explained: %r", self._stream, transition.id, error)
            return Explained(text=transition.detail)

    def _window_ref(self, span: Span | None) -> WindowRef | None:
        if span is None:
            return None
        return WindowRef(start=self._utc(span.start_ns), end=self._utc(span.end_ns), samples=span.samples)

    def _utc(self, t_ns: int) -> str:
        """Return reading time as UTC: of a source without own time, corrected by what the clock was set since."""
        if not self._own_time:
            now_ns = self._clock.now_ns() - self._clock.monotonic_ns()
            shift = now_ns - self._utc_minus_monotonic_ns
            if abs(shift) > READING_CLOCK_TOLERANCE_S * NS:
                t_ns += shift
        return utc_text(t_ns)


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """An alert on its way to the outbox."""

    event: EventPayload
    open_events: list[dict[str, Any]] | None
    decided_ns: int | None


def open_after(open_now: Sequence[OpenEvent], later: Sequence[Transition]) -> list[OpenEvent]:
    """Return the events that are open before some transitions, given those that are open after them.

    A block may open an event and close it. Each alert is committed with what is open once it has been told, so that a
    power cut between the two leaves an event to close, and never one that nobody was told of.
    """
    opened = {each.id for each in later if each.life is Life.OPEN}
    before = [event for event in open_now if event.id not in opened]
    for each in later:
        if each.life is Life.CLOSE and each.id not in opened:
            kind = EventKind.ANOMALY if each.fault is None else FAULT_EVENTS[each.fault]
            before.append(
                OpenEvent(
                    kind=kind,
                    id=each.id,
                    since_ns=each.since_ns,
                    stage=each.stage,
                    fault=each.fault,
                    detail=each.detail,
                    gross=each.gross,
                    box=each.box,
                )
            )
    return before


_CLOSED = {"normal": "normal again", "restart": "not there any more after a restart", "recovered": "recovered"}


def closing_words(transition: Transition) -> str:
    """Return what is said of an event that is over."""
    return f"{_CLOSED.get(transition.reason, 'over')}: {transition.detail}".removesuffix(": ")


def with_level(said: str, transition: Transition) -> str:
    """Return the words for something strange with how strange it is."""
    if transition.gross and transition.life is Life.OPEN:
        return f"{said} (gross: far outside all that is normal, not waited for)"
    return said if transition.level is None else f"{said} (level {transition.level:.2f}, threshold 0.50)"


def severity(transition: Transition) -> Severity:
    """Return how much a transition matters."""
    if transition.life is Life.CLOSE or transition.kind in {EventKind.SENSOR_OK, EventKind.MODEL_CHANGED}:
        return Severity.INFO
    strong = transition.level is not None and transition.level >= CRITICAL_LEVEL
    if transition.kind in {EventKind.ANOMALY, EventKind.ANOMALY_UPDATE} and (strong or transition.gross):
        return Severity.CRITICAL
    return Severity.WARNING


def _p(score: float | None, calibration: Calibration | None) -> float | None:
    return None if score is None or calibration is None else p_value(score, calibration)
