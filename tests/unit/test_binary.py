import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.records import Block
from edge_agent.sources.binary import HEADER, MAX_FRAME_BYTES, SYNC, BinaryFraming, encode_frame
from edge_agent.sources.formats import Counters, joined

C = 3


def block(first, rows=4, channels=C):
    values = np.arange(first, first + rows * channels, dtype=np.float32).reshape(rows, channels)
    return Block(values=values, t_ns=10**18 + 1000 * np.arange(rows, dtype=np.int64))


class Stream:
    def __init__(self, *, own_time=False):
        self.counters = Counters()
        self.framing = BinaryFraming(channels=C, own_time=own_time, counters=self.counters)

    def feed(self, *chunks):
        return joined([rows for chunk in chunks for rows in self.framing.feed(chunk)])


def first_values(rows):
    return [(part.values[0, 0], len(part.values), part.gap) for part in rows]


def test_consecutive_frames_are_one_stretch():
    rows = Stream().feed(encode_frame(block(0), 0) + encode_frame(block(12), 1))
    np.testing.assert_array_equal(np.concatenate([block(0).values, block(12).values]), rows[0].values)
    assert first_values(rows) == [(0, 8, False)]


def test_both_check_sums_are_read():
    rows = Stream().feed(encode_frame(block(0), 0, crc=32) + encode_frame(block(12), 1, crc=16))
    assert first_values(rows) == [(0, 8, False)]


def test_scaled_integers_are_read_with_their_missing_value():
    values = np.array([[1.5, np.nan, -2.0], [1e9, -1e9, 0.0]], dtype=np.float32)
    scale = np.array([0.5, 0.1, 0.001], dtype=np.float32)
    frame = encode_frame(Block(values=values, t_ns=np.zeros(2, dtype=np.int64)), 0, scale=scale)
    expected = [[1.5, np.nan, -2.0], [0.5 * 32767, -3276.7, 0.0]]
    np.testing.assert_allclose(Stream().feed(frame)[0].values, expected, rtol=1e-6)


def test_a_frame_may_carry_the_time():
    rows = Stream(own_time=True).feed(encode_frame(block(0), 0, period_ns=100_000))
    assert rows[0].t_ns.tolist() == [10**18 + 100_000 * i for i in range(4)]


def test_a_time_that_is_not_asked_for_is_passed_over():
    rows = Stream().feed(encode_frame(block(0), 0, period_ns=100_000))
    assert rows[0].t_ns is None
    assert first_values(rows) == [(0, 4, False)]


def test_a_missing_time_drops_the_frame():
    stream = Stream(own_time=True)
    assert stream.feed(encode_frame(block(0), 0)) == []
    assert "with a time" in stream.counters.last_error


@pytest.mark.parametrize("first_ns", [-1, 2**63 - 1])
def test_a_time_out_of_range_drops_the_frame(first_ns):
    stream = Stream(own_time=True)
    late = Block(values=block(0).values, t_ns=np.full(4, first_ns, dtype=np.int64))
    assert stream.feed(encode_frame(late, 0, period_ns=2**32 - 1)) == []
    assert stream.counters.frames_dropped == 1


def test_lost_frames_are_counted_and_mark_a_gap():
    stream = Stream()
    rows = stream.feed(encode_frame(block(0), 65_534) + encode_frame(block(12), 1))
    assert first_values(rows) == [(0, 4, False), (12, 4, True)]
    assert stream.counters.frames_lost == 2


def test_a_sequence_that_begins_anew_is_a_gap_without_lost_frames():
    stream = Stream()
    rows = stream.feed(encode_frame(block(0), 500) + encode_frame(block(12), 0))
    assert first_values(rows) == [(0, 4, False), (12, 4, True)]
    assert stream.counters.frames_lost == 0


def test_garbage_between_consecutive_frames_is_counted_but_no_gap():
    stream = Stream()
    garbage = b"\x00\xa5\xa5\x5a\x5a\xff" + SYNC
    rows = stream.feed(garbage + encode_frame(block(0), 0) + garbage + encode_frame(block(12), 1))
    assert first_values(rows) == [(0, 8, False)]
    assert stream.counters.bytes_dropped == 2 * len(garbage)


def test_a_wrong_check_sum_drops_the_frame():
    stream = Stream()
    frames = [bytearray(encode_frame(block(12 * i), i)) for i in range(3)]
    frames[1][20] ^= 1
    assert first_values(stream.feed(b"".join(frames))) == [(0, 4, False), (24, 4, True)]
    assert (stream.counters.frames_dropped, stream.counters.frames_lost) == (1, 1)
    assert stream.counters.bytes_dropped == len(frames[1])


def test_a_frame_inside_a_cut_one_is_not_lost():
    stream = Stream()
    rows = stream.feed(encode_frame(block(0), 0)[:30], encode_frame(block(12), 1), encode_frame(block(24), 2))
    assert first_values(rows) == [(12, 8, False)]


def test_a_frame_of_another_number_of_channels_is_dropped_and_said():
    stream = Stream()
    rows = stream.feed(encode_frame(block(0, channels=2), 0) + encode_frame(block(0), 1))
    assert first_values(rows) == [(0, 4, True)]
    assert "expected frames of 3 channels, got 2" in stream.counters.last_error


def test_an_empty_frame_keeps_the_sequence():
    rows = Stream().feed(encode_frame(block(0), 0) + encode_frame(block(0, rows=0), 1) + encode_frame(block(12), 2))
    assert first_values(rows) == [(0, 8, False)]


@pytest.mark.parametrize("change", [(2, 2), (3, 8), (4, 0), (8, 0), (10, 0)])
def test_a_header_that_contradicts_itself_is_no_frame(change):
    at, value = change
    frame = bytearray(encode_frame(block(0), 0))
    frame[at] = value
    stream = Stream()
    assert stream.feed(bytes(frame)) == []
    assert stream.counters.frames_dropped == 0


def test_the_buffer_is_bounded_by_the_longest_frame():
    stream = Stream()
    header = HEADER.pack(SYNC, 1, 0, 65_532, 0, 3, 5461)
    stream.feed(header, *[b"\x00" * 1000 for _ in range(200)])
    assert len(stream.framing._buffer) <= MAX_FRAME_BYTES


def test_a_reopened_stream_marks_a_gap_and_expects_no_sequence():
    stream = Stream()
    stream.feed(encode_frame(block(0), 0), encode_frame(block(12), 1)[:9])
    stream.framing.resync(lost=True, partial=True)
    assert first_values(stream.feed(encode_frame(block(24), 77))) == [(24, 4, True)]
    assert stream.counters.frames_lost == 0


def test_a_block_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="65535 bytes"):
        encode_frame(block(0, rows=6000), 0)


def test_crc_32_is_that_of_zip():
    frame = encode_frame(block(0), 0, crc=32)
    assert struct.unpack("<I", frame[-4:])[0] == zlib.crc32(frame[2:-4])


part = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(0, 65_535), st.sampled_from([16, 32])).map(
        lambda p: encode_frame(block(0, rows=p[0]), p[1], crc=p[2])
    ),
    st.integers(1, 60).map(lambda size: encode_frame(block(0), 0)[:size]),
    st.binary(max_size=6),
)


@given(st.lists(part, max_size=6).map(b"".join), st.lists(st.integers(0, 1000), max_size=6))
def test_any_split_of_a_stream_gives_the_same_rows(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    chunks = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    whole, pieces = Stream(), Stream()
    expected, got = whole.feed(data), pieces.feed(*chunks)
    assert [part.values.tolist() for part in got] == [part.values.tolist() for part in expected]
    assert [part.gap for part in got] == [part.gap for part in expected]
    assert pieces.counters == whole.counters
