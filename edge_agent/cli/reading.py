"""How the commands read sources, and how they say how far they are."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Protocol, TextIO, TypeVar

from edge_agent.clock import SystemClock
from edge_agent.config import Settings
from edge_agent.contract.frames import Frame
from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.records import Block
from edge_agent.errors import EdgeAgentError, EndOfData, SourceUnavailable
from edge_agent.ports import FrameSource, Source

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

READ_S = 0.5
"""Longest wait in one read, seconds."""
REOPEN_S = 1.0
"""Wait before a port that went away is tried again, seconds: a person plugs it in."""
SHOWN_EVERY_S = 0.2
"""Seconds between two looks of the progress line: five a second read well."""


class Progress:
    """A line on the terminal that says how far a long command is; nothing where the output is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown_s = -math.inf

    def show(self, text: str) -> None:
        """Show the text, unless one was shown a moment ago."""
        now = time.monotonic()
        if self._stream.isatty() and now - self._shown_s > SHOWN_EVERY_S:
            self._shown_s = now
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def done(self) -> None:
        """Clear the line."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def open_source(settings: Settings, stream: str) -> Source:
    """Make the source of a stream as the agent would.

    Raises:
        EdgeAgentError: nobody says which channels it has.
    """
    from edge_agent.found_bundle import find_bundle
    from edge_agent.sources.settings import make_source

    own = settings.streams[stream]
    found = find_bundle(own, settings.stream_path(stream))
    spec = found.bundle.manifest.input if found.bundle else None
    try:
        return make_source(
            own.readings_source,
            clock=SystemClock(),
            channels=own.channels or (spec.channels if spec else ()),
            rate_hz=spec.rate_hz if spec else own.learning.rate_hz,
        )
    except ValueError as error:
        raise EdgeAgentError(f"streams.{stream}: {error}") from error


def replay_source(path: str, spec: InputSpec) -> Source:
    """Make a source that plays a recording as fast as it is read."""
    from edge_agent.sources.replay import ReplaySettings
    from edge_agent.sources.settings import make_source

    settings = ReplaySettings(path=path, speed=0.0)
    return make_source(settings, clock=SystemClock(), channels=spec.channels, rate_hz=spec.rate_hz)


def open_camera(settings: Settings, stream: str) -> FrameSource:
    """Make the source of a camera as the agent would."""
    from edge_agent.watched_camera import camera_source

    return camera_source(settings.streams[stream].frames_source, SystemClock())


def blocks_for(source: Source, duration_s: float, label: str, progress: Progress | None = None) -> Iterator[Block]:
    """Read a source for a time, or until it ends; a port that goes away meanwhile is waited for.

    Raises:
        SourceUnavailable: it does not open at the beginning.
        EdgeAgentError: a recording cannot be read.
    """
    return _items_for(source, duration_s, label, progress or Progress(), ("readings", len))


def frames_for(source: FrameSource, duration_s: float, label: str, progress: Progress | None = None) -> Iterator[Frame]:
    """Read a camera for a time, or until it ends, as `blocks_for` reads a sensor."""
    return _items_for(source, duration_s, label, progress or Progress(), ("frames", lambda _: 1))


class _Readable(Protocol[T_co]):
    """What sources of readings and of frames have in common."""

    lossless: bool

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> T_co | None: ...

    def close(self) -> None: ...


def _items_for(
    source: _Readable[T], duration_s: float, label: str, progress: Progress, counted: tuple[str, Callable[[T], int]]
) -> Iterator[T]:
    unit, size = counted
    until = time.monotonic() + duration_s
    count, is_open = 0, False
    with closing(source):
        _open(source)
        is_open = True
        while (left := until - time.monotonic()) > 0:
            try:
                if not is_open:
                    source.open()
                is_open, item = True, source.read(min(READ_S, left))
            except EndOfData:
                break
            except SourceUnavailable as error:
                _lost(source, error, first=is_open)
                is_open, item = False, None
                time.sleep(min(REOPEN_S, left))
            if item is not None:
                count += size(item)
                yield item
            progress.show(f"{label}: {count} {unit}" + (f", {left:.0f} s left" if left < math.inf else ""))
    progress.done()


def _open(source: _Readable[Any]) -> None:
    try:
        source.open()
    except SourceUnavailable as error:
        raise EdgeAgentError(str(error)) if source.lossless else error from None


def _lost(source: _Readable[Any], error: SourceUnavailable, *, first: bool) -> None:
    """Say once that a port went away; for a recording that is the end."""
    if source.lossless:
        raise EdgeAgentError(str(error)) from None
    if first:
        print(f"edge-agent: {error}; waiting for it to come back", file=sys.stderr)


def tell_losses(source: Source | FrameSource) -> dict[str, int | float | str]:
    """Say on stderr what a source dropped, in words; returns its counters."""
    status = source.status()
    for name in ("frames_dropped", "frames_lost", "overruns", "last_error"):
        if status.get(name):
            print(f"{name.replace('_', ' ')}: {status[name]}", file=sys.stderr)
    return status
