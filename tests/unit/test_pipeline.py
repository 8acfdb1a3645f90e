"""Readings to decisions, row by row of the contract's table of states, with a scorer that does what a test says."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import Decider, DecisionRule
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Channel, Decision, Fault, Stage, Unknown
from edge_agent.contract.windows import Windower, WindowRule
from edge_agent.pipeline import BEHIND_S, REST_S, DecisionSettings, Pace, Pipeline, PrefilterSettings, bundle_pipeline
from tests.bundles import bundle_bytes
from tests.fakes import Answers, block, broken, not_a_number

T = 4
RNG = np.random.default_rng(7)
NORMAL = RNG.standard_normal((400, 2)).astype(np.float32)
FITTED = Prefilter.fit(np.lib.stride_tricks.sliding_window_view(NORMAL, T, axis=0).transpose(0, 2, 1))
NEVER_CLEAR, ALWAYS_CLEAR = FITTED.with_limits(0.0, 1e6), FITTED.with_limits(1e5, 1e6)
THRESHOLD = 10.0


def pipeline(scorer: Answers | None, prefilter: Prefilter | None = NEVER_CLEAR, **given: Any) -> Pipeline:
    """Windows of 4 rows at 1 Hz; threshold 10, 2 of 3."""
    streaming = scorer is not None and scorer.streaming
    rule = WindowRule(
        channels=(Channel(name="a", high=1000.0), Channel(name="b")),
        rate_hz=1.0,
        window=1 if streaming else T,
        hold=1,
        max_gap_s=given.pop("max_gap_s", 3.5),
        stuck_samples=(None, None),
        warm_up=given.pop("warm_up", 0),
    )
    scores = np.linspace(-1, 1, 100)
    t_ns = np.arange(100, dtype=np.int64) * NS
    base = calibrate(scores, t_ns, alarms_per_day=1, n=2, m=3, join_s=9, k=1).with_threshold(THRESHOLD)
    ids = (f"event-{number}" for number in itertools.count())
    return Pipeline(
        windower=Windower(rule),
        decider=Decider(DecisionRule(n=2, m=3, hold_off_s=5.0), base, 4.0, lambda: next(ids)),
        calibration=base,
        prefilter=prefilter,
        scorer=scorer,
        mode=given.pop("mode", Mode.WATCH),
        max_skip_s=given.pop("max_skip_s", 60.0),
        **given,
    )


def decided(pipe: Pipeline, rows: int, start: int = 0, values: Any = None) -> list[Decision]:
    """Feed rows one block each, from row `start` on."""
    readings = NORMAL[start : start + rows] if values is None else values
    return [each for i in range(rows) for each in pipe.feed(block(readings[i : i + 1], start + i))]


def faults(decisions: list[Decision]) -> list[Fault | None]:
    return [fault for fault, _ in itertools.groupby(each.fault for each in decisions)]


def told(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(str(t.kind), str(t.life)) for each in decisions for t in each.transitions]


# The contract's table of states.


def test_below_the_threshold_is_off() -> None:
    last = decided(pipeline(Answers(1.0, 9.9)), T + 1)[-1]
    assert (last.anomaly, last.fault, last.score, last.stage) == (False, None, 9.9, Stage.NETWORK)


def test_a_clear_window_is_off_without_the_network() -> None:
    scorer = Answers()
    last = decided(pipeline(scorer, ALWAYS_CLEAR, mode=Mode.GATE), T + 5)[-1]
    assert (last.anomaly, last.fault, last.score, last.stage) == (False, None, None, Stage.PREFILTER)
    assert len(scorer.seen) == 1


def test_above_the_threshold_n_of_m_is_an_anomaly() -> None:
    decisions = decided(pipeline(Answers(11.0, 11.0)), T + 1)
    assert [each.anomaly for each in decisions] == [None, False, True]
    assert told(decisions) == [("anomaly", "open")]


def test_a_gross_window_is_an_anomaly_at_once_and_is_scored_too() -> None:
    scorer = Answers()
    last = decided(pipeline(scorer, FITTED.with_limits(0.0, 1e-9)), T)[-1]
    assert (last.anomaly, last.gross, len(scorer.seen)) == (True, True, 1)


def test_too_few_readings_are_not_ready() -> None:
    decisions = decided(pipeline(Answers()), T - 1)
    assert [(each.anomaly, each.fault) for each in decisions] == [(None, Fault.NOT_READY)]


def test_no_data_is_unknown_and_a_sensor_fault() -> None:
    pipe = pipeline(Answers(11.0, 11.0))
    decided(pipe, T)
    decision = pipe.unknown(Unknown(t_ns=block(NORMAL[:1], T).t_ns[0], fault=Fault.NO_DATA, detail="silent"))
    assert (decision.anomaly, decision.fault) == (None, Fault.NO_DATA)
    assert told([decision]) == [("sensor_fault", "open")]


def test_a_broken_channel_is_a_sensor_fault_and_is_never_scored() -> None:
    scorer = Answers()
    pipe = pipeline(scorer)
    decided(pipe, T)
    values = np.full((3, 2), 5000.0, np.float32)
    decisions = decided(pipe, 3, T, values)
    assert {(each.anomaly, each.fault) for each in decisions} == {(None, Fault.SENSOR)}
    assert len(scorer.seen) == 1


def test_a_network_that_fails_leaves_the_gaussian_deciding_under_the_fault_model() -> None:
    decisions = decided(pipeline(Answers(*broken(3))), T + 2)[1:]
    assert {(each.anomaly, each.fault, each.stage) for each in decisions} == {(False, Fault.MODEL, Stage.PREFILTER)}
    assert "went away" in decisions[0].detail
    assert told(decisions) == [("model_fault", "open")]


def test_the_gaussian_alone_still_finds_what_is_gross() -> None:
    last = decided(pipeline(Answers(*broken(9)), FITTED.with_limits(0.0, 1e-9)), T)[-1]
    assert (last.anomaly, last.fault) == (True, Fault.MODEL)


def test_without_a_gaussian_a_network_that_fails_is_unknown() -> None:
    last = decided(pipeline(Answers(*broken(9)), None), T)[-1]
    assert (last.anomaly, last.fault) == (None, Fault.MODEL)


def test_a_prefilter_that_is_off_decides_all_the_same_when_the_network_fails() -> None:
    last = decided(pipeline(Answers(*broken(9)), FITTED.with_limits(0.0, 1e-9), mode=Mode.OFF), T)[-1]
    assert (last.anomaly, last.fault) == (True, Fault.MODEL)
    assert last.d2 is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_a_model_fault(value: float) -> None:
    pipe = pipeline(Answers(value))
    last = decided(pipe, T)[-1]
    assert (last.anomaly, last.fault, last.score) == (False, Fault.MODEL, None)
    assert pipe.counts.model_failures == 1


def test_no_scorer_where_there_should_be_one_is_a_model_fault() -> None:
    last = decided(pipeline(None, model_problem="the graph does not load"), T)[-1]
    assert (last.anomaly, last.fault, last.detail) == (False, Fault.MODEL, "the graph does not load")


def test_a_network_that_recovers_ends_the_fault() -> None:
    decisions = decided(pipeline(Answers(*broken(2))), T + 12)
    assert faults(decisions) == [Fault.NOT_READY, Fault.MODEL, None]
    assert told(decisions) == [("model_fault", "open"), ("model_fault", "close")]


# Too slow.


def test_a_network_slower_than_its_readings_is_a_model_fault_and_rests() -> None:
    scorer = Answers()
    scorer.took_ns = 3 * NS
    pipe = pipeline(scorer)
    decisions = decided(pipe, 60)
    assert faults(decisions) == [Fault.NOT_READY, None, Fault.MODEL]
    assert "too slow" in decisions[-1].detail
    assert len(scorer.seen) < BEHIND_S


def test_a_network_that_rested_is_tried_again() -> None:
    pace = Pace()
    pace.spent(int(BEHIND_S * NS) + 1)
    assert pace.problem(0)
    assert pace.problem(int((REST_S - 1) * NS))
    assert not pace.problem(int(REST_S * NS))


def test_one_slow_call_is_no_fault() -> None:
    pace = Pace()
    pace.problem(0)
    pace.spent(int(0.9 * BEHIND_S * NS))
    assert not pace.problem(NS)


def test_a_network_that_needs_its_prefilter_to_keep_up_keeps_up() -> None:
    scorer = Answers()
    scorer.took_ns = 3 * NS
    decisions = decided(pipeline(scorer, ALWAYS_CLEAR, mode=Mode.GATE, max_skip_s=10.0), 200)
    assert faults(decisions) == [Fault.NOT_READY, None]


# The prefilter in front.


def test_a_window_is_scored_every_max_skip() -> None:
    scorer = Answers()
    decided(pipeline(scorer, ALWAYS_CLEAR, mode=Mode.GATE, max_skip_s=10.0), 45)
    assert len(scorer.seen) == 5


def test_the_first_window_after_a_failure_is_scored_though_it_is_clear() -> None:
    pipe = pipeline(Answers(0.0, *broken(2)), NEVER_CLEAR, mode=Mode.GATE)
    decided(pipe, T + 1)
    pipe.prefilter = ALWAYS_CLEAR
    assert [each.fault for each in decided(pipe, 2, T + 1)] == [Fault.MODEL, None]


@pytest.mark.parametrize("mode", [Mode.WATCH, Mode.OFF])
def test_only_a_gate_spares_the_network(mode: Mode) -> None:
    pipe = pipeline(Answers(), ALWAYS_CLEAR, mode=mode)
    decided(pipe, 20)
    assert pipe.counts.scored == pipe.counts.windows == 17
    assert pipe.counts.skipped_share == 0


def test_the_skipped_share_is_counted() -> None:
    pipe = pipeline(Answers(), ALWAYS_CLEAR, mode=Mode.GATE)
    assert pipe.counts.skipped_share == 0
    decided(pipe, 13)
    assert pipe.counts.skipped_share == pytest.approx(0.9)


def test_a_pipeline_without_anything_that_decides_is_refused() -> None:
    with pytest.raises(ValueError, match="got neither"):
        pipeline(None, None)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_gaussian_alone_decides_by_its_distance_whatever_the_mode(mode: Mode) -> None:
    last = decided(pipeline(None, mode=mode), T)[-1]
    assert last.score == last.d2 is not None
    assert last.stage is Stage.PREFILTER


# Streaming graphs.


def test_a_streaming_graph_sees_every_row_though_all_are_clear() -> None:
    scorer = Answers(streaming=True)
    decided(pipeline(scorer, None), 20)
    assert len(scorer.seen) == 20


def test_warm_up_rows_are_scored_and_not_decided() -> None:
    scorer = Answers(*[99.0] * 5, streaming=True)
    decisions = decided(pipeline(scorer, None, warm_up=5), 8)
    assert len(scorer.seen) == 8
    assert [(each.fault, each.anomaly) for each in decisions] == [(Fault.NOT_READY, None)] + [(None, False)] * 3


def test_the_state_is_reset_at_a_gap_and_warms_up_again() -> None:
    scorer = Answers(streaming=True)
    pipe = pipeline(scorer, None, warm_up=5)
    decided(pipe, 8)
    before = scorer.resets
    decisions = decided(pipe, 7, 100)
    assert scorer.resets == before + 1
    assert [each.fault for each in decisions] == [Fault.NOT_READY, None, None]


def test_a_streaming_graph_that_failed_warms_up_before_it_is_believed() -> None:
    scorer = Answers(*[0.0] * 7, *broken(1), *[99.0] * 5, streaming=True)
    decisions = decided(pipeline(scorer, None, warm_up=5), 15)
    assert [each.fault for each in decisions[1:]] == [None] * 2 + [Fault.MODEL] * 6 + [None] * 2
    assert not any(each.anomaly for each in decisions)
    assert "warms up again" in decisions[-3].detail


def test_a_streaming_graph_that_fails_while_warming_up_warms_up_from_there() -> None:
    scorer = Answers(0.0, 0.0, *broken(1), *[99.0] * 5, streaming=True)
    decisions = decided(pipeline(scorer, None, warm_up=5), 12)
    assert not any(each.anomaly for each in decisions)
    assert [each.fault for each in decisions[-4:]] == [None] * 4


def test_silence_within_the_longest_gap_leaves_the_state_alone() -> None:
    scorer = Answers(streaming=True)
    pipe = pipeline(scorer, None, max_gap_s=600.0)
    decided(pipe, 5)
    before = scorer.resets
    pipe.unknown(Unknown(t_ns=block(NORMAL[:1], 5).t_ns[0], fault=Fault.NO_DATA))
    assert [each.fault for each in decided(pipe, 1, 20)] == [None]
    assert scorer.resets == before


# Faults found by others.


def test_readings_after_silence_say_again_that_they_are_not_enough() -> None:
    pipe = pipeline(Answers())
    decided(pipe, 2)
    pipe.unknown(Unknown(t_ns=block(NORMAL[:1], 2).t_ns[0], fault=Fault.NO_DATA))
    assert [each.fault for each in decided(pipe, 1, 2)] == [Fault.NOT_READY]


def test_readings_after_silence_say_again_what_is_wrong_with_them() -> None:
    pipe = pipeline(Answers())
    wrong = np.full((1, 2), 5000.0, np.float32)
    decided(pipe, 1, 0, wrong)
    pipe.unknown(Unknown(t_ns=block(NORMAL[:1], 1).t_ns[0], fault=Fault.NO_DATA))
    assert [each.fault for each in decided(pipe, 1, 1, wrong)] == [Fault.SENSOR]


def test_what_is_over_is_not_said_again() -> None:
    pipe = pipeline(Answers())
    decided(pipe, T + 1)
    pipe.unknown(Unknown(t_ns=block(NORMAL[:1], T + 1).t_ns[0], fault=Fault.NO_DATA))
    assert [each.fault for each in decided(pipe, 1, T + 1)] == [None]


# What alerts are explained by.


def test_an_alert_keeps_the_window_it_was_decided_on_and_not_the_last_of_its_block() -> None:
    pipe = pipeline(Answers(11.0, 11.0, 1.0, 2.0))
    decisions = pipe.feed(block(NORMAL[:8]))
    opened = next(each for each in decisions if each.transitions)
    np.testing.assert_array_equal(opened.window, NORMAL[1:5])
    np.testing.assert_array_equal(opened.contributions, [11.0, 1.0])


def test_a_decision_without_an_alert_holds_no_window() -> None:
    assert all(each.window is None for each in decided(pipeline(Answers()), 10))


def test_an_alert_of_the_gaussian_has_no_shares_of_an_older_window() -> None:
    pipe = pipeline(Answers(1.0, *broken(5)), FITTED.with_limits(0.0, 1e-9))
    decided(pipe, T)
    opened = decided(pipe, 1, T)[-1]
    assert opened.contributions is None
    assert opened.window is not None


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 59), max_size=8),
    script=st.lists(st.sampled_from([0.0, 11.0, "error", "nan"]), min_size=60, max_size=60),
)
def test_the_same_readings_decide_the_same_in_whatever_blocks(cuts: list[int], script: list[Any]) -> None:
    def scripted() -> Answers:
        answers = {"error": broken(1)[0], "nan": not_a_number}
        return Answers(*(answers.get(each, each) for each in script))

    def summary(decisions: list[Decision]) -> list[Any]:
        return [(each.t_ns, each.anomaly, each.fault, each.score, told([each])) for each in decisions]

    whole = pipeline(scripted()).feed(block(NORMAL[:60]))
    pipe, edges = pipeline(scripted()), sorted({0, 60, *cuts})
    pieces = [each for a, b in itertools.pairwise(edges) for each in pipe.feed(block(NORMAL[a:b], a))]
    assert summary(pieces) == summary(whole)


# Made from a bundle.


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "small.bundle"
    path.write_bytes(bundle_bytes())
    return Bundle.read(Path(path))


def of_bundle(bundle: Bundle, **given: Any) -> Pipeline:
    return bundle_pipeline(bundle, bundle.manifest.graphs[0], Answers(), new_id=lambda: "id", **given)


def test_the_bundle_says_how_to_decide(bundle: Bundle) -> None:
    pipe = of_bundle(bundle)
    assert pipe.calibration == bundle.manifest.graphs[0].calibration
    assert pipe.windower.rule == bundle.manifest.input.rule()


def test_sensitivity_is_changed_without_a_new_model(bundle: Bundle) -> None:
    usual = of_bundle(bundle).calibration
    changed = of_bundle(bundle, decision=DecisionSettings(k=30.0)).calibration
    assert changed.threshold > usual.threshold


def test_the_settings_of_the_device_come_before_the_bundles(bundle: Bundle) -> None:
    pipe = of_bundle(
        bundle,
        decision=DecisionSettings(hold_off_s=99.0),
        prefilter=PrefilterSettings(mode=Mode.GATE, max_skip_s=7.0),
    )
    assert pipe.decider._hold_off_ns == 99 * NS
    assert (pipe._mode, pipe._max_skip_ns) == (Mode.GATE, 7 * NS)


def test_an_on_site_calibration_comes_before_the_bundles(bundle: Bundle) -> None:
    own = dataclasses.replace(bundle.manifest.graphs[0].calibration, threshold=1e6)
    pipe = of_bundle(bundle, calibration=own, gaussian=NEVER_CLEAR)
    assert pipe.calibration.threshold == 1e6
    assert pipe.prefilter is NEVER_CLEAR


@pytest.mark.parametrize(
    "make",
    [
        lambda: PrefilterSettings(max_skip_s=0),
        lambda: PrefilterSettings(max_skip_s=86_401),
        lambda: DecisionSettings(alarms_per_day=0),
        lambda: DecisionSettings(k=2e6),
        lambda: DecisionSettings(hysteresis=0),
        lambda: DecisionSettings(hysteresis=1.1),
        lambda: DecisionSettings(hold_off_s=-1),
        lambda: DecisionSettings(update_s=86_401),
    ],
)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|at most"):
        make()
