"""The serial source on a real pseudo-terminal: unplugged, plugged in again, busy, and at 10 kHz."""

from __future__ import annotations

import errno
import os
import pty
import threading
import time
import tty

import numpy as np
import pytest
import serial

from edge_agent.clock import SystemClock
from edge_agent.contract.records import Block, Channel
from edge_agent.errors import SourceUnavailable
from edge_agent.sources import serial as serial_source
from edge_agent.sources.binary import encode_frame
from edge_agent.sources.serial import SerialSettings, SerialSource

CHANNELS = (Channel(name="x"), Channel(name="y"), Channel(name="z"))
DEADLINE_S = 10.0


class Cable:
    """A serial line with a name that stays while it is pulled and plugged in again."""

    def __init__(self, port):
        self.port = port
        self.plug_in()

    def plug_in(self):
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port.symlink_to(os.ttyname(self._slave))

    def pull(self):
        """Close both ends, as the kernel does when a USB adapter goes."""
        self.port.unlink()
        os.close(self._slave)
        os.close(self.master)

    def send(self, data):
        os.write(self.master, data)


@pytest.fixture
def cable(tmp_path):
    cable = Cable(tmp_path / "usb-Sensor_1")
    yield cable
    if cable.port.is_symlink():
        cable.pull()


@pytest.fixture
def listen(cable):
    opened = []

    def listen(**settings):
        rate_hz = settings.pop("rate_hz", None)
        opened.append(SerialSource(SerialSettings(port=str(cable.port), **settings), SystemClock(), CHANNELS, rate_hz))
        opened[-1].open()
        return opened[-1]

    yield listen
    for source in opened:
        source.close()


def read_rows(source, rows):
    """Blocks until there are so many rows."""
    blocks, until_s = [], time.monotonic() + DEADLINE_S
    while sum(map(len, blocks)) < rows:
        assert time.monotonic() < until_s, f"expected {rows} rows, got {blocks}, {source.status()}"
        if (block := source.read(0.5)) is not None:
            blocks.append(block)
    return blocks


def test_readings_arrive(cable, listen):
    source = listen()
    cable.send(b"rest of a line\n1,2,3\n4,5,6\n")
    assert np.concatenate([block.values for block in read_rows(source, 2)]).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_first_line_after_a_silence_is_whole(cable, listen):
    source = listen()
    assert source.read(serial_source.QUIET_S * 1.5) is None
    cable.send(b"1,2,3\n")
    assert read_rows(source, 1)[0].values.tolist() == [[1, 2, 3]]


def test_what_was_sent_before_opening_is_discarded(cable, listen):
    cable.send(b"1,2,3\n4,5,6\n")
    source = listen(format="keyvalue")
    cable.send(b"x=7 y=8 z=9\n")
    assert read_rows(source, 1)[0].values.tolist() == [[7, 8, 9]]


def test_bytes_without_an_end_of_line_are_no_reading(cable, listen):
    source = listen()
    cable.send(b"\n1,2,3")
    assert source.read(0.2) is None


def test_silence_takes_as_long_as_allowed(listen):
    source = listen()
    began_s = time.monotonic()
    assert source.read(0.1) is None
    assert 0.09 < time.monotonic() - began_s < 1.0


def test_an_unplugged_port_is_said_and_read_again_when_it_is_back(cable, listen):
    source = listen(format="keyvalue")
    cable.send(b"x=1 y=2 z=3\nx=4")
    before = read_rows(source, 1)
    cable.pull()
    with pytest.raises(SourceUnavailable, match="usb-Sensor_1 went away"):
        source.read(0.5)
    source.close()
    with pytest.raises(SourceUnavailable, match="usb-Sensor_1 is not there: plug it in, or name one that is"):
        source.open()
    cable.plug_in()
    source.open()
    cable.send(b"x=7 y=8 z=9\n")
    after = read_rows(source, 1)
    assert after[0].values.tolist() == [[7, 8, 9]]
    assert (before[0].gap, after[0].gap) == (False, True)
    assert after[0].t_ns[0] > before[0].t_ns[0]


def test_bytes_that_came_before_the_plug_was_pulled_are_read(cable, listen):
    source = listen(format="keyvalue")
    cable.send(b"x=1 y=2 z=3\n")
    threading.Timer(0.02, cable.pull).start()
    assert read_rows(source, 1)[0].values.tolist() == [[1, 2, 3]]


def test_a_port_in_use_is_busy(cable, listen):
    listen()
    with pytest.raises(SourceUnavailable, match="usb-Sensor_1 is busy"):
        listen()


def test_a_file_is_no_serial_port(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SourceUnavailable, match="is no serial port"):
        SerialSource(SerialSettings(port=str(path)), SystemClock(), CHANNELS).open()


def test_a_port_that_is_not_permitted_says_which_group_it_takes(cable, listen, monkeypatch):
    def refuse(port):
        raise serial.SerialException(errno.EACCES, f"could not open port {port.port}: permission denied")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(SourceUnavailable, match="add the user to group dialout"):
        listen()


def test_bytes_lost_in_the_driver_are_a_gap(cable, listen, monkeypatch):
    source = listen(format="keyvalue")
    counts = iter([3, 5, 5])
    source._overruns = 3
    monkeypatch.setattr(serial_source, "_overruns", lambda _port: next(counts))
    gaps = []
    for _ in range(3):
        cable.send(b"x=1 y=2 z=3\n")
        gaps.append(read_rows(source, 1)[0].gap)
    assert gaps == [False, True, False]
    assert source.status()["overruns"] == 2


def test_a_numbered_port_is_warned_of_once(cable, listen, monkeypatch, caplog):
    monkeypatch.setattr(serial_source.discovery, "unstable_name", lambda _port: "renumbered")
    source = listen()
    source.open()
    assert [record.message for record in caplog.records] == ["renumbered"]


def test_dtr_may_be_left_alone(cable, listen):
    source = listen(dtr=False, format="keyvalue")
    cable.send(b"x=1 y=2 z=3\n")
    assert read_rows(source, 1)


RATE_HZ, FRAME_ROWS, SECONDS = 10_000, 100, 2


def feed_frames(cable, values):
    """Send frames of 100 rows as a sensor does: each when its last row is there."""
    began_s = time.monotonic()
    for i in range(0, len(values), FRAME_ROWS):
        block = Block(values=values[i : i + FRAME_ROWS], t_ns=np.zeros(FRAME_ROWS, dtype=np.int64))
        time.sleep(max(0.0, began_s + (i + FRAME_ROWS) / RATE_HZ - time.monotonic()))
        cable.send(encode_frame(block, i // FRAME_ROWS))


def test_ten_thousand_readings_a_second_flow_without_loss(cable, listen):
    values = np.random.default_rng(0).standard_normal((RATE_HZ * SECONDS, 3)).astype(np.float32)
    source = listen(format="binary", rate_hz=RATE_HZ)
    feeder = threading.Thread(target=feed_frames, args=(cable, values))
    feeder.start()
    cpu_s = time.thread_time()
    blocks = read_rows(source, len(values))
    cpu_s = time.thread_time() - cpu_s
    feeder.join()
    share = cpu_s / SECONDS
    print(f"10 kHz x 3 channels: {share:.2%} of a core in the source, {len(blocks)} blocks")
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), values)
    assert not any(block.gap for block in blocks)
    steps = np.diff(np.concatenate([block.t_ns for block in blocks]))
    assert steps.min() > 0
    assert share < 0.04, "the whole path of the agent has 5 % of a core"
