"""N-of-M and the counting of events, each against a slow literal reference."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract.peaks import event_levels, nth_largest, run_starts

UNTIMED = settings(deadline=None)  # a busy machine is not a failure
VALUES = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 1.5, 3.0])
STEPS = st.sampled_from([1, 1, 1, 1, 2, 3, 4, 9, 0, -7])


def events_above(strength: np.ndarray, t_ns: np.ndarray, join_ns: int, threshold: float) -> int:
    """Count by walking: a new event when the last alarming window is further back than the join time."""
    count, last, previous = 0, None, None
    for value, now in zip(strength, t_ns, strict=True):
        if previous is not None and now < previous:
            last = None
        previous = now
        if value > threshold:
            count += last is None or now - last > join_ns
            last = now
    return count


@UNTIMED
@given(st.lists(st.tuples(VALUES, STEPS), min_size=1, max_size=60), st.integers(0, 6))
def test_event_levels_give_the_most_events_at_any_threshold_and_above(
    windows: list[tuple[float, int]], join_ns: int
) -> None:
    strength = np.array([value for value, _ in windows])
    t_ns = np.cumsum([step for _, step in windows]).astype(np.int64)
    always, levels = event_levels(strength, t_ns, join_ns)
    assert always == 0
    assert np.all(np.diff(levels) <= 0)
    thresholds = np.array([-3.0, -1.0, *np.unique(strength), 9.0])
    counts = {t: events_above(strength, t_ns, join_ns, t) for t in thresholds}
    for threshold in thresholds:
        assert np.count_nonzero(levels > threshold) == max(counts[t] for t in thresholds if t >= threshold)


@UNTIMED
@given(st.lists(st.tuples(VALUES, STEPS, st.booleans()), min_size=1, max_size=40), st.integers(0, 6))
def test_events_of_any_threshold_are_counted_apart(windows: list[tuple[float, int, bool]], join_ns: int) -> None:
    gross = np.array([flag for *_, flag in windows])
    strength = np.where(gross, np.inf, [value for value, *_ in windows])
    t_ns = np.cumsum([step for _, step, _ in windows]).astype(np.int64)
    always, levels = event_levels(strength, t_ns, join_ns)
    assert always == events_above(strength, t_ns, join_ns, 1e9)
    most = max(events_above(strength, t_ns, join_ns, t) for t in (*np.unique(strength), -3.0))
    assert always + len(levels) == most


@UNTIMED
@given(
    st.lists(st.tuples(VALUES, st.booleans()), min_size=1, max_size=60),
    st.integers(1, 6).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))),
)
def test_v_above_a_threshold_is_n_of_the_last_m_above_it(
    windows: list[tuple[float, bool]], n_m: tuple[int, int]
) -> None:
    n, m = n_m
    scores = np.array([value for value, _ in windows])
    starts = np.array([True, *(flag for _, flag in windows[1:])])
    v = nth_largest(scores, starts, n, m)
    begin = 0
    for i in range(len(scores)):
        begin = i if starts[i] else begin
        history = scores[max(begin, i - m + 1) : i + 1]
        for threshold in (-3.0, *np.unique(scores)):
            assert (v[i] > threshold) == (np.count_nonzero(history > threshold) >= n)


def test_a_long_series_is_worked_on_in_blocks_without_a_seam() -> None:
    scores = np.random.default_rng(0).normal(size=150_000)
    starts = np.zeros(len(scores), dtype=bool)
    starts[0] = True
    v = nth_largest(scores, starts, 3, 5)
    for i in (65_535, 65_536, 65_540, 131_072):
        assert v[i] == np.sort(scores[i - 4 : i + 1])[-3]


def test_a_run_begins_after_a_gap_and_where_time_does_not_rise() -> None:
    t_ns = np.array([0, 10, 20, 41, 51, 51, 40, 50], dtype=np.int64)
    assert run_starts(t_ns, 20).tolist() == [True, False, False, True, False, True, True, False]


def test_no_windows_give_no_events() -> None:
    always, levels = event_levels(np.array([]), np.array([], dtype=np.int64), 5)
    assert (always, len(levels)) == (0, 0)
