"""The commands with a camera: a simulated station, folders of images, and what goes wrong with them."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.cli.service import describe
from edge_agent.config import load
from edge_agent.contract import opencv as opencv_module
from edge_agent.contract import strict_json
from edge_agent.vision.camera_health import CameraFault
from tests.frame_bundles import INPUT, bundle_bytes, manifest, members

Settings = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Writes settings of one camera; returns their path."""

    def write(source: str, extra: str = "", name: str = "config.toml") -> str:
        path = tmp_path / name
        path.write_text(
            f'device = "bench"\nstate_dir = "{tmp_path / "state"}"\n[mqtt]\nport = 1\n'
            f"[streams.cell.source]\n{source}\n{extra}\n"
        )
        return str(path)

    return write


def scene(frames: int = 30, **given: object) -> str:
    lines = {"kind": "synthetic_scene", "width": 96, "height": 72, "speed": 0.0, "frames": frames} | given
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())


LEARN = "[streams.cell.camera]\nprefilter = { learn_frames = 10, learn_s = 0.0, rule = { hold_off_s = 2.0 } }"


def problems(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    return {each["place"]: (each["kind"], each["message"]) for each in json.loads(capsys.readouterr().out)}


def test_check_looks_through_the_camera(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--json", "--config", settings(scene())])
    found = problems(capsys)
    kind, message = found["streams.cell.source"]
    assert kind == "note"
    assert message.startswith("96 x 72 pixels at ")
    assert found["streams.cell.bundle"][0] == "note"


def test_check_says_that_the_picture_is_dark(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--json", "--config", settings(scene(fault="dark"))])
    kind, message = problems(capsys)["streams.cell.source"]
    assert (kind, message.partition(":")[0]) == ("problem", "the picture is dark")
    main(["check", "--json", "--config", settings(scene(fault="dark"), "[streams.cell.camera.health]\nchecks = []")])
    assert problems(capsys)["streams.cell.source"][0] == "note"


@pytest.mark.parametrize(("interval_s", "kind"), [(1e-6, "problem"), (60.0, "note")])
def test_check_says_that_the_camera_is_too_slow_for_frames_in_order(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], interval_s: float, kind: str
) -> None:
    spec = {**strict_json.plain(INPUT), "streaming": True, "warm_up": 2, "interval_s": interval_s}
    states = [{"name": "past", "input": 1, "output": 2, "shape": [1, 4]}]
    graphs = [{**strict_json.plain(graph), "states": states} for graph in manifest(members()).graphs]
    (tmp_path / "clip.bundle").write_bytes(bundle_bytes({"input": spec, "graphs": graphs}))
    own = f'[streams.cell]\nbundle = "{tmp_path / "clip.bundle"}"'
    main(["check", "--json", "--config", settings(scene(), own)])
    found, message = problems(capsys)["streams.cell.source"]
    assert found == kind
    assert ("the bundle takes one every" in message) is (kind == "problem")


def test_check_tells_all_problems_though_the_golden_data_are_damaged(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weld.bundle").write_bytes(bundle_bytes(files=members({"frames": np.zeros(3, np.uint8)})))
    own = f'[streams.cell]\nbundle = "{tmp_path / "weld.bundle"}"'
    main(["check", "--json", "--config", settings(scene(), own)])
    found = problems(capsys)
    assert "golden.npz must hold" in found["streams.cell.scoring"][1]
    assert "mqtt" in found


def test_check_names_the_command_that_installs_opencv(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").touch()
    monkeypatch.setitem(sys.modules, "cv2", None)
    opencv_module.opencv.cache_clear()
    main(["check", "--json", "--config", settings(f'kind = "images"\npath = "{tmp_path}"')])
    assert "pip install 'anomalite[camera]'" in problems(capsys)["streams.cell.source"][1]


def test_check_says_that_two_streams_have_one_camera(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    device = 'kind = "camera"\ndevice = "/dev/null"'
    main(["check", "--json", "--no-hardware", "--config", settings(device, f"[streams.other.source]\n{device}")])
    assert "stream cell, too" in problems(capsys)["streams.other.source.device"][1]


def test_check_says_that_others_may_read_the_password(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        source = (
            f'kind = "network_camera"\nurl = "http://127.0.0.1:{port}/"\nusername = "u"\npassword_file = "{secret}"'
        )
        main(["check", "--json", "--seconds", "1", "--config", settings(source)])
    assert "chmod 0600" in problems(capsys)["streams.cell.source.password_file"][1]


@pytest.mark.parametrize(("option", "suffix"), [((), ".jpg"), (("--png",), ".png")])
def test_record_writes_images_into_the_folder_normal(
    settings: Settings, tmp_path: Path, option: tuple[str, ...], suffix: str
) -> None:
    out = tmp_path / "parts"
    assert main(["record", "--config", settings(scene(30)), "--out", str(out), "--every", "1s", *option]) == 0
    images = sorted((out / "normal").iterdir())
    assert [each.suffix for each in images] == [suffix] * 6
    assert cv2.imread(str(images[0])).shape == (72, 96, 3)


def test_record_leaves_out_frames_of_a_camera_that_is_not_well(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, dark = tmp_path / "parts", scene(60, fault="dark", fault_start=30, fault_frames=20)
    words = ["record", "--config", settings(dark), "--out", str(out), "--every", "0.1s"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err.count("the camera is dark: frames are left out until it is well") == 1
    assert "left out, since the camera was not well: " in said.out
    assert " frames dark" in said.out
    lumas = [cv2.imread(str(each)).mean() for each in (out / "normal").iterdir()]
    assert 30 <= len(lumas) <= 40
    assert min(lumas) > 0.8 * max(lumas)
    nothing = settings(scene(10, fault="dark", fault_frames=20))
    assert main(["record", "--config", nothing, "--out", str(tmp_path / "none"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["frames_left_out"] == {"dark": 10}


def test_record_stops_at_its_quota_with_whole_images(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, quota_mb = tmp_path / "parts", 0.06
    words = ["record", "--config", settings(scene(100)), "--out", str(out), "--png", "--max-mb", str(quota_mb)]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ended"] == "quota"
    assert 0 < told["images"] < 20
    assert sum(each.stat().st_size for each in (out / "normal").iterdir()) == told["bytes"] <= 1e6 * quota_mb


def test_init_writes_settings_for_a_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    out = tmp_path / "made.toml"
    assert main(["init", "--camera", str(folder), "--out", str(out)]) == 0
    assert "64 x 48 pixels" in capsys.readouterr().out
    made = load(out).streams["camera"]
    assert made.source.path == str(folder)
    assert made.camera.health.checks == tuple(CameraFault)


@pytest.mark.parametrize(
    ("camera", "code", "words"),
    [
        ("rtsp://user:secret@camera/1", 2, "password_file"),
        ("/dev/no-such-camera", 69, "is not there"),
        ("webcam", 2, "device path"),
    ],
)
def test_init_says_what_is_wrong_with_a_camera(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], camera: str, code: int, words: str
) -> None:
    assert main(["init", "--camera", camera, "--out", str(tmp_path / "made.toml")]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "secret" not in said
    assert not (tmp_path / "made.toml").exists()


def test_replay_of_a_folder_learns_the_scene_and_tells_its_events(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(scene(40, fault="missing", fault_start=20, fault_frames=10), LEARN)
    main(["record", "--config", config, "--out", str(tmp_path / "parts"), "--every", "0.1s"])
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "parts" / "normal"), "--config", config, "--rate-hz", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["anomalies"], told["scored"]) == (40, 1, 0)
    assert 20 <= told["events"][0]["frame"] <= 25
    assert len(told["events"][0]["box"]) == 4


def test_calibrate_sets_the_scene_aside_and_takes_it_back(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state" / "streams" / "cell"
    folder.mkdir(parents=True)
    (folder / "scene.npz").write_bytes(b"a scene")
    config = settings(scene())
    assert main(["calibrate", "--config", config, "--dry-run"]) == 0
    assert (folder / "scene.npz").exists()
    assert main(["calibrate", "--config", config]) == 0
    assert not (folder / "scene.npz").exists()
    assert main(["calibrate", "--config", config, "--undo"]) == 0
    assert (folder / "scene.npz").read_bytes() == b"a scene"
    assert "set aside" in capsys.readouterr().out


def test_calibrate_of_a_camera_takes_no_recording(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--config", settings(scene()), "--data", "x.csv"]) == 2
    assert "learns its scene while it watches" in capsys.readouterr().err


def test_a_scene_that_cannot_be_read_is_said_by_replay(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state" / "streams" / "cell"
    folder.mkdir(parents=True)
    (folder / "scene.npz").write_bytes(b"no scene")
    assert main(["replay", str(tmp_path), "--config", settings(scene())]) == 1
    assert "scene.npz" in capsys.readouterr().err


def test_status_tells_frames_and_what_watches() -> None:
    stream = {
        "state": "normal",
        "detail": "",
        "model": None,
        "version": None,
        "sample_age_s": 0.2,
        "rate_hz": 24.9,
        "frames_dropped": 3,
        "skipped_share": None,
        "infer_p95_ms": None,
    }
    answer = {
        "device": "d", "agent": "1", "uptime_s": 1.0, "rss_bytes": 1, "cpu_share": None, "clock": "synced",
        "link": {"connected": True, "last_reason": "", "problems": []},
        "outbox": {"depth": 0, "mode": "disk", "dropped": 0, "commit_p99_ms": None},
        "streams": {"cell": stream},
    }  # fmt: skip
    said = describe(answer)[-1].strip()
    assert said == "no model: the scene learned on site, last frame 0.2 s ago, 24.9 frames a second, 3 dropped"
