import numpy as np
import pytest

from edge_agent.contract.records import Block
from edge_agent.errors import FrameError
from edge_agent.sources.binary import encode_frame
from edge_agent.sources.discovery import guess
from edge_agent.sources.formats import FormatSettings
from edge_agent.sources.lines import encode_lines
from edge_agent.sources.pump import PUMP_CHANNELS, Pump

NAMES = [channel.name for channel in PUMP_CHANNELS]
NUMBERED = [f"channel_{i}" for i in range(1, 6)]


@pytest.fixture(scope="module")
def block():
    return Pump(1, 10.0).take(100)


def sample(block, *, header=False, cut=0, **settings):
    return encode_lines(block, FormatSettings(**settings), PUMP_CHANNELS, header=header)[cut:]


def names(found):
    return [channel.name for channel in found.channels]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [False, True])
def test_csv_is_found_by_its_delimiter(block, delimiter, header):
    found = guess(sample(block, delimiter=delimiter, header=header), 10.0)
    assert (found.settings.format, found.settings.delimiter) == ("csv", delimiter)
    assert names(found) == (NAMES if header else NUMBERED)
    assert found.rate_hz == pytest.approx(10, rel=0.02)
    assert found.dropped == 0


def test_a_decimal_comma_is_found(block):
    found = guess(sample(block, delimiter=";", decimal=","), 10.0)
    assert (found.settings.delimiter, found.settings.decimal, len(found.channels)) == (";", ",", 5)


def test_units_are_taken_from_the_header():
    found = guess(b"flow [l/min],pressure (bar)\n" + b"1,2\n3,4\n" * 5, 10.0)
    assert [(channel.name, channel.unit) for channel in found.channels] == [("flow", "l/min"), ("pressure", "bar")]


def test_a_named_time_gives_the_rate(block):
    found = guess(sample(block, header=True, time_column="time"), 0.0)
    assert (found.settings.time_column, names(found), found.rate_hz) == ("time", NAMES, 10.0)


def test_an_unnamed_calendar_time_is_found_by_its_looks(block):
    found = guess(sample(block, time_column="time"), 0.0)
    assert (found.settings.time_column, names(found), found.rate_hz) == ("time", NUMBERED, 10.0)


@pytest.mark.parametrize(("unit", "step"), [("s", 0.1), ("ms", 100), ("us", 100_000)])
def test_an_unnamed_count_that_rises_as_time_goes_by_is_the_time(unit, step):
    lines = "".join(f"{7 + i * step:g},{i % 7},{i % 3}\n" for i in range(101))
    found = guess(lines.encode(), 10.0)
    assert (found.settings.time_column, found.settings.time_unit, len(found.channels)) == ("time", unit, 2)
    assert found.rate_hz == pytest.approx(10)


def test_a_first_field_that_rises_otherwise_is_a_channel():
    found = guess("".join(f"{i * 3.3},{i % 7}\n" for i in range(101)).encode(), 10.0)
    assert (found.settings.time_column, len(found.channels)) == ("", 2)


@pytest.mark.parametrize("kind", ["json", "keyvalue"])
def test_named_formats_are_found_with_their_time(block, kind):
    found = guess(sample(block, format=kind, time_column="ts", time_unit="ms", cut=9), 10.0)
    assert (found.settings.format, found.settings.time_column, names(found)) == (kind, "ts", NAMES)
    assert found.rate_hz == pytest.approx(10)


def test_json_arrays_are_found():
    found = guess(b"[1, 2.5, null]\n[2, 2.5, 7]\n" * 10, 10.0)
    assert (found.settings.format, len(found.channels)) == ("json", 3)


@pytest.mark.parametrize("timed", [False, True])
def test_binary_frames_are_found(block, timed):
    period_ns = 100_000_000 if timed else None
    parts = [Block(values=block.values[i : i + 10], t_ns=block.t_ns[i : i + 10]) for i in range(0, 100, 10)]
    frames = b"".join(encode_frame(part, i, period_ns=period_ns) for i, part in enumerate(parts))
    found = guess(frames[5:-5], 8.0)
    assert (found.settings.format, bool(found.settings.time_column), names(found)) == ("binary", timed, NUMBERED)
    assert found.rate_hz == pytest.approx(10)


def test_text_columns_are_no_channels():
    found = guess(b"time,state,flow\n" + b"2026-01-01 00:00:01,running,1\n2026-01-01 00:00:02,idle,2\n" * 5, 10.0)
    assert (names(found), found.settings.time_column) == (["flow"], "time")


def test_what_was_guessed_reads_the_sample(block):
    found = guess(sample(block, time_column="time", cut=3), 10.0)
    assert (found.readings, found.dropped) == (99, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "nothing arrived in 10 s"),
        (b"hello world\nready\n", "is it text with numbers"),
        (np.random.default_rng(0).bytes(3000), "is the baud rate right"),
        (b'"' * 3000, "make no readings"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_hint(data, message):
    with pytest.raises(FrameError, match=message):
        guess(data, 10.0)
