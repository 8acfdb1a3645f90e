from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.alerts.overflow import DropReason, Ranges, words


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 10)), max_size=30))
def test_ranges_hold_exactly_the_numbers_added(added: list[tuple[int, int]]) -> None:
    ranges, expected = Ranges(), set()
    for first, more in added:
        ranges.add(first, first + more)
        expected.update(range(first, first + more + 1))

    held = [number for first, last in ranges.runs for number in range(first, last + 1)]
    assert held == sorted(expected)
    assert ranges.count == len(expected)
    assert all(b[0] > a[1] + 1 for a, b in zip(ranges.runs, ranges.runs[1:], strict=False))


def test_a_report_says_in_words_what_is_gone_and_why() -> None:
    dropped = Ranges([(3, 9)]).as_dropped("a" * 32)

    assert words(dropped, DropReason.FULL, "") == "7 alerts dropped: the outbox is full"
    assert "(packet too large)" in words(dropped, DropReason.REFUSED, "packet too large")
