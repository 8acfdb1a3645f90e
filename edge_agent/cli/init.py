"""`init`: the settings file, written for the sensor that is there; for a camera by `camera_init.py`."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.alerts.settings import MqttSettings
from edge_agent.cli.parser import EXIT_UNAVAILABLE, Misused
from edge_agent.cli.reading import Progress
from edge_agent.config import parse
from edge_agent.contract.wire import check_device, check_stream
from edge_agent.errors import EdgeAgentError, FrameError, SourceUnavailable
from edge_agent.sources.camera import cameras
from edge_agent.sources.discovery import ports, unstable_name
from edge_agent.sources.guess import Guess, guess
from edge_agent.sources.serial import SerialSettings, open_port

USUAL_BAUDS = (115_200, 9_600, 57_600, 230_400, 921_600, 38_400, 19_200)
"""Baud rates that are tried where none is given, most usual first."""
SHORT_LISTEN_S = 2.0
"""How long each of them is listened to from its first byte on, seconds, before the best one is listened to in full."""
MOST_SAMPLE_BYTES = 4 << 20
"""Bytes of a sample kept: some 10 s of the fastest serial line."""
LEAST_READINGS = 20
"""Readings below which their rate is not written down: 10 % off is a fault, and one more or less would be that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a port said."""

    data: bytes
    span_s: float
    """From the first byte to the last: as many readings as began in it make the rate."""


def init(arguments: argparse.Namespace) -> int:
    """Listen to a port, or look through a camera, and write the settings."""
    if arguments.camera:
        return _init_camera(arguments)
    if not arguments.port:
        return _list_ports()
    out, device = Path(arguments.out), arguments.device or _host_name()
    port = os.path.abspath(arguments.port)  # noqa: PTH100 - a by-id name stays that name
    mqtt = _checked(arguments, device, port)
    _check_out(out, force=arguments.force)
    bauds = (arguments.baud,) if arguments.baud is not None else USUAL_BAUDS
    try:
        baud, found = _listen(port, bauds, arguments.seconds)
    except FrameError as error:
        raise SourceUnavailable(f"{port}: {error}") from error
    stream = arguments.stream or "sensor"
    text = settings_text(device=device, stream=stream, port=port, baud=baud, found=found, mqtt=mqtt)
    _write(out, text, force=arguments.force)
    rate = f"{found.rate_hz:.4g} a second" if found.rate_hz else "too few to tell their rate"
    heard = f"{found.readings} readings of {len(found.channels)} channels ({found.settings.format}) at {baud} baud"
    print(f"heard {heard}, {rate}; {found.dropped} not understood")
    if warning := unstable_name(port):
        print(f"note: {warning}")
    print(f"wrote {out}; check names and units in it, then: edge-agent check --config {out}")
    return 0


def _init_camera(arguments: argparse.Namespace) -> int:
    from edge_agent.cli.camera_init import camera_settings, camera_text, first_frame

    out, device = Path(arguments.out), arguments.device or _host_name()
    if arguments.port:
        raise Misused("--port is for a sensor and --camera for a camera: name one of them")
    source, mqtt = camera_settings(arguments.camera), _checked(arguments, device, "/dev/null")
    _check_out(out, force=arguments.force)
    frame = first_frame(source, arguments.seconds)
    stream = arguments.stream or "camera"
    _write(out, camera_text(device=device, stream=stream, source=source, mqtt=mqtt), force=arguments.force)
    print(f"saw {frame.size[0]} x {frame.size[1]} pixels of {frame.source}")
    print(f"wrote {out}; then: edge-agent check --config {out}, and edge-agent run --config {out}")
    return 0


def _write(out: Path, text: str, *, force: bool) -> None:
    parse(text, str(out))
    with out.open("w" if force else "x", encoding="utf-8") as file:
        file.write(text)


def _list_ports() -> int:
    """Print the ports and cameras that are there, a line each."""
    there, seen = ports(), cameras()
    if there:
        print("which one? edge-agent init --port PORT, with one of:", *there, sep="\n  ")
    if seen:
        print("which one? edge-agent init --camera DEVICE, with one of:", *seen, sep="\n  ")
    if there or seen:
        return 0
    print("no port and no camera was found: is it plugged in, and does `ls /dev/serial/by-id /dev/v4l/by-id` show it?")
    return EXIT_UNAVAILABLE


def _checked(arguments: argparse.Namespace, device: str, port: str) -> MqttSettings:
    """Refuse what no settings file may hold before anyone waits 10 s for it."""
    host, _, number = arguments.broker.partition(":")
    try:
        check_device(device)
        check_stream(arguments.stream or "sensor")
        if arguments.baud is not None:
            SerialSettings(port=port, baud=arguments.baud)
        if number and not number.isdecimal():
            raise ValueError(f"--broker must be HOST or HOST:PORT, got {arguments.broker!r}")
        return MqttSettings(host=host, port=int(number or 0))
    except (ValueError, EdgeAgentError) as error:
        raise Misused(str(error)) from error


def _check_out(out: Path, *, force: bool) -> None:
    if out.exists() and not force:
        raise EdgeAgentError(f"{out} is already there: choose another --out, or overwrite it with --force")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise EdgeAgentError(f"{out} cannot be written: {out.parent.absolute()} is no folder, or not for this user")


def _listen(port: str, bauds: tuple[int, ...], seconds: float) -> tuple[int, Guess]:
    """Return the baud rate and what is spoken at it.

    Raises:
        FrameError: nothing, or nothing understood, at any rate tried.
        SourceUnavailable: the port cannot be opened.
    """
    best, most, problem = bauds[0], -1, None
    for baud in bauds if len(bauds) > 1 else ():
        sample = _sample(port, baud, wait_s=seconds, listen_s=SHORT_LISTEN_S)
        try:
            found = guess(sample.data, sample.span_s)
        except FrameError as error:
            problem = problem or error
            continue
        if found.readings - found.dropped > most:
            best, most = baud, found.readings - found.dropped
        if not found.dropped:
            break
    if problem and most < 0:
        raise FrameError(f"{problem} (tried {', '.join(map(str, bauds))} baud)")
    sample = _sample(port, best, wait_s=seconds, listen_s=seconds)
    return best, guess(sample.data, sample.span_s)


def _sample(port: str, baud: int, *, wait_s: float, listen_s: float) -> Sample:
    """Wait for a first byte, then listen.

    Raises:
        FrameError: no byte came.
        SourceUnavailable: the port cannot be opened, or went away.
    """
    sample, progress = bytearray(), Progress()
    opened = open_port(SerialSettings(port=port, baud=baud))
    first = last = 0.0
    until = time.monotonic() + wait_s
    try:
        while (left := until - time.monotonic()) > 0 and len(sample) < MOST_SAMPLE_BYTES:
            select.select([opened], [], [], min(left, 0.2))
            if data := opened.read(MOST_SAMPLE_BYTES):
                last = time.monotonic()
                if not sample:
                    first, until = last, last + listen_s
                sample += data
            progress.show(f"listening to {port} at {baud} baud: {len(sample)} bytes, {left:.0f} s left")
    except OSError as error:
        raise SourceUnavailable(f"{port} went away: {error}") from error
    finally:
        opened.close()
        progress.done()
    if not sample:
        slow = "a slow sensor needs a longer --seconds"
        raise FrameError(f"nothing arrived in {wait_s:g} s: is the sensor powered, is it the right port? {slow}")
    return Sample(data=bytes(sample), span_s=last - first)


def settings_text(*, device: str, stream: str, port: str, baud: int, found: Guess, mqtt: MqttSettings) -> str:
    """Return the settings file for a sensor that was listened to."""
    how = found.settings
    named = not all(re.fullmatch(r"channel_\d+", channel.name) for channel in found.channels)
    rate = found.rate_hz if found.readings >= LEAST_READINGS else None
    lines = [
        f"device = {_text(device)}  # in every MQTT topic; never change it later",
        "",
        "[mqtt]",
        f"host = {_text(mqtt.host)}",
        *([f"port = {mqtt.port}"] if mqtt.port else []),
        "",
        f"[streams.{stream}]",
        "# Names as the sensor sends them; give each its unit." if named else "# Give each its name and its unit.",
        "channels = [",
        *(f"  {{ name = {_text(c.name)}, unit = {_text(c.unit)} }}," for c in found.channels),
        "]",
        "",
        f"[streams.{stream}.source]",
        'kind = "serial"',
        f"port = {_text(port)}",
        f"baud = {baud}",
        f"format = {_text(how.format)}",
        *([f"delimiter = {_text(how.delimiter)}"] if how.format == "csv" and how.delimiter else []),
        *([f"decimal = {_text(how.decimal)}"] if how.decimal != "." else []),
        *([f"columns = [{', '.join(map(_text, how.columns))}]"] if how.columns else []),
        *([f"time_column = {_text(how.time_column)}"] if how.time_column else []),
        *([f"time_unit = {_text(how.time_unit)}"] if how.time_column else []),
        "",
        f"[streams.{stream}.learning]  # used until a model is installed: edge-agent install BUNDLE",
        "readings = 600  # normal ones to learn from",
        f"rate_hz = {rate:.4g}" if rate else "# rate_hz: measured, since too few readings came to tell",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a TOML string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _host_name() -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "-", socket.gethostname().partition(".")[0])[:64] or "edge"
