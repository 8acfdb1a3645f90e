import random

import pytest

from edge_agent.backoff import Backoff


class Highest(random.Random):
    """Draws the highest value there is."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_longest_delays_double_up_to_the_limit():
    backoff = Backoff(first_s=1, longest_s=10, rng=Highest())
    assert [backoff.delay_s() for _ in range(6)] == [2, 4, 8, 10, 10, 10]


def test_delays_are_spread_between_the_first_and_the_highest():
    delays = [Backoff(first_s=1, longest_s=300, rng=random.Random(seed)).delay_s() for seed in range(200)]
    assert 1 <= min(delays) < 1.1
    assert 1.9 < max(delays) <= 2


def test_a_connection_that_breaks_at_once_does_not_begin_the_count_anew():
    backoff = Backoff(first_s=1, longest_s=300, healthy_s=60, rng=Highest())
    for now_s in (0.0, 50.0, 99.0):
        backoff.succeeded(now_s)
        delay_s = backoff.delay_s()
    assert delay_s == 8


def test_a_connection_that_held_begins_the_count_anew():
    backoff = Backoff(first_s=1, longest_s=300, healthy_s=60, rng=Highest())
    for _ in range(5):
        backoff.delay_s()
    backoff.succeeded(100.0)
    backoff.succeeded(160.0)
    assert backoff.delay_s() == 2


def test_years_of_attempts_overflow_nothing():
    backoff = Backoff(first_s=1, longest_s=300, rng=Highest())
    assert [backoff.delay_s() for _ in range(5000)][-1] == 300


@pytest.mark.parametrize("times", [(0, 1, 1), (2, 1, 1), (1, 2, -1)])
def test_times_out_of_range_are_refused(times):
    with pytest.raises(ValueError, match="first_s"):
        Backoff(*times)
