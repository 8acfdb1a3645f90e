"""What `edge-agent check` looks at, one function a question; each gives the problems it found.

Problems are collected, never raised one by one: a technician on a ladder wants all of them at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from edge_agent.clock import SystemClock
from edge_agent.config import Settings, StreamSettings
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.records import Block, Channel
from edge_agent.contract.windows import measured_rate_hz
from edge_agent.errors import EndOfData, Problem, ScoringError, SourceError
from edge_agent.ports import Source
from edge_agent.sources.settings import make_source
from edge_agent.watching import bundle_scorer, channel_problem, find_bundle

RATE_TOLERANCE = 0.1
"""Relative difference of a source's rate from the bundle's that is refused, as at run time."""
READ_S = 0.5
"""Longest wait in one read, seconds."""
LEAST_READINGS = 20
"""Readings below which no rate can be told."""
LEAST_FREE_BYTES = 64 << 20
"""Free disk space below which alerts and evidence are at risk."""


def check_state(settings: Settings) -> Iterator[Problem]:
    """Can the agent write where it must?"""
    path = settings.state_path
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        yield Problem(
            place="state_dir",
            message=f"{nearest} cannot be written",
            hint="set state_dir, or run as the service's user",
        )
        return
    status = os.statvfs(nearest)
    free = status.f_bavail * status.f_frsize
    if free < LEAST_FREE_BYTES:
        message = f"only {free / 1e6:.0f} MB are free at {nearest}"
        yield Problem(place="state_dir", message=message, hint="free some space, or lower evidence.max_mib")


def check_bundle(settings: Settings, name: str) -> Iterator[Problem]:
    """Can the model be read and run here, and is it for the channels of the settings?"""
    stream = settings.streams[name]
    place = f"streams.{name}.bundle"
    found = find_bundle(stream, settings.stream_path(name))
    if found.problem:
        yield Problem(place=place, message=found.problem, hint="edge-agent install BUNDLE puts a good one there")
    if found.bundle is None:
        if not found.problem:
            hint = "edge-agent install BUNDLE, or leave it so: the agent learns a Gaussian on site"
            yield Problem(place=place, message="no bundle is installed", hint=hint)
        return
    try:
        bundle_scorer(found.bundle, stream)
    except ScoringError as error:
        yield Problem(
            place=f"streams.{name}.scoring", message=str(error), hint="edge-agent bench BUNDLE shows what runs here"
        )
    if stream.channels and (problem := channel_problem(stream.channels, found.bundle.manifest.input.channels)):
        hint = "change channels in the settings, or train for these channels"
        yield Problem(place=f"streams.{name}.channels", message=problem, hint=hint)


def check_source(settings: Settings, name: str, seconds: float) -> Iterator[Problem]:
    """Does the source open, and does it give what the bundle wants, at its rate?"""
    stream, place = settings.streams[name], f"streams.{name}.source"
    bundle = find_bundle(stream, settings.stream_path(name)).bundle
    wanted = bundle.manifest.input.rate_hz if bundle else stream.learning.rate_hz
    try:
        source = _make(stream, bundle)
        blocks = list(_listen(source, seconds))
    except (SourceError, ValueError) as error:
        yield Problem(place=place, message=str(error))
        return
    yield from _heard(blocks, source, place, seconds, wanted)


def _make(stream: StreamSettings, bundle: Bundle | None) -> Source:
    channels: tuple[Channel, ...] = stream.channels or (bundle.manifest.input.channels if bundle else ())
    rate_hz = bundle.manifest.input.rate_hz if bundle else stream.learning.rate_hz
    return make_source(stream.source, clock=SystemClock(), channels=channels, rate_hz=rate_hz)


def _listen(source: Source, seconds: float) -> Iterator[Block]:
    with closing(source):
        source.open()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                block = source.read(min(READ_S, left))
            except EndOfData:
                return
            if block is not None:
                yield block


def _heard(blocks: list[Block], source: Source, place: str, seconds: float, wanted: float | None) -> Iterator[Problem]:
    readings = sum(map(len, blocks))
    status = source.status()
    if not readings:
        said = f"; {status['last_error']}" if status.get("last_error") else ""
        slow = wanted is not None and 1 / wanted > seconds
        hint = (
            f"listen longer: --seconds {2 / wanted:.0f}"
            if slow and wanted
            else "is the sensor powered, and the baud rate right?"
        )
        yield Problem(place=place, message=f"no reading in {seconds:g} s{said}", hint=hint)
        return
    if dropped := int(status.get("frames_dropped", 0)):
        message = f"{dropped} lines or frames could not be read: {status.get('last_error', '')}"
        yield Problem(place=place, message=message, hint="see docs/line-protocol.md")
    missing = np.isnan(np.concatenate([block.values for block in blocks])).all(axis=0)
    for channel in (c.name for c, lost in zip(source.channels, missing, strict=True) if lost):
        yield Problem(
            place=place,
            message=f"channel {channel} never had a value",
            hint="is it wired, and named as in the settings?",
        )
    if wanted and readings >= LEAST_READINGS:
        t_ns = np.concatenate([block.t_ns for block in blocks])
        measured = measured_rate_hz(t_ns, float("inf"))
        if measured is not None and abs(measured / wanted - 1) > RATE_TOLERANCE:
            message = f"{measured:.4g} readings a second came, the bundle wants {wanted:g}"
            yield Problem(place=place, message=message, hint="set the sensor's rate, or train at this one")


def check_broker(settings: Settings) -> Iterator[Problem]:
    """Does the broker take us?"""
    from edge_agent.alerts.probe import probe

    problem = probe(settings.mqtt, settings.device)
    if problem:
        yield Problem(place="mqtt", message=problem)


def all_problems(settings: Settings, *, hardware: bool, seconds: float) -> Iterator[Problem]:
    """Every problem of settings and hardware."""
    yield from check_state(settings)
    for name in settings.streams:
        yield from check_bundle(settings, name)
        if hardware:
            yield from check_source(settings, name, seconds)
    if hardware:
        yield from check_broker(settings)


def answers(path: Path) -> bool:
    """Whether an agent runs with these settings: it holds the ports, so they cannot be listened to."""
    from edge_agent.health.status import StatusError, ask

    try:
        ask(path, 1.0)
    except StatusError:
        return False
    return True
