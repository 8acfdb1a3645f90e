"""Binary frames for fast sensors: sync, header with sequence number, rows of float32 or scaled int16, CRC. No I/O.

Little-endian throughout:

    offset  size     field
    0       2        sync, A5 5A
    2       1        version, 1
    3       1        flags: 1 = int16 rows, 2 = CRC-32, 4 = time
    4       2        length: bytes between this header and the CRC
    6       2        sequence: one more with each frame, 65535 is followed by 0
    8       2        channels C
    10      2        rows n
    12      8 + 4    with flag 4: int64 ns of the first row since 1970 or the sensor's start, uint32 ns between rows
    ..      4 C      with flag 1: float32 scale of each channel; reading = int16 x scale, -32768 is a missing value
    ..      4 n C    rows, float32 (2 n C: int16), all channels of the oldest row first
    ..      2        CRC-16/CCITT-FALSE (with flag 2: 4, CRC-32 as in zip) of everything after the sync

The length repeats what flags, channels and rows say: random bytes that look like a sync are told apart at once. After a
wrong CRC the search goes on right behind the sync, so a real frame inside a false one is not lost. Whether readings
were lost is told by the sequence number alone: garbage between two consecutive frames is no gap.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_agent.contract.records import Block, Floats, Times
from edge_agent.errors import FrameError
from edge_agent.sources.formats import Counters, Rows, joined

SYNC = b"\xa5\x5a"
VERSION = 1
INT16, CRC32, TIME = 1, 2, 4
"""Flags."""

HEADER = struct.Struct("<2sBBHHHH")
TIMING = struct.Struct("<qI")

MAX_FRAME_BYTES = HEADER.size + 0xFFFF + 4
"""Longest frame that the 16-bit length allows; bounds the buffer."""

SEQUENCES = 1 << 16
MISSING_INT16 = -(1 << 15)
LARGEST_INT16 = (1 << 15) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """What the first twelve bytes of a frame say."""

    flags: int
    sequence: int
    channels: int
    rows: int

    @classmethod
    def read(cls, data: bytes | bytearray, at: int) -> FrameHeader | None:
        """Read it at an offset; None when these bytes begin no frame of this version."""
        sync, version, flags, length, sequence, channels, rows = HEADER.unpack_from(data, at)
        header = cls(flags=flags, sequence=sequence, channels=channels, rows=rows)
        known = sync == SYNC and version == VERSION and flags < 2 * TIME
        return header if known and length == header.length else None

    @property
    def length(self) -> int:
        """Bytes between header and CRC."""
        scales = 4 * self.channels if self.flags & INT16 else 0
        item = 2 if self.flags & INT16 else 4
        return (TIMING.size if self.flags & TIME else 0) + scales + item * self.channels * self.rows

    @property
    def crc_bytes(self) -> int:
        """Bytes of the CRC."""
        return 4 if self.flags & CRC32 else 2

    @property
    def total(self) -> int:
        """Bytes of the whole frame."""
        return HEADER.size + self.length + self.crc_bytes


def intact(data: bytes | bytearray, at: int, header: FrameHeader) -> bool:
    """Whether the whole frame that begins at `at` is there and has the right CRC."""
    end = at + header.total - header.crc_bytes
    return data[end : end + header.crc_bytes] == _crc(data[at + len(SYNC) : end], header.flags)


class BinaryFraming:
    """Finds frames in a stream of bytes."""

    def __init__(self, *, channels: int, own_time: bool, counters: Counters) -> None:
        """Expect `channels` a row, and with `own_time` frames that carry one."""
        self._channels = channels
        self._own_time = own_time
        self._counters = counters
        self._buffer = bytearray()
        self._expected: int | None = None
        self._gap = False

    def feed(self, data: bytes) -> list[Rows]:
        """Take bytes as they come."""
        self._buffer += data
        frames: list[Rows] = []
        at = 0
        while (start := self._buffer.find(SYNC, at)) >= 0:
            self._counters.bytes_dropped += start - at
            at = start
            if len(self._buffer) - at < HEADER.size:
                break
            header = FrameHeader.read(self._buffer, at)
            if header is None:
                self._counters.bytes_dropped += len(SYNC)
                at += len(SYNC)
            elif len(self._buffer) - at < header.total:
                break
            elif not intact(self._buffer, at, header):
                self._counters.drop(len(SYNC), "a frame with a wrong CRC")
                at += len(SYNC)
            else:
                frames += self._frame(header, at)
                at += header.total
        else:
            end = len(self._buffer) - self._buffer.endswith(SYNC[:1], at)
            self._counters.bytes_dropped += end - at
            at = end
        del self._buffer[:at]
        return joined(frames)

    def finish(self) -> list[Rows]:
        """Count an unfinished frame as dropped."""
        self._counters.bytes_dropped += len(self._buffer)
        self._buffer.clear()
        return []

    def resync(self, *, lost: bool, partial: bool) -> None:  # noqa: ARG002 - the sync finds the next frame
        """Begin a new stream."""
        self._buffer.clear()
        self._expected = None
        self._gap |= lost

    def _frame(self, header: FrameHeader, at: int) -> list[Rows]:
        """Rows of an intact frame: none where it is empty or not what this stream must carry."""
        self._count_lost(header.sequence)
        try:
            values, t_ns = self._readings(header, at + HEADER.size)
        except FrameError as error:
            self._counters.drop(header.total, str(error))
            self._gap = True
            return []
        if not len(values):
            return []
        self._counters.readings += len(values)
        rows = Rows(values=values, t_ns=t_ns, gap=self._gap)
        self._gap = False
        return [rows]

    def _count_lost(self, sequence: int) -> None:
        """Compare with the expected sequence; a step of more than half the range is a sensor that started anew."""
        if self._expected is not None and sequence != self._expected:
            lost = (sequence - self._expected) % SEQUENCES
            self._counters.frames_lost += lost if lost < SEQUENCES // 2 else 0
            self._gap = True
        self._expected = (sequence + 1) % SEQUENCES

    def _readings(self, header: FrameHeader, at: int) -> tuple[Floats, Times | None]:
        if header.channels != self._channels:
            raise FrameError(f"expected frames of {self._channels} channels, got {header.channels}")
        if self._own_time and not header.flags & TIME:
            raise FrameError("expected frames with a time (flag 4), got one without; or set time_column to none")
        t_ns = None
        if header.flags & TIME:
            first_ns, period_ns = TIMING.unpack_from(self._buffer, at)
            t_ns = _frame_times(first_ns, period_ns, header.rows) if self._own_time else None
            at += TIMING.size
        count = header.rows * header.channels
        if not header.flags & INT16:
            flat = np.frombuffer(self._buffer, dtype="<f4", count=count, offset=at).astype(np.float32)
            return flat.reshape(header.rows, header.channels), t_ns
        scale = np.frombuffer(self._buffer, dtype="<f4", count=header.channels, offset=at).astype(np.float32)
        raw = np.frombuffer(self._buffer, dtype="<i2", count=count, offset=at + scale.nbytes)
        raw = raw.reshape(header.rows, header.channels)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(raw == MISSING_INT16, np.float32(np.nan), raw * scale).astype(np.float32), t_ns


def encode_frame(
    block: Block,
    sequence: int,
    *,
    scale: Floats | None = None,
    crc: Literal[16, 32] = 16,
    period_ns: int | None = None,
) -> bytes:
    """Write readings as one frame.

    Args:
        block: at most as many rows as the 16-bit length allows.
        sequence: one more than that of the frame before; taken modulo 65536.
        scale: float32 [C] units per count: writes int16, rounded and saturated; None writes float32.
        crc: bits of the check sum.
        period_ns: writes the time of the first row, and this time between rows; None writes no time.

    Raises:
        ValueError: the block does not fit one frame.
    """
    rows, channels = block.values.shape
    flags = (INT16 if scale is not None else 0) | (CRC32 if crc == 32 else 0) | (TIME if period_ns is not None else 0)  # noqa: PLR2004 - bits
    header = FrameHeader(flags=flags, sequence=sequence % SEQUENCES, channels=channels, rows=rows)
    if header.length > 0xFFFF:  # noqa: PLR2004 - a 16-bit field
        raise ValueError(f"a frame holds at most 65535 bytes, got {header.length} for {rows} rows of {channels}")
    time = TIMING.pack(int(block.t_ns[0]) if rows else 0, period_ns) if period_ns is not None else b""
    body = time + (block.values.astype("<f4").tobytes() if scale is None else _scaled(block.values, scale))
    head = HEADER.pack(SYNC, VERSION, flags, header.length, header.sequence, channels, rows)
    return head + body + _crc(head[len(SYNC) :] + body, flags)


def _scaled(values: Floats, scale: Floats) -> bytes:
    missing = ~np.isfinite(values)
    counts = np.clip(np.rint(np.where(missing, 0, values) / scale), -LARGEST_INT16, LARGEST_INT16)
    return scale.astype("<f4").tobytes() + np.where(missing, MISSING_INT16, counts).astype("<i2").tobytes()


def _crc(data: bytes | bytearray, flags: int) -> bytes:
    if flags & CRC32:
        return zlib.crc32(data).to_bytes(4, "little")
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def _frame_times(first_ns: int, period_ns: int, rows: int) -> Times:
    if first_ns < 0 or first_ns + rows * period_ns > np.iinfo(np.int64).max:
        raise FrameError(f"expected a time between 1970 and 2262, got {first_ns} ns")
    return first_ns + period_ns * np.arange(rows, dtype=np.int64)
