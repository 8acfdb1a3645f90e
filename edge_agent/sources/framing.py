"""Bytes in, rows out: finds lines and frames in a stream and survives whatever else is in it. No I/O.

    feed(bytes) -> [Rows]      any split of a stream gives the same rows
    resync(...)                after the device was opened again
    finish() -> [Rows]         at the end of the stream

Invariants: the buffer is bounded; no bytes raise; what cannot be understood is dropped and counted, and the next rows
are marked as following a gap. Lines end with LF, CR or both; empty lines and lines that begin with `#` are
passed over. Text to rows is in `lines`, binary frames are in `binary`.
"""

from __future__ import annotations

from typing import Protocol

from edge_agent.contract.records import Channel
from edge_agent.errors import FrameError
from edge_agent.sources.binary import BinaryFraming
from edge_agent.sources.formats import Counters, FormatSettings, Rows, joined
from edge_agent.sources.lines import LineDecoder, make_decoder


class Framing(Protocol):
    """A stream of bytes, turned into rows."""

    def feed(self, data: bytes) -> list[Rows]:
        """Rows that are now complete, in order; more than one stretch where something was lost between them."""

    def finish(self) -> list[Rows]:
        """Rows in what is left at the end of the stream."""

    def resync(self, *, lost: bool, partial: bool) -> None:
        """Forget the unfinished line or frame.

        Args:
            lost: readings were lost; the next rows follow a gap.
            partial: the stream may begin in the middle of a line, whose rest may look like a whole one.
        """


class LineFraming:
    """Lines of text."""

    def __init__(self, decoder: LineDecoder, counters: Counters, max_line_bytes: int) -> None:
        """Count into `counters`; a line longer than `max_line_bytes` is dropped."""
        self._decoder = decoder
        self._counters = counters
        self._max_line_bytes = max_line_bytes
        self._tail = b""
        self._skipping = False
        self._gap = False
        self._header = b""
        self._began = False

    def feed(self, data: bytes) -> list[Rows]:
        """Take bytes as they come."""
        *lines, self._tail = (self._tail + data.replace(b"\r", b"\n")).split(b"\n")
        if self._skipping and lines:
            self._counters.bytes_dropped += len(lines.pop(0))
            self._skipping = False
        rows = self._decode(lines)
        self._bound_tail()
        return rows

    def finish(self) -> list[Rows]:
        """Take a last line without its end."""
        return self.feed(b"\n")

    def resync(self, *, lost: bool, partial: bool) -> None:
        """Begin a new stream; what a header said still holds until the next one."""
        self._tail = b""
        self._skipping = partial and self._decoder.tail_looks_whole
        self._gap |= lost

    def _bound_tail(self) -> None:
        if self._skipping:
            self._counters.bytes_dropped += len(self._tail)
            self._tail = b""
        elif len(self._tail) > self._max_line_bytes:
            self._drop(self._tail, f"a line of more than {self._max_line_bytes} bytes")
            self._tail = b""
            self._skipping = True

    def _decode(self, lines: list[bytes]) -> list[Rows]:
        return joined(self._halve([line for line in lines if line.strip() and not line.startswith(b"#")]))

    def _halve(self, lines: list[bytes]) -> list[Rows]:
        """Decode as many lines at once as can be: halves them until a header or malformed line stands alone."""
        if len(lines) <= 1:
            return self._one(lines[0]) if lines else []
        try:
            return [self._rows(lines)]
        except FrameError:
            middle = len(lines) // 2
            return self._halve(lines[:middle]) + self._halve(lines[middle:])

    def _one(self, line: bytes) -> list[Rows]:
        try:
            return [] if self._learnt(line) else [self._rows([line])]
        except FrameError as error:
            self._drop(line, str(error))
            return []

    def _learnt(self, line: bytes) -> bool:
        """Take a header; another one in mid-stream means that another sensor, or another program of it, speaks."""
        if not self._decoder.learn(self._text([line])[0]):
            return False
        self._gap |= self._began and line.strip() != self._header
        self._header = line.strip()
        self._counters.last_error = self._decoder.complaint or self._counters.last_error
        return True

    def _rows(self, lines: list[bytes]) -> Rows:
        values, t_ns = self._decoder.decode(self._text(lines))
        self._counters.readings += len(values)
        rows = Rows(values=values, t_ns=t_ns, gap=self._gap)
        self._gap, self._began = False, True
        return rows

    def _text(self, lines: list[bytes]) -> list[str]:
        if max(map(len, lines)) > self._max_line_bytes:
            raise FrameError(f"a line of more than {self._max_line_bytes} bytes")
        try:
            return b"\n".join(lines).decode().split("\n")
        except UnicodeDecodeError as error:
            raise FrameError(f"expected UTF-8 text, got {error.object[error.start : error.start + 16]!r}") from error

    def _drop(self, line: bytes, reason: str) -> None:
        self._counters.drop(len(line), reason)
        self._gap = True


def make_framing(settings: FormatSettings, channels: tuple[Channel, ...], counters: Counters) -> Framing:
    """Return the framing for the settings' format."""
    if settings.format == "binary":
        return BinaryFraming(channels=len(channels), own_time=bool(settings.time_column), counters=counters)
    return LineFraming(make_decoder(settings, channels), counters, settings.max_line_bytes)
