"""From a stream's decisions to what people read: states, scores, alerts with words and evidence.

One `Reporter` per stream, called from its watcher thread alone. The order for an alert is fixed: evidence to disk first
(it may fail, the alert goes out all the same), then the outbox commit, in one transaction with the list of open events.
From that commit on the alert counts; everything before it is measured as the time from decision to commit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.level import p_value
from edge_agent.contract.records import NS, Block, Channel, Decision, EventKind, Fault, Floats, Life, Transition
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
from edge_agent.pipeline import Pipeline
from edge_agent.ports import Clock

_log = logging.getLogger(__name__)

STATE_EVERY_S = 1.0
"""Shortest time between two published states that differ in figures only, seconds; a change of state goes out at
once."""
TOP_CHANNELS = 5
"""Channels named in an alert, the largest shares first."""
CONTEXT_WINDOWS = 4
"""Raw readings kept before the alarming window, in window lengths."""
CRITICAL_LEVEL = 0.8
"""Level from which an alert is critical: x = 1.5, two and a half times as improbable (in -ln p) as the threshold."""
RATE_WINDOW_NS = 7 * 86_400 * NS
"""Span over which the achieved alarms per day are counted: a week holds every shift of a plant."""
READING_CLOCK_TOLERANCE_S = 2.0
"""How far reading time may be from UTC before the difference is taken for a clock that was set since the start."""


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


class Keeper(Protocol):
    """The evidence folder, as the reporter needs it."""

    def keep(
        self,
        event_id: str,
        *,
        channels: Sequence[Channel],
        context: Block,
        window: Floats | None,
        meta: dict[str, object],
    ) -> Path | None:
        """Write the raw window and its context; None where the disk does not take it."""


class Reporter:
    """Turns the decisions of one stream into payloads.

    Args:
        stream: its name.
        device: name of this device.
        boot_id: of this boot.
        channels: of the stream.
        own_time: the readings carry their own time.
        alerts: the outbox.
        publisher: the link.
        keeper: the evidence folder.
        clock: for payload times.
        clock_state: how far they can be believed.
    """

    def __init__(
        self,
        *,
        stream: str,
        device: str,
        boot_id: str,
        channels: tuple[Channel, ...],
        own_time: bool,
        alerts: Alerts,
        publisher: Publisher,
        keeper: Keeper,
        clock: Clock,
        clock_state: Callable[[], ClockState],
    ) -> None:
        self._stream, self._device, self._boot_id = stream, device, boot_id
        self._channels, self._own_time = channels, own_time
        self._alerts, self._publisher, self._keeper = alerts, publisher, keeper
        self._clock, self._clock_state = clock, clock_state
        self._recent: deque[Block] = deque()
        self._recent_rows = 0
        self._state: tuple[bool | None, Fault | None] | None = None
        self._since = ""
        self._published_ns = 0
        self._scored_ns = 0
        self.last: Decision | None = None
        self.pipeline: Pipeline | None = None
        self.model: ModelRef | None = None
        self.opened: deque[int] = deque(maxlen=1000)
        self._began_ns = clock.monotonic_ns()

    def use(self, pipeline: Pipeline | None, model: ModelRef | None) -> None:
        """Take the pipeline whose decisions come from now on (None: still learning)."""
        self.pipeline, self.model = pipeline, model

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
        self._alerts.put(event)

    def decided(self, block: Block | None, decisions: Sequence[Decision]) -> None:
        """Report the decisions of one block."""
        decided_ns = self._clock.monotonic_ns()
        if block is not None:
            self._remember(block)
        for decision in decisions:
            for transition in decision.transitions:
                self._alert(transition, decision, decided_ns)
        if decisions:
            self.last = decisions[-1]
            self._publish(decisions[-1])

    def alarms_per_day(self) -> float | None:
        """Return the anomaly events opened a day over the last seven days at most; None in the first hour."""
        now = self._clock.monotonic_ns()
        watched_ns = min(now - self._began_ns, RATE_WINDOW_NS)
        if watched_ns < 3600 * NS:
            return None
        recent = sum(1 for opened in self.opened if now - opened <= watched_ns)
        return round(recent * 86_400 * NS / watched_ns, 2)

    def _remember(self, block: Block) -> None:
        self._recent.append(block)
        self._recent_rows += len(block)
        window = self.pipeline.windower.rule.window if self.pipeline else 1
        while self._recent and self._recent_rows - len(self._recent[0]) >= window * (1 + CONTEXT_WINDOWS):
            self._recent_rows -= len(self._recent.popleft())

    def _publish(self, decision: Decision) -> None:
        now = self._clock.monotonic_ns()
        state = (decision.anomaly, decision.fault)
        changed = state != self._state
        if changed:
            self._state, self._since = state, utc_text(self._clock.now_ns())
        if changed or now - self._published_ns >= STATE_EVERY_S * NS:
            self._published_ns = now
            anomaly = None if decision.anomaly is None else Anomaly.ON if decision.anomaly else Anomaly.OFF
            payload = StatePayload(
                anomaly=anomaly,
                level=decision.level,
                score=decision.score,
                since=self._since,
                fault=decision.fault,
                detail=decision.detail[:1000],
            )
            self._publisher.publish_state(self._stream, payload)
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

    def _alert(self, transition: Transition, decision: Decision, decided_ns: int) -> None:
        pipeline = self.pipeline
        calibration = pipeline.calibration if pipeline else None
        anomalous = transition.kind in {EventKind.ANOMALY, EventKind.ANOMALY_UPDATE}
        window = pipeline.last_window if pipeline and anomalous else None
        top = self._top(window) if window is not None else None
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
            text=self._words(transition, window)[:1000],
            reason=transition.reason,
            fault=transition.fault,
            detail=transition.detail[:1000],
            model=self.model,
            window=self._window_ref(transition, decision),
            top=top,
            snapshot=self._evidence(transition, window),
        )
        open_events = [strict_json.plain(each) for each in pipeline.decider.open_events()] if pipeline else None
        self._alerts.put(event, decided_ns=decided_ns, open_events=open_events)
        _log.info("stream %s: %s %s: %s", self._stream, event.event_type, event.id, event.text)

    def _top(self, window: Floats) -> tuple[tuple[str, float], ...] | None:
        pipeline = self.pipeline
        if pipeline is None:
            return None
        shares = pipeline.last_contributions
        if shares is None and pipeline.prefilter is not None:
            shares = pipeline.prefilter.shares(window).astype(np.float32)
        if shares is None or not np.isfinite(shares).all() or not shares.sum() > 0:
            return None
        shares = np.clip(shares, 0, None) / np.clip(shares, 0, None).sum()
        order = np.argsort(-shares)[:TOP_CHANNELS]
        return tuple((self._channels[i].name, round(float(shares[i]), 4)) for i in order.tolist())

    def _words(self, transition: Transition, window: Floats | None) -> str:
        if transition.life is Life.CLOSE:
            return f"{_CLOSED.get(transition.reason, 'over')}: {transition.detail}".removesuffix(": ")
        if window is None or self.pipeline is None or self.pipeline.prefilter is None:
            return transition.detail
        said = self.pipeline.prefilter.describe(window)
        level = "" if transition.level is None else f" (level {transition.level:.2f}, threshold 0.50)"
        return f"{said}{level}"

    def _window_ref(self, transition: Transition, decision: Decision) -> WindowRef | None:
        if self.pipeline is None or transition.fault is not None:
            return None
        rule = self.pipeline.windower.rule
        start = decision.t_ns - int((rule.window - 1) / rule.rate_hz * NS)
        return WindowRef(start=self._utc(start), end=self._utc(decision.t_ns), samples=rule.window)

    def _evidence(self, transition: Transition, window: Floats | None) -> str | None:
        if transition.life is not Life.OPEN or not self._recent:
            return None
        context = Block(
            values=np.concatenate([block.values for block in self._recent]),
            t_ns=np.concatenate([block.t_ns for block in self._recent]),
        )
        meta: dict[str, object] = {
            "stream": self._stream,
            "event_type": str(transition.kind),
            "t_ns": transition.t_ns,
            "score": transition.score,
            "detail": transition.detail,
        }
        kept = self._keeper.keep(transition.id, channels=self._channels, context=context, window=window, meta=meta)
        return None if kept is None else str(kept)

    def _utc(self, t_ns: int) -> str:
        """Return reading time as UTC: of a source without own time, corrected by what the clock was set since."""
        if not self._own_time and self._recent:
            shift = self._clock.now_ns() - int(self._recent[-1].t_ns[-1])
            if abs(shift) > READING_CLOCK_TOLERANCE_S * NS:
                t_ns += shift
        return utc_text(t_ns)


_CLOSED = {"normal": "normal again", "restart": "not there any more after a restart", "recovered": "recovered"}


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
