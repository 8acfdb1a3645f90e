"""`edge-agent evidence`: lists what is there, draws over the frame that fired, and survives damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.alerts.evidence import Evidence, FrameNote, NotedRegion
from edge_agent.alerts.kept_evidence import find
from edge_agent.alerts.settings import EvidenceSettings
from edge_agent.cli import main
from edge_agent.cli.evidence import marks
from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import EdgeAgentError
from edge_agent.vision.pictures import decode_jpeg, encode_jpeg

AT_NS = 1_795_301_755 * NS
BOX = (0.5, 0.5, 1.0, 1.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device with the evidence of a camera and, a second later, of a sensor."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'device = "bench"\nstate_dir = "{tmp_path}"\n'
        '[streams.pump]\nchannels = [{ name = "a" }]\n[streams.pump.source]\nkind = "stdin"\n'
    )
    monkeypatch.setenv("EDGE_AGENT_CONFIG", str(config))
    evidence = Evidence(tmp_path / "evidence", EvidenceSettings())
    cells = np.zeros((4, 4), np.float32)
    cells[3, 3] = 5e5
    evidence.keep_frame(
        FrameNote(
            id="abc1",
            stream="station",
            event_type="anomaly",
            t_ns=AT_NS,
            text="something strange at the lower right",
            score=5e5,
            median=0.0,
            threshold=1e5,
            box=BOX,
            class_="dent",
            relative=2.5,
            regions=(
                NotedRegion(box=BOX, score=5e5, area=0.06, zone="belt", class_="dent", class_score=0.8, relative=2.5),
            ),
        ),
        image=encode_jpeg(np.full((480, 640, 3), 90, np.uint8), 1 << 20),
        heatmap=b"h",
        values=cells,
    )
    context = Block(values=np.ones((3, 1), np.float32), t_ns=AT_NS + np.arange(1, 4) * NS)
    meta: dict[str, object] = {"stream": "pump", "event_type": "sensor_fault", "detail": "a is stuck"}
    evidence.keep("abd2", channels=[Channel(name="a")], context=context, window=None, meta=meta)
    return tmp_path / "evidence"


def test_all_evidence_is_listed_newest_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence"]) == 0
    sensor, camera = capsys.readouterr().out.splitlines()
    assert "abd2" in sensor
    assert "pump sensor_fault  a is stuck" in sensor
    assert camera.startswith("20261121T225555  abc1")
    assert "station anomaly  something strange at the lower right" in camera


def test_a_device_without_evidence_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert main(["evidence"]) == 0
    assert "no evidence yet" in capsys.readouterr().out


def test_one_event_is_found_by_how_its_id_begins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "abc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["class"], len(told["files"]), told["problem"]) == ("abc1", "dent", 4, "")


@pytest.mark.parametrize(("wanted", "words"), [("ab", "2 events begin"), ("xyz", "no evidence of an event 'xyz'")])
def test_an_id_that_is_not_one_event_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], wanted: str, words: str
) -> None:
    assert main(["evidence", wanted]) == 1
    assert words in capsys.readouterr().err


def test_the_overlay_shows_what_was_strange_and_leaves_the_frame_as_it_was(folder: Path, tmp_path: Path) -> None:
    (clean,) = [path for path in folder.glob("*.jpg") if "heatmap" not in path.name]
    before = clean.read_bytes()
    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "seen.jpg")]) == 0

    drawn = decode_jpeg((tmp_path / "seen.jpg").read_bytes()).astype(int)
    assert abs(drawn[:200, :200] - 90).max() < 6
    red, _, blue = drawn[440, 600]
    assert red > blue + 30
    assert drawn[236:244, 400:500].max() > 240
    assert clean.read_bytes() == before


def test_boxes_are_labelled_with_kind_zone_and_how_far_beyond_the_threshold_they_are(folder: Path) -> None:
    note, _, _ = find(folder, "abc1").frame()
    assert [mark.label for mark in marks(note)] == ["dent, belt, 2.5 (threshold 1)"]
    elsewhere = replace(note, box=(0.0, 0.0, 0.1, 0.1), regions=())
    assert [mark.label for mark in marks(elsewhere)] == ["dent, 2.5 (threshold 1)"]
    assert [mark.label for mark in marks(replace(elsewhere, class_=None, relative=None))] == [""]


def test_a_note_from_before_kinds_were_told_is_drawn(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*abc1.json")
    told = json.loads(path.read_text())
    del told["class"], told["regions"][0]["class"], told["regions"][0]["class_score"]
    path.write_text(json.dumps(told))
    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "seen.jpg")]) == 0


def test_an_overlay_never_overwrites_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.jpg").write_text("mine")
    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "mine.jpg")]) == 1
    assert "mine.jpg is already there" in capsys.readouterr().err
    assert (tmp_path / "mine.jpg").read_text() == "mine"


def test_an_overlay_needs_an_event(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "--overlay", "x.jpg"]) == 2
    assert "needs the ID" in capsys.readouterr().err


def test_readings_have_no_overlay(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "abd2", "--overlay", str(tmp_path / "x.jpg")]) == 1
    assert "has no frame" in capsys.readouterr().err


def regions(**change: object) -> bytes:
    note = {"id": "abc1", "stream": "s", "event_type": "anomaly", "t_ns": 0, "median": 0.0, "threshold": 1.0} | change
    return json.dumps(note).encode()


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        (".json", None),
        (".json", b""),
        (".json", b"{"),
        (".json", b"[]"),
        (".json", b'{"id": "abc1"}'),
        (".json", regions(box=[0, 0, 1e300, 1])),
        (".json", regions(box=[0, 0])),
        (".json", regions(median=2.0)),
        (".jpg", None),
        (".jpg", b""),
        (".jpg", b"\xff\xd8\xff cut short"),
        (".npz", b""),
        (".npz", b"PK no zip"),
    ],
)
def test_damaged_evidence_is_told_and_still_listed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, content: bytes | None
) -> None:
    (path,) = folder.glob(f"*abc1{ending}")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "seen.jpg")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("edge-agent: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "seen.jpg").exists()
    assert main(["evidence"]) == 0
    assert "abc1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arrays", [{}, {"map": np.zeros(4, np.float16), "unit": np.array(1.0)}, {"map": np.zeros((4, 4))}]
)
def test_arrays_that_are_no_map_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray]
) -> None:
    (path,) = folder.glob("*abc1.npz")
    np.savez(path, **arrays)
    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "seen.jpg")]) == 1
    assert "holds no map" in capsys.readouterr().err


def test_a_file_that_goes_after_it_was_found_is_told(folder: Path) -> None:
    kept = find(folder, "abc1")
    (folder / f"{kept.name}.jpg").unlink()
    with pytest.raises(EdgeAgentError, match="made room"):
        kept.frame()


def test_a_map_that_made_room_costs_the_colours_alone(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*abc1.npz")
    path.unlink()
    assert main(["evidence", "abc1", "--overlay", str(tmp_path / "seen.jpg")]) == 0
    drawn = decode_jpeg((tmp_path / "seen.jpg").read_bytes()).astype(int)
    assert abs(drawn[440, 560] - 90).max() < 6
