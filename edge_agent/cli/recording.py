"""`record`: readings to a CSV for training; a camera's frames are recorded by `frame_recording.py`.

The file is whole at any time: rows are kept back and written a piece at a time, and a piece that does not fit is taken
back. In a .gz every piece is a gzip member of its own, so that also a power cut leaves a file that can be read.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.cli.reading import blocks_for, open_source, tell_losses
from edge_agent.cli.service import pick_stream
from edge_agent.config import config_path, load
from edge_agent.contract.records import NS, Block, Channel
from edge_agent.errors import EdgeAgentError

PIECE_BYTES = 256 << 10
"""Text kept back at most, bytes: bounds memory and the loss at a power cut of a fast sensor."""
PLAIN_S, PACKED_S = 1.0, 60.0
"""Time for which text is kept back at most, seconds; small pieces pack badly."""


class RecordingFull(EdgeAgentError):
    """The file may not grow; what it holds is whole."""


class DiskFailed(RecordingFull):
    """The file cannot grow; what it holds is whole."""


class Recording:
    """A CSV file, or CSV.gz by its name, that is written piece by piece."""

    def __init__(self, path: Path, channels: Iterable[Channel], max_bytes: float) -> None:
        """Create the file with its header.

        Raises:
            EdgeAgentError: it is already there, cannot be made, or not even the header fits.
        """
        self.rows = 0
        """Rows in the file."""
        self._path, self._packed, self._max_bytes = path, path.suffix == ".gz", max_bytes
        self._every_s = PACKED_S if self._packed else PLAIN_S
        self._text, self._kept_rows, self._since = io.StringIO(newline=""), 0, time.monotonic()
        self._csv = csv.writer(self._text, lineterminator="\n")
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            message = f"{path} is already there: choose another --out, recordings are never overwritten"
            raise EdgeAgentError(message) from None
        except OSError as error:
            raise EdgeAgentError(f"{path} cannot be written: {error.strerror}") from error
        self._csv.writerow(["time", *(channel.heading for channel in channels)])
        try:
            self.save()
        except RecordingFull:
            self.close()
            raise

    @property
    def is_empty(self) -> bool:
        """No reading came yet."""
        return not self.rows + self._kept_rows

    def add(self, block: Block) -> None:
        """Take readings.

        Raises:
            RecordingFull: of the size allowed, or of the disk.
        """
        self._csv.writerows(csv_rows(block))
        self._kept_rows += len(block)
        if self._text.tell() >= PIECE_BYTES or time.monotonic() - self._since >= self._every_s:
            self.save()

    def save(self) -> None:
        """Write what was kept back; errors as `add`."""
        data = self._text.getvalue().encode()
        piece = gzip.compress(data, mtime=0) if self._packed and data else data
        rows, self._kept_rows = self._kept_rows, 0
        self._text.seek(0)
        self._text.truncate()
        before, self._since = self._file.tell(), time.monotonic()
        if before + len(piece) > self._max_bytes:
            raise RecordingFull(f"{self._path} has {before / 1e6:.3g} of {self._max_bytes / 1e6:g} MB (--max-mb)")
        try:
            while piece:
                piece = piece[self._file.write(piece) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise DiskFailed(f"{self._path} cannot grow: {error.strerror}") from error
        self.rows += rows

    def close(self) -> None:
        """Write what was kept back and close; a file without readings is removed."""
        try:
            self.save()
        finally:
            self._file.close()
            if not self.rows:
                self._path.unlink(missing_ok=True)


def csv_rows(block: Block) -> Iterator[list[str]]:
    """Return the rows of a recording: time in seconds since 1970, then the readings; a missing one is empty.

    Readings are written with as few digits as tell their float32 apart.
    """
    fields = np.where(np.isnan(block.values), "", block.values.astype(str)).tolist()
    for t_ns, row in zip(block.t_ns.tolist(), fields, strict=True):
        yield [f"{t_ns // NS}.{t_ns % NS:09d}", *row]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a closed terminal and `kill` end a command as Ctrl-C does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def record(arguments: argparse.Namespace) -> int:
    """Write readings as CSV; exit code 1 where none came, or where the disk did not take them."""
    settings = load(config_path(arguments.config))
    stream = pick_stream(settings, arguments.stream)
    if settings.streams[stream].is_camera:
        from edge_agent.cli.frame_recording import record_frames

        return record_frames(arguments, settings, stream)
    source = open_source(settings, stream)
    recording = Recording(Path(arguments.out), source.channels, arguments.max_mb * 1e6)
    begun, gaps, ended = time.monotonic(), 0, "time"
    try:
        with ended_by_signals():
            for block in blocks_for(source, arguments.duration_s, f"recording {stream}"):
                gaps += block.gap and not recording.is_empty
                recording.add(block)
    except KeyboardInterrupt:
        ended = "interrupted"
    except RecordingFull as error:
        ended = stopped(error)
    finally:
        try:
            recording.close()
        except RecordingFull as error:
            ended = stopped(error)
    report = {
        "file": arguments.out,
        "readings": recording.rows,
        "channels": [channel.heading for channel in source.channels],
        "seconds": round(time.monotonic() - begun, 1),
        "gaps": gaps,
        "ended": ended,
    }
    _tell(report | tell_losses(source) | {"readings": recording.rows}, as_json=arguments.json)
    return EXIT_FAILED if not recording.rows or ended == "disk" else 0


def stopped(error: RecordingFull) -> str:
    """Say why a recording ends early; returns it in one word."""
    print(f"edge-agent: stopped early: {error}", file=sys.stderr)
    return "disk" if isinstance(error, DiskFailed) else "quota"


def _tell(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2))
        return
    said = f"{report['readings']} readings of {len(report['channels'])} channels in {report['seconds']:.0f} s"
    print(f"{report['file']}: {said}, {report['gaps']} gaps, ended by: {report['ended']}")
    if report["readings"]:
        print(f"next, on the workstation: python -m training init {Path(report['file']).name}")
    else:
        print("no reading came, no file is left; try: edge-agent check", file=sys.stderr)
