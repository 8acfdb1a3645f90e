"""`replay` of a folder of images or a video through a model, with the code that decides on the device.

With a bundle alone its network decides every frame: which scene is usual is known on site only. With settings the scene
is the one that the device learned, and is followed in memory. Camera health learns its reference from the frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.camera_pipeline import camera_pipeline, choose_camera_graph, vision_of
from edge_agent.cli.models import read_bundle
from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.cli.reading import frames_for, tell_losses
from edge_agent.cli.replay import event_of, line_of
from edge_agent.cli.service import pick_stream
from edge_agent.clock import SystemClock
from edge_agent.config import StreamSettings, config_path, load
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import EventKind
from edge_agent.errors import EdgeAgentError, ManifestError
from edge_agent.found_bundle import Found, find_frame_bundle
from edge_agent.ports import FrameSource
from edge_agent.sources.frame_settings import make_frame_source
from edge_agent.sources.recorded import ImagesSettings, VideoSettings
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.frame_pipeline import FrameDecision, FramePipeline
from edge_agent.vision.frame_prefilter import FramePrefilter
from edge_agent.vision.scene_model import SceneModel
from edge_agent.watched_camera import SCENE_FILE


def replay_frames(arguments: argparse.Namespace) -> int:
    """Run images or a video through a model; exit code 1 where no frame could be decided."""
    source, pipeline = _source(Path(arguments.file), arguments.rate_hz), _pipeline(arguments)
    counted: Counter[str] = Counter()
    events: list[dict[str, Any]] = []
    for frame in frames_for(source, float("inf"), "replaying"):
        decided = pipeline.feed(frame)
        if decided is None:
            continue
        decision = decided.decision
        counted[str(decision.fault) if decision.fault else "anomaly" if decision.anomaly else "normal"] += 1
        for event in _events(decided):
            events.append(event | {"frame": frame.number})
            if not arguments.json:
                print(f"frame {frame.number}: {line_of(event)}  {event['class']}".rstrip(), flush=True)
    result = {
        "frames": tell_losses(source)["frames"],
        "scored": pipeline.counts.scored,
        "decisions": dict(counted),
        "anomalies": sum(event["event_type"] == EventKind.ANOMALY for event in events),
        "events": events,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        shares = ", ".join(f"{count} {state}" for state, count in counted.most_common())
        said = f"{result['frames']} frames, {result['scored']} scored by the network"
        print(f"{said}; {shares or 'nothing decided'}; {result['anomalies']} anomalies")
    return 0 if counted else EXIT_FAILED


def _events(decided: FrameDecision) -> list[dict[str, Any]]:
    """Return what is told of the steps of events, with where their objects are and of which kind."""
    places = [(step, decided.where.get(step.id)) for step in decided.decision.transitions]
    return [
        event_of(step) | {"box": list(place.box) if place else None, "class": place.kind if place else ""}
        for step, place in places
    ]


def _source(path: Path, rate_hz: float) -> FrameSource:
    settings = (
        ImagesSettings(path=str(path), rate_hz=rate_hz, speed=0.0)
        if path.is_dir()
        else VideoSettings(path=str(path), speed=0.0)
    )
    return make_frame_source(settings, SystemClock())


def _pipeline(arguments: argparse.Namespace) -> FramePipeline:
    """Return what the agent would watch with: settings and scene included, where settings are named."""
    bundle = read_bundle(Path(arguments.bundle), FrameBundle.read) if arguments.bundle else None
    scene: SceneModel | None = None
    if bundle and not arguments.config:
        settings, found = StreamSettings(source=ImagesSettings(path=arguments.file)), Found(bundle=bundle)
    else:
        all_settings = load(config_path(arguments.config))
        stream = pick_stream(all_settings, arguments.stream)
        settings, folder = all_settings.streams[stream], all_settings.stream_path(stream)
        found = Found(bundle=bundle) if bundle else find_frame_bundle(settings, folder)
        scene = _scene(folder)
    graph, problem = choose_camera_graph(found, settings)
    if problem:
        raise EdgeAgentError(f"no bundle to replay with: {problem}")
    vision = vision_of(graph.bundle if graph else None, settings.camera, settings.decision)
    if graph and not arguments.config:
        vision = replace(vision, prefilter=replace(vision.prefilter, mode=Mode.OFF))
    off = graph is not None and vision.prefilter.mode is Mode.OFF
    ids = (f"event-{number}" for number in itertools.count(1))
    return camera_pipeline(
        graph,
        vision,
        health=CameraHealth(vision.health),
        prefilter=None if off else FramePrefilter(vision.prefilter, scene),
        decision=settings.decision,
        new_id=lambda: next(ids),
    )


def _scene(folder: Path) -> SceneModel | None:
    try:
        return SceneModel.load(folder / SCENE_FILE)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        raise EdgeAgentError(str(error)) from error
