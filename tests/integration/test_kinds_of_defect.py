"""From folders named by kinds of defect to alerts that name them: fit, build, and the agent before a real broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from converters import cli as converters_cli
from edge_agent.contract.bundle import FrameBundle
from edge_agent.sources.inspection import DEFECTS, InspectionScene, SceneFault, SceneFaultKind
from tests.image_folders import write
from tests.integration.broker import Broker, Listener, wait_until
from tests.integration.device import AgentRun
from training.__main__ import main as training_cli

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

SIDE, TRAIN, TEST = 64, 40, 12
"""Pixels, and images of a part of the folder."""
KINDS = tuple(sorted(str(kind) for kind in DEFECTS))


def picture(number: int, defect: SceneFaultKind | None = None) -> np.ndarray:
    """A part at the station, each in a light of its own."""
    light = np.random.default_rng(number).uniform(0, 0.4)
    faults = [SceneFault(kind=SceneFaultKind.DIMMED, start=0, frames=1 << 20, severity=light)]
    if defect:
        faults.append(SceneFault(kind=defect, start=0, frames=1 << 20, severity=3.0))
    return InspectionScene(3, SIDE, SIDE, tuple(faults)).pixels(number)[..., ::-1]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MVTec layout of the simulated station, with the two defects of its parts."""
    folder = tmp_path_factory.mktemp("station")
    for number in range(TRAIN):
        write(folder / "train" / "good" / f"{number:03}.png", picture(number))
    for number in range(TRAIN, TRAIN + TEST):
        write(folder / "test" / "good" / f"{number:03}.png", picture(number))
        for defect in DEFECTS:
            write(folder / "test" / str(defect) / f"{number:03}.png", picture(100 + number, defect))
    return folder


@pytest.fixture(scope="module")
def bundle(station: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training and converters make of the folder."""
    folder = tmp_path_factory.mktemp("made")
    recipe = folder / "station.toml"
    recipe.write_text(
        f"""\
name = "station"
images = {{ path = "{station}", validation_share = 0.3 }}
frame = {{ height = {SIDE}, width = {SIDE} }}
detector = {{ type = "transfer", copies = 1 }}
training = {{ epochs = 20, batch = 8, learning_rate = 1e-2 }}
"""
    )
    run, out = folder / "run", folder / "station.bundle"
    assert training_cli(["fit", str(recipe), "--out", str(run)]) == 0
    assert converters_cli.main(["build", str(run), "--out", str(out), "--provisional", "--formats", "float32"]) == 0
    return out


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", persistent=True) as running:
        yield running


def test_alerts_of_the_agent_name_the_kind_of_defect(bundle: Path, tmp_path: Path, broker: Broker) -> None:
    manifest = FrameBundle.read(bundle).manifest
    assert manifest.input.classes == KINDS
    line = [None] * 3 + [each for defect in (*DEFECTS, *DEFECTS[::-1]) for each in (defect, None, None)]
    for number, defect in enumerate(line):
        write(tmp_path / "parts" / f"{number:03}.png", picture(1000 + number, defect))
    settings = f"""\
[streams.cell]
bundle = "{bundle}"

[streams.cell.source]
kind = "images"
path = "{tmp_path / "parts"}"
rate_hz = 1.0
speed = 5.0

[streams.cell.decision]
hold_off_s = 0.0

[streams.cell.camera]
health = {{ checks = [] }}
prefilter = {{ mode = "off" }}
"""
    with Listener(broker) as listener, AgentRun(tmp_path, broker, settings) as agent:
        wait_until(lambda: len(alerts(listener, "close")) == 4, f"four alerts in {agent.log[-500:]}", 60)
        agent.stop()
    told = [(each["region"]["class"], each["text"].partition(" ")[0]) for each in alerts(listener, "open")]
    assert told == [(str(defect), str(defect)) for defect in line if defect]
    assert all(0.5 < each["region"]["class_score"] <= 1 for each in alerts(listener, "open"))


def alerts(listener: Listener, life: str) -> list[dict[str, Any]]:
    """The steps of anomalies, without duplicates."""
    steps = [each for each in listener.events() if each["event_type"].startswith("anomaly") and each["life"] == life]
    return list({(each["session"], each["seq"]): each for each in steps}.values())
