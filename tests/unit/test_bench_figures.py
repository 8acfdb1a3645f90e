"""Rows, events and ranges of the bench, worked by hand; no TensorFlow is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.records import NS, Channel
from training.experiments.bench import judging, report
from training.experiments.bench.cases import Case, DataSet, Trial
from training.experiments.bench.controls import CONTROLS, best_places, outcomes
from training.experiments.bench.figures import Counts, Shipped, counted_figures
from training.experiments.bench.judging import Judged, from_alarms
from training.experiments.bench.keeping import Outcome, keep, kept
from training.experiments.bench.tables import Entry
from training.splits import Rows

KEYS = [
    "data",
    "detector",
    "f1",
    "far",
    "mar",
    "precision",
    "recall",
    "auc_pr",
    "auc_roc",
    "vus_pr",
    "event_recall",
    "false_alarms_per_hour",
    "delay_s",
    "us_per_window",
    "bytes",
    "parity",
    "f1_low",
    "f1_high",
    "files",
    "format",
    "seconds",
]


def trial(labels: list[int], name: str = "a", tested: slice = slice(None)) -> Trial:
    rows = len(labels)
    counted = np.zeros(rows, bool)
    counted[tested] = True
    values = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    t_ns = np.arange(rows, dtype=np.int64) * NS
    return Trial(name=name, rows=Rows(values=values, t_ns=t_ns, labels=np.array(labels, bool)), tested=counted)


def judged(alarms: list[int], event: list[int] | None = None, scores: list[float] | None = None) -> Judged:
    found = np.array(alarms, bool)
    given = found.astype(np.float64) if scores is None else np.array(scores)
    return Judged(scores=given, alarms=found, event=np.array(event or [0] * len(alarms), np.int32), relative=given)


def data_set(*trials: Trial, kind: str = "csv") -> DataSet:
    cases = tuple(
        Case(name=each.name, channels=("x", "y"), rate_hz=1.0, train=each.rows, trials=(each,)) for each in trials
    )
    return DataSet(name=kind, kind=kind, cases=cases)


def entry(data: DataSet, *outcomes: Outcome, detector: str = "gaussian") -> Entry:
    return Entry.of(data, detector, outcomes)


SHIPPED = Shipped(format="int8", bytes=100, parity=0.01, us_per_window=4.0, grade="provisional", seconds=1.0)


def test_an_event_that_touches_no_fault_is_a_false_alarm_whatever_its_rows() -> None:
    labels = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    event = [1, 1, 0, 2, 2, 2, 2, 0, 3, 3]
    counts = Counts.of(judged([0] * 10, event), trial(labels), 1.0)
    assert counts.false_alarms == 2
    assert counted_figures(counts)["false_alarms_per_hour"] == pytest.approx(2 / (8 / 3600))


def test_delay_is_from_the_first_faulty_row_to_the_first_one_with_an_event_on() -> None:
    labels = [0, 1, 1, 1, 0, 1, 1, 0, 1, 1]
    event = [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    counts = Counts.of(judged([0] * 10, event), trial(labels), 1.0)
    assert counts.faults == 3
    assert counts.delays_s == (2.0, 0.0)
    assert counted_figures(counts)["event_recall"] == pytest.approx(2 / 3)


def test_alarms_become_events_by_three_of_five_rows_and_a_quiet_window_and_hold_off() -> None:
    rows = 300
    alarms = np.zeros(rows, bool)
    alarms[[10, 12, 40, 41, 42, 60]] = True
    event = from_alarms(alarms, alarms.astype(np.float64), trial([0] * rows), 1.0).event
    on = np.flatnonzero(event)
    assert on[0] == 42
    # The last three votes of five leave with row 44; then 32 rows of a window and 60 s of hold-off must be quiet.
    assert on[-1] == 44 + 92
    assert set(event[on].tolist()) == {1}


def test_rows_between_two_windows_hold_the_score_before_but_not_across_a_gap() -> None:
    t_ns = np.array([0, 1, 2, 3, 4, 5, 60, 61, 62], np.int64) * NS
    rows = Rows(values=np.zeros((9, 1), np.float32), t_ns=t_ns, labels=None)
    spec = InputSpec(
        channels=(Channel(name="x"),), rate_hz=1.0, hold=3, max_gap_s=3.5, stuck_samples=(None,), window=2, stride=3
    )
    scores = np.full(9, np.nan)
    scores[[1, 5]] = [10.0, 20.0]
    held = judging._held(scores, rows, spec).tolist()
    assert [None if np.isnan(score) else score for score in held] == [None, 10, 10, 10, None, 20, None, None, None]


def test_rows_are_pooled_over_files_and_rankings_are_means() -> None:
    data = data_set(trial([0, 1, 1, 0], "a"), trial([0, 1, 0, 0], "b"))
    row = entry(
        data,
        Outcome(judged=(judged([0, 1, 0, 0]),), shipped=SHIPPED),
        Outcome(judged=(judged([1, 0, 0, 0], scores=[3.0, 2.0, 1.0, 0.0]),), shipped=SHIPPED),
    ).pooled()
    assert row["precision"] == pytest.approx(1 / 2)
    assert row["recall"] == pytest.approx(1 / 3)
    assert row["far"] == pytest.approx(100 / 5)
    # Ties of the second and the other normal rows: 1/2 * 1 + 1/2 * 2/4; second file: found at the second place.
    assert row["auc_pr"] == pytest.approx(((0.5 + 0.25) + 0.5) / 2)
    assert (row["files"], row["failed"], row["format"], row["us_per_window"]) == (2, 0, "int8", 4.0)
    assert set(KEYS) <= set(row)


def test_files_of_one_kind_each_are_ranked_over_all_rows_together() -> None:
    data = data_set(trial([0, 0], "normal"), trial([1, 1], "faulty"))
    row = entry(
        data,
        Outcome(judged=(judged([0, 0], scores=[1.0, 2.0]),)),
        Outcome(judged=(judged([1, 1], scores=[3.0, 4.0]),)),
    ).pooled()
    assert row["auc_roc"] == 1.0


def test_a_file_that_failed_is_a_row_with_its_reason_and_leaves_the_others() -> None:
    data = data_set(trial([0, 1], "a"), trial([0, 1], "b"))
    found = entry(data, Outcome(reason="too few windows"), Outcome(judged=(judged([0, 1]),), shipped=SHIPPED))
    row = found.pooled()
    assert (row["files"], row["failed"], row["reason"], row["f1"]) == (1, 1, "too few windows", 1.0)
    files = found.by_file()
    assert [each["reason"] for each in files] == ["too few windows", ""]
    assert [each["f1"] for each in files] == [None, 1.0]
    assert set(KEYS) - {"files"} <= set(files[0])
    assert "gaussian failed on 1 files, for instance: too few windows" in report.markdown([data], [row])


def test_an_interval_needs_five_files() -> None:
    def f1_ends(files: int) -> tuple[float | None, float | None]:
        data = data_set(*(trial([0, 1, 1], str(number)) for number in range(files)))
        row = entry(data, *(Outcome(judged=(judged([0, number % 2, 1]),)) for number in range(files))).pooled()
        return row["f1_low"], row["f1_high"]

    assert f1_ends(4) == (None, None)
    low, high = f1_ends(6)
    assert low is not None
    assert high is not None
    assert low < 10 / 11 < high or low < high


def test_nab_scores_the_whole_corpus_and_only_with_every_file() -> None:
    labels = [0] * 40 + [1] * 10 + [0] * 50
    scores = [1.0 if row == 40 else 0.0 for row in range(15, 100)]
    data = data_set(trial(labels, "a", slice(15, None)), kind="nab")
    outcome = Outcome(judged=(judged([int(score) for score in scores], scores=scores),))
    assert entry(data, outcome).pooled()["nab_standard"] == pytest.approx(100.0)
    assert entry(data, Outcome(reason="bad")).pooled()["nab_standard"] is None


def test_the_best_places_are_those_most_often_faulty() -> None:
    labels = np.zeros(100, bool)
    labels[30:60] = True
    assert best_places([labels, labels, np.roll(labels, 35)]) == (30, 60)


def test_the_clock_control_alarms_the_same_rows_in_every_file_whatever_the_data() -> None:
    data = data_set(*(trial([0] * 30 + [1] * 30 + [0] * 40, name) for name in "ab"))
    found = outcomes(data, CONTROLS["control_clock"])
    assert [np.flatnonzero(each.judged[0].alarms).tolist() for each in found] == [list(range(30, 60))] * 2


def test_the_channel_control_sees_one_channel_that_leaves_its_training_range() -> None:
    one = trial([0] * 60 + [1] * 20)
    values = one.rows.values.copy()
    values[60:, 1] += 100
    moved = replace(one, rows=replace(one.rows, values=values), tested=np.arange(80) >= 60)
    train = Rows(values=one.rows.values[:60], t_ns=one.rows.t_ns[:60], labels=None)
    case = Case(name="a", channels=("x", "y"), rate_hz=1.0, train=train, trials=(moved,))
    (found,) = outcomes(DataSet(name="csv", kind="csv", cases=(case,)), CONTROLS["control_channel"])
    assert found.judged[0].alarms.all()


def test_every_control_is_deterministic() -> None:
    data = data_set(trial([0] * 50 + [1] * 20))
    for control in CONTROLS.values():
        first, second = (outcomes(data, control)[0].judged[0].scores for _ in range(2))
        assert np.array_equal(first, second)


def test_a_result_is_kept_under_its_key_alone(tmp_path: Path) -> None:
    outcome = Outcome(judged=(judged([0, 1, 1], [0, 1, 1]),), shipped=SHIPPED)
    keep(tmp_path, "key", outcome)
    again = kept(tmp_path, "key")
    assert again is not None
    assert again.shipped == SHIPPED
    assert again.judged[0].event.tolist() == [0, 1, 1]
    assert again.judged[0].unscored == 0
    assert kept(tmp_path, "other key") is None


def test_a_half_written_result_is_none(tmp_path: Path) -> None:
    keep(tmp_path, "key", Outcome(reason="refused"))
    (tmp_path / "key.txt").unlink()
    assert kept(tmp_path, "key") is None


def test_the_tables_have_detectors_first_then_published_methods_then_controls() -> None:
    data = data_set(trial([0, 1]))
    rows = [
        entry(data, Outcome(judged=(judged([0, 1]),)), detector=name).pooled()
        for name in ("control_always", "board_t2", "pca")
    ]
    assert [row["detector"] for row in report.in_order(rows)] == ["pca", "board_t2", "control_always"]
