"""The watch of a camera's demonstration: pictures in, an agent as a process, a real broker, alerts with pictures out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec
from edge_agent.contract.records import NS
from tests.bundles import zipped
from tests.frame_bundles import HEIGHT, WIDTH, manifest, members
from tests.image_folders import write
from tests.tiny_frame_graphs import adding
from training.experiments.demo_camera_report import verdict, write_report
from training.experiments.demo_parts import Part, Watched
from training.experiments.demo_watch import OTHER_VIEWS, keep_pictures, watch

BLOB = (slice(2, 5), slice(8, 12))
DEFECTIVE = (3, 4)  # one after the other, and each an event of its own
INTERVAL_S = 0.5


def calibrated(threshold: float) -> Calibration:
    """Of normal frames, which are dark."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    normal = calibrate(np.linspace(0, 2, 100), t_ns, alarms_per_day=1, n=1, m=1, join_s=1, k=1)
    return normal.with_threshold(threshold)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that adds up brightness, and thresholds that a bright blob is above."""
    model, face = adding(height=HEIGHT, width=WIDTH)
    frames = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    sums = frames.sum(axis=3, dtype=np.float32)
    files = members({"frames": frames, "score_float32": sums.sum(axis=(1, 2)), "map_float32": sums})
    files["model_float32.tflite"] = model
    told = manifest(files)
    graph = dataclasses.replace(
        told.graphs[0],
        frame=face.frame,
        score=face.score,
        map=face.map,
        calibration=calibrated(HEIGHT * WIDTH * 150.0),
        map_calibration=calibrated(300.0),
    )
    rule = DecisionSpec(rule=DecisionRule(n=1, m=1, hold_off_s=0.0), alarms_per_day=1.0)
    values = dataclasses.replace(told, graphs=(graph,), decision=rule).to_dict()
    path = tmp_path_factory.mktemp("bundle") / "camera.bundle"
    path.write_bytes(zipped([("manifest.json", json.dumps(values).encode()), *files.items()]))
    return path


def parts(folder: Path) -> list[Part]:
    """Dark parts, the defective ones with a bright blob."""
    made = []
    for number in range(9):
        pixels = np.random.default_rng(number).integers(30, 40, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        if number in DEFECTIVE:
            pixels[BLOB] = 220
        path = write(folder / f"{number}.png", pixels)
        made.append(Part(number=number, picture=path, name=path.name, defective=number in DEFECTIVE))
    return made


def watched(bundle: Path, folder: Path) -> Watched:
    return watch(parts(folder / "watched"), bundle, folder, interval_s=INTERVAL_S, shown_s=0.2, more=OTHER_VIEWS)


def test_each_defective_part_raises_an_alert_with_its_picture_its_place_and_an_overlay(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = watched(bundle, tmp_path)
    overlays = keep_pictures(seen, tmp_path)
    said = capsys.readouterr().out
    assert sorted(seen.first_alerts()) == sorted(overlays) == list(DEFECTIVE)
    assert verdict(seen) == "2 of 2 defective parts raised an alert, and 0 of 7 good ones."
    assert "part 3, 3.png, defective: warning, something strange at the top" in said
    for number in DEFECTIVE:
        region = seen.first_alerts()[number]["region"]
        assert (region["x"], region["y"]) == pytest.approx((8 / WIDTH, 2 / HEIGHT), abs=0.001)
        image, overlay = (
            cv2.imread(str(tmp_path / "alerts" / f"part-00{number}{end}")) for end in (".jpg", ".overlay.jpg")
        )
        assert image[BLOB].mean() > 180
        assert overlay.shape > image.shape
        assert (tmp_path / "alerts" / f"part-00{number}.heatmap.jpg").exists()
    report = write_report(tmp_path / "report.html", seen, overlays, "Dark parts.", tmp_path / "run").read_text()
    assert report.count("<figure>") == len(DEFECTIVE) + 1


def test_pictures_find_their_alerts_with_a_broker_that_speaks_3_1_1_alone(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    seen = watched(bundle, tmp_path)
    assert {alert["id"] for alert in seen.first_alerts().values()} == set(seen.pictures)
    assert len(seen.pictures) == len(DEFECTIVE)
