import numpy as np
import pytest

from edge_agent.contract.records import NS
from edge_agent.sources.arrival import LATE_S, ArrivalTimes, OwnTimes
from tests.virtual_clock import EPOCH_NS, VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


def chunks(clock, arrival, *, every_s, rows, times, tremble_s=0.0, seed=0):
    """Stamp chunks that arrive regularly but for a delay of up to `tremble_s`."""
    rng = np.random.default_rng(seed)
    stamped, due_ns = [], clock.elapsed_ns
    for _ in range(times):
        due_ns += round(every_s * NS)
        clock.elapsed_ns = due_ns + round(rng.uniform(0, tremble_s) * NS)
        stamped.append(arrival.stamp(rows))
    return np.concatenate(stamped)


def test_a_slow_reading_has_the_time_of_its_arrival(clock):
    arrival = ArrivalTimes(clock, 1.0)
    t_ns = chunks(clock, arrival, every_s=1.0, rows=1, times=5)
    assert t_ns.tolist() == [EPOCH_NS + i * NS for i in range(1, 6)]


def test_the_rows_of_a_chunk_are_spread_back_by_the_rate(clock):
    arrival = ArrivalTimes(clock, 100.0)
    clock.sleep(1.0)
    t_ns = arrival.stamp(5)
    assert (t_ns - EPOCH_NS).tolist() == [NS - i * NS // 100 for i in (4, 3, 2, 1, 0)]


def test_an_unknown_rate_is_taken_from_the_arrivals(clock):
    arrival = ArrivalTimes(clock, None)
    steps = np.diff(chunks(clock, arrival, every_s=0.05, rows=10, times=40))
    np.testing.assert_allclose(steps, NS / 200, rtol=1e-6)


def test_an_unknown_rate_is_learnt_though_the_first_reading_came_late(clock):
    arrival = ArrivalTimes(clock, None)
    clock.sleep(5.0)
    arrival.stamp(1)
    steps = np.diff(chunks(clock, arrival, every_s=0.1, rows=1, times=200))
    np.testing.assert_allclose(steps[-20:], 0.1 * NS, rtol=0.05)
    assert abs(arrival.now_ns() - int(arrival.stamp(1)[-1])) < 0.2 * NS


def test_an_unknown_rate_that_was_first_mistaken_settles(clock):
    arrival = ArrivalTimes(clock, None)
    clock.sleep(0.1)
    arrival.stamp(400)
    steps = np.diff(chunks(clock, arrival, every_s=0.04, rows=400, times=300, tremble_s=0.01))
    np.testing.assert_allclose(steps[len(steps) // 2 :], NS / 10_000, rtol=0.2)


def test_trembling_arrivals_of_a_fast_sensor_make_no_gaps(clock):
    arrival = ArrivalTimes(clock, 10_000.0)
    steps = np.diff(chunks(clock, arrival, every_s=0.04, rows=400, times=500, tremble_s=0.03))
    assert steps.min() > 0
    assert steps.max() < 1.5 * NS / 10_000


@pytest.mark.parametrize("real_hz", [5_000, 8_000, 12_000, 30_000])
def test_a_wrong_rate_shows(clock, real_hz):
    arrival = ArrivalTimes(clock, 10_000.0)
    t_ns = chunks(clock, arrival, every_s=0.04, rows=real_hz // 25, times=250, tremble_s=0.01)
    late = t_ns[len(t_ns) // 2 :]
    assert (len(late) - 1) * NS / (late[-1] - late[0]) == pytest.approx(real_hz, rel=0.02)


def test_times_stay_near_arrival_for_hours(clock):
    arrival = ArrivalTimes(clock, 101.0)
    t_ns = chunks(clock, arrival, every_s=0.1, rows=10, times=36_000, tremble_s=0.02)
    assert abs(int(t_ns[-1]) - arrival.now_ns()) < 0.05 * NS


def test_a_silence_is_a_gap(clock):
    arrival = ArrivalTimes(clock, 1000.0)
    chunks(clock, arrival, every_s=0.05, rows=50, times=10)
    t_ns = chunks(clock, arrival, every_s=LATE_S + 0.1, rows=50, times=1)
    assert t_ns[-1] == arrival.now_ns()
    assert np.diff(t_ns).max() < 1.01 * NS / 1000


def test_a_reopened_port_is_placed_at_its_arrival(clock):
    arrival = ArrivalTimes(clock, 1000.0)
    chunks(clock, arrival, every_s=0.05, rows=50, times=10)
    clock.sleep(0.2)
    arrival.restart()
    clock.sleep(0.01)
    assert arrival.stamp(10)[-1] == arrival.now_ns()


@pytest.mark.parametrize("rows", [1, 1000])
def test_time_rises_even_where_the_clock_stands_still(clock, rows):
    arrival = ArrivalTimes(clock, 1000.0)
    t_ns = np.concatenate([arrival.stamp(rows) for _ in range(20)])
    assert np.diff(t_ns).min() > 0


def test_time_rises_after_a_burst_that_came_too_early(clock):
    arrival = ArrivalTimes(clock, 1000.0)
    clock.sleep(1.0)
    burst = np.concatenate([arrival.stamp(1000) for _ in range(20)])
    after = chunks(clock, arrival, every_s=1.0, rows=10, times=5)
    assert np.diff(np.concatenate([burst, after])).min() > 0


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_jump_of_the_wall_clock_changes_nothing(clock, jump_s):
    arrival = ArrivalTimes(clock, 1.0)
    chunks(clock, arrival, every_s=1.0, rows=1, times=3)
    clock.utc_ns += jump_s * NS
    arrival.restart()
    assert chunks(clock, arrival, every_s=1.0, rows=1, times=1).tolist() == [EPOCH_NS + 4 * NS]


def test_own_calendar_times_stay_as_they_are(clock):
    times = np.array([EPOCH_NS, EPOCH_NS + 5])
    placed, anew = OwnTimes(ArrivalTimes(clock, None)).place(times)
    assert placed.tolist() == times.tolist()
    assert not anew


def test_times_since_the_start_are_placed_at_the_first_arrival(clock):
    own = OwnTimes(ArrivalTimes(clock, None))
    own.place(np.array([1_000, 2_000]))
    clock.sleep(60)
    placed, anew = own.place(np.array([3_000]))
    assert placed.tolist() == [EPOCH_NS + 1_000]
    assert not anew


@pytest.mark.parametrize("after", [[5], [9_000, 5]])
def test_a_sensor_that_starts_anew_is_placed_anew(clock, after):
    own = OwnTimes(ArrivalTimes(clock, None))
    own.place(np.array([8_000]))
    clock.sleep(60)
    placed, anew = own.place(np.array(after))
    assert placed[-1] == EPOCH_NS + 60 * NS
    assert anew
