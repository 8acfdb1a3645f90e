"""The settings file: every problem at once, the nearest name, and an example that is never out of date."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from edge_agent.config import Settings, StreamSettings, load, parse
from edge_agent.errors import ConfigError
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings
from edge_agent.sources.picamera import PicameraSettings
from edge_agent.sources.serial import SerialSettings
from edge_agent.vision.frame_prefilter import MAX_SKIP_S

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, CAMERA = EXAMPLES / "config.toml", EXAMPLES / "camera.toml"
CAMERA_SOURCE = 'kind = "images"\npath = "/nowhere"\n'
SENSOR_SOURCE = 'kind = "serial"\nport = "/dev/ttyACM0"\n'
MINIMAL = 'device = "d"\n[streams.pump.source]\nkind = "serial"\nport = "/dev/ttyACM0"\n'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return {problem.place: str(problem) for problem in caught.value.problems}


def uncommented(text: str) -> str:
    """The example with every default switched on."""
    return re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", ["3", '["serial"]', "{ serial = 1 }"])
def test_a_kind_of_source_that_is_no_text_is_a_problem_like_any_other(kind: str) -> None:
    found = problems(f'device = "d"\n[streams.pump]\nsource = {{ kind = {kind} }}\n')
    assert "expected one of serial, " in found["streams.pump.source.kind"]


def test_the_example_can_be_used_as_it_is() -> None:
    settings = load(EXAMPLE)
    assert settings.streams["pump"].channels[0].unit == "l/min"


def test_the_example_can_be_used_with_every_default_written_out() -> None:
    assert parse(uncommented(EXAMPLE.read_text())).streams["pump"].decision.k == 3.0


def test_the_defaults_in_the_example_are_the_defaults() -> None:
    plain, written = load(EXAMPLE), parse(uncommented(EXAMPLE.read_text()))
    for part in ("mqtt", "outbox", "evidence"):
        assert getattr(plain, part) == getattr(written, part)
    assert plain.streams["pump"].source == written.streams["pump"].source
    assert plain.streams["pump"].scoring == written.streams["pump"].scoring


def test_the_example_of_a_camera_can_be_used_as_it_is_and_shows_the_defaults() -> None:
    plain, written = load(CAMERA).streams["cell"], parse(uncommented(CAMERA.read_text())).streams["cell"]
    assert plain.is_camera
    assert plain.camera.localisation.zones[0].name == "belt"
    assert dataclasses.replace(plain, source=written.source) == dataclasses.replace(
        written,
        no_data_s=None,
        decision=plain.decision,
        camera=dataclasses.replace(
            written.camera, prefilter=dataclasses.replace(written.camera.prefilter, mode=None, max_skip_s=None)
        ),
    )
    assert plain.source == written.source
    assert (written.camera.prefilter.mode, written.camera.prefilter.max_skip_s) == ("watch", MAX_SKIP_S)


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        (CAMERA_SOURCE, "channels = [{ name = 'a' }]", "a camera has none"),
        (CAMERA_SOURCE, "prefilter = { max_skip_s = 3.0 }", "[streams.NAME.camera.prefilter]"),
        (CAMERA_SOURCE, "learning = { readings = 300 }", "[streams.NAME.camera.prefilter]"),
        (SENSOR_SOURCE, "camera = { health = { dark_luma = 3.0 } }", "network_camera"),
    ],
)
def test_a_setting_of_the_other_kind_of_stream_is_refused_with_a_hint(kind: str, line: str, words: str) -> None:
    found = problems(f'device = "d"\n[streams.cell]\n{line}\n[streams.cell.source]\n{kind}')
    assert words in found["streams.cell"]


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("camera.helth = {}", "streams.cell.camera.helth", "did you mean health?"),
        ("camera.health = { checks = ['mooved'] }", "streams.cell.camera.health.checks[0]", "did you mean moved?"),
        ("camera.prefilter = { mode = 'gat' }", "streams.cell.camera.prefilter.mode", "did you mean gate?"),
        ("camera.localisation = { zones = [{ name = 'a' }] }", "streams.cell.camera.localisation.zones[0].polygon", ""),
        ("camera.localisation = { masks = [[[0, 0], [2, 0], [1, 1]]] }", "streams.cell.camera.localisation", "0..1"),
    ],
)
def test_what_is_wrong_in_the_settings_of_a_camera_is_told_with_its_place(line: str, place: str, words: str) -> None:
    found = problems(f'device = "d"\n[streams.cell]\n{line}\n[streams.cell.source]\n{CAMERA_SOURCE}')
    assert words in found[place]


def settings_of(cls: type) -> set[str]:
    """Names of all settings below a class; of the sources those of the serial port and of a camera."""
    names = set()
    for field in dataclasses.fields(cls):
        names.add(field.name)
        kind = typing.get_type_hints(cls)[field.name]
        if dataclasses.is_dataclass(kind):
            names |= settings_of(typing.cast(type, kind))
    return names


def test_the_examples_show_every_setting() -> None:
    text = EXAMPLE.read_text() + CAMERA.read_text()
    known = settings_of(Settings) | settings_of(StreamSettings) | settings_of(SerialSettings)
    known = known.union(*(settings_of(kind) for kind in (CameraSettings, NetworkCameraSettings, PicameraSettings)))
    missing = {name for name in known if not re.search(rf"\b{name}\b", text)}
    assert not missing


def test_an_unknown_setting_is_refused_with_the_nearest_known_name() -> None:
    found = problems(MINIMAL + "[mqtt]\nhots = 'x'\n")
    assert "did you mean host?" in found["mqtt.hots"]


def test_all_problems_are_told_at_once() -> None:
    text = """
device = "bad name"
[mqtt]
port = "1883"
keepalive_s = 1
[outbox]
max_mib = 0.0
[streams.pump.source]
kind = "serail"
[streams.state.source]
kind = "serial"
port = 3
baud = true
"""
    found = problems(text)
    assert {
        "mqtt.port",
        "outbox",
        "streams.pump.source.kind",
        "streams.state.source.port",
        "streams.state.source.baud",
    } <= set(found)
    assert "did you mean serial?" in found["streams.pump.source.kind"]


@pytest.mark.parametrize("name", ["state", "cmd", "a/b", "", "x" * 65])
def test_a_stream_name_that_no_topic_can_carry_is_refused(name: str) -> None:
    text = f'device = "d"\n[streams."{name}".source]\nkind = "serial"\nport = "/dev/ttyACM0"\n'
    assert problems(text)


def test_a_settings_file_without_streams_says_what_to_add() -> None:
    assert "[streams.NAME]" in problems('device = "d"\n[streams]\n')["settings"]


def test_what_is_no_toml_is_said_with_its_line() -> None:
    assert "line 1" in problems("device = \n")["settings"]


def test_a_file_that_is_not_there_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edge-agent init"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("decision = { alarms_per_day = 0.0 }", "alarms_per_day"),
        ("decision = { hysteresis = 1.5 }", "hysteresis"),
        ("prefilter = { mode = 'gat' }", "gate, watch, off"),
        ("scoring = { threads = 0 }", "threads"),
        ("scoring = { runtime = 'torch' }", "litert"),
        ("learning = { readings = 10 }", "readings"),
        ("channels = [{ name = 'a', low = 2.0, high = 1.0 }]", "low must be below high"),
        ("channels = [{ nmae = 'a' }]", "did you mean name?"),
        ("no_data_s = -1.0", "no_data_s"),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(line: str, word: str) -> None:
    text = f'device = "d"\n[streams.pump]\n{line}\nsource = {{ kind = "serial", port = "/dev/ttyACM0" }}\n'
    assert word in " ".join(problems(text).values())


def test_a_whole_number_serves_where_a_number_is_wanted() -> None:
    assert parse(MINIMAL + "[outbox]\nmax_mib = 16\n").outbox.max_mib == 16.0


def test_the_state_folder_is_systemds_where_it_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge-agent")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edge-agent")
    settings = parse(MINIMAL)
    assert settings.stream_path("pump") == Path("/var/lib/edge-agent/streams/pump")
    assert settings.status_path == Path("/run/edge-agent/status.sock")
