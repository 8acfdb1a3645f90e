"""What the bench puts among the rows to fit on, and how the cost of it is told; no TensorFlow is started."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.contract.records import NS
from training.data import DataError
from training.experiments.bench import report
from training.experiments.bench.cases import Case, DataSet, Flags, Trial
from training.experiments.bench.contamination import LONGEST_GLITCH, contaminated
from training.experiments.bench.falls import Fall, falls
from training.experiments.bench.judging import Judged
from training.experiments.bench.keeping import Outcome
from training.experiments.bench.tables import Entry
from training.splits import Rows

FITTED, LEARNED, FAULTY = 200, 140, 60
"""Rows to fit on, of these learned from; rows that are faulty, at the end of the tested ones."""


def case(name: str = "a", *, labelled: slice = slice(0), faulty: int = FAULTY) -> Case:
    """A recording whose every value tells its row."""
    rows = FITTED + 100
    values = np.arange(rows, dtype=np.float32)[:, np.newaxis] * [1, -1]
    labels = np.arange(rows) >= rows - faulty
    labels[labelled] = True
    whole = Rows(values=values.astype(np.float32), t_ns=np.arange(rows) * NS, labels=labels)
    train = Rows(values=whole.values[:FITTED], t_ns=whole.t_ns[:FITTED], labels=labels[:FITTED])
    trial = Trial(name=name, rows=whole, tested=np.arange(rows) >= FITTED)
    return Case(name=name, channels=("x", "y"), rate_hz=1.0, train=train, trials=(trial,))


def data_set(*cases: Case) -> DataSet:
    return DataSet(name="csv", kind="csv", cases=cases)


def replaced(clean: Case, share: float, way: int) -> tuple[Case, Flags]:
    """The contaminated case, and which rows changed, bool [n]."""
    found = contaminated(data_set(clean), share)[way].cases[0]
    return found, (found.train.values != clean.train.values).any(axis=1)


def runs(changed: Flags) -> list[int]:
    """Lengths of the unbroken runs."""
    edges = np.flatnonzero(np.diff(changed.astype(int), prepend=0, append=0))
    return [int(length) for length in edges[1::2] - edges[::2]]


STRETCH, SCATTERED = 0, 1


@pytest.mark.parametrize("way", [STRETCH, SCATTERED])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_is_replaced_of_what_is_learned_and_of_what_sets_the_threshold(way: int, share: float) -> None:
    _, changed = replaced(case(), share, way)
    assert changed[:LEARNED].sum() == round(share * LEARNED)
    assert changed[LEARNED:].sum() == round(share * (FITTED - LEARNED))


def test_a_stretch_is_one_run_of_a_fault_in_each_part() -> None:
    found, changed = replaced(case(), 0.1, STRETCH)
    assert runs(changed[:LEARNED]) == [14]
    assert runs(changed[LEARNED:]) == [6]
    assert np.diff(found.train.values[:LEARNED][changed[:LEARNED], 0]).tolist() == [1.0] * 13


def test_scattered_rows_come_in_short_runs_of_several_lengths() -> None:
    lengths = runs(replaced(case(), 0.2, SCATTERED)[1][:LEARNED])
    assert max(lengths) <= LONGEST_GLITCH
    assert len(lengths) > 3
    assert len(set(lengths)) > 1


@pytest.mark.parametrize("way", [STRETCH, SCATTERED])
def test_only_faulty_rows_of_the_tests_are_lent_and_they_are_tested_on_still(way: int) -> None:
    clean = case()
    found, changed = replaced(clean, 0.2, way)
    assert set(found.train.values[changed, 0]) <= set(range(FITTED + 100 - FAULTY, FITTED + 100))
    assert found.trials == clean.trials
    assert found.train.t_ns is clean.train.t_ns


@pytest.mark.parametrize("way", [STRETCH, SCATTERED])
def test_known_faults_stay_and_the_new_ones_are_not_labelled(way: int) -> None:
    clean = case(labelled=slice(30, 60))
    found, changed = replaced(clean, 0.4, way)
    assert not changed[30:60].any()
    assert changed[:LEARNED].sum() == round(0.4 * (LEARNED - 30))
    assert found.train.labels is clean.train.labels


def test_a_fault_shorter_than_the_share_is_lent_again() -> None:
    found, changed = replaced(case(faulty=5), 0.2, STRETCH)
    assert changed[:LEARNED].sum() == 28
    assert len(set(found.train.values[changed, 0])) == 5


@pytest.mark.parametrize("way", [STRETCH, SCATTERED])
def test_place_and_piece_of_the_fault_are_drawn_by_the_name_of_the_case(way: int) -> None:
    (one, at), (again, again_at), (other, other_at) = (replaced(case(name), 0.1, way) for name in "aab")
    assert (at == again_at).all()
    assert np.array_equal(one.train.values, again.train.values)
    assert (at != other_at).any()
    assert not np.array_equal(one.train.values[at], other.train.values[other_at])


def test_contaminated_data_sets_are_told_from_the_clean_one_and_from_each_other_by_name() -> None:
    found = contaminated(data_set(case()), 0.05)
    assert [each.name for each in found] == ["csv+5%stretch", "csv+5%scattered"]
    assert {each.clean_name for each in found} == {"csv"}
    assert contaminated(data_set(case()), 0.125)[0].name == "csv+12.5%stretch"


@pytest.mark.parametrize("share", [0.0, -0.1, 0.5, 5.0, math.nan])
def test_a_share_that_leaves_no_normal_majority_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="--contaminate must be a share above 0 and below"):
        contaminated(data_set(case()), share)


def test_cases_that_cannot_be_contaminated_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    found = contaminated(data_set(case("a", faulty=0), case("b"), case("c", labelled=slice(LEARNED))), 0.1)
    assert [[each.name for each in way.cases] for way in found] == [["b"], ["b"]]
    assert "too few rows to fit on: ['a', 'c']" in caplog.text


@pytest.mark.parametrize(("given", "share"), [(case(faulty=0), 0.1), (case(), 0.003)])
def test_data_of_which_nothing_can_be_contaminated_are_refused(given: Case, share: float) -> None:
    with pytest.raises(DataError, match="csv cannot be contaminated: a have no row labelled as faulty"):
        contaminated(data_set(given), share)


def ranked(detector: str, data: DataSet, *first_wrong: int | None) -> Entry:
    """An entry whose detector ranks so many normal rows of a file above its faults; None: it failed there."""

    def outcome(each: Case, wrong: int | None) -> Outcome:
        if wrong is None:
            return Outcome(reason="refused")
        scores = each.trials[0].labels.astype(np.float64)
        scores[:wrong] = 2.0
        found = Judged(scores=scores, alarms=scores > 0, event=np.zeros(len(scores), np.int32), relative=scores)
        return Outcome(judged=(found,))

    return Entry.of(data, detector, [outcome(*each) for each in zip(data.cases, first_wrong, strict=True)])


def clean_and_contaminated(files: int) -> tuple[DataSet, DataSet]:
    clean = data_set(*(case(str(number)) for number in range(files)))
    return clean, contaminated(clean, 0.05)[0]


def test_the_fall_is_clean_less_contaminated_over_the_files_with_a_result_both_ways() -> None:
    clean, spoiled = clean_and_contaminated(4)
    (found,) = falls([ranked("pca", clean, 0, 0, 40, None), ranked("pca", spoiled, 20, 20, None, 20)])
    # 20 normal rows above 60 faulty ones of equal score: precision is 60 / 80 where all recall is gained.
    assert (found.detector, found.data, found.files) == ("pca", "csv+5%stretch", 2)
    assert (found.clean_auc_pr, found.auc_pr) == (pytest.approx(1.0), pytest.approx(0.75))
    assert found.fall == pytest.approx(0.25)
    assert found.clean_f1 == pytest.approx(1.0)
    assert found.f1 == pytest.approx(2 * 60 / (80 + 60))


def test_an_interval_of_the_fall_needs_five_files_and_holds_it() -> None:
    def fall(files: int) -> Fall:
        clean, spoiled = clean_and_contaminated(files)
        return falls([ranked("pca", clean, *[0] * files), ranked("pca", spoiled, *range(0, 10 * files, 10))])[0]

    assert (fall(4).low, fall(4).high) == (None, None)
    found = fall(6)
    assert found.low is not None
    assert found.high is not None
    assert found.fall is not None
    assert found.low < found.fall < found.high


def test_controls_and_clean_data_sets_have_no_fall() -> None:
    clean, spoiled = clean_and_contaminated(1)
    entries = [ranked("control_always", clean, 0), ranked("control_always", spoiled, 0), ranked("pca", clean, 0)]
    assert falls(entries) == []


FALL = Fall(
    detector="pca",
    data="csv+5%stretch",
    files=6,
    clean_auc_pr=0.9,
    auc_pr=0.88,
    low=0.01,
    high=0.03,
    clean_f1=0.8,
    f1=0.5,
)


def test_the_tables_end_with_every_fall_and_the_largest_in_a_line() -> None:
    other = replace(FALL, detector="knn", auc_pr=0.85)
    undefined = replace(FALL, detector="kde", auc_pr=None, low=None, high=None, f1=0.4)
    text = report.markdown([], [], [FALL, other, undefined])
    assert "| pca | csv+5%stretch | 6 | 0.900 | 0.880 | 0.020 (0.010 to 0.030) | 0.800 | 0.500 |" in text
    last = text.splitlines()[-1]
    assert last.startswith("AUC-PR falls by at most 0.050: knn on csv+5%stretch. F1, ")
    assert last.endswith("by at most 0.400: kde on csv+5%stretch.")
    assert report.most([undefined]).startswith("No fall of AUC-PR could be measured")


def test_nothing_is_said_of_contamination_where_there_was_none() -> None:
    assert report.FALLS not in report.markdown([data_set(case())], [])
