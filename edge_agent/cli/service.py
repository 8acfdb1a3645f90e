"""`run`, `status`, `test-alert`: the service and how it is."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edge_agent.cli.parser import EXIT_FAILED, EXIT_UNAVAILABLE, Misused
from edge_agent.config import Settings, config_path, load
from edge_agent.health.status import StatusError, ask

if TYPE_CHECKING:
    from edge_agent.alerts.outbox import Outbox
    from edge_agent.contract.wire import EventPayload

LOOK_S = 0.1
"""Seconds between two looks at the outbox."""
MOST_WAITING = 100_000
"""Alerts looked through for the test alert: more than the outbox holds at its default size."""


def run(arguments: argparse.Namespace) -> int:
    """Watch until stopped."""
    from edge_agent.agent import Agent

    settings = load(config_path(arguments.config))
    if not arguments.verbose:
        logging.getLogger().setLevel(settings.log_level.upper())
    return Agent(settings).run()


def status(arguments: argparse.Namespace) -> int:
    """Ask the running agent how it is; exit code 1 where a stream is not well."""
    settings = load(config_path(arguments.config))
    try:
        answer: dict[str, Any] = ask(settings.status_path)
    except StatusError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(describe(answer)))
    well = all(stream["state"] == "normal" for stream in answer["streams"].values()) and answer["link"]["connected"]
    return 0 if well else EXIT_FAILED


def describe(answer: dict[str, Any]) -> list[str]:
    """Return the lines that tell a technician how the agent is."""
    link, outbox = answer["link"], answer["outbox"]
    lines = [
        f"{answer['device']}, edge-agent {answer['agent']}, up {_span(answer['uptime_s'])}",
        f"  memory   {answer['rss_bytes'] / 1e6:.0f} MB"
        + _optional(", processor {:.1%} of a core", answer["cpu_share"]),
        f"  clock    {answer['clock']}",
        f"  broker   {'connected' if link['connected'] else 'NOT connected'}; {link['last_reason'] or 'all well'}",
        f"  outbox   {outbox['depth']} alerts waiting on {outbox['mode']}, {outbox['dropped']} dropped"
        + _optional(", commit p99 {:.1f} ms", outbox["commit_p99_ms"]),
    ]
    lines += [f"  PROBLEM  {problem}" for problem in link["problems"]]
    for name, stream in answer["streams"].items():
        lines.append(f"  stream   {name}: {stream['state']}" + (f" ({stream['detail']})" if stream["detail"] else ""))
        camera = stream["frames_dropped"] is not None
        alone = "the scene learned on site" if camera else "a Gaussian learned on site"
        learned = "no model yet" if stream["state"] == "calibrating" else f"no model: {alone}"
        model = f"{stream['model']} {stream['version']}" if stream["model"] else learned
        lines.append(
            f"           {model}"
            + _optional(f", last {'frame' if camera else 'reading'} {{:.1f}} s ago", stream["sample_age_s"])
            + (_optional(", {:.3g} frames a second", stream["rate_hz"]) if camera else "")
            + _optional(", {} dropped", stream["frames_dropped"] or None)
            + _optional(
                f", {{:.0%}} of {'frames' if camera else 'windows'} spared the network", stream["skipped_share"]
            )
            + _optional(", network {:.3f} ms (p95)", stream["infer_p95_ms"])
        )
    return lines


def test_alert(arguments: argparse.Namespace) -> int:
    """Send a test alert and its end, and wait until the broker has both."""
    settings = load(config_path(arguments.config))
    stream, timeout_s = pick_stream(settings, arguments.stream), arguments.timeout
    try:
        running: dict[str, Any] | None = ask(settings.status_path, 1.0)
    except StatusError:
        running = None
    events = _test_events(settings.device, stream)
    if running is None:
        way, problem = "directly: no agent runs here", send_directly(settings, events, timeout_s)
    else:
        way, problem = "through the outbox of the running agent", send_by_agent(settings, events, timeout_s)
    if problem:
        print(f"edge-agent: {settings.mqtt.address} does not have the test alert: {problem}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    print(f"{settings.mqtt.address} has the test alert ({way})")
    return 0


def send_by_agent(settings: Settings, events: list[EventPayload], timeout_s: float) -> str:
    """Leave the events in the outbox of the running agent; returns why they are still there, empty where they left."""
    from edge_agent.alerts.outbox import Outbox
    from edge_agent.clock import SystemClock

    path = settings.state_path / "outbox.db"
    if not os.access(path, os.W_OK):
        return f"{path} is not writable for this user; run it as root or as the service's user"
    outbox = Outbox(path, settings.outbox, SystemClock(), device=settings.device)
    try:
        keys = {outbox.put(event).key for event in events}
        until = time.monotonic() + timeout_s
        while waiting := _still_there(outbox, keys):
            if time.monotonic() > until:
                break
            time.sleep(LOOK_S)
    finally:
        outbox.close()
    if not waiting:
        return ""
    link: Any = ask(settings.status_path)["link"]
    why = link["last_reason"] or ("the broker has not acknowledged it" if link["connected"] else "not connected")
    return f"{why}; it stays in the outbox and goes out when that is mended"


def send_directly(settings: Settings, events: list[EventPayload], timeout_s: float) -> str:
    """Send the events from here, beside whatever else runs; returns why the broker does not have them."""
    from edge_agent.alerts.delivery import Message
    from edge_agent.alerts.probe import probe
    from edge_agent.contract.wire import Topics, to_json

    topics, session = Topics(root=settings.mqtt.root, device=settings.device), uuid.uuid4().hex
    messages = [
        Message(topic=topics.event(event.stream), payload=to_json(replace(event, session=session, seq=number)), qos=1)
        for number, event in enumerate(events, start=1)
    ]
    return probe(settings.mqtt, settings.device, messages, timeout_s)


def _test_events(device: str, stream: str) -> list[EventPayload]:
    """Return the opening and the closing of an event that says it is a test."""
    from edge_agent.agent import boot_id
    from edge_agent.contract.records import EventKind, Life
    from edge_agent.contract.wire import ClockState, EventPayload, Severity, utc_text

    identity = f"test-{uuid.uuid4().hex}"
    steps = ((EventKind.ANOMALY, Life.OPEN), (EventKind.ANOMALY_CLEARED, Life.CLOSE))
    return [
        EventPayload(
            event_type=kind,
            life=life,
            id=identity,
            device=device,
            stream=stream,
            time=utc_text(time.time_ns()),
            clock=ClockState.UNSYNCED,
            boot_id=boot_id(),
            severity=Severity.INFO,
            text="TEST ALERT, sent by hand with edge-agent test-alert; nothing is wrong",
            reason="test",
        )
        for kind, life in steps
    ]


def _still_there(outbox: Outbox, keys: set[tuple[str, int]]) -> bool:
    return any(record.key in keys for record in outbox.pending(MOST_WAITING))


def pick_stream(settings: Settings, name: str | None) -> str:
    """Return the stream that is meant: the one named, or the only one.

    Raises:
        Misused: there is none of that name, or several to choose from.
    """
    names = ", ".join(settings.streams)
    if name is None and len(settings.streams) == 1:
        return next(iter(settings.streams))
    if name is None:
        raise Misused(f"which stream? give --stream with one of {names}")
    if name not in settings.streams:
        raise Misused(f"there is no stream {name!r} in the settings: --stream takes one of {names}")
    return name


def _span(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    return (f"{days} d " if days else "") + f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _optional(text: str, value: float | None) -> str:
    return "" if value is None else text.format(value)
