"""From a stream's decisions to what people read: states, scores, alerts with words and evidence.

One `Reporter` per stream, called from its watcher thread alone. What an alert says and keeps is told by its `Account`,
which knows what the stream watches (`account.py`).

The order for an alert is fixed: the account explains it, evidence to disk included (either may fail, the alert goes out
all the same), then the outbox commit, in one transaction with the events that are open once this alert has been told.
From that commit on the alert counts; everything before it is measured as the time from decision to commit. Only then
are its pictures, if any, handed to the link. What the outbox does not take waits in `unsaved.py`.

A state goes out at once when it changes and at most once a second otherwise; what was held back goes out in the next
second, readings or not, so the retained state is never an old one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from edge_agent.account import Account, Explained, Span
from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import FAULT_EVENTS, OpenEvent
from edge_agent.contract.level import p_value
from edge_agent.contract.records import NS, Decision, EventKind, Fault, Life, Transition
from edge_agent.contract.wire import (
    Anomaly,
    ClockState,
    EventPayload,
    ModelRef,
    ScorePayload,
    Severity,
    StatePayload,
    WindowRef,
    utc_text,
)
from edge_agent.errors import ManifestError
from edge_agent.ports import Clock
from edge_agent.unsaved import Alerts, Gallery, Unsaved

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


class Publisher(Gallery, Protocol):
    """The link, as the reporter needs it."""

    def publish_state(self, stream: str, payload: StatePayload) -> None:
        """Publish the retained state of a stream; the newest wins."""

    def publish_score(self, stream: str, payload: ScorePayload) -> None:
        """Publish a score where the broker is connected; dropped otherwise."""


Item = TypeVar("Item")


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
        self._publisher = publisher
        self._unsaved = Unsaved(stream, alerts, publisher)
        self._clock, self._clock_state = clock, clock_state
        self._state: tuple[bool | None, Fault | None] | None = None
        self._since = ""
        self._waiting: Decision | None = None
        self._published_ns = 0
        self._scored_ns = 0
        self._open_events: Callable[[], list[OpenEvent]] | None = None
        self.last: Decision | None = None
        self.model: ModelRef | None = None
        self.note = ""
        """What a person should know though the stream is well, such as that an older model watches."""
        self.opened: deque[int] = deque(maxlen=1000)
        self._began_ns = clock.monotonic_ns()
        self._utc_minus_monotonic_ns = clock.now_ns() - self._began_ns

    @property
    def lost_alerts(self) -> int:
        """Alerts that will never be committed."""
        return self._unsaved.lost

    def use(self, model: ModelRef | None, open_events: Callable[[], list[OpenEvent]], note: str = "") -> None:
        """Take the model whose decisions come from now on (None: there is none), and who knows what is open."""
        self.model, self._open_events, self.note = model, open_events, note

    def open_before(self) -> list[OpenEvent]:
        """Return the events that were open when the last alert was made: what a new watcher goes on with."""
        events = []
        for each in self._unsaved.open_events():
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
        self._unsaved.add(event)

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
        self._unsaved.save()
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
        self._unsaved.add(event, open_events=open_events, decided_ns=decided_ns, images=said.images)

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
