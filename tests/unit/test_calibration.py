"""Threshold grades: what the data support, what is achieved on new data, and what is refused."""

import functools
import json
import math

import numpy as np
import pytest

from edge_agent.contract.calibration import GROSS_SHARE, Calibration, Grade, calibrate
from edge_agent.contract.peaks import event_levels, nth_largest, run_starts
from edge_agent.errors import ManifestError

STEP_NS = 2_000_000_000
WINDOWS_A_DAY = 43_200
JOIN_S = 30.0
LATER_DAYS = 60.0


def times(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * STEP_NS


def scores_of(days: float, seed: int) -> np.ndarray:
    """Scores of overlapping windows with a tail like a squared distance's: the mean of ten squared Student-t values."""
    noise = np.random.default_rng(seed).standard_t(12, size=int(days * WINDOWS_A_DAY) + 9) ** 2
    return np.convolve(noise, np.full(10, 0.1), "valid")


def calibrated(scores: np.ndarray, alarms_per_day: float = 1.0, **given: object) -> Calibration:
    settings = {"n": 3, "m": 5, "join_s": JOIN_S, "k": 1.5} | given
    return calibrate(scores, times(len(scores)), alarms_per_day=alarms_per_day, **settings)


@functools.cache
def later_events() -> np.ndarray:
    """Where the next event appears in long new data of the same kind."""
    scores = scores_of(LATER_DAYS, seed=999)
    v = nth_largest(scores, run_starts(times(len(scores)), 10 * STEP_NS), 3, 5)
    return event_levels(v, times(len(scores)), int(JOIN_S * 1e9))[1]


def achieved_per_day(calibrations: list[Calibration]) -> np.ndarray:
    """False alarms a day on new data."""
    return np.array([np.count_nonzero(later_events() > each.threshold) for each in calibrations]) / LATER_DAYS


def test_counted_achieves_the_asked_rate_on_average() -> None:
    calibrations = [calibrated(scores_of(3, seed), 4.0) for seed in range(25)]
    assert {each.grade for each in calibrations} == {Grade.COUNTED}
    achieved = achieved_per_day(calibrations)
    # 12 events each: one calibration has a standard deviation of 29 %, the mean of 25 one of 6 %.
    assert achieved.mean() == pytest.approx(4.0, rel=0.2)
    assert np.quantile(achieved, 0.9) < 2 * 4.0


def test_extrapolated_stays_within_a_factor_of_the_asked_rate() -> None:
    calibrations = [calibrated(scores_of(1, seed), 0.5) for seed in range(25)]
    assert {each.grade for each in calibrations} == {Grade.EXTRAPOLATED}
    achieved = achieved_per_day(calibrations)
    assert 0.5 / 3 < np.median(achieved) < 0.5 * 3
    assert np.quantile(achieved, 0.9) < 0.5 * 6


def test_replaying_the_calibration_data_gives_no_more_events_than_asked() -> None:
    scores = scores_of(2, 1)
    for rate in (1.5, 2.2, 10.0, 60.0):
        calibration = calibrated(scores, rate)
        v = nth_largest(scores, run_starts(times(len(scores)), 10 * STEP_NS), 3, 5)
        _, levels = event_levels(v, times(len(scores)), int(JOIN_S * 1e9))
        assert np.count_nonzero(levels > calibration.threshold) <= 2 * rate


def test_one_fault_of_many_windows_is_one_peak() -> None:
    scores = np.zeros(WINDOWS_A_DAY)
    for burst in range(6):
        scores[1_000 * burst + 500 : 1_000 * burst + 520] = 10 + burst
    calibration = calibrated(scores, 3.0 / (1 - GROSS_SHARE))
    assert calibration.grade is Grade.COUNTED
    assert calibration.threshold == pytest.approx(13)


def few(scores: np.ndarray) -> Calibration:
    """A provisional calibration at the 0.99 quantile itself."""
    return calibrate(scores, times(len(scores)), alarms_per_day=1e-3, n=1, m=1, join_s=JOIN_S, k=1.0)


def test_few_data_are_provisional_and_say_how_many_hours_would_do_better() -> None:
    scores = scores_of(0.009, 3)
    calibration = calibrated(scores)
    assert calibration.grade is Grade.PROVISIONAL
    assert calibration.threshold == pytest.approx(
        np.median(scores) + 1.5 * (np.quantile(scores, 0.99) - np.median(scores))
    )
    assert 1 < calibration.hours_needed < 72


@pytest.mark.parametrize("count", [5, 20, 60])
def test_few_scores_are_expected_to_give_the_quantile_of_many(count: int) -> None:
    drawn = np.random.default_rng(0).exponential(size=(1_000, count))
    assert np.mean([few(scores).threshold for scores in drawn]) == pytest.approx(math.log(100), rel=0.1)


def test_few_scores_give_a_threshold_that_is_passed_less_often_than_their_highest() -> None:
    drawn = np.random.default_rng(0).exponential(size=(1_000, 5))
    passed = np.mean([math.exp(-few(scores).threshold) for scores in drawn])
    assert passed < 0.5 * np.exp(-drawn.max(axis=1)).mean()


def test_two_equal_scores_still_give_a_threshold_above_them() -> None:
    assert few(np.full(2, 7.0)).threshold > 7


def test_the_hours_needed_are_enough() -> None:
    calibration = calibrated(scores_of(0.5, 4), 0.3)
    assert calibration.grade is Grade.EXTRAPOLATED
    more = calibrated(scores_of(0.5 + calibration.hours_needed / 24 + 0.01, 4), 0.3)
    assert more.grade is Grade.COUNTED
    assert more.hours_needed == 0


def test_runs_too_short_for_n_windows_are_provisional_and_ask_for_more() -> None:
    t_ns = times(1_000) + np.arange(1_000) // 2 * 3_600 * 10**9
    calibration = calibrate(np.arange(1_000.0), t_ns, alarms_per_day=1e4, n=3, m=5, join_s=JOIN_S, k=1.5, gap_s=60)
    assert (calibration.grade, calibration.normal.peak_ranks) == (Grade.PROVISIONAL, ())
    assert calibration.hours_needed > 0


def test_another_rate_is_derived_without_the_data_as_it_would_be_with_them() -> None:
    scores = scores_of(1, 5)
    first = calibrated(scores, 0.01)
    assert first.grade is Grade.PROVISIONAL
    for rate in (0.2, 1.0, 3.0, 7.5, 40.0):
        assert first.at(alarms_per_day=rate) == calibrated(scores, rate)
    assert first.at(k=3.0) == calibrated(scores, 0.01, k=3.0)


def test_fewer_alarms_asked_never_lower_the_threshold() -> None:
    rates = np.geomspace(300, 0.11, 200)
    for seed in range(8):
        calibration = calibrated(scores_of(1, seed), 50.0)
        thresholds = [calibration.at(alarms_per_day=float(rate)).threshold for rate in rates]
        assert np.all(np.diff(thresholds) >= 0)


def test_the_tail_of_the_peaks_counts_them_where_there_are_some() -> None:
    normal = calibrated(scores_of(2, 12)).normal
    assert normal.peak_tail is not None
    for rank in (20, 60, 120, 240):
        score = np.interp(rank, normal.peak_ranks, normal.peak_scores)
        assert math.exp(normal.peak_tail.log_beyond(float(score))) == pytest.approx(rank, rel=0.2)


def test_gross_events_are_part_of_the_asked_rate() -> None:
    scores = scores_of(2, 7)
    gross = np.zeros(len(scores), dtype=bool)
    gross[[10_000, 30_000, 30_001]] = True
    without, with_gross = calibrated(scores, 5.0), calibrated(scores, 5.0, gross=gross)
    assert with_gross.normal.gross_events == 2
    assert with_gross.threshold == pytest.approx(calibrated(scores, 4.0 / (1 - GROSS_SHARE)).threshold, rel=1e-9)
    assert with_gross.threshold > without.threshold


def test_without_gross_events_seen_a_share_is_left_to_those_to_come() -> None:
    scores = scores_of(2, 7)
    gross = np.zeros(len(scores), dtype=bool)
    gross[10_000] = True
    calibration = calibrated(scores, 5.0)
    assert calibration.threshold == calibrated(scores, 5.0, gross=gross).threshold  # 1 of 10 events, as left to them
    ranks = np.interp(calibration.threshold, calibration.normal.peak_scores[::-1], calibration.normal.peak_ranks[::-1])
    assert ranks == pytest.approx((1 - GROSS_SHARE) * 10)


def test_gross_events_beyond_the_asked_rate_leave_the_network_a_third() -> None:
    scores = scores_of(2, 8)
    gross = np.zeros(len(scores), dtype=bool)
    gross[::2_000] = True
    assert calibrated(scores, 3.0, gross=gross).threshold < scores.max()


def test_a_gap_empties_the_history() -> None:
    scores = np.zeros(1_000)
    scores[[499, 500, 501]] = 5.0
    t_ns = times(1_000)
    broken = t_ns + np.where(np.arange(1_000) > 500, 3_600 * 10**9, 0)
    settings = {"alarms_per_day": 1000.0, "n": 3, "m": 5, "join_s": JOIN_S, "k": 1.5}
    assert calibrate(scores, t_ns, **settings).normal.peak_scores[0] == 5.0
    assert calibrate(scores, broken, **settings).normal.peak_scores[0] == 0.0
    assert calibrate(scores, broken, **settings).normal_days == pytest.approx(1_000 / WINDOWS_A_DAY, rel=1e-3)


def test_json_and_back_is_the_same() -> None:
    for calibration in (calibrated(scores_of(1, 9)), calibrated(np.array([1.0])), calibrated(-scores_of(0.01, 1))):
        assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict(), allow_nan=False))) == calibration


@pytest.mark.parametrize(
    ("scores", "name"),
    [
        (np.full(5_000, 3.25), "constant"),
        (np.zeros(5_000), "zero"),
        (np.array([2.5]), "one score"),
        (np.array([2.5, 2.5]), "two scores"),
        (-5.0 + 0.1 * np.random.default_rng(1).normal(size=5_000), "negative"),
        (0.01 * np.random.default_rng(2).normal(size=5_000), "log density around zero"),
        (np.repeat(np.random.default_rng(3).normal(size=50), 100), "duplicates"),
        (np.r_[np.zeros(4_999), 1.0], "median equals q99"),
        (1e-12 * np.random.default_rng(4).exponential(size=5_000), "tiny"),
        (1e12 * np.random.default_rng(5).exponential(size=5_000), "huge"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("rate", [0.001, 1.0, 50.0, 1e5])
def test_odd_scores_still_give_a_finite_threshold_above_the_median(scores: np.ndarray, name: str, rate: float) -> None:
    calibration = calibrated(scores, rate)
    assert math.isfinite(calibration.threshold)
    assert calibration.threshold > calibration.median
    assert Calibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_their_place(bad: float) -> None:
    scores = np.ones(100)
    scores[42] = bad
    with pytest.raises(ValueError, match="1 of 100 are not; number 42"):
        calibrated(scores)


def test_mixed_up_times_are_refused() -> None:
    t_ns = np.random.default_rng(0).permutation(times(500))
    with pytest.raises(ValueError, match="sort the windows"):
        calibrate(np.ones(500), t_ns, alarms_per_day=1, n=1, m=1, join_s=1, k=1)


def test_a_second_recording_may_begin_earlier() -> None:
    t_ns = np.concatenate([times(500) + 10**15, times(500)])
    calibration = calibrate(scores_of(0.1, 1)[:1_000], t_ns, alarms_per_day=1, n=3, m=5, join_s=JOIN_S, k=1.5)
    assert calibration.normal_days == pytest.approx(1_000 / WINDOWS_A_DAY)


@pytest.mark.parametrize(
    "given",
    [{"alarms_per_day": 0.0}, {"alarms_per_day": math.nan}, {"k": -1.0}, {"n": 4, "m": 3}, {"n": 0}, {"m": 65}],
)
def test_settings_out_of_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        calibrated(np.ones(10), **given)


def test_shapes_that_do_not_match_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="one entry for each window"):
        calibrate(np.ones(3), times(4), alarms_per_day=1, n=1, m=1, join_s=1, k=1)
    with pytest.raises(ValueError, match="no normal score"):
        calibrated(np.array([]))


def test_a_threshold_from_labels_is_provisional_and_survives_json() -> None:
    calibration = calibrated(scores_of(1, 2), 10.0).with_threshold(9.5)
    assert (calibration.grade, calibration.threshold) == (Grade.PROVISIONAL, 9.5)
    assert calibration.median + calibration.k * (calibration.q99 - calibration.median) == pytest.approx(9.5)
    assert Calibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("threshold",), -1e9),
        (("threshold",), "high"),
        (("threshold",), True),
        (("grade",), "excellent"),
        (("hours_needed",), -1.0),
        (("extra",), 1),
        (("normal", "days"), -1.0),
        (("normal", "n"), 0),
        (("normal", "peak_scores"), [1.0] * 10_000),
        (("normal", "quantile_shares"), [0.5, 0.4]),
        (("normal", "quantile_scores"), []),
        (("normal", "tail", "shape"), 2.0),
        (("normal", "extra"), 1),
    ],
)
def test_json_that_no_calibration_gave_is_refused(path: tuple[str, ...], value: object) -> None:
    data = calibrated(scores_of(0.1, 1)).to_dict()
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises((ValueError, ManifestError)):
        Calibration.from_dict(data)
