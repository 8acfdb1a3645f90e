"""`init` and `check`: the settings file, written for the sensor that is there, and held against the hardware."""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import time
from pathlib import Path

from edge_agent.cli.parser import EXIT_CONFIG, EXIT_FAILED, EXIT_UNAVAILABLE
from edge_agent.config import config_path, load, parse
from edge_agent.errors import ConfigError, FrameError, Problem, SourceUnavailable
from edge_agent.sources.guess import Guess, guess

USUAL_BAUDS = (115_200, 9_600, 57_600, 230_400, 921_600, 38_400, 19_200)
"""Baud rates that are tried where none is given, most usual first."""
SHORT_LISTEN_S = 2.0
"""How long each of them is listened to, seconds, before the one that makes sense is listened to in full."""
MOST_SAMPLE_BYTES = 4 << 20
"""Bytes of a sample kept: some 10 s of the fastest serial line."""


def init(arguments: argparse.Namespace) -> int:
    """Listen to a port and write the settings."""
    from edge_agent.sources.discovery import ports

    if not arguments.port:
        there = ", ".join(ports())
        print(
            f"which port? found: {there}" if there else "no serial port was found: is it plugged in?", file=sys.stderr
        )
        return EXIT_UNAVAILABLE
    out = Path(arguments.out)
    if out.exists() and not arguments.force:
        raise ConfigError(
            [Problem(place=str(out), message="is already there", hint="choose another --out, or --force")]
        )
    try:
        baud, found = _listen(arguments.port, arguments.baud, arguments.seconds)
    except FrameError as error:
        raise SourceUnavailable(str(error)) from error
    text = settings_text(
        device=arguments.device or _host_name(),
        stream=arguments.stream,
        port=arguments.port,
        baud=baud,
        found=found,
        broker=arguments.broker,
    )
    parse(text, str(out))
    out.write_text(text, encoding="utf-8")
    rate = f"{found.rate_hz:.4g} readings a second" if found.rate_hz else "too few readings to tell their rate"
    heard = f"{found.readings} readings of {len(found.channels)} channels ({found.settings.format})"
    print(f"heard {heard}, {rate}; {found.dropped} not understood")
    print(f"wrote {out}; check names and units in it, then: edge-agent check --config {out}")
    return 0


def _listen(port: str, baud: int | None, seconds: float) -> tuple[int, Guess]:
    """Return the baud rate and what is spoken at it.

    Raises:
        FrameError: nothing, or nothing understood, at any rate tried.
        SourceUnavailable: the port cannot be opened.
    """
    if baud is not None:
        return baud, guess(_sample(port, baud, seconds), seconds)
    heard: list[tuple[int, int]] = []
    problem: FrameError | None = None
    for rate in USUAL_BAUDS:
        try:
            found = guess(_sample(port, rate, SHORT_LISTEN_S), SHORT_LISTEN_S)
        except FrameError as error:
            problem = problem or error
            continue
        heard.append((found.readings - found.dropped, rate))
        if not found.dropped:
            break
    best = max(heard, default=(0, USUAL_BAUDS[0]))[1]
    try:
        return best, guess(_sample(port, best, seconds), seconds)
    except FrameError as error:
        raise problem or error from None


def _sample(port: str, baud: int, seconds: float) -> bytes:
    import serial

    from edge_agent.cli.data import Progress

    sample, progress, until = bytearray(), Progress(), time.monotonic() + seconds
    try:
        with serial.Serial(port, baud, timeout=0.2, exclusive=True) as opened:
            while (left := until - time.monotonic()) > 0 and len(sample) < MOST_SAMPLE_BYTES:
                sample += opened.read(65_536)
                progress.show(f"listening to {port} at {baud} baud: {len(sample)} bytes, {left:.0f} s left")
    except (serial.SerialException, OSError) as error:
        raise SourceUnavailable(f"{port} cannot be listened to: {error}; is another program reading it?") from error
    progress.done()
    return bytes(sample)


def settings_text(*, device: str, stream: str, port: str, baud: int, found: Guess, broker: str) -> str:
    """Return the settings file for a sensor that was listened to."""
    host, _, broker_port = broker.partition(":")
    how = found.settings
    lines = [
        f"device = {_text(device)}  # in every MQTT topic; never change it later",
        "",
        "[mqtt]",
        f"host = {_text(host)}",
        *([f"port = {int(broker_port)}"] if broker_port else []),
        "",
        f"[streams.{stream}]",
        "channels = [  # names, order and units as in the model; give each its unit",
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
        *(
            [f"time_column = {_text(how.time_column)}", f"time_unit = {_text(how.time_unit)}"]
            if how.time_column
            else []
        ),
        "",
        f"[streams.{stream}.learning]  # used until a model is installed: edge-agent install BUNDLE",
        "readings = 600",
        *([f"rate_hz = {found.rate_hz:.4g}"] if found.rate_hz else []),
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a TOML string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _host_name() -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "-", socket.gethostname().partition(".")[0])[:64] or "edge"


def check(arguments: argparse.Namespace) -> int:
    """Print every problem of settings and hardware; exit code 78 where the settings are wrong, 1 where the world is."""
    from edge_agent.cli.checks import all_problems, answers

    path = config_path(arguments.config)
    try:
        settings = load(path)
    except ConfigError as error:
        return _tell(list(error.problems), as_json=arguments.json, code=EXIT_CONFIG)
    hardware = not arguments.no_hardware
    if hardware and answers(settings.status_path):
        print(
            "an agent is running with these settings and holds the ports; ask it with edge-agent status",
            file=sys.stderr,
        )
        hardware = False
    problems = list(all_problems(settings, hardware=hardware, seconds=arguments.seconds))
    return _tell(problems, as_json=arguments.json, code=EXIT_FAILED)


def _tell(problems: list[Problem], *, as_json: bool, code: int) -> int:
    if as_json:
        print(json.dumps([{"place": p.place, "message": p.message, "hint": p.hint} for p in problems], indent=2))
    else:
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}" if problems else "all is well")
    return code if problems else 0
