"""What `edge-agent check` looks at, one function a question; each gives the problems it found.

Problems are collected, never raised one by one: a technician on a ladder wants all of them at once.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_agent.alerts.credentials import SecretError, check_secret
from edge_agent.cli.reading import blocks_for, frames_for, open_camera, open_source
from edge_agent.config import Settings
from edge_agent.contract.bundle import Bundle, FrameBundle
from edge_agent.contract.frames import Frame, small_luma
from edge_agent.contract.records import NS, Block
from edge_agent.contract.windows import measured_rate_hz
from edge_agent.contract.words import counted, duration
from edge_agent.errors import BundleError, EdgeAgentError, Problem, ScoringError
from edge_agent.found_bundle import Found, find_bundle, find_frame_bundle
from edge_agent.graph_choice import channel_problem
from edge_agent.ports import Source
from edge_agent.scoring.frame_selection import choose_frame_graph
from edge_agent.scoring.selection import choose
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings
from edge_agent.sources.discovery import unstable_name
from edge_agent.sources.serial import SerialSettings
from edge_agent.vision.cadence import LATE
from edge_agent.vision.camera_health import CameraFault, CameraHealthSettings
from edge_agent.vision.camera_view import HEIGHT, WIDTH, View

RATE_TOLERANCE = 0.1
"""Relative difference of a source's rate from the bundle's that is refused, as at run time."""
MOST_DROPPED = 0.01
"""Lines not understood, as a share of the readings, above which something is wrong; a banner at boot is below."""
LEAST_READINGS = 20
"""Readings below which no rate can be told."""
B = TypeVar("B", Bundle, FrameBundle)
_BY_ID = "name it by its path below /dev/v4l/by-id"
LEAST_FREE_BYTES = 64 << 20
"""Free disk space below which alerts and evidence are at risk."""


class Note(Problem):
    """Something worth knowing that keeps nothing from working."""


def check_state(settings: Settings) -> Iterator[Problem]:
    """Can the agent write where it must?"""
    path = settings.state_path
    hint = "set state_dir, or run as the service's user"
    try:
        nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        status = os.statvfs(nearest)
    except OSError as error:
        yield Problem(place="state_dir", message=f"{path} cannot be looked at: {error.strerror}", hint=hint)
        return
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "cannot be written" if nearest.is_dir() else "is no folder"
        yield Problem(place="state_dir", message=f"{nearest} {why}", hint=hint)
        return
    free = status.f_bavail * status.f_frsize
    if free < LEAST_FREE_BYTES:
        message = f"only {free / 1e6:.0f} MB are free at {nearest}"
        yield Problem(place="state_dir", message=message, hint="free some space, or lower evidence.max_mib")


def check_socket(settings: Settings) -> Iterator[Problem]:
    """Can `edge-agent status` ask the agent?"""
    from edge_agent.health.status import MAX_PATH_BYTES

    path = settings.status_path
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        message = f"{path} has more than {MAX_PATH_BYTES} bytes: edge-agent status will not work"
        yield Note(place="state_dir", message=message, hint="choose a shorter folder")


def check_bundle(settings: Settings, name: str) -> Iterator[Problem]:
    """Can the model be read and run here, and is it for the channels of the settings?"""
    stream, folder = settings.streams[name], settings.stream_path(name)
    if stream.is_camera:
        frames = find_frame_bundle(stream, folder)
        yield from _installed(frames, name, lambda bundle: choose_frame_graph(bundle, stream.scoring))
        return
    found = find_bundle(stream, folder)
    yield from _installed(found, name, lambda bundle: choose(bundle, stream.scoring))
    if (
        found.bundle
        and stream.channels
        and (problem := channel_problem(stream.channels, found.bundle.manifest.input.channels))
    ):
        hint = "change channels in the settings, or train for these channels"
        yield Problem(place=f"streams.{name}.channels", message=problem, hint=hint)


def _installed(found: Found[B], name: str, load: Callable[[B], object]) -> Iterator[Problem]:
    """Is there a bundle, and does a graph of it run here?"""
    place = f"streams.{name}.bundle"
    if found.problem:
        yield Problem(place=place, message=found.problem, hint="edge-agent install BUNDLE puts a good one there")
    if found.bundle is None:
        if not found.problem:
            hint = "edge-agent install BUNDLE, or leave it so: the agent learns on site what is normal"
            yield Note(place=place, message="no bundle is installed", hint=hint)
        return
    try:
        load(found.bundle)
    except (ScoringError, BundleError) as error:
        yield Problem(
            place=f"streams.{name}.scoring", message=str(error), hint="edge-agent bench BUNDLE shows what runs here"
        )


def check_camera(settings: Settings, name: str, seconds: float) -> Iterator[Problem]:
    """Does the camera open, and what does it show?"""
    stream, place = settings.streams[name], f"streams.{name}.source"
    source = stream.frames_source
    if isinstance(source, NetworkCameraSettings) and source.password_file:
        try:
            check_secret(source.password_file)
        except SecretError as error:
            yield Problem(place=f"{place}.password_file", message=str(error))
    if isinstance(source, CameraSettings) and source.device.startswith("/dev/video"):
        yield Note(place=f"{place}.device", message=f"{source.device} may be another camera tomorrow", hint=_BY_ID)
    camera = open_camera(settings, name)
    times: list[int] = []
    last: Frame | None = None
    try:
        for frame in frames_for(camera, seconds, f"looking through {name}"):
            last = frame
            times.append(time.monotonic_ns())
    except EdgeAgentError as error:
        yield Problem(place=place, message=str(error))
        return
    if last is None:
        said = camera.status().get("last_error")
        hint = "is the camera connected, and not covered by another program?"
        yield Problem(place=place, message=f"no frame in {seconds:g} s" + (f"; {said}" if said else ""), hint=hint)
        return
    yield from _looks(last, times, place, stream.camera.health)
    bundle = find_frame_bundle(stream, settings.stream_path(name)).bundle
    if bundle and bundle.manifest.input.streaming:
        yield from _pace(times, place, bundle.manifest.input.interval_s)


def _looks(frame: Frame, times: list[int], place: str, health: CameraHealthSettings) -> Iterator[Problem]:
    """Say what a camera shows: size, rate, and whether there is light."""
    width, height = frame.size
    rate = float(f"{(len(times) - 1) * NS / (times[-1] - times[0]):.3g}") if len(times) > 1 else None
    shown = f"{width} x {height} pixels" + (f" at {counted(rate, 'frame')} a second" if rate is not None else "")
    yield Note(place=place, message=shown)
    bright = View.of(small_luma(frame.pixels, HEIGHT, WIDTH)).bright
    if CameraFault.DARK in health.checks and bright < health.dark_luma:
        message = f"the picture is dark: luma {bright:.0f} of 255, expected {health.dark_luma:.0f} or more"
        yield Problem(place=place, message=message, hint="is the light on and the lens free?")


def _pace(times: list[int], place: str, interval_s: float) -> Iterator[Problem]:
    """Do frames come as fast as a streaming graph takes them?"""
    step_s = float(np.median(np.diff(times))) / NS if len(times) > 1 else 0.0
    if step_s > LATE * interval_s:
        message = f"a frame comes every {duration(step_s)}, the bundle takes one every {duration(interval_s)}"
        yield Problem(
            place=place, message=message, hint="set the camera to more frames a second, or train at this pace"
        )


def check_source(settings: Settings, name: str, seconds: float) -> Iterator[Problem]:
    """Does the source open, and does it give what is wanted, at its rate?"""
    if settings.streams[name].is_camera:
        yield from check_camera(settings, name, seconds)
        return
    stream, place = settings.streams[name], f"streams.{name}.source"
    if isinstance(stream.source, SerialSettings) and (warning := unstable_name(stream.source.port)):
        yield Note(place=f"{place}.port", message=warning)
    bundle = find_bundle(stream, settings.stream_path(name)).bundle
    wanted = bundle.manifest.input.rate_hz if bundle else stream.learning.rate_hz
    try:
        source = open_source(settings, name)
        blocks = list(blocks_for(source, seconds, f"listening to {name}"))
    except EdgeAgentError as error:
        yield Problem(place=place, message=str(error))
        return
    if not blocks:
        yield _silence(source, place, seconds, wanted)
        return
    yield from _losses(source, place)
    yield from _lost_channels(source, blocks, place)
    if wanted:
        who = "the bundle wants" if bundle else f"streams.{name}.learning.rate_hz says"
        yield from _rate(blocks, place, wanted, who)


def _silence(source: Source, place: str, seconds: float, wanted: float | None) -> Problem:
    said = source.status().get("last_error")
    hint = "is the sensor powered, and the baud rate right?"
    if wanted is not None and 1 / wanted > seconds:
        hint = f"listen longer: --seconds {math.ceil(2 / wanted)}"
    return Problem(place=place, message=f"no reading in {seconds:g} s" + (f"; {said}" if said else ""), hint=hint)


def _losses(source: Source, place: str) -> Iterator[Problem]:
    """What did not become readings: a problem above `MOST_DROPPED`, else worth knowing."""
    status = source.status()
    for counter, words in (
        ("frames_dropped", "lines or frames could not be read"),
        ("frames_lost", "frames are missing by their numbers"),
        ("overruns", "times the driver lost bytes"),
    ):
        if count := int(status.get(counter, 0)):
            kind = Problem if count > MOST_DROPPED * int(status["readings"]) else Note
            said = f": {status['last_error']}" if status.get("last_error") else ""
            yield kind(place=place, message=f"{count} {words}{said}", hint="see docs/line-protocol.md")


def _lost_channels(source: Source, blocks: list[Block], place: str) -> Iterator[Problem]:
    missing = np.isnan(np.concatenate([block.values for block in blocks])).all(axis=0)
    for channel in (c.name for c, lost in zip(source.channels, missing, strict=True) if lost):
        hint = "is it wired, and named as in the settings?"
        yield Problem(place=place, message=f"channel {channel} never had a value", hint=hint)


def _rate(blocks: list[Block], place: str, wanted: float, who: str) -> Iterator[Problem]:
    t_ns = np.concatenate([block.t_ns for block in blocks])
    measured = measured_rate_hz(t_ns, float("inf")) if len(t_ns) >= LEAST_READINGS else None
    if measured is None:
        hint = f"to check it: --seconds {math.ceil((LEAST_READINGS + 1) / wanted)}"
        yield Note(place=place, message=f"{len(t_ns)} readings are too few to tell their rate", hint=hint)
    elif abs(measured / wanted - 1) > RATE_TOLERANCE:
        message = f"{measured:.4g} readings a second came, {who} {wanted:g}"
        yield Problem(place=place, message=message, hint="set the sensor's rate, or train at this one")


def check_broker(settings: Settings) -> Iterator[Problem]:
    """Can the link's files be used, and does the broker take us?"""
    from edge_agent.alerts.credentials import check_files
    from edge_agent.alerts.probe import probe

    problems = check_files(settings.mqtt)
    yield from problems
    if not problems and (problem := probe(settings.mqtt, settings.device)):
        yield Problem(place="mqtt", message=problem)


def check_ports(settings: Settings) -> Iterator[Problem]:
    """Has every port and every camera one stream?"""
    taken: dict[str, str] = {}
    for name, stream in settings.streams.items():
        held = {SerialSettings: "port", CameraSettings: "device"}.get(type(stream.source))
        if held:
            path = getattr(stream.source, held)
            other = taken.setdefault(os.path.realpath(path), name)
            if other != name:
                message = f"{path} is the {held} of stream {other}, too"
                yield Problem(place=f"streams.{name}.source.{held}", message=message, hint=f"a {held} has one reader")


def all_problems(settings: Settings, *, hardware: bool, seconds: float) -> Iterator[Problem]:
    """Every problem of settings and hardware."""
    yield from check_state(settings)
    yield from check_socket(settings)
    yield from check_ports(settings)
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
