import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import FrameError
from edge_agent.sources.times import LATEST_NS, TimeUnit, from_ns, to_ns

SKAB_NS = 1_583_748_873_000_000_000


@pytest.mark.parametrize(
    "written",
    [
        "2020-03-09 10:14:33",
        "2020-03-09T10:14:33Z",
        "2020-03-09T11:14:33.000+01:00",
        "1583748873",
        "1583748873.0",
        "1.583748873e9",
        "1583748873000",
        "1583748873000000",
        "1583748873000000000",
        1583748873,
        1583748873.0,
    ],
)
def test_a_time_is_told_by_its_looks(written):
    assert to_ns(written) == SKAB_NS


@pytest.mark.parametrize(("unit", "ns"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_small_numbers_are_read_in_the_unit_that_was_said(unit, ns):
    assert to_ns("123456", TimeUnit(unit)) == 123_456 * ns


@pytest.mark.parametrize(
    "written", ["", "nan", "inf", "1e400", "-1", "now", "2020-13-45", "1700-01-01", "9999-01-01", "0x10", "9" * 5000]
)
def test_what_is_no_time_is_refused(written):
    with pytest.raises(FrameError, match="time"):
        to_ns(written)


@given(st.integers(0, LATEST_NS), st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_written_number_is_read_back_exactly(t_ns, unit):
    assert to_ns(from_ns(t_ns, TimeUnit(unit)), TimeUnit(unit)) == t_ns


@given(st.integers(0, LATEST_NS))
def test_iso_8601_is_exact_to_the_microsecond(t_ns):
    assert to_ns(from_ns(t_ns)) == t_ns // 1000 * 1000
