"""What is told of decisions: states, scores and alerts, also when outbox, evidence or clock misbehave."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from typing import Any

import numpy as np
import pytest

from edge_agent import readings_account, unsaved
from edge_agent.contract.records import NS, Channel, Decision, EventKind, Fault, Life, Stage, Transition, Unknown
from edge_agent.contract.wire import ClockState, ModelRef, Severity
from edge_agent.readings_account import ReadingsAccount
from edge_agent.reporting import Reporter, open_after, severity
from tests.fakes import Answers, KeptAlerts, KeptEvidence, KeptPayloads, block, broken
from tests.unit.test_pipeline import FITTED, NORMAL, T, pipeline
from tests.virtual_clock import EPOCH_NS, VirtualClock


class Bench:
    """A reporter between a pipeline and ports that keep what they get; a reading a second."""

    def __init__(self, scorer: Answers | None = None, *, own_time: bool = True, **given: Any) -> None:
        self.clock = VirtualClock()
        self.alerts, self.link, self.evidence = KeptAlerts(), KeptPayloads(), KeptEvidence()
        self.pipe = pipeline(scorer or Answers(), **given)
        self.account = ReadingsAccount("pump", (Channel(name="a"), Channel(name="b")), self.evidence)
        self.reporter = Reporter(
            stream="pump",
            device="bench",
            boot_id="boot",
            account=self.account,
            own_time=own_time,
            alerts=self.alerts,
            publisher=self.link,
            clock=self.clock,
            clock_state=lambda: ClockState.SYNCED,
        )
        self.account.pipeline = self.pipe
        self.reporter.use(ModelRef(name="m", version="1", sha256="0" * 64), self.pipe.decider.open_events)
        self.next = 0

    def read(self, rows: int, *, step_s: float = 1.0, at_once: bool = False) -> None:
        size = rows if at_once else 1
        for _ in range(rows // size):
            self.clock.sleep(step_s * size)
            given = block(NORMAL[self.next % 300 : self.next % 300 + size], self.next)
            self.reporter.decided(given, self.pipe.feed(given))
            self.next += size

    def decided(self, **given: Any) -> None:
        self.reporter.decided(None, [Decision(t_ns=self.clock.now_ns(), **given)])


def anomalous(**given: Any) -> Bench:
    """A bench with an anomaly opened by its second and third window."""
    bench = Bench(Answers(0.0, 11.0, 11.0), **given)
    bench.read(T + 2)
    return bench


# States.


def test_a_change_of_state_goes_out_at_once() -> None:
    bench = Bench()
    bench.decided(anomaly=False)
    bench.decided(anomaly=True)
    bench.decided(anomaly=None, fault=Fault.NO_DATA)
    assert [(each.anomaly, each.fault) for each in bench.link.states] == [
        ("OFF", None),
        ("ON", None),
        (None, "no_data"),
    ]


def test_figures_alone_go_out_once_a_second() -> None:
    bench = Bench()
    for i in range(100):
        bench.decided(anomaly=False, score=float(i))
        bench.clock.sleep(0.1)
    assert len(bench.link.states) == 10


def test_what_was_held_back_goes_out_in_the_next_second_without_readings() -> None:
    bench = Bench()
    bench.decided(anomaly=True, level=0.6)
    bench.decided(anomaly=True, level=0.9)
    bench.reporter.settle()
    assert [each.level for each in bench.link.states] == [0.6]
    bench.clock.sleep(1.0)
    bench.reporter.settle()
    bench.reporter.settle()
    assert [each.level for each in bench.link.states] == [0.6, 0.9]


def test_the_last_state_goes_out_at_the_end_whatever_the_time() -> None:
    bench = Bench()
    bench.decided(anomaly=True, level=0.6)
    bench.decided(anomaly=True, level=0.9)
    bench.reporter.settle(end=True)
    assert bench.link.states[-1].level == 0.9


def test_a_state_says_since_when() -> None:
    bench = Bench()
    bench.decided(anomaly=False)
    bench.clock.sleep(5)
    bench.decided(anomaly=False)
    assert {each.since for each in bench.link.states} == {"2026-01-01T00:00:00.000Z"}


def test_a_note_is_told_beside_the_state() -> None:
    bench = Bench()
    bench.reporter.note = "an older model watches"
    bench.decided(anomaly=None, fault=Fault.SENSOR, detail="a is stuck")
    assert bench.link.states[-1].detail == "a is stuck; an older model watches"


def test_scores_go_out_once_a_second_and_never_during_a_fault() -> None:
    bench = Bench()
    for _ in range(20):
        bench.decided(anomaly=False, score=1.0)
        bench.decided(anomaly=None, fault=Fault.MODEL)
        bench.clock.sleep(0.5)
    assert len(bench.link.scores) == 10


# Alerts.


def test_an_alert_says_what_where_and_how_sure() -> None:
    event = anomalous().alerts.events[0]
    assert (event.event_type, event.life, event.stage, event.grade) == ("anomaly", "open", "network", "provisional")
    assert (event.score, event.threshold, event.p_value) == (11.0, 10.0, None)
    assert "threshold 0.50" in event.text
    assert event.top[0] == ("a", pytest.approx(11 / 12, abs=1e-3))
    assert (event.window.end, event.window.samples) == ("2026-01-01T00:00:05.000Z", T)


def test_an_alert_is_explained_by_its_own_window_and_not_by_the_last_of_its_block() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0, *[0.0] * 20))
    bench.read(20, at_once=True)
    _, window = bench.evidence.kept[bench.alerts.events[0].id]
    np.testing.assert_array_equal(window, NORMAL[2:6])


def test_shares_that_make_no_sense_are_taken_from_the_prefilter() -> None:
    bench = anomalous()
    sick = np.array([np.nan, 1.0], np.float32)
    top = bench.account._top(NORMAL[:T], sick)
    assert sum(share for _, share in top) == pytest.approx(1.0, abs=1e-3)


def test_an_alert_without_a_prefilter_has_words() -> None:
    assert "unlike what is normal" in anomalous(prefilter=None).alerts.events[0].text


def test_an_alert_that_cannot_be_explained_goes_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise ValueError("no words")

    monkeypatch.setattr(type(FITTED), "describe", fail)
    event = anomalous().alerts.events[0]
    assert (event.event_type, event.top) == ("anomaly", None)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("id"), MemoryError()])
def test_an_account_that_fails_costs_the_words_and_not_the_alert(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ReadingsAccount, "explain", fail)
    event = anomalous().alerts.events[0]
    assert (event.event_type, event.score, event.text) == ("anomaly", 11.0, "")


def test_the_raw_readings_are_kept_beside_an_alert() -> None:
    bench = anomalous()
    event = bench.alerts.events[0]
    context, window = bench.evidence.kept[event.id]
    assert event.snapshot == f"{event.id}.npz"
    assert bench.evidence.meta[event.id]["text"] == event.text
    assert (len(context), window.shape) == (T + 2, (T, 2))


def test_a_streaming_graph_has_context_too() -> None:
    bench = Bench(Answers(*[0.0] * 80, 11.0, 11.0, streaming=True), prefilter=None)
    bench.read(90)
    context, _ = bench.evidence.kept["event-0"]
    assert len(context) >= readings_account.LEAST_CONTEXT


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError(), ValueError("id")])
def test_evidence_that_fails_never_stops_an_alert(error: Exception) -> None:
    bench = Bench(Answers(11.0, 11.0))
    bench.evidence.failing = error
    bench.read(T + 1)
    assert [(each.event_type, each.snapshot) for each in bench.alerts.events] == [("anomaly", None)]


def test_an_alert_of_a_fault_has_no_window() -> None:
    bench = Bench(Answers(*broken(3)))
    bench.read(T)
    event = bench.alerts.events[0]
    assert (event.event_type, event.fault, event.window, event.top) == ("model_fault", "model", None, None)


def test_a_close_says_why() -> None:
    bench = anomalous()
    bench.read(20)
    assert (bench.alerts.events[-1].event_type, bench.alerts.events[-1].text) == ("anomaly_cleared", "normal again")


def test_a_restart_after_a_crash_is_told() -> None:
    bench = Bench()
    bench.reporter.restarted()
    assert bench.alerts.kinds() == ["agent_restarted"]
    assert bench.alerts.opens == [None]


# The outbox refuses.


def test_alerts_that_a_disk_does_not_take_are_offered_again_in_order(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.alerts.failing = OSError("disk full")
    bench.read(T + 20)
    assert bench.alerts.events == []
    bench.alerts.failing = None
    bench.reporter.settle()
    assert bench.alerts.kinds() == ["anomaly", "anomaly_cleared"]
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


def test_an_alert_that_waits_goes_before_a_new_one() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.alerts.failing = OSError("disk full")
    bench.read(T + 2)
    bench.alerts.failing = None
    bench.reporter.restarted()
    assert bench.alerts.kinds() == ["anomaly", "agent_restarted"]


def test_an_alert_that_can_never_be_committed_is_counted_and_holds_up_no_other() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.alerts.failing = ValueError("too large")
    bench.read(T + 2)
    bench.alerts.failing = None
    bench.read(20)
    assert bench.alerts.kinds() == ["anomaly_cleared"]
    assert bench.reporter.lost_alerts == 1


def test_what_waits_is_bounded_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsaved, "MOST_UNSAVED", 3)
    bench = Bench()
    bench.alerts.failing = OSError("gone")
    for _ in range(5):
        bench.reporter.restarted()
    bench.alerts.failing = None
    bench.reporter.settle()
    assert len(bench.alerts.events) == 3
    assert bench.reporter.lost_alerts == 2


def test_the_state_is_published_though_the_outbox_fails() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.alerts.failing = OSError("disk full")
    bench.read(T + 2)
    assert bench.link.states[-1].anomaly == "ON"


# Open events.


def test_an_alert_is_committed_with_the_events_open_once_it_is_told() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.read(40, at_once=True)
    assert bench.alerts.kinds() == ["anomaly", "anomaly_cleared"]
    assert bench.alerts.opens == [["event-0"], []]


def test_the_events_saved_between_two_alerts_can_be_restored() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    seen: list[list[Any]] = []
    put = bench.alerts.put
    bench.alerts.put = lambda event, **given: (put(event, **given), seen.append(bench.reporter.open_before()))
    bench.read(40, at_once=True)
    assert [[each.kind for each in events] for events in seen] == [[EventKind.ANOMALY], []]


def test_an_event_that_opens_later_is_not_open_yet() -> None:
    first = Transition(kind=EventKind.MODEL_FAULT, life=Life.OPEN, id="1", t_ns=0, since_ns=0, fault=Fault.MODEL)
    close = dataclasses.replace(first, life=Life.CLOSE)
    assert open_after([], [first, close]) == []
    assert [each.id for each in open_after([], [close])] == ["1"]


def test_an_object_that_closes_later_is_still_known_by_its_place() -> None:
    box = (0.1, 0.2, 0.3, 0.4)
    close = Transition(kind=EventKind.ANOMALY_CLEARED, life=Life.CLOSE, id="1", t_ns=0, since_ns=0, box=box)
    assert [each.box for each in open_after([], [close])] == [box]


def test_events_that_wait_for_the_outbox_are_what_is_open() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.alerts.failing = OSError("disk full")
    bench.read(T + 2)
    assert [each.id for each in bench.reporter.open_before()] == ["event-0"]


def test_an_event_that_cannot_be_read_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    bench = anomalous()
    bench.alerts.open["pump"] = [{"id": "?"}, *bench.alerts.open["pump"]]
    assert [each.id for each in bench.reporter.open_before()] == ["event-0"]
    assert "cannot be read" in caplog.text


# Times.


def test_a_clock_set_since_the_start_moves_the_times_of_readings_without_their_own() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0), own_time=False)
    bench.clock.utc_ns += 3600 * NS
    bench.read(T + 2)
    assert bench.alerts.events[0].window.end == "2026-01-01T01:00:05.000Z"


def test_a_watcher_that_is_behind_moves_no_times() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0), own_time=False)
    bench.clock.sleep(25)
    bench.read(T + 2)
    assert bench.alerts.events[0].window.end == "2026-01-01T00:00:05.000Z"


def test_times_that_readings_carry_are_never_moved() -> None:
    bench = Bench(Answers(0.0, 11.0, 11.0))
    bench.clock.utc_ns += 3600 * NS
    bench.read(T + 2)
    assert bench.alerts.events[0].window.end == "2026-01-01T00:00:05.000Z"


# The achieved rate of alarms.


def test_the_rate_of_alarms_is_unknown_in_the_first_hour() -> None:
    assert anomalous().reporter.alarms_per_day() is None


def test_the_rate_of_alarms_is_counted_over_a_week_at_most() -> None:
    bench = anomalous()
    bench.clock.sleep(86_400)
    assert bench.reporter.alarms_per_day() == pytest.approx(1.0, abs=0.01)
    bench.clock.sleep(8 * 86_400)
    assert bench.reporter.alarms_per_day() == 0.0


def test_more_alarms_than_are_kept_are_not_undercounted() -> None:
    bench = Bench()
    for _ in range(5000):
        bench.clock.sleep(60)
        bench.reporter.opened.append(bench.clock.monotonic_ns())
    assert bench.reporter.alarms_per_day() == pytest.approx(1440, rel=0.01)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": EventKind.ANOMALY, "level": 0.79}, Severity.WARNING),
        ({"kind": EventKind.ANOMALY, "level": 0.8}, Severity.CRITICAL),
        ({"kind": EventKind.ANOMALY, "gross": True}, Severity.CRITICAL),
        ({"kind": EventKind.SENSOR_FAULT, "fault": Fault.SENSOR}, Severity.WARNING),
        ({"kind": EventKind.ANOMALY_CLEARED, "life": Life.CLOSE, "level": 0.9}, Severity.INFO),
    ],
)
def test_severity(given: dict[str, Any], expected: Severity) -> None:
    values = {"life": Life.OPEN, "id": "1", "t_ns": 0, "since_ns": 0, "stage": Stage.NETWORK} | given
    assert severity(Transition(**values)) is expected


def test_a_decision_of_no_block_before_any_pipeline_is_told() -> None:
    bench = Bench()
    bench.account.pipeline = None
    bench.reporter.use(None, list)
    unknown = Unknown(t_ns=EPOCH_NS, fault=Fault.NO_DATA)
    bench.reporter.decided(None, [bench.pipe.decider.unknown(unknown)])
    event = bench.alerts.events[0]
    assert (event.event_type, event.threshold, event.snapshot) == ("sensor_fault", None, None)


def test_the_context_kept_is_bounded() -> None:
    bench = Bench()
    bench.read(500)
    kept = list(itertools.chain.from_iterable(each.t_ns for each in bench.account._recent))
    assert len(kept) == readings_account.LEAST_CONTEXT
