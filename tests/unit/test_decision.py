"""The Decider: when events open, go on and close, whatever comes in."""

import dataclasses
import itertools
import json
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import GROSS_SHARE, Calibration, calibrate
from edge_agent.contract.decision import FAULT_EVENTS, Decider, DecisionRule, OpenEvent
from edge_agent.contract.records import NS, Block, Channel, Decision, EventKind, Fault, Life, Stage, Transition, Unknown
from edge_agent.contract.windows import Windower, WindowRule

UNTIMED = settings(deadline=None)  # a busy machine is not a failure
WINDOW_S = 10.0
RULE = DecisionRule(hold_off_s=20.0)


def calibrated(n: int = 3, m: int = 5) -> Calibration:
    """Median 0, threshold 10: quiet up to 8."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    scores = np.linspace(-1, 1, 100)
    return calibrate(scores, t_ns, alarms_per_day=1.0, n=n, m=m, join_s=30, k=1.0).with_threshold(10.0)


class Stream:
    """Feeds one decider, a window a second, and keeps every transition."""

    def __init__(self, rule: DecisionRule = RULE) -> None:
        self.rule = rule
        self.ids = (f"event-{number}" for number in itertools.count())
        self.decider = self._new()
        self.t_ns = 1_000_000 * NS
        self.transitions: list[Transition] = []

    def _new(self) -> Decider:
        return Decider(self.rule, calibrated(self.rule.n, self.rule.m), WINDOW_S, lambda: next(self.ids))

    def score(self, *scores: float | None, step_s: float = 1.0, **given: object) -> Decision:
        for value in scores:
            self.t_ns += round(step_s * NS)
            decision = self._keep(self.decider.window(self.t_ns, score=value, **given))
        return decision

    def unknown(self, fault: Fault, detail: str = "", step_s: float = 1.0) -> Decision:
        self.t_ns += round(step_s * NS)
        return self._keep(self.decider.unknown(Unknown(t_ns=self.t_ns, fault=fault, detail=detail)))

    def restart(self) -> None:
        stored = json.dumps([strict_json.plain(event) for event in self.decider.open_events()])
        self.decider = self._new()
        self.decider.restore(strict_json.read(OpenEvent, each, "event") for each in json.loads(stored))

    def told(self) -> list[tuple[str, str, str]]:
        return [(each.kind.value, each.life.value, each.reason) for each in self.transitions]

    def _keep(self, decision: Decision) -> Decision:
        self.transitions += decision.transitions
        return decision


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_opens_at_the_third_of_five_windows_above_the_threshold(stream: Stream) -> None:
    assert stream.score(11, 0, 11, 0).anomaly is False
    opened = stream.score(11)
    assert opened.anomaly is True
    assert opened.level == pytest.approx(0.5 + 0.5 * 0.1 / 1.1)
    (step,) = stream.transitions
    assert (step.kind, step.life, step.id, step.since_ns) == (EventKind.ANOMALY, Life.OPEN, "event-0", stream.t_ns)


def test_a_score_at_the_threshold_does_not_count(stream: Stream) -> None:
    assert stream.score(*[10.0] * 20).anomaly is False


def test_windows_above_the_threshold_too_far_apart_do_not_open(stream: Stream) -> None:
    assert stream.score(*[11, 0, 0] * 20).anomaly is False


def test_windows_from_before_a_step_back_in_time_do_not_vote(stream: Stream) -> None:
    stream.score(11, 11)
    stream.t_ns -= 3600 * NS
    assert stream.score(11).anomaly is False
    assert stream.score(11, 11).anomaly is True


def test_gross_opens_at_once_and_says_so(stream: Stream) -> None:
    assert stream.score(3.0, gross=True, d2=1e6, stage=Stage.PREFILTER).anomaly is True
    (step,) = stream.transitions
    assert (step.gross, step.stage, step.life) == (True, Stage.PREFILTER, Life.OPEN)


def test_closes_as_normal_after_a_window_and_the_hold_off_of_quiet(stream: Stream) -> None:
    stream.score(11, 11, 11, 0, 0)  # v above the threshold up to here
    assert stream.score(*[0] * 30).anomaly is True
    assert stream.score(0).anomaly is False
    assert stream.told() == [("anomaly", "open", ""), ("anomaly_cleared", "close", "normal")]


def test_scores_between_quiet_and_threshold_keep_it_open_but_do_not_open_it(stream: Stream) -> None:
    assert stream.score(*[9.0] * 50).anomaly is False
    stream.score(11, 11, 11)
    assert stream.score(*[9.0] * 500).anomaly is True
    assert stream.score(*[7.9] * 40).anomaly is False


def test_alarms_within_the_hold_off_are_one_event(stream: Stream) -> None:
    for _ in range(50):
        stream.score(*[11] * 5, *[0] * 20)
    assert stream.told() == [("anomaly", "open", "")]


def test_clear_windows_count_as_quiet(stream: Stream) -> None:
    stream.score(11, 11, 11)
    last = stream.score(*[None] * 40, stage=Stage.PREFILTER)
    assert (last.anomaly, last.level, last.score) == (False, None, None)


def test_a_clear_rise_is_told_again_but_not_within_the_update_time(stream: Stream) -> None:
    stream.score(*[11] * 10, *[25] * 200, *[26] * 200)
    assert stream.told() == [("anomaly", "open", ""), ("anomaly_update", "update", "")]
    opened, update = stream.transitions
    assert update.t_ns - opened.t_ns == 60 * NS
    assert update.score == 25


def test_a_rise_within_the_update_time_is_told_when_it_is_over(stream: Stream) -> None:
    stream.score(11, 11, 11, 90, *[11] * 100)
    update = stream.transitions[1]
    assert (update.life, update.score, update.t_ns) == (Life.UPDATE, 90, stream.transitions[0].t_ns + 60 * NS)


def test_a_steady_climb_is_told_at_most_once_in_the_update_time(stream: Stream) -> None:
    stream.score(*[11 * 1.1**second for second in range(250)])
    steps = [each.t_ns for each in stream.transitions]
    assert len(steps) == 5
    assert min(np.diff(steps)) == 60 * NS


def test_a_clock_set_back_does_not_hold_updates_up(stream: Stream) -> None:
    stream.score(11, 11, 11)
    stream.score(1e6, step_s=-86_400)
    assert [each.life for each in stream.transitions] == [Life.OPEN, Life.UPDATE]


def test_a_gap_empties_the_history(stream: Stream) -> None:
    stream.score(11, 11)
    assert stream.unknown(Fault.NOT_READY).anomaly is None
    assert stream.score(11, 11).anomaly is False
    assert stream.score(11).anomaly is True


def test_a_gap_is_no_evidence_of_normal(stream: Stream) -> None:
    stream.score(11, 11, 11)
    stream.unknown(Fault.NOT_READY)
    assert stream.score(0, step_s=100_000).anomaly is True
    assert stream.score(*[0] * 30).anomaly is False


@pytest.mark.parametrize("jump_s", [-1e6, -3.0, 0.0])
def test_time_running_back_never_leaves_an_event_open_for_ever(stream: Stream, jump_s: float) -> None:
    stream.score(11, 11, 11)
    assert stream.score(0, step_s=jump_s).anomaly is True
    assert stream.score(*[0] * 35).anomaly is False


def test_time_standing_still_never_leaves_an_event_open_for_ever(stream: Stream) -> None:
    stream.score(11, 11, 11)
    assert stream.score(*[0] * 10, step_s=0).anomaly is False


def test_windows_alone_between_gaps_never_leave_an_event_open_for_ever(stream: Stream) -> None:
    stream.score(11, 11, 11)
    for _ in range(5):
        stream.unknown(Fault.NOT_READY)
        last = stream.score(0)
    assert last.anomaly is False


@pytest.mark.parametrize("fault", [Fault.NOT_READY, Fault.CALIBRATING])
def test_states_of_a_healthy_stream_are_no_events(stream: Stream, fault: Fault) -> None:
    decision = stream.unknown(fault, "why")
    assert (decision.anomaly, decision.fault, decision.detail) == (None, fault, "why")
    assert stream.transitions == []


@pytest.mark.parametrize(("fault", "kind"), FAULT_EVENTS.items())
def test_a_fault_opens_one_event_and_closes_after_the_hold_off_of_health(
    stream: Stream, fault: Fault, kind: EventKind
) -> None:
    assert stream.unknown(fault, "channel a stuck").anomaly is None
    stream.unknown(Fault.NOT_READY)
    assert stream.score(*[0] * 20).transitions == ()
    closing = stream.score(0)
    opened, closed = stream.transitions
    assert (opened.kind, opened.life, opened.fault, opened.detail) == (kind, Life.OPEN, fault, "channel a stuck")
    assert (closed.life, closed.reason, closed.id) == (Life.CLOSE, "recovered", opened.id)
    assert closed.kind is (EventKind.SENSOR_OK if kind is EventKind.SENSOR_FAULT else kind)
    assert (closing.anomaly, closing.fault) == (False, None)


def test_a_flapping_sensor_is_one_event(stream: Stream) -> None:
    for _ in range(100):
        stream.unknown(Fault.SENSOR, "out of range")
        stream.score(*[0] * 15)
    assert stream.told() == [("sensor_fault", "open", "")]


def test_each_cause_has_its_own_event(stream: Stream) -> None:
    stream.unknown(Fault.SENSOR)
    stream.unknown(Fault.NO_DATA)
    stream.score(*[0] * 40)
    assert [each.fault for each in stream.transitions] == [Fault.SENSOR, Fault.NO_DATA] * 2


def test_another_detail_of_the_same_fault_is_an_update(stream: Stream) -> None:
    stream.unknown(Fault.SENSOR, "a stuck")
    stream.unknown(Fault.SENSOR, "a stuck", step_s=100)
    stream.unknown(Fault.SENSOR, "b stuck", step_s=100)
    assert [(each.life, each.detail) for each in stream.transitions] == [
        (Life.OPEN, "a stuck"),
        (Life.UPDATE, "b stuck"),
    ]


def test_an_open_anomaly_outlives_a_sensor_fault(stream: Stream) -> None:
    stream.score(11, 11, 11)
    assert stream.unknown(Fault.SENSOR).anomaly is None
    assert stream.score(11, 11, 11).anomaly is True
    assert [each.kind for each in stream.transitions] == [EventKind.ANOMALY, EventKind.SENSOR_FAULT]


def test_without_its_network_the_gaussian_decides_alone_and_says_so(stream: Stream) -> None:
    quiet = stream.score(None, d2=3.0, stage=Stage.PREFILTER, model_fault="graph cannot be loaded")
    assert (quiet.anomaly, quiet.fault, quiet.detail) == (False, Fault.MODEL, "graph cannot be loaded")
    assert stream.score(None, gross=True, model_fault="graph cannot be loaded").anomaly is True
    assert stream.told() == [("model_fault", "open", ""), ("anomaly", "open", "")]


def test_a_model_fault_closes_only_once_the_network_scores_again(stream: Stream) -> None:
    stream.score(None, model_fault="too slow")
    stream.score(*[None] * 100)
    assert stream.told() == [("model_fault", "open", "")]
    stream.score(*[0] * 21)
    assert stream.told() == [("model_fault", "open", ""), ("model_fault", "close", "recovered")]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_a_model_fault_never_a_verdict(stream: Stream, bad: float) -> None:
    decision = stream.score(bad, bad, bad)
    assert (decision.fault, decision.score, decision.level) == (Fault.MODEL, None, None)
    assert stream.told() == [("model_fault", "open", "")]


def test_after_a_restart_an_event_goes_on_with_its_id_if_the_cause_is_still_there(stream: Stream) -> None:
    stream.score(11, 11, 11)
    stream.unknown(Fault.SENSOR, "a stuck")
    stream.restart()
    stream.unknown(Fault.SENSOR, "a stuck")
    stream.score(11, 11, 11, *[0] * 50)
    assert stream.told() == [
        ("anomaly", "open", ""),
        ("sensor_fault", "open", ""),
        ("sensor_ok", "close", "recovered"),
        ("anomaly_cleared", "close", "normal"),
    ]
    assert len({each.id for each in stream.transitions}) == 2


def test_after_a_restart_an_event_whose_cause_is_gone_closes_with_that_reason(stream: Stream) -> None:
    stream.score(11, 11, 11)
    stream.unknown(Fault.SENSOR, "a stuck")
    stream.restart()
    stream.score(*[0] * 50)
    assert stream.told()[2:] == [("sensor_ok", "close", "restart"), ("anomaly_cleared", "close", "restart")]
    assert stream.decider.open_events() == []


def test_a_second_stored_event_of_one_cause_is_closed_and_not_lost(stream: Stream) -> None:
    event = OpenEvent(kind=EventKind.ANOMALY, id="old-1", since_ns=1, stage=Stage.NETWORK)
    stream.decider.restore([event, dataclasses.replace(event, id="old-2")])
    assert {each.id for each in stream.decider.open_events()} == {"old-1", "old-2"}
    stream.score(0)
    assert [(each.id, each.life, each.reason) for each in stream.transitions] == [("old-2", Life.CLOSE, "restart")]


@pytest.mark.parametrize(
    "wrong", [{"id": ""}, {"kind": EventKind.SENSOR_OK}, {"fault": Fault.SENSOR}, {"fault": Fault.NOT_READY}]
)
def test_a_stored_event_that_cannot_have_been_open_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="an open event needs"):
        OpenEvent(**{"kind": EventKind.ANOMALY, "id": "x", "since_ns": 1, "stage": Stage.NETWORK} | wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"n": 6},
        {"m": 65},
        {"hysteresis": 0.0},
        {"hysteresis": 1.1},
        {"hold_off_s": -1.0},
        {"update_s": float("nan")},
    ],
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        DecisionRule(**{"hold_off_s": 1.0} | wrong)


def test_a_threshold_for_another_n_of_m_is_refused() -> None:
    with pytest.raises(ValueError, match="calibrated for 2 of 5"):
        Decider(RULE, calibrated(2, 5), WINDOW_S, str)


SCORES = st.sampled_from([0.0, 7.0, 9.0, 10.0, 11.0, 30.0, 1e9, None, float("nan")])
STEPS_S = st.sampled_from([1.0] * 12 + [7.0, 40.0, 1e6, 0.0, -2.0, -1e6])
WINDOWS = st.tuples(st.just("window"), STEPS_S, SCORES, st.sampled_from([False] * 9 + [True]))
FAULTS = st.tuples(st.just("unknown"), STEPS_S, st.sampled_from(list(Fault)), st.sampled_from(["", "a", "b"]))
RESTARTS = st.tuples(st.just("restart"), STEPS_S, st.none(), st.none())
RUNS = st.lists(st.one_of(*[WINDOWS] * 12, FAULTS, RESTARTS), max_size=150)
RULES = st.builds(
    DecisionRule,
    n=st.just(2),
    m=st.integers(2, 4),
    hysteresis=st.sampled_from([0.8, 1.0]),
    hold_off_s=st.sampled_from([0.0, 3.0, 20.0]),
    update_s=st.sampled_from([0.0, 5.0, 60.0]),
)


@UNTIMED
@given(RULES, RUNS)
def test_every_event_opens_once_and_closes_once_in_order_whatever_comes(rule: DecisionRule, run: list[tuple]) -> None:
    stream, lives = Stream(rule), {}
    for what, step_s, value, extra in run:
        before = {event.id for event in stream.decider.open_events()}
        if what == "restart":
            stream.restart()
            assert {event.id for event in stream.decider.open_events()} == before
            continue
        if what == "window":
            decision = stream.score(value, step_s=step_s, gross=extra)
            assert (decision.fault is Fault.MODEL) == (value is not None and value != value)  # noqa: PLR0124 - NaN
            assert decision.anomaly is any(event.fault is None for event in stream.decider.open_events())
        else:
            decision = stream.unknown(value, extra, step_s=step_s)
            assert (decision.anomaly, decision.fault) == (None, value)
        for step in decision.transitions:
            expected = (None,) if step.life is Life.OPEN else (Life.OPEN, Life.UPDATE)
            assert lives.get(step.id) in expected
            lives[step.id] = step.life
        still_open = {name for name, life in lives.items() if life is not Life.CLOSE}
        assert still_open == {event.id for event in stream.decider.open_events()}
        causes = [event.fault for event in stream.decider.open_events()]
        assert len(causes) == len(set(causes))


@UNTIMED
@given(RULES, RUNS)
def test_quiet_and_healthy_windows_close_everything_whatever_came_before(rule: DecisionRule, run: list[tuple]) -> None:
    stream = Stream(rule)
    for what, step_s, value, extra in run:
        if what == "window":
            stream.score(value, step_s=step_s, gross=extra)
        elif what == "unknown":
            stream.unknown(value, extra, step_s=step_s)
        else:
            stream.restart()
    stream.score(*[0.0] * (int(WINDOW_S + rule.hold_off_s) + rule.m + 2))
    assert stream.decider.open_events() == []


@UNTIMED
@given(RULES, RUNS)
def test_the_same_windows_decide_the_same(rule: DecisionRule, run: list[tuple]) -> None:
    def transitions() -> list[Transition]:
        stream = Stream(rule)
        for what, step_s, value, extra in run:
            if what == "window":
                stream.score(value, step_s=step_s, gross=extra)
            elif what == "unknown":
                stream.unknown(value, extra, step_s=step_s)
        return stream.transitions

    assert transitions() == transitions()


@UNTIMED
@given(st.lists(st.sampled_from([0.0, 10.0, 10.5, 11.0]), max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_opens_exactly_when_v_passes_the_threshold(scores: list[float], n: int, more: int) -> None:
    stream = Stream(DecisionRule(n=n, m=n + more, hold_off_s=1e6))
    history: deque[float] = deque(maxlen=n + more)
    opened = False
    for score in scores:
        history.append(score)
        v = sorted(history)[-n] if len(history) >= n else -np.inf
        opened = opened or v > 10.0
        assert stream.score(score).anomaly is opened


@pytest.mark.parametrize(("hysteresis", "exactly"), [(1.0, True), (0.8, False)])
def test_raises_as_many_events_as_the_calibration_counted(*, hysteresis: float, exactly: bool) -> None:
    rng = np.random.default_rng(5)
    scores = np.convolve(rng.exponential(size=40_000), np.full(5, 0.2), "valid")
    t_ns = np.arange(len(scores), dtype=np.int64) * NS
    rule = DecisionRule(hold_off_s=20.0, hysteresis=hysteresis)
    calibration = calibrate(scores, t_ns, alarms_per_day=80.0, n=3, m=5, join_s=WINDOW_S + 20.0, k=1.0)
    ids = itertools.count()
    decider = Decider(rule, calibration, WINDOW_S, lambda: str(next(ids)))
    for now, score in zip(t_ns.tolist(), scores.tolist(), strict=True):
        decider.window(now, score=score)
    counted = int((1 - GROSS_SHARE) * 80.0 * calibration.normal_days)
    assert next(ids) == counted if exactly else next(ids) <= counted


def replayed(values: np.ndarray, t_ns: np.ndarray, cuts: list[int]) -> list[Decision]:
    """Cut readings into blocks, windows and decisions; a window's score is its largest value."""
    channel = Channel(name="a", low=-50.0, high=50.0)
    rule = WindowRule(channels=(channel,), rate_hz=1.0, window=5, hold=1, max_gap_s=2.5, stuck_samples=(None,))
    windower, stream, decisions = Windower(rule), Stream(), []
    for rows in np.split(np.arange(len(values)), sorted(cuts)):
        if not len(rows):
            continue
        for item in windower.feed(Block(values=values[rows], t_ns=t_ns[rows])):
            if isinstance(item, Unknown):
                decisions.append(stream.decider.unknown(item))
            else:
                peaks = item.values.max(axis=(1, 2)).tolist()
                decisions += [
                    stream.decider.window(t, score=peak) for t, peak in zip(item.t_ns.tolist(), peaks, strict=True)
                ]
    return decisions


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 400), max_size=60))
def test_replay_in_blocks_of_any_size_decides_the_same(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(400, 1)).astype(np.float32)
    values[100:130] += 12
    values[rng.integers(0, 400, size=4)] = rng.choice([np.nan, 60.0, 20.0], size=(4, 1))
    steps = np.where(rng.uniform(size=400) < 0.01, rng.choice([-500.0, 0.0, 30.0, 5_000.0], size=400), 1.0)
    t_ns = (np.cumsum(steps) * NS).astype(np.int64) + 10**18
    whole = replayed(values, t_ns, [])
    assert len(whole) > 100
    assert [dataclasses.astuple(each) for each in replayed(values, t_ns, cuts)] == [
        dataclasses.astuple(each) for each in whole
    ]
    assert [dataclasses.astuple(each) for each in replayed(values, t_ns, list(range(400)))] == [
        dataclasses.astuple(each) for each in whole
    ]


def test_another_threshold_keeps_the_event_and_decides_what_comes() -> None:
    stream = Stream()
    stream.score(20, 20, 20)
    stream.decider.recalibrate(calibrated().with_threshold(100.0))
    assert stream.score(100).level == 0.5
    stream.score(*[20.0] * 60)
    assert stream.told() == [("anomaly", "open", ""), ("anomaly_cleared", "close", "normal")]
    assert len({each.id for each in stream.transitions}) == 1
    stream.score(*[99.0] * 10)
    assert stream.decider.open_events() == []


def test_another_threshold_must_be_for_the_same_n_of_m() -> None:
    with pytest.raises(ValueError, match="calibrated for 1 of 1"):
        Stream().decider.recalibrate(calibrated(1, 1))


def test_frames_of_parts_are_never_joined_and_all_others_for_a_frame_and_the_hold_off() -> None:
    assert DecisionRule(n=1, m=1, hold_off_s=0.0).joined_s(2.0) == 0.0
    assert DecisionRule(n=1, m=1, hold_off_s=3.0).joined_s(2.0) == 5.0
    assert DecisionRule(n=1, m=2, hold_off_s=0.0).joined_s(2.0) == 2.0
