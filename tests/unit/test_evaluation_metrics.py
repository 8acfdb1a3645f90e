"""Figures of merit against cases worked by hand, slow literal references and scikit-learn."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evaluation import surface
from training.evaluation.metrics import (
    auc_pr,
    auc_roc,
    choose_threshold,
    confusion,
    detection,
    detection_at,
    evaluate,
    event_rows,
    vus_pr,
)

UNTIMED = settings(deadline=None)  # a busy machine is not a failure
S = 1_000_000_000
SERIES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([-3.0, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0])), min_size=1, max_size=25
)


def flags(text: str) -> np.ndarray:
    return np.array([character == "1" for character in text])


def arrays(series: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in series]), np.array([score for _, score in series])


def times(count: int, step_s: float = 1.0) -> np.ndarray:
    return (np.arange(count) * step_s * S).astype(np.int64)


def literal_vus_pr(labels: np.ndarray, scores: np.ndarray, max_buffer: int) -> float:
    """The paper's definition, one row, one threshold and one buffer at a time."""
    areas = []
    for buffer in range(max_buffer + 1):
        soft = [float(label) for label in labels]
        for first, stop in literal_events(labels):
            for i in range(1, buffer // 2 + 1):
                for row in (first - i, stop - 1 + i):
                    if 0 <= row < len(labels):
                        soft[row] = min(1.0, soft[row] + math.sqrt(1 - i / buffer))
        softened = literal_events(np.array(soft) > 0)
        positives = (sum(labels) + sum(soft)) / 2
        area, last_recall, last_precision = 0.0, 0.0, 1.0
        for threshold in sorted(set(scores), reverse=True):
            alarmed = [score >= threshold for score in scores]
            hits = sum(s for s, a in zip(soft, alarmed, strict=True) if a)
            found = sum(any(alarmed[first:stop]) for first, stop in softened)
            recall = min(1.0, hits / positives) * found / len(softened)
            precision = hits / sum(alarmed)
            area += (recall - last_recall) * (precision + last_precision) / 2
            last_recall, last_precision = recall, precision
        areas.append(area)
    return sum(areas) / len(areas)


def literal_events(labels: np.ndarray) -> list[tuple[int, int]]:
    events, first = [], None
    for row, label in enumerate([*labels, False]):
        if label and first is None:
            first = row
        if not label and first is not None:
            events.append((first, row))
            first = None
    return events


def test_rates_of_a_confusion_worked_by_hand() -> None:
    #                                    TP TN FP FN
    counts = confusion(flags("1100000111"), flags("1010000110"))
    assert (counts.true_positives, counts.true_negatives) == (3, 4)
    assert (counts.false_positives, counts.false_negatives) == (1, 2)
    assert counts.precision == 3 / 4
    assert counts.recall == 3 / 5
    assert counts.accuracy == 7 / 10
    assert counts.f1 == 6 / 9
    assert counts.far_percent == 100 * 1 / 5
    assert counts.mar_percent == 100 * 2 / 5


def test_rates_without_a_denominator_are_none() -> None:
    nothing = confusion(flags("000"), flags("000"))
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.mar_percent) == (None, None, None, None)
    assert (nothing.accuracy, nothing.far_percent) == (1.0, 0.0)
    assert confusion(flags("111"), flags("111")).far_percent is None


@UNTIMED
@given(SERIES)
def test_areas_are_those_of_scikit_learn(series: list[tuple[bool, float]]) -> None:
    labels, scores = arrays(series)
    if labels.any():
        assert auc_pr(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    else:
        assert auc_pr(labels, scores) is None
    if labels.any() and not labels.all():
        assert auc_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert auc_roc(labels, scores) is None


@UNTIMED
@given(SERIES, st.integers(0, 12))
def test_vus_pr_is_the_literal_definition(series: list[tuple[bool, float]], max_buffer: int) -> None:
    labels, scores = arrays(series)
    assume(labels.any())
    assert vus_pr(labels, scores, max_buffer) == pytest.approx(literal_vus_pr(labels, scores, max_buffer), abs=1e-12)


@UNTIMED
@given(st.integers(1, 90), st.integers(0, 45), st.integers(0, 10**6))
def test_vus_pr_is_the_literal_definition_on_longer_recordings(rows: int, max_buffer: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.random(rows) < rng.choice([0.1, 0.5, 0.9]), 3)[:rows]
    scores = np.round(rng.normal(size=rows) + labels, 1)
    assume(labels.any())
    assert vus_pr(labels, scores, max_buffer) == pytest.approx(literal_vus_pr(labels, scores, max_buffer), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ("1", [3.0]),
        ("11111", [1.0, 2, 3, 2, 1]),
        ("1000000001", [0.0, 5, 0, 0, 0, 0, 0, 0, 5, 0]),
        ("0010100100010000", [0.0, 3, 0, 9, 0, 7, 7, 0, 1, 0, 0, 0, 0, 8, 0, 0]),
        ("0000110000", [1.0] * 10),
    ],
    ids=["one row", "all faulty", "faults at the ends", "faults that touch when softened", "one score for all"],
)
def test_vus_pr_of_hostile_recordings_is_the_literal_definition(labels: str, scores: list[float]) -> None:
    for max_buffer in range(13):
        expected = literal_vus_pr(flags(labels), np.array(scores), max_buffer)
        assert vus_pr(flags(labels), np.array(scores), max_buffer) == pytest.approx(expected, abs=1e-12)


def test_vus_pr_is_the_same_however_many_buffers_are_worked_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.random(200) < 0.1, rng.normal(size=200)
    at_once = vus_pr(labels, scores, 30)
    monkeypatch.setattr(surface, "CELLS", 400)
    assert vus_pr(labels, scores, 30) == pytest.approx(at_once, abs=1e-12)


def test_vus_pr_with_buffers_worked_by_hand() -> None:
    # One faulty row of five, its neighbour alarmed first. Buffers 0 and 1: hits 0, 1 of 1 row at 1 and 2 alarmed,
    # precision 0 then 1/2: area 1/4. Buffer 2: both neighbours count h = sqrt(1/2), so (1 + 1 + 2 h) / 2 = 1 + h rows
    # are to be found: recall h / (1 + h) at precision h, then 1 at (1 + h) / 2, where the fifth row counts nothing.
    labels, scores = flags("00100"), np.array([1.0, 5, 4, 3, 2])
    h = math.sqrt(0.5)
    third = h / (1 + h) * (1 + h) / 2 + (1 - h / (1 + h)) * (h + (1 + h) / 2) / 2
    assert vus_pr(labels, scores, 1) == pytest.approx(1 / 4)
    assert vus_pr(labels, scores, 2) == pytest.approx((1 / 4 + 1 / 4 + third) / 3)


def test_vus_pr_without_a_buffer_worked_by_hand() -> None:
    # Thresholds 4, 3, 2, 1 on one fault of two rows: recall 1/2, 1/2, 1, 1 at precision 1, 1/2, 2/3, 1/2.
    labels, scores = flags("0110"), np.array([3.0, 4.0, 2.0, 1.0])
    assert vus_pr(labels, scores, 0) == pytest.approx(0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_vus_pr_with_two_faults_needs_both_found() -> None:
    # Recall is 1/3 times half of the faults, then 2/3 times half, then all; precision 1 throughout.
    labels, scores = flags("11010"), np.array([5.0, 4.0, 0.0, 3.0, 1.0])
    assert vus_pr(labels, scores, 0) == pytest.approx(1.0)
    late = np.array([5.0, 4.0, 3.0, 0.0, 3.0])
    assert vus_pr(labels, late, 0) == pytest.approx(1 / 3 + (1 - 1 / 3) * (2 / 4 + 3 / 5) / 2)


def test_vus_pr_rewards_an_alarm_just_before_a_fault_over_one_far_away() -> None:
    labels = np.zeros(200, dtype=bool)
    labels[100:120] = True
    near, far = np.zeros(200), np.zeros(200)
    near[95:110], far[20:35] = 1.0, 1.0
    assert vus_pr(labels, near, 20) > 1.5 * vus_pr(labels, far, 20)


def test_a_perfect_score_reaches_one_and_a_random_one_the_share_of_faults() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(4_000, dtype=bool)
    labels[1_000:1_400] = True
    assert vus_pr(labels, labels + 0.0, 0) == auc_pr(labels, labels + 0.0) == auc_roc(labels, labels + 0.0) == 1.0
    noise = rng.normal(size=4_000)
    assert vus_pr(labels, noise, 50) == pytest.approx(0.1, abs=0.03)
    assert auc_pr(labels, noise) == pytest.approx(0.1, abs=0.03)
    assert auc_roc(labels, noise) == pytest.approx(0.5, abs=0.05)


def test_one_alarmed_row_of_a_long_fault_is_not_a_found_fault_point_by_point() -> None:
    labels = np.zeros(1_000, dtype=bool)
    labels[500:600] = True
    alarms = np.zeros(1_000, dtype=bool)
    alarms[550] = True
    assert confusion(labels, alarms).recall == 0.01


def test_event_rows_are_first_row_and_row_after_the_last() -> None:
    assert event_rows(flags("1101001")).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert event_rows(flags("000")).tolist() == []


def test_events_delays_and_false_alarms_worked_by_hand() -> None:
    labels = flags("0000011110000000000111000000")
    alarms = flags("0110000110000000010001000000")
    #                ^^    ^^        ^   ^   join 4 s: the third alarm reaches the second fault
    found = detection(labels, alarms, times(28), join_s=4)
    assert (found.events, found.detected, found.event_recall) == (2, 2, 1.0)
    assert found.delays_s == (2.0, 2.0)
    assert found.false_alarms == 1
    assert found.false_alarms_per_day == pytest.approx(86_400 / 21)
    assert detection(labels, alarms, times(28), join_s=3).false_alarms == 2


def test_a_missed_event_has_no_delay() -> None:
    found = detection(flags("0110"), flags("1000"), times(4), join_s=1)
    assert (found.detected, found.event_recall, found.delays_s, found.median_delay_s) == (0, 0.0, (), None)


def test_event_recall_at_fixed_false_alarms_per_day() -> None:
    hours = 48
    labels = np.zeros(hours, dtype=bool)
    labels[[10, 30]] = True
    scores = np.zeros(hours)
    scores[[10, 30]] = [5.0, 2.0]
    scores[[20, 40]] = [3.0, 4.0]
    settings = {"t_ns": times(hours, 3_600), "join_s": 60.0}
    strict = detection_at(labels, scores, alarms_per_day=0.4, **settings)
    loose = detection_at(labels, scores, alarms_per_day=1.1, **settings)
    assert (strict.threshold, strict.detected, strict.false_alarms) == (4.0, 1, 0)
    assert (loose.threshold, loose.detected, loose.false_alarms) == (0.0, 2, 2)


@UNTIMED
@given(SERIES, st.floats(0.01, 1e5))
def test_false_alarms_never_exceed_those_asked(series: list[tuple[bool, float]], rate: float) -> None:
    labels, scores = arrays(series)
    assume(not labels.all())
    found = detection_at(labels, scores, times(len(labels), 600), alarms_per_day=rate, join_s=900)
    assert found.false_alarms_per_day is None or found.false_alarms_per_day <= rate


def test_n_of_m_silences_a_single_high_score() -> None:
    labels = flags("0" * 50 + "1" * 50)
    scores = np.where(labels, 2.0, 0.0)
    scores[20] = 9.0
    single = detection_at(labels, scores, times(100), alarms_per_day=1.0, join_s=5)
    voted = detection_at(labels, scores, times(100), alarms_per_day=1.0, join_s=5, n=3, m=5)
    assert (single.detected, voted.detected) == (0, 1)
    assert voted.delays_s == (2.0,)


def test_choosing_a_threshold_by_weights() -> None:
    labels = flags("0000000011")
    scores = np.array([0, 0, 0, 0, 1, 1, 2, 6, 4, 8.0])
    equal = choose_threshold(labels, scores)
    assert (equal.threshold, equal.far_percent, equal.mar_percent) == (3.0, 12.5, 0.0)
    careful = choose_threshold(labels, scores, false_alarm_weight=5.0)
    assert (careful.threshold, careful.far_percent, careful.mar_percent) == (7.0, 0.0, 50.0)


def test_choosing_a_threshold_by_a_cap_on_false_alarms() -> None:
    labels = flags("0000000011")
    scores = np.array([0, 0, 0, 0, 1, 1, 2, 6, 4, 8.0])
    assert choose_threshold(labels, scores, max_far_percent=0.0).threshold == 7.0
    assert choose_threshold(labels, scores, max_far_percent=12.5).threshold == 3.0
    assert choose_threshold(labels, scores, max_far_percent=100.0).threshold == 3.0


@UNTIMED
@given(SERIES, st.floats(0, 10), st.floats(0, 10), st.none() | st.floats(0, 100))
def test_the_chosen_threshold_has_the_rates_it_says_and_none_is_better(
    series: list[tuple[bool, float]], weight: float, miss_weight: float, cap: float | None
) -> None:
    labels, scores = arrays(series)
    assume(labels.any() and not labels.all())
    choice = choose_threshold(labels, scores, false_alarm_weight=weight, miss_weight=miss_weight, max_far_percent=cap)
    counts = confusion(labels, scores > choice.threshold)
    assert choice.far_percent == pytest.approx(counts.far_percent)
    assert choice.mar_percent == pytest.approx(counts.mar_percent)
    for threshold in (*np.unique(scores), -9.0):
        other = confusion(labels, scores > threshold)
        if cap is not None:
            assert other.far_percent > cap or choice.mar_percent <= other.mar_percent + 1e-9
        else:
            cost = weight * choice.far_percent + miss_weight * choice.mar_percent
            assert cost <= weight * other.far_percent + miss_weight * other.mar_percent + 1e-6


def test_a_threshold_between_neighbouring_floats_still_separates_them() -> None:
    scores = np.array([1.0, np.nextafter(1.0, 2)])
    assert choose_threshold(flags("01"), scores).mar_percent == 0.0


def test_choosing_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="both normal and faulty"):
        choose_threshold(flags("000"), np.zeros(3))


def test_evaluate_gives_every_figure_as_plain_json() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(2_000, dtype=bool)
    labels[800:900] = labels[1_500:1_550] = True
    scores = rng.normal(size=2_000) + 6 * labels
    figures = evaluate(labels, scores, times(2_000), threshold=3.0, join_s=30, max_buffer=20, n=2, m=3)
    values = json.loads(json.dumps(figures.to_dict(), allow_nan=False))
    assert values["f1"] == figures.confusion.f1 > 0.9
    assert values["detection"]["event_recall"] == 1.0
    assert values["detection"]["median_delay_s"] == 1.0
    assert [each["alarms_per_day_asked"] for each in values["at_false_alarms"]] == [1.0, 10.0, 100.0]
    assert values["vus_pr"] > 0.9
    assert values["auc_pr"] == auc_pr(labels, scores)


def test_evaluate_without_faults_and_without_normal_rows_leaves_out_what_is_undefined() -> None:
    scores = np.arange(50.0)
    normal = evaluate(np.zeros(50, dtype=bool), scores, times(50), threshold=40.0, join_s=5)
    assert (normal.auc_pr, normal.auc_roc, normal.vus_pr, normal.recall) == (None, None, None, None)
    assert normal.far_percent == 18.0
    faulty = evaluate(np.ones(50, dtype=bool), scores, times(50), threshold=40.0, join_s=5)
    assert (faulty.at_false_alarms, faulty.auc_pr, faulty.detection.false_alarms_per_day) == ((), 1.0, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    for figure in (auc_pr, auc_roc, lambda labels, scores: vus_pr(labels, scores, 3), choose_threshold):
        with pytest.raises(ValueError, match="finite"):
            figure(flags("01"), np.array([bad, 1.0]))


def test_lengths_and_types_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        auc_pr(flags("01"), np.zeros(3))
    with pytest.raises(ValueError, match="one length"):
        auc_pr(flags(""), np.zeros(0))
    with pytest.raises(ValueError, match="bool"):
        auc_pr(np.array([0, 1]), np.zeros(2))
    with pytest.raises(ValueError, match="max_buffer"):
        vus_pr(flags("01"), np.zeros(2), -1)
