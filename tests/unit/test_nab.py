"""NAB's score against cases worked by hand and a literal reference.

The scaled sigmoid is s(y) = 2 / (1 + exp(5 y)) - 1 = -tanh(2.5 y). From a table of tanh:

    s(-1) = .986614   s(-.75) = .954045   s(-.5) = .848284   s(-.25) = .554600   s(1) = -.986614   s(8/3) = -.99999676

The file of most cases has 100 rows (probation 15) and a window of the four rows 40..43, where a detection is worth

    row 40: .986614 / .986614 = 1   row 41: .954045 / .986614 = .966989   row 43: .554600 / .986614 = .562125
"""

import math

import numpy as np
import pytest

from training.evaluation.nab import PROFILES, Profile, Series, score

S = 1_000_000_000


def series(scores: dict[int, float], *windows: tuple[int, int], rows: int = 100) -> Series:
    """A file of one row a second, scores 0 but for some rows; windows by first and last row."""
    values = np.zeros(rows)
    values[list(scores)] = list(scores.values())
    return Series(
        scores=values,
        t_ns=np.arange(rows, dtype=np.int64) * S,
        windows=tuple((first * S, last * S) for first, last in windows),
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (40, 100.0),  # (1 + 1) / 2
        (41, 98.3495),  # (.966989 + 1) / 2
        (43, 78.1062),  # (.562125 + 1) / 2
    ],
)
def test_an_early_detection_is_worth_more(row: int, expected: float) -> None:
    assert score([series({row: 5.0}, (40, 43))]).score == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (20, 94.5),  # before any window: (1 - .11 + 1) / 2
        (46, 94.5736),  # 3 rows behind, y = 3 / 3: (1 - .11 * .986614 + 1) / 2
        (51, 94.500018),  # 8 rows behind, y = 8 / 3: (1 - .11 * .99999676 + 1) / 2
        (52, 94.5),  # 9 rows behind, y = 3
        (99, 94.5),
        (14, 100.0),  # the last row of probation
        (15, 94.5),
    ],
)
def test_a_false_positive_costs_by_its_distance_from_the_window_before(row: int, expected: float) -> None:
    found = score([series({row: 9.0, 40: 5.0}, (40, 43))])
    assert found.score == pytest.approx(expected, abs=1e-4 if row == 46 else 1e-6)
    assert (found.detected, found.false_positives) == (1, int(row != 14))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("standard", 94.5736),  # (1 - .11 * .986614 + 1) / (1 + 1)
        ("reward_low_FP", 89.1472),  # (1 - .22 * .986614 + 1) / (1 + 1)
        ("reward_low_FN", 96.3824),  # (1 - .11 * .986614 + 2) / (1 + 2)
    ],
)
def test_profiles_weigh_false_positives_and_misses(profile: str, expected: float) -> None:
    assert score([series({46: 9.0, 40: 5.0}, (40, 43))], profile).score == pytest.approx(expected, abs=1e-4)


def test_only_the_first_detection_in_a_window_counts() -> None:
    assert score([series({40: 5.0, 42: 9.0, 43: 9.0}, (40, 43))]).score == pytest.approx(100.0)


def test_the_threshold_is_the_best_for_the_corpus() -> None:
    # Row 40 adds .437875 to row 43, but five false positives with the same score cost .55.
    rows = {43: 9.0, 40: 5.0} | dict.fromkeys(range(20, 25), 5.0)
    found = score([series(rows, (40, 43))])
    assert found.score == pytest.approx(78.1062, abs=1e-4)
    assert (found.threshold, found.detected, found.false_positives) == (7.0, 1, 0)
    # Three cost .33, less than .437875.
    fewer = {43: 9.0, 40: 5.0} | dict.fromkeys(range(20, 23), 5.0)
    assert score([series(fewer, (40, 43))]).score == pytest.approx(100 * (1 - 0.33 + 1) / 2)


def test_one_threshold_holds_for_all_files() -> None:
    # Raising the threshold above 3 misses the second file's window: 1 - 1 against 2 - .11 * 10.
    noisy = series({40: 5.0} | dict.fromkeys(range(20, 30), 3.0), (40, 43))
    found = score([noisy, series({60: 3.0}, (60, 69))])
    assert found.score == pytest.approx(100 * (1 + 1 - 1.1 + 2) / 4)
    assert (found.windows, found.detected, found.false_positives) == (2, 2, 10)
    noisier = series({40: 5.0} | dict.fromkeys(range(16, 36), 3.0), (40, 43))
    found = score([noisier, series({60: 3.0}, (60, 69))])
    assert found.score == pytest.approx(50.0)
    assert (found.windows, found.detected, found.false_positives) == (2, 1, 0)


def test_detecting_nothing_is_zero_and_stands_where_nothing_better_is_possible() -> None:
    found = score([series({20: 9.0}, (40, 43))])
    assert (found.score, found.threshold, found.detected, found.false_positives) == (0.0, 9.0, 0, 0)


def test_probation_is_at_most_750_rows() -> None:
    free, costly = (series({row: 9.0, 5_000: 5.0}, (5_000, 5_009), rows=10_000) for row in (749, 750))
    assert score([free]).score == pytest.approx(100.0)
    assert score([costly]).score == pytest.approx(94.5)


def test_a_window_that_begins_in_probation_counts_from_its_end_on() -> None:
    # Rows 10..19: row 15 is at y = -5 / 10, worth .848284 / .986614 = .859793.
    window = (10, 19)
    assert score([series({12: 9.0, 15: 5.0}, window)]).score == pytest.approx(92.9897, abs=1e-4)
    assert score([series({12: 9.0}, window)]).detected == 0


def test_a_window_inside_probation_does_not_count_but_softens_what_follows_it() -> None:
    # Row 16 is 2 rows behind a window of 5: y = 2 / 4, .11 * .848284 = .093311.
    found = score([series({16: 9.0, 40: 5.0}, (10, 14), (40, 43))])
    assert found.windows == 1
    assert found.score == pytest.approx(100 * (2 - 0.093311) / 2, abs=1e-4)


def test_behind_a_window_of_one_row_distance_is_in_rows() -> None:
    assert score([series({41: 9.0, 40: 5.0}, (40, 40))]).score == pytest.approx(94.5736, abs=1e-4)


def literal(corpus: list[Series], profile: Profile, threshold: float) -> float:
    """Row by row at one threshold."""
    total, windows = 0.0, 0
    for one in corpus:
        spans = [(first // S, last // S) for first, last in one.windows]
        parts = [-profile.fn] * len(spans)
        for row in range(min(int(0.15 * len(one.scores)), 750), len(one.scores)):
            if one.scores[row] <= threshold:
                continue
            within = [at for at, (first, last) in enumerate(spans) if first <= row <= last]
            before = [span for span in spans if span[1] < row]
            if within:
                first, last = spans[within[0]]
                worth = math.tanh(2.5 * (last + 1 - row) / (last + 1 - first)) / math.tanh(2.5)
                parts[within[0]] = max(parts[within[0]], profile.tp * worth)
            elif before:
                first, last = before[-1]
                behind = (row - last) / max(last - first, 1)
                total -= profile.fp * (math.tanh(2.5 * behind) if behind < 3 else 1.0)
            else:
                total -= profile.fp
        total, windows = total + sum(parts), windows + len(spans)
    return 100 * (total + windows * profile.fn) / (windows * (profile.tp + profile.fn))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_finds_the_best_of_all_thresholds(profile: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corpus = []
    for _ in range(3):
        one = series({}, (30, 49), (60, 62), (63, 79), rows=120)
        labelled = np.isin(np.arange(120), [*range(30, 50), *range(60, 80)])
        scores = np.round(rng.normal(size=120) + rng.choice([0.0, 1.5]) * labelled, 1)  # with ties
        corpus.append(Series(scores=scores, t_ns=one.t_ns, windows=one.windows))
    found = score(corpus, profile)
    tried = {
        float(threshold): literal(corpus, PROFILES[profile], threshold)
        for threshold in np.unique([one.scores for one in corpus])
    }
    assert found.score == pytest.approx(max(tried.values()))
    assert found.score == pytest.approx(literal(corpus, PROFILES[profile], found.threshold))


def test_times_that_are_set_back_inside_a_window_do_not_cut_it() -> None:
    one = series({45: 5.0}, (40, 43))
    t_ns = one.t_ns.copy()
    t_ns[43:] -= 2 * S
    assert score([Series(scores=one.scores, t_ns=t_ns, windows=one.windows)]).detected == 1


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (((200, 210),), "hold rows"),
        (((40, 50), (50, 60)), "of their own"),
        (((60, 70), (40, 50)), "in order"),
        (((3, 9),), "beyond probation"),
        ((), "beyond probation"),
    ],
)
def test_windows_that_cannot_be_scored_are_refused(windows: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score([series({}, *windows)])


def test_what_is_not_a_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond probation"):
        score([])
    with pytest.raises(ValueError, match="standard, reward_low_FP, reward_low_FN, got 'best'"):
        score([series({}, (40, 43))], "best")
    with pytest.raises(ValueError, match="finite"):
        series({3: np.nan}, (40, 43))
    with pytest.raises(ValueError, match="one length"):
        Series(scores=np.zeros(3), t_ns=np.zeros(2, np.int64), windows=())
