"""`record` and `replay`: readings to a file, and a file through the model."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.cli.service import pick_stream
from edge_agent.clock import SystemClock
from edge_agent.config import Settings, config_path, load
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.records import NS, Block, EventKind
from edge_agent.errors import ConfigError, EdgeAgentError, EndOfData, Problem
from edge_agent.ports import Source

READ_S = 0.5
"""Longest wait in one read, seconds."""
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Progress:
    """A line on the terminal that says how far a long command is; nothing where the output is not a terminal."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._shown_s = 0.0

    def show(self, text: str) -> None:
        """Show the text, at most five times a second."""
        now = time.monotonic()
        if self._stream.isatty() and now - self._shown_s > 0.2:  # noqa: PLR2004 - five a second
            self._shown_s = now
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def done(self) -> None:
        """Leave the line."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")


def seconds(text: str) -> float:
    """Read a time such as 90s, 10m, 2h or 1d.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise ConfigError([Problem(place="--for", message=f"expected a time such as 90s, 10m, 2h or 1d, got {text!r}")])
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def open_source(settings: Settings, stream: str) -> Source:
    """Make the source of a stream as the agent would."""
    from edge_agent.sources.settings import make_source
    from edge_agent.watching import find_bundle

    own = settings.streams[stream]
    found = find_bundle(own, settings.stream_path(stream))
    spec = found.bundle.manifest.input if found.bundle else None
    return make_source(
        own.source,
        clock=SystemClock(),
        channels=own.channels or (spec.channels if spec else ()),
        rate_hz=spec.rate_hz if spec else own.learning.rate_hz,
    )


def replay_source(path: str, spec: InputSpec) -> Source:
    """Make a source that plays a recording as fast as it is read."""
    from edge_agent.sources.replay import ReplaySettings
    from edge_agent.sources.settings import make_source

    settings = ReplaySettings(path=path, speed=0.0)
    return make_source(settings, clock=SystemClock(), channels=spec.channels, rate_hz=spec.rate_hz)


def blocks_for(source: Source, duration_s: float, progress: Progress, label: str) -> Iterator[Block]:
    """Read a source for a time, or until it ends."""
    source.open()
    rows, until = 0, time.monotonic() + duration_s
    with closing(source):
        while (left := until - time.monotonic()) > 0:
            try:
                block = source.read(min(READ_S, left))
            except EndOfData:
                return
            if block is not None:
                rows += len(block)
                yield block
            progress.show(f"{label}: {rows} readings, {left:.0f} s left")
    progress.done()


def record(arguments: argparse.Namespace) -> int:
    """Write readings as CSV."""
    settings = load(config_path(arguments.config))
    stream = pick_stream(settings, arguments.stream)
    duration_s, limit = seconds(arguments.duration), arguments.max_mb * 1e6
    out = Path(arguments.out)
    if out.exists():
        raise EdgeAgentError(f"{out} is already there: choose another --out, recordings are never overwritten")
    source = open_source(settings, stream)
    rows = gaps = 0
    begun = time.monotonic()
    progress = Progress()
    with out.open("xb") as raw, _text(raw, compressed=out.suffix == ".gz") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *(channel.heading for channel in source.channels)])
        try:
            for block in blocks_for(source, duration_s, progress, f"recording {stream}"):
                rows, gaps = rows + len(block), gaps + block.gap
                writer.writerows(csv_rows(block))
                if raw.tell() > limit:
                    print(f"stopped at {arguments.max_mb:g} MB (--max-mb)", file=sys.stderr)
                    break
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    elapsed_s = time.monotonic() - begun
    print(f"{out}: {rows} readings of {len(source.channels)} channels in {elapsed_s:.0f} s, {gaps} gaps")
    _warn(source.status())
    if rows:
        print(f"next, on the workstation: python -m training init {out.name}")
        return 0
    print(
        "nothing came from the source; is the sensor powered, and the baud rate right? Try: edge-agent check",
        file=sys.stderr,
    )
    return EXIT_FAILED


def csv_rows(block: Block) -> Iterator[list[str]]:
    """Return the rows of a recording: time in seconds since 1970, then the readings; a missing one is empty."""
    for t_ns, row in zip(block.t_ns.tolist(), block.values.tolist(), strict=True):
        yield [f"{t_ns // NS}.{t_ns % NS:09d}", *("" if math.isnan(value) else f"{value:.9g}" for value in row)]


def _text(raw: Any, *, compressed: bool) -> TextIO:
    binary = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if compressed else raw
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _warn(status: dict[str, int | float | str]) -> None:
    for name in ("frames_dropped", "bytes_dropped", "last_error"):
        if status.get(name):
            print(f"{name.replace('_', ' ')}: {status[name]}", file=sys.stderr)


def replay(arguments: argparse.Namespace) -> int:
    """Run a recording through a model; exit code 1 where a fault kept everything from being decided."""
    import itertools

    from edge_agent.contract.wire import utc_text
    from edge_agent.pipeline import bundle_pipeline
    from edge_agent.scoring.selection import choose
    from edge_agent.scoring.settings import ScoringSettings
    from edge_agent.watching import find_bundle

    bundle = _given_bundle(arguments)
    settings = None if arguments.bundle and not arguments.config else load(config_path(arguments.config))
    own = settings.streams[pick_stream(settings, arguments.stream)] if settings else None
    if bundle is None and settings and own:
        found = find_bundle(own, settings.stream_path(pick_stream(settings, arguments.stream)))
        if found.bundle is None:
            raise EdgeAgentError(
                f"no bundle to replay with: {found.problem or 'none is installed; give --bundle FILE'}"
            )
        bundle = found.bundle
    assert bundle is not None  # noqa: S101 - one of the two ways gave it
    trial, scorer, _ = choose(bundle, own.scoring if own else ScoringSettings())
    ids = itertools.count(1)
    pipeline = bundle_pipeline(
        bundle,
        trial.spec,
        scorer,
        new_id=lambda: f"event-{next(ids)}",
        decision=own.decision if own else None,
        prefilter=own.prefilter if own else None,
    )
    source = replay_source(arguments.file, bundle.manifest.input)
    counted: Counter[str] = Counter()
    events: list[dict[str, Any]] = []
    for block in blocks_for(source, float("inf"), Progress(), "replaying"):
        for decision in pipeline.feed(block):
            state = str(decision.fault) if decision.fault else "anomaly" if decision.anomaly else "normal"
            counted[state] += 1
            for step in decision.transitions:
                events.append(
                    {
                        "time": utc_text(step.t_ns),
                        "event_type": str(step.kind),
                        "id": step.id,
                        "level": step.level,
                        "score": step.score,
                        "detail": step.detail or step.reason,
                    }
                )
                if not arguments.json:
                    level = "" if step.level is None else f"  level {step.level:.2f}"
                    print(f"{utc_text(step.t_ns)}  {step.kind:<16}{level}  {step.detail or step.reason}")
    result = {
        "windows": pipeline.counts.windows,
        "scored": pipeline.counts.scored,
        "decisions": dict(counted),
        "anomalies": sum(event["event_type"] == EventKind.ANOMALY for event in events),
        "events": events,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        shares = ", ".join(f"{count} {state}" for state, count in counted.most_common())
        said = f"{result['windows']} windows, {result['scored']} scored by the network"
        print(f"{said}; {shares or 'nothing decided'}; {result['anomalies']} anomalies")
    return 0 if pipeline.counts.windows else EXIT_FAILED


def _given_bundle(arguments: argparse.Namespace) -> Bundle | None:
    return Bundle.read(Path(arguments.bundle)) if arguments.bundle else None
