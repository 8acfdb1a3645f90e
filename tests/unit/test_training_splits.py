"""Splits and windows: nothing of one part is ever seen in another."""

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.contract.records import NS, Channel
from edge_agent.contract.windows import WindowRule
from training.data import DataError, Recording
from training.recipe import Recipe, parse_recipe
from training.splits import (
    FEWEST_WINDOWS,
    Rows,
    check_enough,
    faulty_windows_of,
    normal_only,
    sequences_of,
    split,
    windows_of,
)

RULE = WindowRule(channels=(Channel(name="row"),), rate_hz=1.0, window=8, hold=0, max_gap_s=3.5, stuck_samples=(None,))


def recipe(split_lines: str) -> Recipe:
    return parse_recipe(
        f'name = "x"\n[windows]\nrate_hz = 1.0\nrows = 8\n[split]\n{split_lines}\n[detector]\ntype = "gaussian"\n'
    )


def recording(rows: int, *, labelled: tuple[int, ...] | None = ()) -> Recording:
    """Each reading is its own row number, so that a window tells where it comes from."""
    labels = None if labelled is None else np.isin(np.arange(rows), labelled)
    values = np.arange(rows, dtype=np.float32)[:, np.newaxis]
    return Recording(name="r.csv", values=values, t_ns=np.arange(rows) * NS, labels=labels, sha256="")


def rows_of(parts: tuple[Rows, ...]) -> set[int]:
    return {int(value) for part in parts for value in part.values[:, 0]}


def test_parts_are_in_time_order_with_a_guard_before_validation() -> None:
    parts = split([recording(200)], [], recipe("fit_rows = 100\nvalidation = 0.3\nguard_s = 10"))
    assert rows_of(parts.training) == set(range(60))
    assert rows_of(parts.validation) == set(range(70, 100))
    assert rows_of(parts.test) == set(range(100, 200))


def test_shares_split_a_labelled_recording_from_its_end() -> None:
    parts = split([recording(200)], [], recipe("test = 0.25\nvalidation = 0.2"))
    assert rows_of(parts.test) == set(range(150, 200))
    assert rows_of(parts.validation) == set(range(120, 150))
    assert rows_of(parts.training) == set(range(112))


def test_without_labels_nothing_is_kept_for_a_test() -> None:
    parts = split([recording(200, labelled=None)], [], recipe("test = 0.25\nvalidation = 0.2"))
    assert parts.test == ()
    assert max(rows_of(parts.validation)) == 199


def test_test_recordings_are_only_tested_on() -> None:
    parts = split([recording(100, labelled=None)], [recording(30, labelled=(3,))], recipe("guard_s = 0"))
    assert [len(part) for part in parts.test] == [30]


def test_no_window_spans_two_parts() -> None:
    parts = split([recording(200)], [], recipe("fit_rows = 100\nguard_s = 0"))
    training = windows_of(parts.training, RULE).values
    validation = windows_of(parts.validation, RULE).values
    assert training.max() < validation.min()
    assert len(training) + len(validation) == 100 - 2 * 7


def test_no_window_holds_a_row_known_to_be_faulty_or_spans_one() -> None:
    parts = split([recording(300, labelled=(40, 41, 120))], [], recipe("fit_rows = 200\nguard_s = 0"))
    for part in (parts.training, parts.validation):
        windows = windows_of(part, RULE).values[:, :, 0]
        assert np.all(np.diff(windows, axis=1) == 1)
        assert not np.isin(windows, [40, 41, 120]).any()


def test_a_single_faulty_row_leaves_a_hole_that_breaks_windows_wherever_they_are_cut() -> None:
    rows = normal_only(
        Rows(values=np.zeros((50, 1), np.float32), t_ns=np.arange(50) * NS, labels=np.arange(50) == 20), recipe("")
    )
    assert np.diff(rows.t_ns).max() > RULE.max_gap_s * NS


def test_the_hole_breaks_windows_also_where_readings_come_faster_than_the_recipe_says() -> None:
    patient = replace(recipe(""), windows=replace(recipe("").windows, max_gap_s=100.0))
    t_ns = (np.arange(500) * 0.91 * NS).astype(np.int64)
    rows = Rows(values=np.zeros((500, 1), np.float32), t_ns=t_ns, labels=np.arange(500) == 200)
    hole = np.diff(normal_only(rows, patient).t_ns).max()
    assert hole > 100 * NS


def test_windows_of_one_run_follow_each_other_and_gaps_begin_a_new_run() -> None:
    part = recording(60)
    t_ns = part.t_ns.copy()
    t_ns[30:] += 100 * NS
    windows = windows_of([Rows(values=part.values, t_ns=t_ns, labels=None)], RULE)
    assert len(np.unique(windows.run)) == 2
    assert all(np.ptp(np.diff(windows.t_ns[windows.run == run])) == 0 for run in np.unique(windows.run))
    assert any("gap of 101 s" in words for words in windows.unknown)


def test_sequences_are_the_unbroken_runs_of_rows() -> None:
    rule = WindowRule(
        channels=(Channel(name="row"),), rate_hz=1.0, window=1, hold=0, max_gap_s=3.5, stuck_samples=(None,), warm_up=3
    )
    first, second = recording(20), recording(30)
    windows = windows_of([Rows(values=r.values, t_ns=r.t_ns, labels=None) for r in (first, second)], rule)
    assert [len(sequence) for sequence in sequences_of(windows)] == [20, 30]
    assert windows.warming.sum() == 6


def test_a_recording_that_is_too_short_is_refused_with_its_figures() -> None:
    with pytest.raises(DataError, match=r"r.csv has 20 rows.*8 of guard"):
        split([recording(20)], [], recipe(""))


def test_too_few_windows_are_refused_with_the_reasons_of_the_windower() -> None:
    windows = windows_of([Rows(values=np.zeros((10, 1), np.float32), t_ns=np.arange(10) * NS, labels=None)], RULE)
    with pytest.raises(DataError, match=f"training gave 3 windows, at least {FEWEST_WINDOWS}.*the stream begins"):
        check_enough(windows, "training")


def events(*bounds: tuple[int, int]) -> tuple[int, ...]:
    return tuple(row for start, end in bounds for row in range(start, end))


def test_a_share_that_would_tear_an_event_leaves_it_to_testing_as_a_whole() -> None:
    parts = split([recording(200, labelled=events((140, 160)))], [], recipe("test = 0.25\nvalidation = 0.2"))
    assert rows_of(parts.test) == set(range(140, 200))
    assert max(rows_of(parts.validation)) == 139


def test_of_several_events_a_supervised_detector_is_tested_on_the_last() -> None:
    recordings = [recording(200, labelled=events((20, 30), (120, 130)))]
    lines = recipe("test = 0.25\nvalidation = 0.2")
    assert min(rows_of(split(recordings, [], lines, supervised=True).test)) == 120
    assert min(rows_of(split(recordings, [], lines).test)) == 150


def test_a_single_event_or_no_test_part_is_all_for_learning() -> None:
    one, two = events((20, 30)), events((20, 30), (120, 130))
    share = split([recording(200, labelled=one)], [], recipe("test = 0.25"), supervised=True)
    none = split([recording(200, labelled=two)], [], recipe("test = 0"), supervised=True)
    assert min(rows_of(share.test)) == 150
    assert none.test == ()


def test_the_labelled_part_keeps_faults_and_ends_before_guard_and_validation() -> None:
    parts = split([recording(200, labelled=events((20, 30)))], [], recipe("fit_rows = 100\nguard_s = 10"))
    assert rows_of(parts.labelled) == set(range(60))
    assert rows_of(parts.training).isdisjoint(range(20, 30))


def test_an_event_that_reaches_into_the_test_part_is_not_learned_from() -> None:
    parts = split([recording(200, labelled=events((10, 20), (50, 110)))], [], recipe("fit_rows = 100\nguard_s = 10"))
    assert rows_of(parts.labelled) == set(range(50))


def test_faulty_windows_end_in_a_fault_and_a_quarter_of_them_is_faulty() -> None:
    parts = split([recording(100, labelled=events((20, 40)))], [], recipe("test = 0\nvalidation = 0.2\nguard_s = 0"))
    windows = faulty_windows_of(parts.labelled, RULE)[:, :, 0]
    assert windows[:, -1].tolist() == list(range(21, 40))


def test_the_shortest_event_gives_one_window() -> None:
    parts = split([recording(100, labelled=(30,))], [], recipe("test = 0\nvalidation = 0.2\nguard_s = 0"))
    assert faulty_windows_of(parts.labelled, RULE)[:, -1, 0].tolist() == [30]


def test_faulty_windows_are_those_of_the_windower_where_time_repeats_itself() -> None:
    part = recording(60, labelled=events((20, 30)))
    t_ns = part.t_ns.copy()
    t_ns[25:] -= 20 * NS
    again = Rows(values=part.values, t_ns=t_ns, labels=part.labels)
    assert faulty_windows_of([again], RULE)[:, -1, 0].tolist() == [21, 22, 23, 24]
