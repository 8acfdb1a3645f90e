"""Reading recordings: formats, times, labels, and data that are not as they should be."""

from pathlib import Path

import numpy as np
import pytest

from tests.recordings import NAMES, table
from training.data import DataError, find_channels, read_recording
from training.recipe import ChannelSettings, DataSettings, TimeUnit

CHANNELS = tuple(ChannelSettings(name=name) for name in NAMES)
SETTINGS = DataSettings(time_column="time", label_column="fault")
START_NS = 1_704_067_200_000_000_000


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.parquet"])
def test_every_format_gives_the_same_readings(tmp_path: Path, name: str) -> None:
    expected = table(50, fault=slice(40, 45))
    path = tmp_path / name
    if name.endswith("parquet"):
        expected.to_parquet(path)
    else:
        expected.to_csv(path, index=False, sep=";")
    recording = read_recording(path, SETTINGS, CHANNELS, 1.0)
    np.testing.assert_allclose(recording.values, expected[list(NAMES)].to_numpy(np.float32), rtol=1e-6)
    assert recording.t_ns[0] == START_NS
    assert np.diff(recording.t_ns).tolist() == [1_000_000_000] * 49
    assert recording.labels is not None
    assert np.flatnonzero(recording.labels).tolist() == [40, 41, 42, 43, 44]


@pytest.mark.parametrize(
    ("unit", "first", "second"),
    [
        (TimeUnit.AUTO, "1704067200", "1704067200.5"),
        (TimeUnit.AUTO, "1704067200000", "1704067200500"),
        (TimeUnit.AUTO, "1704067200000000000", "1704067200500000000"),
        (TimeUnit.MILLISECONDS, "1704067200000", "1704067200500"),
        (TimeUnit.AUTO, "2024-01-01 00:00:00", "2024-01-01 00:00:00.5"),
        (TimeUnit.AUTO, "2024-01-01T01:00:00+01:00", "2024-01-01T01:00:00.5+01:00"),
    ],
)
def test_times_are_read_in_every_common_form(tmp_path: Path, unit: TimeUnit, first: str, second: str) -> None:
    path = write(tmp_path / "m.csv", f"time,a\n{first},1\n{second},2\n")
    settings = DataSettings(time_column="time", time_unit=unit)
    recording = read_recording(path, settings, (ChannelSettings(name="a"),), 2.0)
    assert recording.t_ns.tolist() == [START_NS, START_NS + 500_000_000]


def test_without_a_time_column_rows_are_counted_at_the_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "a\n1\n2\n3\n")
    recording = read_recording(path, DataSettings(), (ChannelSettings(name="a"),), 4.0)
    assert recording.t_ns.tolist() == [0, 250_000_000, 500_000_000]


def test_a_bad_cell_becomes_a_missing_value_and_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "a,b\n1,1\noops,2\ninf,3\n1e60,4\n5,5\n6,6\n7,7\n")
    recording = read_recording(path, DataSettings(), (ChannelSettings(name="a"), ChannelSettings(name="b")), 1.0)
    assert np.isnan(recording.values[:, 0]).tolist() == [False, True, True, True, False, False, False]
    assert not np.isnan(recording.values[:, 1]).any()
    assert recording.remarks == ("'a' has 3 missing values: cells that are not finite numbers",)


def test_lines_and_rows_that_cannot_be_used_are_dropped_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "time,a\n1,1\n2,2\n3,3,3,3\n?,4\n5,5\n")
    recording = read_recording(path, DataSettings(time_column="time"), (ChannelSettings(name="a"),), 1.0)
    assert recording.values[:, 0].tolist() == [1, 2, 5]
    assert any("1 line with too many cells" in remark for remark in recording.remarks)
    assert any("1 row without a readable time" in remark for remark in recording.remarks)


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("time,a\n1,1\n", DataSettings(time_column="when"), r"no column 'when'; it has 'time', 'a'"),
        ("time,b\n1,1\n", DataSettings(time_column="time"), r"no column 'a'"),
        ("time,a\n1,x\n2,y\n", DataSettings(time_column="time"), r"'a' should hold numbers.*'x'"),
        ("time,a\nx,1\ny,1\n", DataSettings(time_column="time"), r"'time' should hold times.*'x'"),
        ("time,a\n1,1\n1,2\n1,3\n", DataSettings(time_column="time"), "time does not rise in 2 of 3 rows"),
        ("a,l\n1,0\n2,maybe\n", DataSettings(label_column="l"), r"label column 'l'.*'maybe'"),
        ("a\n", DataSettings(), "no readings"),
        ("", DataSettings(), "is empty"),
    ],
)
def test_what_cannot_be_used_is_refused_with_column_and_example(
    tmp_path: Path, text: str, settings: DataSettings, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_recording(write(tmp_path / "m.csv", text), settings, (ChannelSettings(name="a"),), 1.0)


@pytest.mark.parametrize("name", ["absent.csv", "m.xlsx", "broken.csv.gz", "broken.parquet"])
def test_an_unreadable_file_is_a_data_error(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"\x1f\x8bnothing of the kind")
    with pytest.raises(DataError, match=name.split(".", maxsplit=1)[0]):
        read_recording(tmp_path / name, DataSettings(), (ChannelSettings(name="a"),), 1.0)


def test_intervals_label_both_their_ends(tmp_path: Path) -> None:
    data = write(tmp_path / "m.csv", "time,a\n" + "".join(f"{t},1\n" for t in range(10)))
    labels = write(tmp_path / "labels.csv", "start,end\n2,4\n8,8\n")
    recording = read_recording(data, DataSettings(time_column="time"), (ChannelSettings(name="a"),), 1.0, labels)
    assert recording.labels is not None
    assert np.flatnonzero(recording.labels).tolist() == [2, 3, 4, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [("start,end\n4,2\n", "line 2.*ends before"), ("start,end\n4,5\nx,5\n", "line 3.*'x'"), ("a,b\n1,2\n", "'start'")],
)
def test_intervals_that_make_no_sense_are_refused_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    data = write(tmp_path / "m.csv", "time,a\n1,1\n2,1\n")
    with pytest.raises(DataError, match=words):
        read_recording(
            data,
            DataSettings(time_column="time"),
            (ChannelSettings(name="a"),),
            1.0,
            write(tmp_path / "labels.csv", text),
        )


def test_channels_are_the_numeric_columns_that_are_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "time;a;note;b;skip;fault\n1;1;x;2;3;0\n2;1;y;2;3;0\n")
    settings = DataSettings(time_column="time", label_column="fault", ignore_columns=("skip",))
    assert [channel.name for channel in find_channels(path, settings)] == ["a", "b"]
