"""`inspect`, `install` and `bench` with the bundle of a camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.cli.describing import describe
from edge_agent.config import load
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frame_manifest import FrameManifest
from tests import bundles
from tests.frame_bundles import bundle_bytes, manifest, members, running_bundle

SENSOR = """\
device = "bench"
[streams.cell]
channels = [{ name = "pressure", unit = "bar" }, { name = "flow", unit = "l/min" }]
[streams.cell.source]
kind = "serial"
port = "/dev/ttyUSB7"
"""

CAMERA = """\
device = "bench"
[streams.cell.source]
kind = "camera"
device = "/dev/video7"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "weld.bundle"
    path.write_bytes(running_bundle())
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    path = tmp_path / "config.toml"
    path.write_text(SENSOR)
    return path


def test_inspect_tells_what_the_camera_must_give_and_what_the_map_alarms_at(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "frames of 16 x 12 pixels, 2 a second" in said
    assert "zone        belt, threshold 2 times as far" in said
    assert "map         float32: threshold" in said
    assert "scores a frame at least every 10 s" in said
    assert "3 of 5 frames" in said


def test_inspect_gives_the_manifest_as_json(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("sha256") == FrameBundle.read(bundle).sha256
    assert FrameManifest.from_dict(told) == FrameBundle.read(bundle).manifest


def test_a_detector_without_a_map_is_said_to_tell_not_where() -> None:
    values = manifest(members()).to_dict()
    values["graphs"][0] |= {"map": None, "map_calibration": None}
    values["input"] |= {"interval_s": 90.0, "classes": ["crack", "scratch"], "masks": [[[0, 0], [1, 0], [0, 1]]]}
    lines = "\n".join(describe(FrameManifest.from_dict(values), "00"))
    assert "tells that something is strange, not where" in lines
    assert "one in 1 min 30 s" in lines
    assert "classes     crack, scratch" in lines
    assert "1 part of the picture left out" in lines


def test_a_bundle_for_parts_says_that_each_frame_is_another_part() -> None:
    told = manifest(members())
    parts = replace(told.decision, rule=DecisionRule(n=1, m=1, hold_off_s=0.0))
    assert "  decision    1 of 1 frames, each frame another part with events of its own" in describe(
        replace(told, decision=parts), "00"
    )


def test_bench_times_a_frame(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"]["us_per_frame"] > 0
    assert told["best"] in told["trials"]
    assert main(["bench", str(bundle)]) == 0
    assert "us a frame" in capsys.readouterr().out


def test_bench_runs_no_graph_that_does_not_give_its_golden_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fake.bundle").write_bytes(bundle_bytes())
    assert main(["bench", str(tmp_path / "fake.bundle")]) == 1
    assert "no graph of this bundle may run here" in capsys.readouterr().out


def test_a_bundle_for_a_camera_is_not_installed_for_a_sensor(
    bundle: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--config", str(config), str(bundle)]) == 1
    assert "it is for the frames of a camera, the source of the stream is of kind 'serial'" in capsys.readouterr().err
    assert not (load(config).stream_path("cell") / "slots").exists()


def test_it_is_installed_for_a_camera(bundle: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(CAMERA)
    assert main(["install", "--config", str(config), str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stream"], told["name"], told["graph"]) == ("cell", "weld", "float32")
    slot = load(config).stream_path("cell") / "slots" / "current"
    assert slot.read_bytes() == bundle.read_bytes()


def test_a_bundle_for_sensors_is_not_installed_for_a_camera(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(CAMERA)
    (tmp_path / "pump.bundle").write_bytes(bundles.bundle_bytes())
    assert main(["install", "--config", str(config), str(tmp_path / "pump.bundle")]) == 1
    assert "it is for the readings of sensors, the source of the stream is of kind 'camera'" in capsys.readouterr().err


def test_replay_of_readings_refuses_a_bundle_for_a_camera(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.csv").touch()
    assert main(["replay", "--bundle", str(bundle), str(tmp_path / "r.csv")]) == 1
    assert "weld.bundle: the bundle is for the frames of a camera" in capsys.readouterr().err
