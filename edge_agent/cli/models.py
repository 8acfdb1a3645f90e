"""`install`, `inspect`, `bench`, `calibrate`: what a technician does with a bundle."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.contract import bundle as contract_bundle
from edge_agent.contract.bundle import Bundle, FrameBundle
from edge_agent.contract.manifest import Manifest
from edge_agent.contract.manifest_base import KINDS
from edge_agent.errors import BundleError, EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.config import Settings, StreamSettings
    from edge_agent.contract.calibration import Calibration
    from edge_agent.contract.records import Block
    from edge_agent.scoring.selection import Trial
    from edge_agent.scoring.settings import ScoringSettings
    from edge_agent.site_model import SiteModel

B = TypeVar("B", Bundle, FrameBundle, Bundle | FrameBundle)


def install(arguments: argparse.Namespace) -> int:
    """Check a bundle on this machine and make it the model of a stream."""
    from edge_agent.cli.service import pick_stream
    from edge_agent.config import config_path, load
    from edge_agent.update.slots import Slots

    settings = load(config_path(arguments.config))
    stream = pick_stream(settings, arguments.stream)
    own, path = settings.streams[stream], Path(arguments.bundle)
    if own.bundle:
        raise EdgeAgentError(
            f"the settings name another bundle, streams.{stream}.bundle = {own.bundle!r}: remove that line first"
        )
    bundle = read_bundle(path, contract_bundle.read_bundle)
    if problem := _stream_problem(own, bundle):
        raise EdgeAgentError(f"{path} is not for stream {stream}: {problem}")
    manifest, graph = bundle.manifest, _chosen_format(bundle, own.scoring)
    Slots(settings.stream_path(stream) / "slots").install(path)
    if arguments.json:
        told = {"stream": stream, "name": manifest.name, "version": manifest.version, "sha256": bundle.sha256}
        print(json.dumps(told | {"graph": graph}, indent=2))
        return 0
    print(
        f"{manifest.name} {manifest.version} is the model of {stream}; its {graph} graph gives its golden scores here"
    )
    print("it is used from the next start of the agent on: systemctl restart edge-agent, or edge-agent run")
    return 0


def _stream_problem(own: StreamSettings, bundle: Bundle | FrameBundle) -> str:
    """Return why a bundle cannot watch a stream; empty where it can."""
    from edge_agent.graph_choice import channel_problem
    from edge_agent.sources.frame_settings import FRAME_KINDS

    manifest, source = bundle.manifest, own.source.kind
    if (manifest.kind == "frame") is not (source in FRAME_KINDS):
        return f"it is for {KINDS[manifest.kind]}, the source of the stream is of kind {source!r}"
    if isinstance(manifest, Manifest) and own.channels:
        return channel_problem(own.channels, manifest.input.channels)
    return ""


def _chosen_format(bundle: Bundle | FrameBundle, settings: ScoringSettings) -> str:
    """Return the format of the graph that runs here; ScoringError where none may."""
    from edge_agent.scoring.frame_selection import choose_frame_graph
    from edge_agent.scoring.selection import choose

    if isinstance(bundle, FrameBundle):
        return str(choose_frame_graph(bundle, settings)[0].spec.format)
    return str(choose(bundle, settings)[0].spec.format)


def read_bundle(path: Path, read: Callable[[Path], B]) -> B:
    """Read a bundle by `Bundle.read`, `FrameBundle.read` or, of either kind, `read_bundle`; errors name the file."""
    try:
        return read(path)
    except BundleError as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from error


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit prefilter and threshold to normal readings of this site, or undo that."""
    from edge_agent.cli.service import pick_stream
    from edge_agent.config import config_path, load
    from edge_agent.recalibration import figures
    from edge_agent.site_model import SITE_FILE

    settings = load(config_path(arguments.config))
    stream = pick_stream(settings, arguments.stream)
    if settings.streams[stream].is_camera:
        from edge_agent.cli.scene import learn_anew

        return learn_anew(arguments, settings, stream)
    path = settings.stream_path(stream) / SITE_FILE
    if arguments.undo:
        return _undo(path, as_json=arguments.json)
    graph, old, site = _fit(settings, stream, arguments)
    before, now = figures(old), figures(site.calibration)
    if not arguments.dry_run:
        site.save(path)
    if arguments.json:
        print(json.dumps({"graph": graph, "old": before, "new": now, "saved": not arguments.dry_run}, indent=2))
        return 0
    print(f"{'':<16}{'before':>14}{'now':>14}")
    for name, value in before.items():
        print(f"{name:<16}{_cell(value):>14}{_cell(now[name]):>14}")
    print(
        "nothing was changed (--dry-run)"
        if arguments.dry_run
        else f"saved; used from the next start on. Back: edge-agent calibrate --undo --stream {stream}"
    )
    return 0


def _undo(path: Path, *, as_json: bool) -> int:
    there = path.exists()
    path.unlink(missing_ok=True)
    if as_json:
        print(json.dumps({"undone": there}))
    elif there:
        print("the bundle's own calibration is used from the next start on")
    else:
        print("there was no on-site calibration: the bundle's own is used")
    return 0


def _fit(settings: Settings, stream: str, arguments: argparse.Namespace) -> tuple[str, Calibration, SiteModel]:
    """Return the graph that runs here, the calibration in use, and the one of these readings."""
    from edge_agent.cli.reading import blocks_for, open_source, replay_source
    from edge_agent.found_bundle import find_bundle
    from edge_agent.graph_choice import channel_problem
    from edge_agent.recalibration import recalibrate
    from edge_agent.scoring.selection import choose
    from edge_agent.site_model import site_model

    own, folder = settings.streams[stream], settings.stream_path(stream)
    found = find_bundle(own, folder)
    if found.bundle is None:
        why = found.problem or "none is installed"
        raise EdgeAgentError(f"no bundle to calibrate: {why}; without one the agent learns by itself")
    trial, scorer, _ = choose(found.bundle, own.scoring)
    wanted = found.bundle.manifest.input
    source = replay_source(arguments.data, wanted) if arguments.data else open_source(settings, stream)
    if problem := channel_problem(source.channels, wanted.channels):
        raise EdgeAgentError(f"not calibrated: {problem}")
    blocks = list(blocks_for(source, math.inf if arguments.data else arguments.duration_s, "calibrating"))
    _check_readings(blocks, wanted.rate_hz)
    try:
        site = recalibrate(found.bundle, trial.spec, scorer, blocks, _now())
    except ValueError as error:
        raise EdgeAgentError(f"not calibrated: {error}") from error
    before = site_model(folder, trial.spec)
    return str(trial.spec.format), before.calibration if before else trial.spec.calibration, site


def _check_readings(blocks: list[Block], wanted_hz: float) -> None:
    """Refuse readings that are too few, or too fast or slow, to say what is normal here."""
    from edge_agent.cli.checks import RATE_TOLERANCE
    from edge_agent.contract.windows import measured_rate_hz
    from edge_agent.on_site import LEAST_READINGS

    count = sum(map(len, blocks))
    if count < LEAST_READINGS:
        raise EdgeAgentError(f"not calibrated: {count} readings came, {LEAST_READINGS} are the least: a longer --for")
    rate_hz = measured_rate_hz(np.concatenate([block.t_ns for block in blocks]), math.inf)
    if rate_hz and abs(rate_hz / wanted_hz - 1) > RATE_TOLERANCE:
        raise EdgeAgentError(f"not calibrated: {rate_hz:.4g} readings a second came, the bundle wants {wanted_hz:g}")


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _now() -> str:
    import time

    from edge_agent.contract.wire import utc_text

    return utc_text(time.time_ns())


def inspect(arguments: argparse.Namespace) -> int:
    """Print what a bundle holds."""
    from edge_agent.cli.describing import describe

    bundle = read_bundle(Path(arguments.bundle), contract_bundle.read_bundle)
    if arguments.json:
        print(json.dumps(bundle.manifest.to_dict() | {"sha256": bundle.sha256}, indent=2))
        return 0
    print("\n".join(describe(bundle.manifest, bundle.sha256)))
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Time every graph with every setting on this machine."""
    import os

    from edge_agent.scoring.settings import ScoringSettings

    bundle = read_bundle(Path(arguments.bundle), contract_bundle.read_bundle)
    unit = "frame" if isinstance(bundle, FrameBundle) else "window"
    threads = sorted({1, min(2, os.cpu_count() or 1), min(4, os.cpu_count() or 1)})
    rows = [
        _trial(bundle, graph.format, ScoringSettings(runtime=arguments.runtime, threads=count, delegate=delegate))
        for graph in bundle.manifest.graphs
        for delegate in ("xnnpack", "none", *arguments.delegate)
        for count in threads
    ]
    fit = [row for row in rows if not row["problem"]]
    best = min(fit, key=lambda row: (round(row["us"], 1), row["threads"]), default=None)
    if arguments.json:
        named = [{f"us_per_{unit}" if key == "us" else key: value for key, value in row.items()} for row in rows]
        print(json.dumps({"best": named[rows.index(best)] if best else None, "trials": named}, indent=2))
    else:
        _print_trials(rows, best, unit)
    return 0 if best else EXIT_FAILED


def _trial(bundle: Bundle | FrameBundle, graph_format: str, settings: ScoringSettings) -> dict[str, Any]:
    """Time one graph with one setting."""
    from edge_agent.scoring.frame_selection import try_frame_graph
    from edge_agent.scoring.selection import try_graph

    trial: Trial[Any]
    if isinstance(bundle, FrameBundle):
        trial, _ = try_frame_graph(bundle, bundle.manifest.graph(graph_format), settings)
    else:
        trial, _ = try_graph(bundle, bundle.manifest.graph(graph_format), settings)
    problem = trial.problem
    if not problem and settings.delegate not in {"none", trial.delegate}:
        problem = f"the delegate cannot be used here; {trial.kernels} would run instead"
    return {
        "format": str(graph_format),
        "delegate": settings.delegate,
        "threads": settings.threads,
        "kernels": trial.kernels,
        "us": None if problem else round(trial.us_per_call, 2),
        "golden_error": None if problem else trial.golden_error,
        "problem": problem,
    }


def _print_trials(rows: list[dict[str, Any]], best: dict[str, Any] | None, unit: str) -> None:
    print(f"{'graph':<10}{'delegate':<10}{'threads':>7}  {f'us a {unit}':>11}  {'golden error':>12}  kernels")
    for row in rows:
        if row["problem"]:
            print(f"{row['format']:<10}{row['delegate']:<10}{row['threads']:>7}  left out: {row['problem']}")
            continue
        print(
            f"{row['format']:<10}{row['delegate']:<10}{row['threads']:>7}  {row['us']:>11.1f}  "
            f"{row['golden_error']:>12.2g}  {row['kernels']}"
        )
    if best:
        print(f'\ntake: graph = "{best["format"]}", threads = {best["threads"]}, delegate = "{best["delegate"]}"')
    else:
        print("\nno graph of this bundle may run here")
