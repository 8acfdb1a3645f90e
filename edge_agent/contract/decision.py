"""From scores to events: N-of-M, hysteresis, hold-off, and the life of an event. Pure; it knows reading time alone.

    window(...)  scored, cleared or gross  ─┐
    unknown(...) a stretch not to be scored ─┴→ Decision, with the transitions it caused: open, update*, close

Invariants, whatever comes in:

- Every event opens once and closes once, or is among `open_events()`; its id is unique and never changes.
- An anomaly opens exactly when v, the N-th largest of the last M scores, is above the threshold, or at once on `gross`.
  It stays open, and `anomaly` stays true, until windows have been quiet (v not above `hysteresis` of the way from the
  median to the threshold, nor gross) for a window and the hold-off. With hysteresis 1 that is the joining which
  `calibrate` counts with; below 1 there are never more events than it counted.
- Quiet and healthy time is summed over windows seen one after the other. After a break, a step back in time included, a
  window counts for its own length: what was not seen is never taken as normal, yet no event can stay open for ever.
- `unknown` gives neither "normal" nor "anomaly". It empties the history of N-of-M and leaves an open anomaly open.
- One event for each cause of a fault, until the stream is healthy for the hold-off: a flapping sensor is one event.
- The same windows in the same order decide the same, in whatever blocks they arrived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.level import LevelScale
from edge_agent.contract.normal_scores import check_history
from edge_agent.contract.records import NS, Decision, EventKind, Fault, Life, Stage, Transition, Unknown

CLEAR_RISE = 0.5
"""An anomaly is told again when what its level lacks to 1 has halved, that is, when 1 + x has doubled (`level.py`)."""

FAULT_EVENTS = {
    Fault.SENSOR: EventKind.SENSOR_FAULT,
    Fault.NO_DATA: EventKind.SENSOR_FAULT,
    Fault.CAMERA: EventKind.SENSOR_FAULT,
    Fault.SCENE: EventKind.SCENE_CHANGED,
    Fault.MODEL: EventKind.MODEL_FAULT,
}
"""The faults that are events; not_ready and calibrating are states of a healthy stream."""

_KINDS = {
    (EventKind.ANOMALY, Life.UPDATE): EventKind.ANOMALY_UPDATE,
    (EventKind.ANOMALY, Life.CLOSE): EventKind.ANOMALY_CLEARED,
    (EventKind.SENSOR_FAULT, Life.CLOSE): EventKind.SENSOR_OK,
}
"""What a transition is called where it is not called as the event itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """When an event opens, is told again, and closes."""

    n: int = 3
    m: int = 5
    """N of the last M windows above the threshold open an anomaly. 1 <= N <= M <= 64."""
    hysteresis: float = 0.8
    """Share of the way from median to threshold up to which a window is quiet, above 0 and at most 1."""
    hold_off_s: float
    """Seconds of quiet, beyond a window's length, that close an anomaly; of health that close a fault. 0 or more."""
    update_s: float = 60.0
    """Seconds between updates of one event, at least. 0 or more."""

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_history(self.n, self.m)
        if not 0 < self.hysteresis <= 1:
            raise ValueError(f"hysteresis must be above 0 and at most 1, got {self.hysteresis}")
        for name, value in (("hold_off_s", self.hold_off_s), ("update_s", self.update_s)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of seconds, 0 or more, got {value}")

    @property
    def by_part(self) -> bool:
        """Of frames: each shows another part, whose events are its own (`vision/objects.py`)."""
        return self.m == 1 and self.hold_off_s == 0

    def joined_s(self, frame_s: float) -> float:
        """Seconds between two frames in alarm up to which they are one event."""
        return 0.0 if self.by_part else frame_s + self.hold_off_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEvent:
    """What must outlive a restart of an open event; `strict_json` writes and reads it."""

    kind: EventKind
    id: str
    since_ns: int
    """Reading time at which it opened."""
    stage: Stage
    fault: Fault | None = None
    """The cause of a fault event; None for an anomaly."""
    detail: str = ""
    gross: bool = False
    score: float | None = None
    level: float | None = None
    """Of the window that it was last told with."""
    box: tuple[float, ...] | None = None
    """Where in the picture it was last seen: (left, top, right, bottom) in 0..1; None: not known, or no picture."""
    class_: str = ""
    """Kind of defect of its object; empty: not told."""
    class_score: float = 0.0
    """Its probability, 0..1."""

    def __post_init__(self) -> None:
        """Refuse an event without an id, a kind that is not the one its cause opens, and a box outside the picture."""
        opens = EventKind.ANOMALY if self.fault is None else FAULT_EVENTS.get(self.fault)
        if not self.id or self.kind != opens:
            raise ValueError(f"an open event needs an id and the kind of its cause, got {self}")
        if self.box is not None and not _is_box(self.box):
            raise ValueError(f"a box is [left, top, right, bottom] in 0..1, got {list(self.box)}")
        if not 0 <= self.class_score <= 1:
            raise ValueError(f"class_score must be 0..1, got {self.class_score}")


@dataclass(slots=True)
class _Event:
    """An open event and what its next transition depends on."""

    told: OpenEvent
    told_ns: int
    """Reading time at which it was last told."""
    calm_ns: int | None = None
    """Quiet (anomaly) or healthy (fault) time since its last sign; None: no calm window yet."""
    seen: bool = True
    """Seen since the agent started; False for one restored and not seen yet."""
    strongest: _Sign | None = None
    """The window of the highest level since it was last told."""


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a transition tells of the window or reading that caused it."""

    t_ns: int
    stage: Stage = Stage.NETWORK
    gross: bool = False
    score: float | None = None
    level: float | None = None
    detail: str = ""


class Decider:
    """Decides the windows of one stream, in order of arrival."""

    def __init__(
        self, rule: DecisionRule, calibration: Calibration, window_s: float, new_id: Callable[[], str]
    ) -> None:
        """Begin without open events.

        Args:
            rule: when events open and close.
            calibration: threshold and level, made for the rule's N of M.
            window_s: length of a window in seconds, above 0.
            new_id: gives a fresh id for each event.

        Raises:
            ValueError: the calibration is for another N of M, or the window has no length.
        """
        if not (math.isfinite(window_s) and window_s > 0):
            raise ValueError(f"window_s must be a finite number of seconds above 0, got {window_s}")
        self._new_id = new_id
        self._rule = rule
        self.recalibrate(calibration)
        self._n, self._mask = rule.n, (1 << rule.m) - 1
        self._window_ns = max(round(window_s * NS), 1)
        self._hold_off_ns, self._update_ns = round(rule.hold_off_s * NS), round(rule.update_s * NS)
        self._join_ns = round((window_s + rule.hold_off_s) * NS)
        self._last_ns: int | None = None
        self._above = self._stirred = 0
        self._anomaly: _Event | None = None
        self._faults: dict[Fault, _Event] = {}
        self._orphans: list[OpenEvent] = []

    def recalibrate(self, calibration: Calibration) -> None:
        """Go on with another threshold and level; open events stay open, and past votes count as they were cast.

        Raises:
            ValueError: the calibration is for another N of M.
        """
        rule = self._rule
        if (calibration.n, calibration.m) != (rule.n, rule.m):
            raise ValueError(
                f"the threshold was calibrated for {calibration.n} of {calibration.m} windows and the rule says "
                f"{rule.n} of {rule.m}: calibrate again, or keep N and M"
            )
        self._level = LevelScale(calibration).level
        self._threshold = calibration.threshold
        self._quiet = calibration.threshold - (1 - rule.hysteresis) * (calibration.threshold - calibration.median)

    def window(
        self,
        t_ns: int,
        *,
        score: float | None,
        d2: float | None = None,
        gross: bool = False,
        stage: Stage = Stage.NETWORK,
        model_fault: str | None = None,
    ) -> Decision:
        """Decide one window.

        Args:
            t_ns: reading time of its last row.
            score: raw score; None where the prefilter said clear, or with `model_fault`. One that is not finite is a
                model fault itself.
            d2: squared Mahalanobis distance of the prefilter, where it ran.
            gross: the prefilter's upper limit was passed.
            stage: which part the decision rests on.
            model_fault: why the network cannot be asked. The Gaussian alone decides then, by `gross`.
        """
        if score is not None and not math.isfinite(score):
            score, stage, model_fault = None, Stage.PREFILTER, f"the graph gave {score}"
        elapsed_ns = self._elapsed_ns(t_ns)
        level = None
        above, stirred = self._above << 1, self._stirred << 1
        if score is not None:
            level = self._level(score)
            above |= score > self._threshold
            stirred |= score > self._quiet
        self._above, self._stirred = above & self._mask, stirred & self._mask
        voted = self._above.bit_count() >= self._n
        transitions: tuple[Transition, ...] = ()
        if voted or gross or model_fault is not None or self._anomaly or self._faults or self._orphans:
            sign = _Sign(t_ns, stage, gross and not voted, score, level, model_fault or "")
            degraded = model_fault is not None
            transitions = tuple(self._decide(sign, elapsed_ns, alarming=voted or gross, degraded=degraded))
        return Decision(
            t_ns=t_ns,
            anomaly=self._anomaly is not None,
            fault=None if model_fault is None else Fault.MODEL,
            detail=model_fault or "",
            stage=stage,
            gross=gross,
            score=score,
            d2=d2,
            level=level,
            transitions=transitions,
        )

    def unknown(self, unknown: Unknown) -> Decision:
        """Take note of a stretch that must not be scored: neither normal nor an anomaly."""
        self._last_ns = None
        self._above = self._stirred = 0
        sign = _Sign(unknown.t_ns, detail=unknown.detail)
        transitions = tuple(self._close_orphans(sign))
        if unknown.fault in FAULT_EVENTS:
            transitions += tuple(self._fault_seen(unknown.fault, sign))
        return Decision(
            t_ns=unknown.t_ns, anomaly=None, fault=unknown.fault, detail=unknown.detail, transitions=transitions
        )

    def leave(self, t_ns: int) -> Decision:
        """Take note that what was watched has passed: its anomaly is over, and what comes begins anew."""
        event, self._anomaly, self._last_ns = self._anomaly, None, None
        self._above = self._stirred = 0
        reason = "passed" if event and event.seen else "restart"
        steps = [_transition(event, Life.CLOSE, _Sign(t_ns, event.told.stage), reason)] if event else []
        steps = [*self._close_orphans(_Sign(t_ns)), *steps]
        return Decision(t_ns=t_ns, anomaly=False, transitions=tuple(steps))

    def open_events(self) -> list[OpenEvent]:
        """Return what `restore` needs after a restart."""
        anomaly = [self._anomaly] if self._anomaly else []
        return [event.told for event in (*anomaly, *self._faults.values())] + self._orphans

    def restore(self, events: Iterable[OpenEvent]) -> None:
        """Take over events that were open when the agent stopped.

        Each goes on with its id when its cause is seen again. Else it closes with reason `restart`, once windows have
        been calm for as long as closes any event. A second event of one cause closes at the next decision.
        """
        for told in events:
            event = _Event(told, told.since_ns, seen=False)
            if told.fault is None and self._anomaly is None:
                self._anomaly = event
            elif told.fault is not None and told.fault not in self._faults:
                self._faults[told.fault] = event
            else:
                self._orphans.append(told)

    def _elapsed_ns(self, t_ns: int) -> int:
        """Return the time seen since the last window; after a break the window's own length, with an empty history."""
        last, self._last_ns = self._last_ns, t_ns
        if last is not None and t_ns > last:
            return t_ns - last
        self._above = self._stirred = 0
        return self._window_ns

    def _decide(self, sign: _Sign, elapsed_ns: int, *, alarming: bool, degraded: bool) -> Iterator[Transition]:
        yield from self._close_orphans(sign)
        if degraded:
            yield from self._fault_seen(Fault.MODEL, sign)
        for fault in tuple(self._faults):
            if fault is not Fault.MODEL or sign.score is not None:
                yield from self._healthy(fault, sign, elapsed_ns)
        if self._anomaly is not None:
            yield from self._go_on(self._anomaly, sign, elapsed_ns, alarming=alarming)
        elif alarming:
            self._anomaly = self._opened(EventKind.ANOMALY, None, sign)
            yield _transition(self._anomaly, Life.OPEN, sign)

    def _go_on(self, event: _Event, sign: _Sign, elapsed_ns: int, *, alarming: bool) -> Iterator[Transition]:
        """Keep an anomaly open or close it; tell it again when it has become clearly stronger."""
        if alarming or self._stirred.bit_count() >= self._n:
            event.calm_ns, event.seen = 0, True
        else:
            event.calm_ns = 0 if event.calm_ns is None else event.calm_ns + elapsed_ns
            if event.calm_ns > self._join_ns:
                self._anomaly = None
                yield _transition(event, Life.CLOSE, sign, reason="normal" if event.seen else "restart")
                return
        if event.strongest is None or _strength(sign) > _strength(event.strongest):
            event.strongest = sign
        risen = 1 - _strength(event.strongest) <= CLEAR_RISE * (1 - _strength(event.told))
        if risen and self._may_tell(event, sign):
            yield self._tell(event, replace(event.strongest, t_ns=sign.t_ns))

    def _fault_seen(self, fault: Fault, sign: _Sign) -> Iterator[Transition]:
        """Open the event of a fault, or keep it open; tell it again when its detail has changed."""
        event = self._faults.get(fault)
        if event is None:
            event = self._faults[fault] = self._opened(FAULT_EVENTS[fault], fault, sign)
            yield _transition(event, Life.OPEN, sign)
            return
        event.calm_ns, event.seen = None, True
        if sign.detail != event.told.detail and self._may_tell(event, sign):
            yield self._tell(event, sign)

    def _healthy(self, fault: Fault, sign: _Sign, elapsed_ns: int) -> Iterator[Transition]:
        """Count a window without the fault; close its event after the hold-off."""
        event = self._faults[fault]
        event.calm_ns = 0 if event.calm_ns is None else event.calm_ns + elapsed_ns
        if event.calm_ns >= self._hold_off_ns:
            del self._faults[fault]
            yield _transition(event, Life.CLOSE, sign, reason="recovered" if event.seen else "restart")

    def _close_orphans(self, sign: _Sign) -> Iterator[Transition]:
        orphans, self._orphans = self._orphans, []
        for told in orphans:
            yield _transition(_Event(told, told.since_ns), Life.CLOSE, sign, reason="restart")

    def _opened(self, kind: EventKind, fault: Fault | None, sign: _Sign) -> _Event:
        told = OpenEvent(
            kind=kind,
            id=self._new_id(),
            since_ns=sign.t_ns,
            stage=sign.stage,
            fault=fault,
            detail=sign.detail if fault else "",
            gross=sign.gross,
            score=sign.score,
            level=sign.level,
        )
        return _Event(told, sign.t_ns, calm_ns=None if fault else 0)

    def _may_tell(self, event: _Event, sign: _Sign) -> bool:
        """At most one update each `update_s`; a jump of the readings' clock, either way, counts as time gone by."""
        return abs(sign.t_ns - event.told_ns) >= self._update_ns

    def _tell(self, event: _Event, sign: _Sign) -> Transition:
        event.told_ns, event.strongest = sign.t_ns, None
        detail = sign.detail if event.told.fault else ""
        event.told = replace(event.told, detail=detail, score=sign.score, level=sign.level)
        return _transition(event, Life.UPDATE, sign)


def _is_box(box: tuple[float, ...]) -> bool:
    if len(box) != 4 or not all(math.isfinite(value) and 0 <= value <= 1 for value in box):  # noqa: PLR2004
        return False
    return box[0] < box[2] and box[1] < box[3]


def _strength(sign: _Sign | OpenEvent) -> float:
    return 0.0 if sign.level is None else sign.level


def _transition(event: _Event, life: Life, sign: _Sign, reason: str = "") -> Transition:
    told = event.told
    return Transition(
        kind=_KINDS.get((told.kind, life), told.kind),
        life=life,
        id=told.id,
        t_ns=sign.t_ns,
        since_ns=told.since_ns,
        stage=sign.stage,
        gross=told.gross,
        score=sign.score,
        level=sign.level,
        fault=told.fault,
        detail=told.detail,
        reason=reason,
    )
