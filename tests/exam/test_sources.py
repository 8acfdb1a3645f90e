"""One exam for every source: the promises of `ports.Source`, then hostile bytes for those that read bytes."""

from __future__ import annotations

import os
import pty
import tty
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.ports import Source
from edge_agent.sources import replay, serial, stdin
from edge_agent.sources.binary import encode_frame
from edge_agent.sources.pump import PUMP_CHANNELS
from edge_agent.sources.replay import ReplaySettings
from edge_agent.sources.serial import SerialSettings
from edge_agent.sources.settings import make_source
from edge_agent.sources.stdin import StdinSettings, StdinSource
from edge_agent.sources.synthetic import SyntheticSettings
from tests.virtual_clock import VirtualClock

CHANNELS = (Channel(name="flow"), Channel(name="pressure"))
DEADLINE_READS = 200
"""Reads of up to 0.05 s after which bytes that were written must have arrived."""


class Rig:
    """A source, the far end of its cable, and virtual time."""

    def __init__(self, tmp_path: Path, data: bytes = b"", **settings: object) -> None:
        self.clock = VirtualClock()
        self.source: Source = self.make(tmp_path, data, settings)
        self.data = data
        self.blocks: list[Block] = []

    def make(self, tmp_path: Path, data: bytes, settings: dict) -> Source:
        raise NotImplementedError

    def begin(self) -> None:
        """Let the data come, once the source is open."""

    def finished(self) -> bool:
        return False

    def run(self) -> list[Block]:
        """Open, and read all there is."""
        self.source.open()
        self.begin()
        for _ in range(DEADLINE_READS):
            try:
                block = self.source.read(0.05)
            except EndOfData:
                return self.blocks
            if block is not None:
                self.blocks.append(block)
            elif self.finished():
                return self.blocks
        pytest.fail(f"not all arrived: {self.source.status()}")

    def values(self) -> list[list[float]]:
        return [row for block in self.blocks for row in block.values.tolist()]

    def stretches(self) -> list[list[list[float]]]:
        """Rows between gaps."""
        found: list[list[list[float]]] = []
        for block in self.blocks:
            if block.gap or not found:
                found.append([])
            found[-1] += block.values.tolist()
        return found

    def close(self) -> None:
        self.source.close()


class SerialRig(Rig):
    def make(self, tmp_path, data, settings):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        port = os.ttyname(slave)
        self.slave = slave
        return make_source(SerialSettings(port=port, **settings), self.clock, CHANNELS, 1.0, self.clock.sleep)

    def begin(self):
        # Talking when the port is opened: the rest of a line comes first.
        self.sent = (b"9\n" if not self.source.status()["bytes"] else b"") + self.data
        os.write(self.master, self.sent)

    def finished(self):
        return self.source.status()["bytes"] >= len(self.sent)

    def close(self):
        super().close()
        os.close(self.slave)
        os.close(self.master)


class StdinRig(Rig):
    def make(self, tmp_path, data, settings):
        self.reader, self.writer = os.pipe()
        return StdinSource(StdinSettings(**settings), self.clock, CHANNELS, 1.0, self.reader)

    def begin(self):
        if self.writer is not None:
            os.write(self.writer, self.data)
            os.close(self.writer)
            self.writer = None

    def close(self):
        super().close()
        os.close(self.reader)
        if self.writer is not None:
            os.close(self.writer)


class ReplayRig(Rig):
    def make(self, tmp_path, data, settings):
        path = tmp_path / "recording.csv"
        path.write_bytes(data)
        return make_source(ReplaySettings(path=str(path), **settings), self.clock, CHANNELS, 1.0, self.clock.sleep)


class SyntheticRig(Rig):
    def make(self, tmp_path, data, settings):
        return make_source(SyntheticSettings(rows=3, **settings), self.clock, PUMP_CHANNELS[:2], None, self.clock.sleep)


BYTE_RIGS = [SerialRig, StdinRig, ReplayRig]
ALL_RIGS = [*BYTE_RIGS, SyntheticRig]
GOOD = b"1,2\n3,4\n5,6\n"


@pytest.fixture(params=ALL_RIGS)
def rig(request, tmp_path):
    rig = request.param(tmp_path, GOOD)
    yield rig
    rig.close()


@pytest.fixture(params=BYTE_RIGS)
def wire(request, tmp_path):
    """Makes rigs of one kind that carry given bytes."""
    made = []

    def make(data, **settings):
        made.append(request.param(tmp_path, data, **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def test_it_is_a_source(rig):
    assert isinstance(rig.source, Source)
    assert isinstance(rig.source.own_time, bool)
    assert isinstance(rig.source.lossless, bool)


def test_all_readings_come_in_blocks_of_its_channels(rig):
    blocks = rig.run()
    assert sum(map(len, blocks)) == 3
    for block in blocks:
        assert len(block) > 0
        assert block.values.shape[1] == len(rig.source.channels)


def test_reading_time_rises(rig):
    t_ns = np.concatenate([block.t_ns for block in rig.run()])
    assert np.diff(t_ns).min() > 0


def test_the_first_block_follows_no_gap(rig):
    assert not rig.run()[0].gap


def test_a_jump_of_the_wall_clock_changes_no_reading_time(rig):
    before_ns = rig.clock.now_ns()
    rig.clock.utc_ns -= 400 * 86_400 * NS
    t_ns = np.concatenate([block.t_ns for block in rig.run()])
    assert np.diff(t_ns).min() > 0
    assert rig.source.own_time or abs(int(t_ns[-1]) - before_ns) < 60 * NS


def test_reading_before_opening_is_refused(rig):
    with pytest.raises(SourceUnavailable, match="open it first"):
        rig.source.read(0.0)


def test_reading_after_closing_is_refused(rig):
    rig.source.open()
    rig.source.close()
    with pytest.raises(SourceUnavailable, match="open it first"):
        rig.source.read(0.0)


def test_it_may_be_closed_before_opening_and_twice(rig):
    rig.source.close()
    rig.source.open()
    rig.source.close()
    rig.source.close()


def test_it_may_be_opened_twice(rig):
    rig.source.open()
    assert sum(map(len, rig.run())) == 3


def test_it_may_be_opened_again_after_closing(rig):
    rig.source.open()
    rig.source.close()
    assert sum(map(len, rig.run())) == 3


def test_its_status_counts_the_readings(rig):
    rig.run()
    status = rig.source.status()
    assert {"readings", "bytes", "frames_dropped", "bytes_dropped"} <= status.keys()
    assert status["readings"] == 3
    assert status["frames_dropped"] == 0
    assert "last_error" not in status


def test_waiting_for_a_reading_takes_no_longer_than_allowed(rig):
    rig.source.open()
    for _ in range(5):
        rig.clock.slept_s.clear()
        try:
            rig.source.read(0.01)
        except EndOfData:
            break
        assert sum(rig.clock.slept_s) <= 0.01


def test_a_finite_source_says_that_it_has_ended_again_and_again(rig):
    if isinstance(rig, SerialRig):
        pytest.skip("a serial port has no end")
    rig.run()
    for _ in range(2):
        with pytest.raises(EndOfData):
            rig.source.read(0.0)


HOSTILE = {
    "garbage": bytes(range(128, 256)),
    "a zero byte": b"1,\x002",
    "half a line": b"7",
    "too many fields": b"7,8,9",
    "words": b"sensor,failed",
    "a word twice": b"error,error",
    "rubbish in unicode": "\uff17,\uff18 \u2702 \ufdfd".encode(),
    "an endless line": b"1" * 3000,
    "a time only": b"2020-03-09 10:14:33",
    "quotes": b'"7,"8',
    "a terminal's colours": b"\x1b[31m7\x1b[0m,8",
}


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_line_is_dropped_counted_and_leaves_a_gap(wire, bad):
    rig = wire(b"1,2\n" + bad + b"\n3,4\n", delimiter=",", max_line_bytes=1000)
    rig.run()
    assert rig.stretches() == [[[1, 2]], [[3, 4]]]
    assert rig.source.status()["frames_dropped"] == 1
    assert rig.source.status()["last_error"]


@pytest.mark.parametrize(
    ("line", "value"),
    [(b"7,nan", np.nan), (b"7,", np.nan), (b"7,1e20", 1e20), (b"7,inf", np.inf), (b"7,-1e39", -np.inf)],
)
def test_an_odd_value_is_passed_on_without_a_gap(wire, line, value):
    rig = wire(b"1,2\n" + line + b"\n3,4\n")
    blocks = rig.run()
    np.testing.assert_array_equal(rig.values(), np.array([[1, 2], [7, value], [3, 4]], dtype=np.float32))
    assert not any(block.gap for block in blocks)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n\n"])
def test_any_line_end_will_do(wire, end):
    rig = wire(GOOD.replace(b"\n", end))
    rig.run()
    assert rig.values() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("settings", [{}, {"format": "keyvalue"}, {"format": "json"}])
def test_one_byte_at_a_time_gives_the_same_readings(wire, monkeypatch, settings):
    for module in (serial, stdin, replay):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    data = {"keyvalue": b"flow=1 pressure=2\nflow=3\n", "json": b'{"flow":1,"pressure":2}\n{"flow":3}\n'}
    rig = wire(data.get(settings.get("format", ""), b"1,2\n3,\n"), **settings)
    rig.run()
    np.testing.assert_array_equal(rig.values(), [[1, 2], [3, np.nan]])


def test_a_last_line_needs_no_end(wire):
    rig = wire(b"1,2\n3,4")
    if isinstance(rig, SerialRig):
        pytest.skip("a serial port has no end")
    rig.run()
    assert rig.values() == [[1, 2], [3, 4]]


def test_a_header_that_lacks_a_channel_never_gives_another_in_its_place(wire):
    rig = wire(b"pressure,level\n1,2\n")
    problem = ""
    try:
        rig.run()
    except SourceUnavailable as error:
        problem = str(error)
    assert "no 'flow'" in (problem or rig.source.status()["last_error"])
    assert repr(rig.values()) in ("[]", "[[nan, 1.0]]")


def test_the_readings_own_time_is_theirs(wire):
    rig = wire(
        b"2020-03-09 10:14:33,1,2\n2020-03-09 10:14:33.5,3,4\n", columns=("t", "flow", "pressure"), time_column="t"
    )
    t_ns = np.concatenate([block.t_ns for block in rig.run()])
    assert t_ns.tolist() == [1_583_748_873 * NS, 1_583_748_873 * NS + NS // 2]
    assert rig.source.own_time


def test_a_time_that_runs_backwards_is_passed_on(wire):
    rig = wire(b"2000000000,1,2\n1900000000,3,4\n", columns=("t", "flow", "pressure"), time_column="t")
    t_ns = np.concatenate([block.t_ns for block in rig.run()])
    assert np.diff(t_ns).tolist() == [-(10**8) * NS]


def frame(value, sequence):
    values = np.full((2, 2), value, dtype=np.float32)
    return encode_frame(Block(values=values, t_ns=np.zeros(2, dtype=np.int64)), sequence)


def test_binary_frames_survive_garbage_wrong_check_sums_halves_and_losses(wire):
    wrong = bytearray(frame(8, 2))
    wrong[15] ^= 255
    rig = wire(
        b"\xa5\x00"
        + frame(1, 0)
        + b"\xa5\x5a\xa5"
        + frame(2, 1)
        + wrong
        + frame(3, 3)
        + frame(4, 4)[:11]
        + frame(5, 9),
        format="binary",
    )
    rig.run()
    assert rig.stretches() == [[[1, 1], [1, 1], [2, 2], [2, 2]], [[3, 3], [3, 3]], [[5, 5], [5, 5]]]
    status = rig.source.status()
    assert (status["frames_dropped"], status["frames_lost"]) == (1, 6)
