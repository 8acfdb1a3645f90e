"""Durations and numbers as people say them."""

import pytest

from edge_agent.contract.words import counted, duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (0.25, "0.25 s"),
        (59.4, "59.4 s"),
        (59.9, "1 min"),
        (138.9, "2 min 19 s"),
        (3600.0, "1 h"),
        (4.19 * 3600, "4 h 11 min"),
        (3 * 86_400 + 7300, "3 d 2 h"),
    ],
)
def test_a_duration_is_told_in_the_units_that_suit_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 files"), (1, "1 file"), (1.0, "1 file"), (0.5, "0.5 files"), (1_234_567, "1,234,567 files")],
)
def test_only_one_is_singular(number: float, said: str) -> None:
    assert counted(number, "file") == said
