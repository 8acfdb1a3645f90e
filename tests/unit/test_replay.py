import gzip

import numpy as np
import pytest

from edge_agent.contract.records import NS, Channel
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.sources.replay import ReplaySettings, ReplaySource
from tests.virtual_clock import VirtualClock

CHANNELS = (Channel(name="Pressure"), Channel(name="Volume Flow RateRMS"))
SKAB = """datetime;Accelerometer1RMS;Pressure;Volume Flow RateRMS;anomaly
2020-03-09 10:14:33;0.02;0.05;32.0;0.0
2020-03-09 10:14:34;0.02;0.38;32.5;0.0
2020-03-09 10:14:40;0.02;0.71;33.0;1.0
"""


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def play(tmp_path, clock):
    def play(text, *, name="recording.csv", rate_hz=None, **settings):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return ReplaySource(ReplaySettings(path=str(path), **settings), clock, CHANNELS, rate_hz, clock.sleep)

    return play


def read_all(source):
    source.open()
    blocks = []
    try:
        while True:
            if (block := source.read(1.0)) is not None:
                blocks.append(block)
    except EndOfData:
        return blocks
    finally:
        source.close()


@pytest.mark.parametrize("name", ["recording.csv", "recording.csv.gz"])
def test_a_recording_is_read_by_its_header(play, name):
    (block,) = read_all(play(SKAB, name=name, speed=0))
    np.testing.assert_allclose(block.values, [[0.05, 32], [0.38, 32.5], [0.71, 33]], rtol=1e-6)
    assert ((block.t_ns - 1_583_748_873 * NS) // NS).tolist() == [0, 1, 7]


@pytest.mark.parametrize(("speed", "lasts_s"), [(1.0, 7.0), (7.0, 1.0), (0.5, 14.0), (0.0, 0.0)])
def test_a_recording_lasts_as_long_as_its_own_time_by_the_speed(play, clock, speed, lasts_s):
    assert sum(map(len, read_all(play(SKAB, speed=speed)))) == 3
    assert clock.elapsed_ns == pytest.approx(lasts_s * NS, abs=0.05 * NS)


def test_a_fast_recording_comes_in_blocks_not_in_rows(play):
    lines = "".join(f"{1_700_000_000 + i / 10_000:.4f},1,2\n" for i in range(10_000))
    blocks = read_all(play("time,Pressure,Volume Flow RateRMS\n" + lines))
    assert sum(map(len, blocks)) == 10_000
    assert len(blocks) < 120


def test_a_slow_reader_loses_nothing(play, clock):
    source = play(SKAB)
    source.open()
    clock.sleep(3600)
    first = source.read(0.0)
    clock.sleep(3600)
    assert [len(first), len(source.read(0.0))] == [1, 2]
    source.close()


def test_rows_without_times_are_counted_at_the_rate(play):
    (block,) = read_all(play("1,2\n3,4\n5,6\n", rate_hz=4.0, speed=0))
    assert block.t_ns.tolist() == [0, NS // 4, NS // 2]


def test_a_recording_without_times_and_rate_is_refused(play):
    with pytest.raises(SourceUnavailable, match="no time column"):
        play("1,2\n").open()


def test_a_recording_that_is_not_there_is_said(play, tmp_path):
    source = play(SKAB)
    (tmp_path / "recording.csv").unlink()
    with pytest.raises(SourceUnavailable, match=r"recording\.csv cannot be read"):
        source.open()


def test_a_recording_without_a_channel_is_refused_by_name(play):
    with pytest.raises(SourceUnavailable, match="no 'Pressure'"):
        play(SKAB.replace("Pressure", "Level")).open()


@pytest.mark.parametrize("text", ["", "time,Pressure,Volume Flow RateRMS\n", "words\nand more words\n"])
def test_a_recording_without_readings_is_said(play, text):
    source = play(text, rate_hz=1.0)
    with pytest.raises(SourceUnavailable, match="holds no readings"):
        read_all(source)


def test_a_damaged_file_gives_what_is_whole(play, tmp_path, caplog):
    source = play(SKAB * 2000, name="recording.csv.gz", speed=0)
    path = tmp_path / "recording.csv.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert sum(map(len, read_all(source))) > 100
    assert "is damaged" in source.status()["last_error"]
    assert "is damaged" in caplog.text


def test_playing_again_begins_anew_after_a_gap(play):
    source = play(SKAB, speed=0)
    first, again = read_all(source)[0], read_all(source)[0]
    assert first.t_ns.tolist() == again.t_ns.tolist()
    assert (first.gap, again.gap) == (False, True)


def test_a_time_that_runs_backwards_neither_hurries_nor_holds_up_the_others(play, clock):
    times = ("10:00:00", "12:00:00", "10:00:01", "10:00:02", "10:00:03", "10:00:04")
    lines = "".join(f"2020-03-09 {time};1;2\n" for time in times)
    assert sum(map(len, read_all(play("datetime;Pressure;Volume Flow RateRMS\n" + lines)))) == 6
    assert clock.elapsed_ns == pytest.approx(7200 * NS, abs=0.05 * NS)
