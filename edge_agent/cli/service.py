"""`run`, `status`, `test-alert`: the service and how it is."""

from __future__ import annotations

import argparse
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from edge_agent.cli.parser import EXIT_FAILED, EXIT_UNAVAILABLE
from edge_agent.config import Settings, config_path, load

if TYPE_CHECKING:
    from edge_agent.alerts.outbox import Outbox
    from edge_agent.contract.wire import EventPayload

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
    import sys

    from edge_agent.health.status import StatusError, ask

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
        model = f"{stream['model']} {stream['version']}" if stream["model"] else "learned on site"
        lines.append(
            f"           {model}"
            + _optional(", last reading {:.1f} s ago", stream["sample_age_s"])
            + _optional(", {:.0%} of windows spared the network", stream["skipped_share"])
            + _optional(", network {:.3f} ms (p95)", stream["infer_p95_ms"])
        )
    return lines


def test_alert(arguments: argparse.Namespace) -> int:
    """Send a test alert and its end through the outbox, and wait until the broker has both."""
    import sys

    settings = load(config_path(arguments.config))
    problem = send_test_alert(settings, pick_stream(settings, arguments.stream), arguments.timeout)
    if problem:
        print(f"edge-agent: the test alert did not arrive at {settings.mqtt.address}: {problem}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    print(f"the broker {settings.mqtt.address} has the test alert")
    return 0


def send_test_alert(settings: Settings, stream: str, timeout_s: float) -> str:
    """Return why the broker does not have the test alert; empty where it has.

    A running agent sends what is in its outbox; without one, this process does.
    """
    from edge_agent.agent import boot_id
    from edge_agent.alerts.link import Link
    from edge_agent.alerts.outbox import Outbox
    from edge_agent.clock import SystemClock
    from edge_agent.contract.wire import InfoPayload, Topics
    from edge_agent.health.status import StatusError, ask

    clock = SystemClock()
    settings.state_path.mkdir(parents=True, exist_ok=True)
    outbox = Outbox(
        settings.state_path / "outbox.db", settings.outbox, clock, device=settings.device, boot_id=boot_id()
    )
    try:
        running: dict[str, Any] | None = ask(settings.status_path, 1.0)
    except StatusError:
        running = None
    info = InfoPayload(
        agent="test-alert", device=settings.device, session=outbox.session, boot_id=boot_id(), streams={}
    )
    link = Link(
        settings.mqtt, Topics(root=settings.mqtt.root, device=settings.device), outbox, clock=clock, birth=lambda: info
    )
    if running is None:
        link.start()
    keys = {outbox.put(event).key for event in _test_events(settings.device, stream)}
    until = time.monotonic() + timeout_s
    while (waiting := _still_there(outbox, keys)) and time.monotonic() < until:
        time.sleep(0.1)
    reason = link.stats().last_reason if running is None else str(ask(settings.status_path)["link"])
    if running is None:
        link.stop(1.0)
    outbox.close()
    return (reason or f"no answer within {timeout_s:g} s") if waiting else ""


def _test_events(device: str, stream: str) -> list[EventPayload]:
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
        ConfigError: there is none of that name, or several to choose from.
    """
    from edge_agent.errors import ConfigError, Problem

    names = ", ".join(settings.streams)
    if name is None and len(settings.streams) == 1:
        return next(iter(settings.streams))
    if name is None:
        raise ConfigError([Problem(place="--stream", message="which stream?", hint=f"one of {names}")])
    if name not in settings.streams:
        raise ConfigError([Problem(place="--stream", message=f"there is no stream {name!r}", hint=f"one of {names}")])
    return name


def _span(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    return (f"{days} d " if days else "") + f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _optional(text: str, value: float | None) -> str:
    return "" if value is None else text.format(value)
