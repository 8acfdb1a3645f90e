"""The command line without hardware: what it reads, what it writes, and how it refuses rubbish."""

from __future__ import annotations

import argparse
import errno
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.alerts.settings import MqttSettings
from edge_agent.cli import main
from edge_agent.cli.checks import Note, all_problems
from edge_agent.cli.init import settings_text
from edge_agent.cli.parser import build_parser, duration_s, positive
from edge_agent.cli.recording import DiskFailed, Recording, RecordingFull, csv_rows
from edge_agent.config import parse
from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import ConfigError, Problem, ScoringError, SourceUnavailable
from edge_agent.sources.guess import guess
from tests.bundles import bundle_bytes

CHANNELS = (Channel(name="pressure", unit="bar"), Channel(name="flow"))
COMMANDS = (
    "init",
    "check",
    "run",
    "record",
    "calibrate",
    "replay",
    "test-alert",
    "status",
    "evidence",
    "install",
    "inspect",
    "bench",
)
SETTINGS = """\
device = "bench"
[streams.pump]
channels = [{ name = "pressure", unit = "bar" }, { name = "flow", unit = "l/min" }]
[streams.pump.source]
kind = "serial"
port = "/dev/ttyUSB7"
"""


def block(rows: int = 3, *, first: int = 0) -> Block:
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) + np.float32(0.1)
    return Block(values=values, t_ns=(np.arange(rows) + first) * NS + 123)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    path = tmp_path / "config.toml"
    path.write_text(SETTINGS)
    return path


def test_help_needs_no_numpy():
    code = "import sys; from edge_agent.cli.parser import build_parser; import edge_agent.cli; build_parser(); print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    paragraphs = capsys.readouterr().out.strip().split("\n\n")
    assert len(paragraphs[-1]) > 80, "a paragraph beyond the list of options"
    assert "options:" not in paragraphs[-1]


def test_the_help_lists_every_command_and_exit_code():
    text = build_parser().format_help()
    assert all(f"    {command} " in text or f"    {command}\n" in text for command in COMMANDS)
    assert all(f"\n  {code} " in text for code in (0, 1, 2, 69, 78, 130))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86_400), (" 7 ", 7)])
def test_times_are_read(text: str, seconds: float):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "5x", "1e9", "367d", "9" * 400, "1 0", "٣s٣"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="such as 90s"):
        duration_s(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "x"])
def test_what_is_no_number_above_zero_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        positive(text)


SAMPLES = {
    "csv": b"pressure [bar],flow\n" + b"2.41,36.2\n2.42,36.1\n" * 20,
    "plain": b"2.41,36.2\n2.42,36.1\n" * 20,
    "decimal comma": b"2,41;36,2\n2,42;36,1\n" * 20,
    "pairs": b"pressure=2.41 flow=36.2\n" * 20,
    "json": b'{"pressure": 2.41, "flow": 36.2}\n' * 20,
    "array": b"[2.41, 36.2]\n" * 20,
    "own time": b"".join(b"%d,2.41,36.2\n" % (1000 * i) for i in range(20)),
    "quoted names": b'"pre""ssure",flow \\ 2\n' + b"2.41,36.2\n" * 20,
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_settings_written_for_a_sensor_read_it_again(sample: bytes):
    found = guess(sample, 19.0)
    text = settings_text(
        device="bench",
        stream="pump",
        port="/dev/ttyACM0",
        baud=9600,
        found=found,
        mqtt=MqttSettings(host="broker", port=1884),
    )
    settings = parse(text)
    stream = settings.streams["pump"]
    assert (settings.mqtt.host, settings.mqtt.port) == ("broker", 1884)
    assert stream.channels == found.channels
    named = {
        field: getattr(stream.source, field) for field in ("format", "decimal", "columns", "time_column", "time_unit")
    }
    assert named == {field: getattr(found.settings, field) for field in named}


def test_a_rate_of_few_readings_is_left_to_be_measured():
    few, many = guess(b"1,2\n" * 9, 8.0), guess(b"1,2\n" * 41, 40.0)
    given = {"device": "d", "stream": "s", "port": "/p", "baud": 9600, "mqtt": MqttSettings()}
    assert parse(settings_text(found=few, **given)).streams["s"].learning.rate_hz is None
    assert parse(settings_text(found=many, **given)).streams["s"].learning.rate_hz == pytest.approx(1.0, rel=0.03)


def test_rows_keep_every_digit_of_a_reading_and_no_more():
    values = np.array([[0.1, np.nan], [1e20, -34.52]], np.float32)
    rows = list(csv_rows(Block(values=values, t_ns=np.array([5, 1_795_304_968 * NS + 7]))))
    assert rows == [["0.000000005", "0.1", ""], ["1795304968.000000007", "1e+20", "-34.52"]]


def saved(path: Path, *, limit: float = 1e9, blocks: int = 3) -> Recording:
    recording = Recording(path, CHANNELS, limit)
    for number in range(blocks):
        recording.add(block(first=3 * number))
        recording.save()
    return recording


def test_a_recording_has_a_header_with_units(tmp_path: Path):
    saved(tmp_path / "r.csv").close()
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0] == "time,pressure [bar],flow"
    assert len(lines) == 10


def test_a_packed_recording_can_be_read_while_it_grows(tmp_path: Path):
    recording = saved(tmp_path / "r.csv.gz")
    assert len(gzip.decompress((tmp_path / "r.csv.gz").read_bytes()).splitlines()) == 10
    recording.close()


def test_a_recording_stops_below_its_quota_and_stays_whole(tmp_path: Path):
    recording = saved(tmp_path / "r.csv", limit=150, blocks=2)
    recording.add(block())
    with pytest.raises(RecordingFull, match="max-mb"):
        recording.save()
    recording.close()
    text = (tmp_path / "r.csv").read_text()
    assert len(text) <= 150
    assert len(text.splitlines()) == 7
    assert text.endswith("\n")


class FullDisk:
    """A file that takes some more bytes, and then none."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self._room, len(data))
        self._room -= taken
        return int(self._file.write(data[:taken]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_a_full_disk_leaves_whole_rows(tmp_path: Path, name: str):
    recording = saved(tmp_path / name, blocks=1)
    recording._file = FullDisk(recording._file, room=10)
    recording.add(block())
    with pytest.raises(DiskFailed, match="No space left"):
        recording.save()
    recording.close()
    data = (tmp_path / name).read_bytes()
    text = (gzip.decompress(data) if name.endswith("gz") else data).decode()
    assert text.endswith("\n")
    assert (len(text.splitlines()), recording.rows) == (4, 3)


def test_a_quota_below_the_header_leaves_no_file(tmp_path: Path):
    with pytest.raises(RecordingFull):
        Recording(tmp_path / "r.csv", CHANNELS, 5)
    assert not (tmp_path / "r.csv").exists()


def test_a_recording_without_readings_leaves_no_file(tmp_path: Path):
    Recording(tmp_path / "r.csv", CHANNELS, 1e9).close()
    assert not (tmp_path / "r.csv").exists()


RUBBISH = (
    (["init", "--port", "/dev/none", "--out", "{tmp}/new.toml"], 69, "is not there"),
    (["init", "--port", "/etc/passwd", "--out", "{tmp}/new.toml"], 69, "no serial port"),
    (["init", "--port", "/dev/none", "--out", "{config}"], 1, "already there"),
    (["init", "--port", "/dev/none", "--out", "/nowhere/new.toml"], 1, "cannot be written"),
    (["init", "--port", "/dev/none", "--out", "{tmp}/n", "--baud", "-1"], 2, "baud must be"),
    (["init", "--port", "/dev/none", "--out", "{tmp}/n", "--broker", "a:b"], 2, "HOST:PORT"),
    (["init", "--port", "/dev/none", "--out", "{tmp}/n", "--broker", "a:99999"], 2, "65535"),
    (["init", "--port", "/dev/none", "--out", "{tmp}/n", "--stream", "a.b"], 2, "stream name"),
    (["init", "--port", "/dev/none", "--out", "{tmp}/n", "--device", "ä b"], 2, "device name"),
    (["check", "--config", "/nowhere"], 78, "cannot be read"),
    (["run", "--config", "{tmp}"], 78, "cannot be read"),
    (["record", "--config", "{config}", "--out", "{config}"], 1, "never overwritten"),
    (["record", "--config", "{config}", "--out", "/nowhere/r.csv"], 1, "cannot be written"),
    (["record", "--config", "{config}", "--out", "{tmp}/r.csv"], 69, "is not there"),
    (["record", "--config", "{config}", "--out", "{tmp}/r.csv", "--stream", "q"], 2, "one of pump"),
    (["calibrate", "--config", "{config}"], 1, "no bundle to calibrate"),
    (["replay", "--config", "{config}", "/nowhere"], 1, "/nowhere is not there: expected a recording"),
    (["replay", "--config", "{config}", "{config}"], 1, "no bundle to replay"),
    (["replay", "--bundle", "{config}", "{config}"], 1, "config.toml"),
    (["install", "--config", "{config}", "{config}"], 1, "not a bundle"),
    (["install", "--config", "{config}", "/nowhere"], 1, "/nowhere cannot be read"),
    (["install", "--config", "{config}", "{fake}"], 1, "no graph of the bundle may run"),
    (["inspect", "{tmp}"], 1, "Is a directory"),
    (["bench", "/dev/null"], 1, "/dev/null: the file is not a bundle"),
    (["status", "--config", "{config}"], 69, "does not run"),
)


@pytest.mark.parametrize("case", RUBBISH, ids=[" ".join(words) for words, _, _ in RUBBISH])
def test_rubbish_is_refused_in_words(
    case: tuple[list[str], int, str], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words, code, said = case
    (tmp_path / "fake.bundle").write_bytes(bundle_bytes())
    places = {"tmp": tmp_path, "config": config, "fake": tmp_path / "fake.bundle"}
    assert main([word.format(**places) for word in words]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert not (tmp_path / "r.csv").exists()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path):
    (tmp_path / "b.bundle").write_bytes(bundle_bytes())
    words = [sys.executable, "-m", "edge_agent", "inspect", str(tmp_path / "b.bundle"), "--json"]
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert ended.stderr == ""


def problems_of(text: str) -> dict[str, Problem]:
    return {problem.place: problem for problem in all_problems(parse(text), hardware=False, seconds=1.0)}


def test_no_bundle_yet_is_a_note(config: Path):
    assert isinstance(problems_of(SETTINGS)["streams.pump.bundle"], Note)


def test_channels_in_another_order_are_a_problem(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.cli.checks.choose", lambda *_: None)
    bundle = tmp_path / "b.bundle"
    bundle.write_bytes(bundle_bytes())
    found = f'[streams.pump]\nbundle = "{bundle}"'
    assert "streams.pump.channels" not in problems_of(SETTINGS.replace("[streams.pump]", found))
    turned = '{ name = "flow" }, { name = "pressure" }'
    text = SETTINGS.replace('{ name = "pressure", unit = "bar" }, { name = "flow", unit = "l/min" }', turned)
    assert "another order" in problems_of(text.replace("[streams.pump]", found))["streams.pump.channels"].message


def test_a_unit_that_nobody_tells_is_no_problem(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.cli.checks.choose", lambda *_: None)
    (tmp_path / "b.bundle").write_bytes(bundle_bytes())
    found = f'[streams.pump]\nbundle = "{tmp_path / "b.bundle"}"'
    text = SETTINGS.replace("[streams.pump]", found)
    assert "streams.pump.channels" not in problems_of(text.replace(', unit = "bar"', ""))
    assert "'psi'" in problems_of(text.replace('"bar"', '"psi"'))["streams.pump.channels"].message


def test_a_runtime_that_is_missing_is_a_problem(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(*_: object) -> None:
        raise ScoringError("no TFLite runtime")

    monkeypatch.setattr("edge_agent.cli.checks.choose", missing)
    (tmp_path / "b.bundle").write_bytes(bundle_bytes())
    text = SETTINGS.replace("[streams.pump]", f'[streams.pump]\nbundle = "{tmp_path / "b.bundle"}"')
    assert "no TFLite runtime" in problems_of(text)["streams.pump.scoring"].message


def test_two_streams_on_one_port_are_a_problem(config: Path):
    problems = problems_of(SETTINGS + SETTINGS.replace("pump", "fan").partition("\n")[2])
    assert "stream pump, too" in problems["streams.fan.source.port"].message


def test_a_state_folder_that_is_a_file_is_a_problem(config: Path):
    problems = problems_of(f'state_dir = "{config}/state"\n{SETTINGS}')
    assert "is no folder" in problems["state_dir"].message


def test_a_folder_too_deep_for_a_socket_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    deep = tmp_path / ("x" * 90)
    assert isinstance(problems_of(f'state_dir = "{deep}"\n{SETTINGS}')["state_dir"], Note)


def test_a_name_that_changes_at_night_is_a_note(config: Path):
    found = list(all_problems(parse(SETTINGS), hardware=True, seconds=0.1))
    (name,) = [each for each in found if each.place == "streams.pump.source.port"]
    assert isinstance(name, Note)
    (port,) = [each for each in found if each.place == "streams.pump.source"]
    assert not isinstance(port, Note)


def test_all_problems_of_the_settings_come_at_once_for_a_program(config: Path, capsys: pytest.CaptureFixture[str]):
    config.write_text('device = "a b"\nfoo = 1\n[mqtt]\nhots = "x"\n[streams.a.source]\nkind = "serail"\n')
    assert main(["check", "--config", str(config), "--json"]) == 78
    found = json.loads(capsys.readouterr().out)
    assert {each["place"] for each in found} == {"foo", "mqtt.hots", "streams.a.source.kind"}
    assert {"kind", "message", "hint"} < found[0].keys()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem(place="a", message="b")]), 78),
        (SourceUnavailable("gone"), 69),
        (ScoringError("no"), 1),
        (PermissionError(13, "Permission denied"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_the_exit_code_that_the_help_tells(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
):
    def command(_arguments: argparse.Namespace) -> int:
        raise error

    arguments = SimpleNamespace(command=command, verbose=False)
    monkeypatch.setattr("edge_agent.cli.build_parser", lambda: SimpleNamespace(parse_args=lambda _argv: arguments))
    assert main([]) == code
