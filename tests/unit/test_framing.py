import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.records import Channel
from edge_agent.sources.formats import Counters, FormatSettings, joined
from edge_agent.sources.framing import make_framing

CHANNELS = (Channel(name="a"), Channel(name="b"))


class Stream:
    """A framing with its counters, and what came out of it as plain lists."""

    def __init__(self, **settings):
        self.counters = Counters()
        self.framing = make_framing(FormatSettings(**settings), CHANNELS, self.counters)

    def feed(self, *chunks):
        rows = [rows for chunk in chunks for rows in self.framing.feed(chunk)]
        return [(part.values.tolist(), part.gap) for part in joined(rows)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n\r\n"])
def test_lines_end_with_lf_or_cr_or_both(end):
    assert Stream().feed(b"1,2" + end + b"3,4" + end) == [([[1, 2], [3, 4]], False)]


def test_a_line_is_read_when_its_end_arrives():
    stream = Stream()
    assert stream.feed(b"1,", b"2") == []
    assert stream.feed(b"\n") == [([[1, 2]], False)]


def test_a_last_line_needs_no_end():
    stream = Stream()
    stream.feed(b"1,2\n3,4")
    assert stream.framing.finish()[0].values.tolist() == [[3, 4]]


def test_comments_are_passed_over_without_a_gap():
    assert Stream().feed(b"1,2\n# booted\n3,4\n") == [([[1, 2], [3, 4]], False)]


def test_a_malformed_line_is_dropped_and_marks_a_gap():
    stream = Stream()
    assert stream.feed(b"1,2\nrubbish\n3,4\n5,6\n") == [([[1, 2]], False), ([[3, 4], [5, 6]], True)]
    assert (stream.counters.frames_dropped, stream.counters.bytes_dropped, stream.counters.readings) == (1, 7, 3)
    assert "rubbish" in stream.counters.last_error


def test_a_gap_at_the_end_of_one_chunk_marks_the_next():
    stream = Stream()
    stream.feed(b"1,2\nrubbish\n")
    assert stream.feed(b"3,4\n") == [([[3, 4]], True)]


def test_bytes_that_are_no_text_are_dropped():
    stream = Stream()
    assert stream.feed(b"1,2\n\xff\xfe\x00,\x80\n3,4\n") == [([[1, 2]], False), ([[3, 4]], True)]


def test_another_header_in_mid_stream_is_a_gap():
    assert Stream().feed(b"a,b\n1,2\nb,a\n3,4\n") == [([[1, 2]], False), ([[4, 3]], True)]


def test_the_same_header_now_and_then_is_no_gap():
    stream = Stream()
    assert not any(gap for _, gap in stream.feed(b"a,b\n1,2\na,b\n3,4\n"))
    assert stream.feed(b"a,b\r\n5,6\n") == [([[5, 6]], False)]


def test_a_right_header_is_taken_after_a_wrong_one():
    stream = Stream()
    assert repr(stream.feed(b"x,y\n1,2\n")) == "[([[nan, nan]], False)]"
    assert stream.feed(b"b,a\n3,4\n5,6\n") == [([[4, 3], [6, 5]], True)]


def test_what_a_header_lacks_is_in_the_last_error():
    stream = Stream()
    stream.feed(b"a,c\n")
    assert "no 'b'" in stream.counters.last_error


def test_an_endless_line_is_dropped_within_its_limit():
    stream = Stream(max_line_bytes=64)
    for _ in range(1000):
        assert stream.feed(b"9" * 100) == []
    assert stream.feed(b"\n3,4\n") == [([[3, 4]], True)]
    assert (stream.counters.frames_dropped, stream.counters.bytes_dropped) == (1, 100_000)
    assert len(stream.framing._tail) == 0


def test_a_long_line_is_dropped_in_one_chunk_too():
    stream = Stream(max_line_bytes=64)
    assert stream.feed(b"1," + b" " * 100 + b"2\n3,4\n") == [([[3, 4]], True)]


def test_a_stream_that_begins_in_mid_line_loses_that_line():
    stream = Stream()
    stream.framing.resync(lost=False, partial=True)
    assert stream.feed(b"5,6\n1,2\n") == [([[1, 2]], False)]


def test_pairs_need_no_dropped_line_at_the_beginning():
    stream = Stream(format="keyvalue")
    stream.framing.resync(lost=False, partial=True)
    assert stream.feed(b"a=1 b=2\n") == [([[1, 2]], False)]


def test_a_reopened_stream_forgets_the_half_line_and_marks_a_gap():
    stream = Stream()
    stream.feed(b"1,2\n7,")
    stream.framing.resync(lost=True, partial=False)
    assert stream.feed(b"3,4\n") == [([[3, 4]], True)]


def test_the_order_a_header_gave_holds_after_reopening():
    stream = Stream()
    stream.feed(b"b,a\n1,2\n")
    stream.framing.resync(lost=True, partial=False)
    assert stream.feed(b"1,2\n") == [([[2, 1]], True)]


line = st.sampled_from(
    [
        b"1,2",
        b"3.5,-1e3",
        b"nan,4",
        b"1e20,inf",
        b"1",
        b"1,2,3",
        b"",
        b"# x",
        b"a,b",
        b"b,a",
        b"\xff\x00",
        b"7" * 90,
        b"1;2",
    ]
) | st.binary(max_size=12)
streams = st.lists(st.tuples(line, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda lines: b"".join(text + end for text, end in lines)
)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.binary(max_size=300), st.sampled_from(["csv", "keyvalue", "json", "binary"]), st.booleans())
def test_no_bytes_raise(data, kind, timed):
    stream = Stream(format=kind, time_column="t" if timed else "")
    stream.feed(data)
    stream.framing.finish()
    assert stream.counters.bytes_dropped <= len(data)


@given(streams, st.lists(st.integers(0, 1000), max_size=8))
def test_any_split_of_a_text_gives_the_same_rows(data, places):
    whole, pieces = Stream(max_line_bytes=64), Stream(max_line_bytes=64)
    assert repr(pieces.feed(*cut(data, places))) == repr(whole.feed(data))
    assert pieces.counters == whole.counters


def test_one_byte_at_a_time_gives_the_same_rows():
    data = b"a,b\n1,2\r\nx\n3,4\n5"
    assert Stream().feed(*[data[i : i + 1] for i in range(len(data))]) == Stream().feed(data)


@pytest.mark.parametrize("odd", [b"", b"a,b,c\n", b"9,9,9\nrubbish\n"])
def test_thousands_of_lines_are_decoded_together(odd):
    values = np.arange(30_000).reshape(-1, 3) / 7
    data = "".join(f"{a:.4f},{b:.4f},{c:.4f}\n" for a, b, c in values).encode()
    framing = make_framing(FormatSettings(), tuple(Channel(name=name) for name in "abc"), Counters())
    began_s = time.process_time()
    rows = framing.feed(odd + data)
    assert len(rows[-1].values) == 10_000
    assert time.process_time() - began_s < 0.1, "10 us a line: five times what it takes"
