"""Learning on site and recalibration, on the simulated pump."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.decision import OpenEvent
from edge_agent.contract.prefilter import Prefilter
from edge_agent.contract.records import NS, Block, EventKind, Fault, Stage, Unknown
from edge_agent.errors import ManifestError
from edge_agent.on_site import (
    FAULT_HOLD_OFF_S,
    Learning,
    LearningSettings,
    gaussian_pipeline,
    learn,
    unseen_distances,
)
from edge_agent.recalibration import figures, recalibrate, refit
from edge_agent.scoring.selection import choose
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.site_model import SiteModel
from edge_agent.sources.pump import PUMP_CHANNELS, Pump, PumpFault, PumpFaultKind
from tests.virtual_clock import EPOCH_NS

SETTINGS = LearningSettings(readings=200, window=8)
CREATED = "2026-01-01T00:00:00Z"


def blocks(pump: Pump, rows: int, size: int = 20) -> list[Block]:
    return [pump.take(size) for _ in range(rows // size)]


def learning(settings: LearningSettings = SETTINGS) -> Learning:
    ids = (f"event-{number}" for number in itertools.count())
    return Learning(PUMP_CHANNELS, settings, lambda: CREATED, lambda: next(ids))


@pytest.fixture(scope="module")
def model() -> SiteModel:
    return learn(PUMP_CHANNELS, blocks(Pump(seed=3), 600), LearningSettings(readings=600, window=8), CREATED)


def lost(block: Block) -> Block:
    return dataclasses.replace(block, values=np.full_like(block.values, np.nan))


# Learning.


def test_the_model_comes_with_the_block_that_completes_it() -> None:
    learner, pump = learning(), Pump(seed=3)
    results = [learner.feed(block) for block in blocks(pump, 200)]
    assert [made is not None for _, made in results] == [False] * 9 + [True]
    assert {(decision.anomaly, decision.fault) for decision, _ in results} == {(None, Fault.CALIBRATING)}


def test_progress_is_told() -> None:
    learner = learning()
    decision, _ = learner.feed(Pump(seed=3).take(50))
    assert learner.progress == 0.25
    assert "50 of 200" in decision.detail


def test_readings_that_cannot_be_learned_from_are_said_and_more_are_taken() -> None:
    learner, pump = learning(), Pump(seed=3)
    for block in blocks(pump, 200):
        decision, made = learner.feed(lost(block))
    assert made is None
    assert "the last try failed: only 0 usable windows" in decision.detail
    made = None
    for block in blocks(pump, 400):
        made = made or learner.feed(block)[1]
    assert made is not None


def test_readings_without_time_are_a_try_that_failed() -> None:
    learner = learning()
    block = Pump(seed=3).take(200)
    decision, made = learner.feed(dataclasses.replace(block, t_ns=np.full(200, EPOCH_NS, np.int64)))
    assert made is None
    assert "rising order" in decision.detail


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), MemoryError()])
def test_a_fit_that_fails_otherwise_is_tried_again_with_later_readings(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    learner, pump = learning(), Pump(seed=3)
    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.on_site.learn", fail)
        for block in blocks(pump, 200):
            learner.feed(block)
    assert learner.problem
    assert any(learner.feed(block)[1] for block in blocks(pump, 200))


def test_silence_while_learning_is_one_event_however_often_it_comes() -> None:
    learner, pump, told = learning(), Pump(seed=3), []
    for _ in range(5):
        told += learner.unknown(Unknown(t_ns=EPOCH_NS, fault=Fault.NO_DATA)).transitions
        told += learner.feed(pump.take(2))[0].transitions
    for block in blocks(pump, int(FAULT_HOLD_OFF_S) + 20, size=5):
        told += learner.feed(block)[0].transitions
    assert [(str(each.kind), str(each.life)) for each in told] == [("sensor_fault", "open"), ("sensor_ok", "close")]


def test_learning_ends_faults_that_were_open_and_leaves_anomalies_alone() -> None:
    learner, pump = learning(), Pump(seed=3)
    anomaly = OpenEvent(kind=EventKind.ANOMALY, id="a", since_ns=0, stage=Stage.NETWORK)
    fault = OpenEvent(kind=EventKind.SENSOR_FAULT, id="f", since_ns=0, stage=Stage.NETWORK, fault=Fault.SENSOR)
    learner.restore([anomaly, fault])
    assert {each.id for each in learner.open_events()} == {"a", "f"}
    for block in blocks(pump, 150, size=5):
        learner.feed(block)
    assert [each.id for each in learner.open_events()] == ["a"]


def test_what_is_learned_is_provisional_and_says_how_much_more_would_help(model: SiteModel) -> None:
    said = figures(model.calibration)
    assert said["grade"] == "provisional"
    assert said["hours_needed"] > 0


def test_a_learned_gaussian_finds_a_fault_and_no_other(model: SiteModel) -> None:
    fault = PumpFault(kind=PumpFaultKind.CAVITATION, start_s=1000, duration_s=1e9, severity=4)
    pump = Pump(seed=3, faults=(fault,))
    pipe = gaussian_pipeline(model, lambda: "event")
    decisions = [each for block in blocks(pump, 1100) for each in pipe.feed(block)]
    opened = [t for each in decisions for t in each.transitions]
    assert {each.id for each in opened} == {"event"}
    assert str(opened[0].kind) == "anomaly"
    assert opened[0].t_ns >= pump.take(1).t_ns[0] - 101 * NS


def test_a_threshold_rests_on_windows_that_the_gaussian_has_not_seen() -> None:
    values = Pump(seed=3).take(3000).values
    windows = np.lib.stride_tricks.sliding_window_view(values, 8, axis=0).transpose(0, 2, 1)
    seen, later = windows[:400], windows[1000:]
    gaussian = Prefilter.fit(seen)
    usual, unseen, true = (
        float(np.quantile(each, 0.99))
        for each in (gaussian.distances(seen), unseen_distances(seen), gaussian.distances(later))
    )
    assert 1.2 * usual < unseen < true


def test_a_rate_that_is_told_is_not_measured() -> None:
    told = dataclasses.replace(SETTINGS, rate_hz=1.01)
    assert learn(PUMP_CHANNELS, blocks(Pump(seed=3), 200), told, CREATED).input.rate_hz == 1.01


@pytest.mark.parametrize(
    "bad",
    [
        {"window": 1},
        {"window": 1025},
        {"readings": 99},
        {"readings": 100, "window": 16},
        {"readings": 1_000_001},
        {"rate_hz": 0.0},
        {"rate_hz": 2e6},
        {"alarms_per_day": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        LearningSettings(**bad)


# The file.


def test_a_file_that_is_read_back_decides_the_same(tmp_path: Path, model: SiteModel) -> None:
    model.save(tmp_path / "new" / "learned.json")
    again = SiteModel.load(tmp_path / "new" / "learned.json")
    assert (again.input, again.calibration, again.created) == (model.input, model.calibration, CREATED)
    windows = Pump(seed=9).take(80).values.reshape(10, 8, 5)
    np.testing.assert_array_equal(again.prefilter.distances(windows), model.prefilter.distances(windows))


def test_nothing_is_left_beside_the_file(tmp_path: Path, model: SiteModel) -> None:
    model.save(tmp_path / "site.json")
    assert [path.name for path in tmp_path.iterdir()] == ["site.json"]


def test_no_file_is_no_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SiteModel.load(tmp_path / "site.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        SiteModel.load(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 500, -2])
def test_a_file_that_is_cut_off_says_what_to_do(tmp_path: Path, model: SiteModel, cut: int) -> None:
    path = tmp_path / "site.json"
    model.save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ManifestError, match="calibrate again"):
        SiteModel.load(path)


def test_a_prefilter_that_is_no_base64_is_refused(tmp_path: Path, model: SiteModel) -> None:
    path = tmp_path / "site.json"
    model.save(path)
    path.write_text(path.read_text().replace('"prefilter": "', '"prefilter": "***'))
    with pytest.raises(ManifestError):
        SiteModel.load(path)


# Recalibration.


@pytest.fixture(scope="module")
def loaded(pump_bundle: Path) -> Any:
    bundle = Bundle.read(pump_bundle)
    trial, scorer, _ = choose(bundle, ScoringSettings())
    return bundle, trial.spec, scorer


def test_a_recalibration_is_bound_to_its_graph_and_leaves_the_bundle(loaded: Any) -> None:
    bundle, spec, scorer = loaded
    site = recalibrate(bundle, spec, scorer, blocks(Pump(seed=77), 600), CREATED)
    assert site.graph_sha256 == spec.sha256
    assert site.input == bundle.manifest.input
    assert site.calibration.threshold != spec.calibration.threshold
    assert (site.calibration.n, site.calibration.m) == (
        bundle.manifest.decision.rule.n,
        bundle.manifest.decision.rule.m,
    )


def test_a_recalibration_calls_none_of_its_windows_gross(loaded: Any) -> None:
    bundle, spec, scorer = loaded
    readings = blocks(Pump(seed=77), 600)
    site = recalibrate(bundle, spec, scorer, readings, CREATED)
    values = np.concatenate([block.values for block in readings])
    windows = np.lib.stride_tricks.sliding_window_view(values, bundle.manifest.input.window, axis=0).transpose(0, 2, 1)
    assert site.prefilter.distances(windows).max() <= site.prefilter.upper


def test_too_few_readings_to_recalibrate_say_what_was_wrong_with_them(loaded: Any) -> None:
    bundle, spec, scorer = loaded
    with pytest.raises(ValueError, match=r"0 usable windows came from 200 readings.*flow is lost"):
        recalibrate(bundle, spec, scorer, [lost(block) for block in blocks(Pump(seed=77), 200)], CREATED)


def test_a_refit_on_the_same_windows_keeps_the_limits(loaded: Any, model: SiteModel) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(Pump(seed=3).take(600).values, 8, axis=0).transpose(0, 2, 1)
    old = model.prefilter.with_limits(10.0, 2000.0)
    again = refit(old, windows)
    assert again.lower == pytest.approx(old.lower, rel=0.1)
    assert 0 < again.lower < again.upper
