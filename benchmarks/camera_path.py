"""What the whole path costs a frame, against the bare `invoke()` of the same graph: `python -m benchmarks.camera_path`.

Bare means `invoke()` alone on an interpreter whose input is already set. The path is all the agent does between frame
and decision: camera health, prefilter, resizing, set, invoke, get, regions, objects, decision, with the prefilter in
mode `watch`, so that every frame is scored. Both are measured in turns in one run. The limits are 1.3 x the bare invoke
for frames of the size that the graph takes, and 160 MB of memory for the agent with a camera of 640 x 480; a camera of
full HD is measured beside it.

Measured are all formats in the bundle of the recommended recipe, and int8 in any case, which ships by default where it
agrees with float32. On the simulated station, whose frames are nearly alike, it may not, and the converter leaves it
out; then the graph that it refused is measured. Its operators are those of one that ships, its scores are not: it gets
thresholds of its own from the validation frames, so that as little stands out as usual.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from benchmarks.bundles import STATION, station_bundle, station_images, station_run
from benchmarks.figures import Figure, main, medians
from benchmarks.service import running_agent, status
from converters import flatbuffer
from converters.frames.thresholds import calibrate_scorer
from converters.runtimes import frame_face_of
from edge_agent.camera_pipeline import CameraGraph, camera_pipeline, vision_of
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameGraphSpec
from edge_agent.contract.frames import Frame
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS
from edge_agent.contract.resize import resize
from edge_agent.pipeline import DecisionSettings
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.runtime import find_runtime
from edge_agent.sources.inspection import InspectionScene
from edge_agent.vision.camera_health import CameraHealth, CameraHealthSettings
from edge_agent.vision.frame_pipeline import FramePipeline
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings
from edge_agent.vision.settings import VisionSettings
from training.image_artifacts import FrameRun

DETECTOR = "padim"
"""The recommended recipe."""

KEPT = 32
"""Different frames that are fed in turn; the scene is learned from them."""

STRETCH = 6
"""Frames of one turn: of quiet ones, five a second, every third is one in which the camera's health is looked at."""

ROUNDS = 40
"""Turns of each measurement."""

MEMORY_HZ = 2.0
"""Frames a second of the agent whose memory is looked at: 60 images last half a minute."""

FRAMES_BEFORE_MEMORY = 40
"""Frames watched before that: the camera reference is learned, and the network has scored for a while."""

WAIT_S = 60.0
"""Longest wait for them."""

SETTINGS = VisionSettings(
    health=CameraHealthSettings(learn_frames=5),
    prefilter=FramePrefilterSettings(mode=Mode.WATCH, learn_frames=KEPT, learn_s=0.0),
)


class Graph(NamedTuple):
    """One format of a detector."""

    spec: FrameGraphSpec
    model: bytes


def graphs_of(bundle: FrameBundle) -> list[Graph]:
    """Return all formats of the station's bundle, and int8 if it has none."""
    graphs = [Graph(spec, bundle.graph(spec.format)) for spec in bundle.manifest.graphs]
    if all(spec.format is not GraphFormat.INT8 for spec, _ in graphs):
        graphs.append(refused_int8(graphs[0].spec))
    return graphs


def refused_int8(like: FrameGraphSpec) -> Graph:
    """Return the int8 graph that the converter made of the station and refused."""
    run = FrameRun.read(station_run(DETECTOR))
    info, model = run.info, (run.path / "build" / "model_int8.tflite").read_bytes()
    facts = flatbuffer.check(model, "int8")
    face = frame_face_of("int8", facts, info.input, has_map=info.has_map, tells_kinds=info.tells_kinds)
    thresholds = calibrate_scorer(run, FrameScorer(model, face), info.decision.alarms_per_day)
    spec = replace(
        like,
        **{each.name: getattr(face, each.name) for each in fields(face)},
        calibration=thresholds.score,
        map_calibration=thresholds.map,
    )
    return Graph(spec, model)


def pipeline_of(bundle: FrameBundle, spec: FrameGraphSpec, model: bytes) -> FramePipeline:
    """The path as the device runs it, with the graph of one format."""
    ids = itertools.count()
    graph = CameraGraph(bundle=bundle, spec=spec, scorer=FrameScorer(model, spec))
    vision = vision_of(bundle, SETTINGS, DecisionSettings())
    return camera_pipeline(
        graph,
        vision,
        health=CameraHealth(vision.health),
        prefilter=FramePrefilter(vision.prefilter),
        decision=DecisionSettings(),
        new_id=lambda: f"event-{next(ids)}",
    )


class Camera:
    """The station that the detector knows, without end; frames are drawn ahead, so that it is not measured."""

    def __init__(self, width: int, height: int) -> None:
        scene = InspectionScene(STATION.seed, STATION.width, STATION.height)
        self._pixels = [resize(scene.pixels(number), height, width) for number in range(KEPT)]
        self._numbers = itertools.count()

    def next(self) -> Frame:
        """Return the next frame, five a second."""
        number = next(self._numbers)
        return Frame(pixels=self._pixels[number % KEPT], t_ns=number * NS // 5, number=number, source="benchmark")


def path_figures(bundle: FrameBundle, spec: FrameGraphSpec, model: bytes) -> list[Figure]:
    """Measure one format of a detector, with frames of its own size and of 640 x 480."""
    size = bundle.manifest.input
    bare, _ = find_runtime().interpreter(model, threads=1, delegate="auto")
    bare.set_tensor(spec.frame, np.zeros((1, size.height, size.width, 3), np.uint8))
    same, large = Camera(size.width, size.height), Camera(640, 480)
    paths = pipeline_of(bundle, spec, model), pipeline_of(bundle, spec, model)
    for path, camera in zip(paths, (same, large), strict=True):
        for _ in range(2 * KEPT):
            path.feed(camera.next())
        if path.prefilter is None or path.prefilter.model is None:
            raise RuntimeError("the scene of the benchmark was not learned")

    def feed(path: FramePipeline, camera: Camera) -> None:
        for _ in range(STRETCH):
            path.feed(camera.next())

    turns = medians(
        {
            "bare": lambda: [bare.invoke() for _ in range(STRETCH)],
            "same": lambda: feed(paths[0], same),
            "large": lambda: feed(paths[1], large),
        },
        ROUNDS,
    )
    taken = {name: microseconds / STRETCH for name, microseconds in turns.items()}
    name = f"{DETECTOR} {spec.format}, {size.width} x {size.height}"
    return [
        Figure(f"{name}: bare invoke()", taken["bare"] / 1e3, "ms"),
        Figure(f"{name}: whole path, frames of that size", taken["same"] / 1e3, "ms"),
        Figure(f"{name}: whole path / bare invoke()", taken["same"] / taken["bare"], "x", 1.3),
        Figure(f"{name}: whole path, frames of 640 x 480", taken["large"] / 1e3, "ms"),
    ]


def memory_figure(width: int, height: int, limit: float | None = None) -> Figure:
    """Measure the memory of the agent that watches a camera of that size, which images in a folder stand for.

    A folder needs OpenCV, as cameras do; a simulated scene would be measured with what it draws.
    """
    source = f'kind = "images"\npath = "{station_images(width, height).resolve()}"\nrate_hz = {MEMORY_HZ}'
    with running_agent(station_bundle(DETECTOR), source) as (_, _, config):
        until = time.monotonic() + WAIT_S
        while (now := status(config))["counts"]["bench"]["frames"] < FRAMES_BEFORE_MEMORY:
            if time.monotonic() > until:
                raise RuntimeError(f"the agent watched {now['counts']['bench']['frames']} frames in {WAIT_S:.0f} s")
            time.sleep(0.5)
    name = f"memory of the agent (RSS), {DETECTOR}, {width} x {height}, LiteRT"
    return Figure(name, now["rss_bytes"] / 1e6, "MB", limit)


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    bundle = FrameBundle.read(station_bundle(DETECTOR))
    figures = [figure for graph in graphs_of(bundle) for figure in path_figures(bundle, *graph)]
    return [*figures, memory_figure(640, 480, 160.0), memory_figure(1920, 1080)]


if __name__ == "__main__":
    main(all_figures, __doc__)
