"""The commands as a technician uses them: a real pseudo-terminal, a real broker, a real bundle."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.config import load
from edge_agent.sources.binary import encode_frame
from edge_agent.sources.pump import PUMP_CHANNELS, Pump
from edge_agent.sources.serial import SerialSettings, open_port
from tests.integration.broker import Broker, Listener, free_port, wait_until
from tests.integration.device import NAMES, AgentProcess, Sensor

PROJECT = Path(__file__).parents[2]
RATE_HZ = 100.0
"""Of the sensor that talks by itself: fast enough that half a second of listening tells its rate."""
HEADER = ",".join(channel.heading for channel in PUMP_CHANNELS)
CHANNELS = ", ".join(f'{{ name = "{c.name}", unit = "{c.unit}" }}' for c in PUMP_CHANNELS)

Command = Callable[..., tuple[int, str]]
Row = list[float]


def as_csv(number: int, row: Row) -> bytes:
    return (f"{HEADER}\n" if number % 10 == 0 else "").encode() + as_plain(number, row)


def as_plain(_number: int, row: Row) -> bytes:
    return ",".join(f"{value:.5g}" for value in row).encode() + b"\n"


def as_comma(_number: int, row: Row) -> bytes:
    return ";".join(f"{value:.3f}".replace(".", ",") for value in row).encode() + b"\n"


def as_millis(number: int, row: Row) -> bytes:
    return f"{number * 10},".encode() + as_plain(number, row)


def as_pairs(_number: int, row: Row) -> bytes:
    return " ".join(f"{name}={value:.5g}" for name, value in zip(NAMES, row, strict=True)).encode() + b"\n"


def as_json(_number: int, row: Row) -> bytes:
    return json.dumps(dict(zip(NAMES, row, strict=True))).encode() + b"\n"


def as_frame(number: int, _row: Row) -> bytes:
    return encode_frame(Pump(seed=number).take(1), number)


def as_garbage(number: int, _row: Row) -> bytes:
    return np.random.default_rng(number).bytes(40)


def with_a_lost_channel(_number: int, row: Row) -> bytes:
    return f"{row[0]:.5g},,{row[2]:.5g},{row[3]:.5g},{row[4]:.5g}\n".encode()


@contextlib.contextmanager
def talking(sensor: Sensor, say: Callable[[int, Row], bytes] = as_csv, rate_hz: float = RATE_HZ) -> Iterator[None]:
    """A sensor that sends by itself, whether anybody listens or not."""
    os.set_blocking(sensor._master, False)
    rows = Pump(seed=3).take(4096).values.tolist()
    stop, began = threading.Event(), time.monotonic()

    def talk() -> None:
        number = 0
        while not stop.wait(max(0.0, began + number / rate_hz - time.monotonic())):
            with contextlib.suppress(OSError):  # nobody reads, or the port is unplugged
                os.write(sensor._master, say(number, rows[number % len(rows)]))
            number += 1

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    made = Sensor(tmp_path / "sensor")
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path, sensor: Sensor) -> Path:
    """Settings of a stream of lines without a header."""
    path = tmp_path / "config.toml"
    path.write_text(
        f'device = "bench"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f'[streams.pump]\nchannels = [{CHANNELS}]\n[streams.pump.source]\nkind = "serial"\nport = "{sensor.link}"\n'
    )
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command here; returns its exit code and all that it said."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))  # a socket's path must be short
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)

    def command(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return command


def told(said: str) -> Any:
    """The JSON among what a command said."""
    begin = min(at for at in (said.find("{\n"), said.find("[\n")) if at >= 0)
    return json.JSONDecoder().raw_decode(said, begin)[0]


# init


def test_what_init_writes_is_accepted_by_check_and_run(run: Command, sensor: Sensor, broker: Broker, tmp_path: Path):
    agent, address = AgentProcess(tmp_path, broker, sensor), f"127.0.0.1:{broker.port}"
    out = agent.config
    with talking(sensor):
        code, said = run("init", "--port", sensor.link, "--seconds", "1", "--out", out, "--broker", address, "--force")
        assert code == 0, said
        settings = load(out).streams["sensor"]
        assert settings.channels == tuple(type(c)(name=c.name, unit=c.unit) for c in PUMP_CHANNELS)
        assert settings.learning.rate_hz == pytest.approx(RATE_HZ, rel=0.1)
        code, said = run("check", "--config", out, "--seconds", "1")
        assert (code, "all is well" in said) == (0, True), said
        with agent:
            wait_until(lambda: agent.status().get("link", {}).get("connected"), "the agent is connected")
            state = agent.status()["streams"]["sensor"]["state"]
            assert state in {"calibrating", "normal", "starting"}, state


@pytest.mark.parametrize("say", [as_plain, as_comma, as_millis, as_pairs, as_json, as_frame])
def test_init_understands_a_format_so_that_record_reads_it(
    run: Command, sensor: Sensor, tmp_path: Path, say: Callable[[int, Row], bytes]
):
    config, out = tmp_path / "config.toml", tmp_path / "r.csv"
    with talking(sensor, say):
        code, said = run("init", "--port", sensor.link, "--baud", "115200", "--seconds", "0.5", "--out", config)
        assert code == 0, said
        code, said = run("record", "--config", config, "--for", "0.5", "--out", out, "--json")
    report = told(said)
    assert (code, len(report["channels"]), report["gaps"], report["frames_dropped"]) == (0, 5, 0, 0)
    assert report["readings"] > 0.2 * RATE_HZ


@pytest.mark.parametrize(("say", "words"), [(None, "nothing arrived"), (as_garbage, "is the baud rate right?")])
def test_init_says_what_to_look_at_where_it_understands_nothing(
    run: Command, sensor: Sensor, tmp_path: Path, say: Callable[[int, Row], bytes] | None, words: str
):
    with talking(sensor, say or (lambda *_: b"")):
        code, said = run("init", "--port", sensor.link, "--baud", "9600", "--seconds", "0.4", "--out", tmp_path / "c")
    assert (code, words in said) == (69, True), said
    assert not (tmp_path / "c").exists()


def test_a_busy_port_is_told_from_a_missing_one(run: Command, sensor: Sensor, config: Path, tmp_path: Path):
    held = open_port(SerialSettings(port=str(sensor.link)))
    try:
        for words in (["init", "--port", sensor.link, "--out", tmp_path / "c"], ["check", "--config", config]):
            assert "is busy: another program has it open" in run(*words)[1]
    finally:
        held.close()


# check


def test_check_tells_all_that_is_wrong_at_once(
    run: Command, sensor: Sensor, config: Path, tmp_path: Path, pump_bundle: Path
):
    (tmp_path / "half.bundle").write_bytes(pump_bundle.read_bytes()[:5000])
    (tmp_path / "secret").write_text("wrong\n")
    (tmp_path / "secret").chmod(0o600)
    with Broker(tmp_path / "b", passwords={"u": "right"}) as broker, talking(sensor, with_a_lost_channel):
        config.write_text(
            f'device = "bench"\nstate_dir = "{config}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nusername = "u"\npassword_file = "{tmp_path}/secret"\n'
            f'[streams.pump]\nbundle = "{pump_bundle}"\n'
            f'[streams.pump.source]\nkind = "serial"\nport = "{sensor.link}"\n'
            f'[streams.fan]\nbundle = "{tmp_path}/half.bundle"\nchannels = [{CHANNELS}]\n'
            f'[streams.fan.source]\nkind = "serial"\nport = "/dev/nothing"\n'
        )
        code, said = run("check", "--config", config, "--json", "--seconds", "1")
    problems = told(said)
    found = {each["place"]: each for each in problems}
    assert code == 1
    assert "is no folder" in found["state_dir"]["message"]
    assert "the broker refuses us" in found["mqtt"]["message"]
    assert "truncated" in found["streams.fan.bundle"]["message"]
    assert "is not there" in found["streams.fan.source"]["message"]
    of_pump = [each["message"] for each in problems if each["place"] == "streams.pump.source"]
    assert any("pressure never had a value" in message for message in of_pump), of_pump
    assert any("the bundle wants 1" in message for message in of_pump), of_pump


def test_check_names_a_broker_that_is_not_there(run: Command, sensor: Sensor, config: Path):
    with talking(sensor, as_plain):
        code, said = run("check", "--config", config, "--seconds", "0.5")
    assert code == 1
    assert "mqtt: 127.0.0.1" in said
    assert "refused" in said
    assert said.rstrip().endswith("1 problem")


# record


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: object) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(PROJECT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job, such as CI, ignores Ctrl-C
            os.execv(sys.executable, [sys.executable, "-m", "edge_agent", *map(str, words)])
        self.seen = ""

    def wait_for(self, text: str) -> None:
        """Read until a text was shown."""
        wait_until(lambda: self._read() or text in self.seen, f"{text!r} on the terminal", 20)

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def end(self) -> int:
        """Wait for its end; returns the exit code."""
        wait_until(lambda: self._read() is None, "the command ends", 20)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool | None:
        if not select.select([self._fd], [], [], 0.05)[0]:
            return False
        try:
            data = os.read(self._fd, 65_536)
        except OSError:
            return None
        self.seen += data.decode()
        return False if data else None


def test_ctrl_c_keeps_a_whole_recording_that_training_and_replay_read(
    run: Command, sensor: Sensor, config: Path, tmp_path: Path, pump_bundle: Path
):
    out = tmp_path / "normal.csv.gz"
    with talking(sensor, as_plain):
        terminal = Terminal("record", "--config", config, "--for", "10m", "--out", out)
        terminal.wait_for("recording pump: 1")
        terminal.wait_for("s left")
        sensor.unplug()
        terminal.wait_for("waiting for it to come back")
        sensor.plug()
        os.set_blocking(sensor._master, False)
        before = terminal.seen.rfind("readings")
        wait_until(lambda: terminal._read() or terminal.seen.rfind("readings") > before, "readings again", 20)
        terminal.wait_for("recording pump: 2")
        terminal.press(b"\x03")
        assert terminal.end() == 0, terminal.seen
    assert "ended by: interrupted" in terminal.seen
    rows = list(csv.reader(gzip.decompress(out.read_bytes()).decode().splitlines()))
    assert rows[0] == ["time", *(channel.heading for channel in PUMP_CHANNELS)]
    assert {len(row) for row in rows} == {6}
    assert abs(float(rows[-1][0]) - time.time()) < 60
    words = [sys.executable, "-m", "training", "init", str(out), "--out", str(tmp_path / "recipe.toml")]
    ended = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    recipe = (tmp_path / "recipe.toml").read_text()
    assert 'column = "vibration [mm/s]"\nunit = "mm/s"' in recipe
    code, said = run("replay", out, "--bundle", pump_bundle, "--json")
    replayed = told(said)
    assert replayed["readings"] == len(rows) - 1, (code, said)


def test_a_recording_stops_at_its_quota(run: Command, sensor: Sensor, config: Path, tmp_path: Path):
    out = tmp_path / "r.csv"
    with talking(sensor, as_plain, 400):
        code, said = run("record", "--config", config, "--for", "20s", "--out", out, "--max-mb", "0.03")
    assert (code, "ended by: quota" in said) == (0, True), said
    assert 10_000 < out.stat().st_size <= 30_000
    assert run("record", "--config", config, "--for", "1s", "--out", out)[0] == 1


# install, inspect, bench, replay, calibrate


def recording(path: Path, rows: int = 400, separator: str = ",") -> Path:
    """A healthy pump as SKAB writes its files: a time of its own kind, labels at the end."""
    block = Pump(seed=9).take(rows)
    lines = [separator.join(["datetime", *NAMES, "anomaly", "changepoint"])]
    for number, row in enumerate(block.values.tolist()):
        stamp = f"2020-03-09 10:{number // 60:02d}:{number % 60:02d}"
        lines.append(separator.join([stamp, *(f"{value:.6g}" for value in row), "0.0", "0.0"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_bundle_is_installed_calibrated_replayed_and_set_back(
    run: Command, config: Path, tmp_path: Path, pump_bundle: Path
):
    code, said = run("install", pump_bundle, "--config", config, "--json")
    installed = told(said)
    assert (code, installed["stream"], installed["graph"]) == (0, "pump", "float32")
    file = recording(tmp_path / "skab.csv", separator=";")
    code, said = run("replay", file, "--config", config, "--json")
    before = told(said)
    assert (code, before["readings"], before["decisions"]["normal"]) == (0, 400, 385)
    site = load(config).stream_path("pump") / "site.json"
    assert run("calibrate", "--config", config, "--data", file, "--dry-run")[0] == 0
    assert not site.exists()
    code, said = run("calibrate", "--config", config, "--data", file, "--json")
    figures = told(said)
    assert (code, site.exists()) == (0, True)
    assert figures["old"]["threshold"] != figures["new"]["threshold"]
    assert json.loads(run("calibrate", "--config", config, "--undo", "--json")[1]) == {"undone": True}
    assert not site.exists()


def test_too_few_readings_or_another_rate_are_no_calibration(
    run: Command, sensor: Sensor, config: Path, tmp_path: Path, pump_bundle: Path
):
    run("install", pump_bundle, "--config", config)
    code, said = run("calibrate", "--config", config, "--data", recording(tmp_path / "few.csv", 60))
    assert (code, "60 readings came, 100 are the least" in said) == (1, True), said
    with talking(sensor, as_plain):
        code, said = run("calibrate", "--config", config, "--for", "2s")
    assert (code, "the bundle wants 1" in said) == (1, True), said


def test_a_bundle_that_is_not_for_the_stream_is_not_installed(
    run: Command, config: Path, tmp_path: Path, pump_bundle: Path
):
    (tmp_path / "half.bundle").write_bytes(pump_bundle.read_bytes()[:5000])
    assert "truncated" in run("install", tmp_path / "half.bundle", "--config", config)[1]
    config.write_text(config.read_text().replace('"flow"', '"flux"'))
    code, said = run("install", pump_bundle, "--config", config)
    assert (code, "flux" in said) == (1, True)
    assert not (load(config).stream_path("pump") / "slots" / "current").exists()


def test_a_recording_of_other_channels_is_refused(run: Command, tmp_path: Path, pump_bundle: Path):
    file = recording(tmp_path / "r.csv")
    file.write_text(file.read_text().replace("flow", "flux"))
    code, said = run("replay", file, "--bundle", pump_bundle)
    assert (code, "has no 'flow'" in said) == (1, True), said


def test_bench_takes_no_delegate_that_cannot_be_used(run: Command, pump_bundle: Path):
    code, said = run("bench", pump_bundle, "--json", "--delegate", "/nope.so")
    result = told(said)
    assert (code, result["best"]["delegate"]) == (0, "xnnpack")
    assert all("cannot be used" in trial["problem"] for trial in result["trials"] if trial["delegate"] == "/nope.so")


# status, test-alert


def test_a_test_alert_arrives_with_and_without_an_agent_and_disturbs_none(
    run: Command, sensor: Sensor, broker: Broker, tmp_path: Path, pump_bundle: Path
):
    with AgentProcess(tmp_path, broker, sensor, pump_bundle) as agent, Listener(broker) as listener:
        wait_until(lambda: agent.status().get("link", {}).get("connected"), "the agent is connected")
        code, said = run("test-alert", "--config", agent.config)
        assert (code, "outbox of the running agent" in said) == (0, True), said
        code, said = run("status", "--config", agent.config)
        assert (code, "connected; all well" in said) == (1, True), said
        assert "holds the ports" in run("check", "--config", agent.config)[1]
        agent.stop()
        code, said = run("test-alert", "--config", agent.config)
        assert (code, "directly" in said) == (0, True), said
        wait_until(lambda: len(listener.events()) >= 4, f"both alerts open and close: {listener.events()}")
        assert {event["text"][:10] for event in listener.events()} == {"TEST ALERT"}
        assert len({event["id"] for event in listener.events()}) == 2
        assert [json.loads(p) for p in listener.payloads("anomalite/bench/info")][-1]["agent"] != "test-alert"


def test_a_test_alert_that_the_broker_does_not_take_is_no_success(run: Command, config: Path, tmp_path: Path):
    code, said = run("test-alert", "--config", config, "--timeout", "2")
    assert (code, "refused" in said) == (69, True), said
    assert not (tmp_path / "state").exists(), "nothing is left to be sent later"
    with Broker(tmp_path / "b", acl="topic read #\n") as broker:
        text = config.read_text()
        config.write_text(text.replace(f"port = {load(config).mqtt.port}", f"port = {broker.port}", 1))
        code, said = run("test-alert", "--config", config)
    assert (code, "check its access rules" in said) == (69, True), said
