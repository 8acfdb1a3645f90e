"""A camera watched by a real network, as the device runs it: an ill camera and another light are no anomalies.

The network is the recommended detector, fitted, converted and calibrated by the commands of an engineer on a simulated
station; the frames go through the device's own pipeline.
"""

from __future__ import annotations

import itertools
import subprocess
import sys

import cv2
import pytest

from edge_agent.camera_pipeline import CameraGraph, camera_pipeline, vision_of
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Decision, Fault
from edge_agent.pipeline import DecisionSettings
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.sources.inspection import InspectionScene, SceneFault, SceneFaultKind
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings
from edge_agent.vision.settings import VisionSettings

SEED, WIDTH, HEIGHT, RATE_HZ = 7, 320, 240, 5
RECIPE = """\
name = "station"
[images]
path = "images"
folds = 0
[frame]
height = 96
width = 128
[detector]
type = "padim"
"""
ASKED = DecisionSettings(k=2.0)
"""Twice the usual distance, so that no frame of some hundred is alarmed by chance."""
SEEN, DARK, LIT = 150, 40, 150
"""Frames of a station as usual, then in the dark, then in other light; it is learned from 50 in ten seconds."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> FrameBundle:
    folder = tmp_path_factory.mktemp("station")
    (folder / "images").mkdir()
    scene = InspectionScene(SEED, WIDTH, HEIGHT)
    for number in range(80):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), scene.pixels(number)[..., ::-1])
    (folder / "station.toml").write_text(RECIPE)
    build = ("build", "run", "--formats", "float32", "--provisional", "--out", "station.bundle")
    for command in (("training", "fit", "station.toml", "--out", "run", "--quiet"), ("converters", *build)):
        made = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert made.returncode == 0, made.stderr
    return FrameBundle.read(folder / "station.bundle")


def watched(bundle: FrameBundle, frames: int, *faults: SceneFault) -> list[Decision]:
    """What the device decides of the frames after those that the network was fitted on."""
    (spec,) = bundle.manifest.graphs
    asked = VisionSettings(prefilter=FramePrefilterSettings(learn_frames=50, learn_s=10.0))
    vision, ids = vision_of(bundle, asked, ASKED), itertools.count()
    pipeline = camera_pipeline(
        CameraGraph(bundle=bundle, spec=spec, scorer=FrameScorer(bundle.graph(spec.format), spec)),
        vision,
        health=CameraHealth(vision.health),
        prefilter=FramePrefilter(vision.prefilter),
        decision=ASKED,
        new_id=lambda: f"event-{next(ids)}",
    )
    scene = InspectionScene(SEED, WIDTH, HEIGHT, faults=faults)
    decided = [
        pipeline.feed(Frame(pixels=scene.pixels(number), t_ns=number * NS // RATE_HZ, number=number, source="test"))
        for number in range(frames)
    ]
    return [each.decision for each in decided if each is not None]


def fault(kind: SceneFaultKind, start: int, frames: int, severity: float = 1.0) -> SceneFault:
    return SceneFault(kind=kind, start=start, frames=frames, severity=severity)


def test_a_defective_part_is_an_anomaly(bundle: FrameBundle) -> None:
    decided = watched(bundle, 35, fault(SceneFaultKind.SCRATCH, 30, 5))
    assert [number for number, each in enumerate(decided) if each.anomaly] == [30, 31, 32, 33, 34]


@pytest.mark.parametrize("kind", ["covered", "frozen", "dark", "moved"])
def test_an_ill_camera_raises_its_own_state_and_no_anomaly(bundle: FrameBundle, kind: str) -> None:
    decided = watched(bundle, SEEN + 60, fault(SceneFaultKind(kind), SEEN, 60))
    told = {each.detail.partition(":")[0] for each in decided if each.fault is Fault.CAMERA}
    assert told == {kind}
    assert not any(each.anomaly for each in decided)


@pytest.mark.parametrize("severity", [0.6, 1.5])
def test_light_that_comes_on_again_at_another_level_heals_and_a_defect_is_found_in_it(
    bundle: FrameBundle, severity: float
) -> None:
    end = SEEN + DARK + LIT
    decided = watched(
        bundle,
        end + 5,
        fault(SceneFaultKind.DARK, SEEN, DARK),
        fault(SceneFaultKind.DIMMED, SEEN + DARK, end, severity),
        fault(SceneFaultKind.MISSING, end, 5),
    )
    assert not any(each.anomaly for each in decided[:end])
    lit = [each.fault for each in decided[SEEN + DARK : end]]
    assert Fault.SCENE in lit
    assert lit[-40:] == [None] * 40
    assert all(each.anomaly for each in decided[end + 1 :])
