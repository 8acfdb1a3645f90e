"""`replay`: a recording through a model, with the code that decides on the device."""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

from edge_agent.cli.models import read_bundle
from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.cli.reading import blocks_for, replay_source, tell_losses
from edge_agent.cli.service import pick_stream
from edge_agent.config import Settings, config_path, load
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.records import EventKind, Transition
from edge_agent.contract.wire import utc_text
from edge_agent.errors import EdgeAgentError
from edge_agent.found_bundle import find_bundle
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.scoring.selection import choose
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.site_model import site_model

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".mjpg", ".mjpeg", ".webm", ".ts")
"""Names of videos end like this; whatever else a file is, readings are looked for in it."""


def replay(arguments: argparse.Namespace) -> int:
    """Run a recording through a model; exit code 1 where no window or frame could be decided."""
    if not arguments.file.endswith((".csv", ".csv.gz")) and _is_pictures(Path(arguments.file)):
        from edge_agent.cli.frame_replay import replay_frames

        return replay_frames(arguments)
    if not Path(arguments.file).exists():
        raise EdgeAgentError(f"{arguments.file} is not there: expected a recording, a video or a folder of images")
    bundle, pipeline = _pipeline(arguments)
    source = replay_source(arguments.file, bundle.manifest.input)
    counted: Counter[str] = Counter()
    events: list[dict[str, Any]] = []
    for block in blocks_for(source, float("inf"), "replaying"):
        for decision in pipeline.feed(block):
            counted[str(decision.fault) if decision.fault else "anomaly" if decision.anomaly else "normal"] += 1
            for step in decision.transitions:
                events.append(event_of(step))
                if not arguments.json:
                    print(line_of(events[-1]), flush=True)
    result = {
        "windows": pipeline.counts.windows,
        "scored": pipeline.counts.scored,
        "decisions": dict(counted),
        "anomalies": sum(event["event_type"] == EventKind.ANOMALY for event in events),
        "readings": tell_losses(source)["readings"],
        "events": events,
    }
    print(json.dumps(result, indent=2) if arguments.json else summary(result))
    return 0 if pipeline.counts.windows else EXIT_FAILED


def _is_pictures(path: Path) -> bool:
    """Whether a recording is a folder of images or a video."""
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _pipeline(arguments: argparse.Namespace) -> tuple[Bundle, Pipeline]:
    """The bundle to replay with, and what the agent would watch with: settings and on-site calibration included."""
    bundle = read_bundle(Path(arguments.bundle), Bundle.read) if arguments.bundle else None
    ids = (f"event-{number}" for number in itertools.count(1))
    if bundle and not arguments.config:
        trial, scorer, _ = choose(bundle, ScoringSettings())
        return bundle, bundle_pipeline(bundle, trial.spec, scorer, new_id=lambda: next(ids))
    settings = load(config_path(arguments.config))
    stream = pick_stream(settings, arguments.stream)
    bundle = bundle or _installed(settings, stream)
    own = settings.streams[stream]
    trial, scorer, _ = choose(bundle, own.scoring)
    site = site_model(settings.stream_path(stream), trial.spec)
    pipeline = bundle_pipeline(
        bundle,
        trial.spec,
        scorer,
        new_id=lambda: next(ids),
        decision=own.decision,
        prefilter=own.prefilter,
        calibration=site.calibration if site else None,
        gaussian=site.prefilter if site else None,
    )
    return bundle, pipeline


def _installed(settings: Settings, stream: str) -> Bundle:
    found = find_bundle(settings.streams[stream], settings.stream_path(stream))
    if found.bundle is None:
        raise EdgeAgentError(f"no bundle to replay with: {found.problem or 'none is installed; give --bundle FILE'}")
    return found.bundle


def event_of(step: Transition) -> dict[str, Any]:
    """Return what is told of one step of an event."""
    return {
        "time": utc_text(step.t_ns),
        "event_type": str(step.kind),
        "life": str(step.life),
        "id": step.id,
        "level": step.level,
        "score": step.score,
        "detail": step.detail or step.reason,
    }


def line_of(event: dict[str, Any]) -> str:
    """Return the line that a person reads of it."""
    level = "" if event["level"] is None else f"  level {event['level']:.2f}"
    return f"{event['time']}  {event['event_type']:<16}{level}  {event['detail']}".rstrip()


def summary(result: dict[str, Any]) -> str:
    """Return the last line."""
    shares = ", ".join(f"{count} {state}" for state, count in Counter(result["decisions"]).most_common())
    said = f"{result['readings']} readings, {result['windows']} windows, {result['scored']} scored by the network"
    return f"{said}; {shares or 'nothing decided'}; {result['anomalies']} anomalies"
