"""A bundle in words: what it is for, and how far to trust it."""

from __future__ import annotations

from typing import Any

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.frame_manifest import FrameManifest, FrameSpec
from edge_agent.contract.manifest import InputSpec, Manifest
from edge_agent.contract.words import counted, duration


def describe(manifest: Manifest | FrameManifest, sha256: str) -> list[str]:
    """Return the lines that tell a technician what a bundle is for and how far to trust it."""
    rule, unit = manifest.decision.rule, "frame" if isinstance(manifest, FrameManifest) else "window"
    metrics: dict[str, Any] = manifest.provenance.get("metrics", {})
    over = f"closes after {rule.hold_off_s:g} s of quiet"
    if isinstance(manifest, FrameManifest) and rule.by_part:
        over = "each frame another part with events of its own"
    return [
        f"{manifest.name} {manifest.version}, made {manifest.created}",
        f"  sha256      {sha256}",
        *(_of_camera(manifest.input) if isinstance(manifest, FrameManifest) else _of_sensors(manifest.input)),
        *(line for graph in manifest.graphs for line in _of_graph(graph.format, graph.size, graph.calibration)),
        *(_of_maps(manifest) if isinstance(manifest, FrameManifest) else ()),
        f"  prefilter   {manifest.prefilter.mode}, scores a {unit} at least every {manifest.prefilter.max_skip_s:g} s",
        f"  decision    {rule.n} of {rule.m} {unit}s, {over}",
        *(f"  {name:<11} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)),
    ]


def _of_sensors(spec: InputSpec) -> list[str]:
    shape = "one reading at a time" if spec.streaming else f"windows of {spec.window} readings ({spec.window_s:g} s)"
    lines = [f"  watches     {shape} at {spec.rate_hz:g} Hz, every {spec.stride}"]
    for channel in spec.channels:
        limits = "" if channel.low is channel.high is None else f", plausible {channel.low} to {channel.high}"
        lines.append(f"  channel     {channel.name}{f' [{channel.unit}]' if channel.unit else ''}{limits}")
    return lines


def _of_camera(spec: FrameSpec) -> list[str]:
    pace = f"one in {duration(spec.interval_s)}" if spec.interval_s >= 1 else f"{1 / spec.interval_s:.3g} a second"
    order = f", in order, the first {spec.warm_up} after a gap to warm up" if spec.streaming else ""
    lines = [f"  watches     frames of {spec.width} x {spec.height} pixels, {pace}{order}"]
    if spec.masks:
        lines.append(f"  masks       {counted(len(spec.masks), 'part')} of the picture left out")
    lines += [f"  zone        {zone.name}, threshold {zone.factor:g} times as far" for zone in spec.zones]
    return [*lines, *([f"  classes     {', '.join(spec.classes)}"] if spec.classes else [])]


def _of_graph(name: str, size: int, calibration: Calibration) -> list[str]:
    told = f"threshold {calibration.threshold:.6g} ({calibration.grade})"
    asked = f"asked {counted(calibration.alarms_per_day, 'false alarm')} a day"
    lines = [f"  graph       {name}: {size / 1024:.1f} KiB, {told}, {asked}"]
    if calibration.hours_needed:
        more = duration(3600 * calibration.hours_needed)
        lines.append(f"              {more} more of normal data would give a better threshold")
    return lines


def _of_maps(manifest: FrameManifest) -> list[str]:
    found = [(graph.format, graph.map_calibration) for graph in manifest.graphs if graph.map_calibration]
    lines = [f"  map         {name}: threshold {of_map.threshold:.6g} ({of_map.grade})" for name, of_map in found]
    return lines or ["  map         none: it tells that something is strange, not where"]
