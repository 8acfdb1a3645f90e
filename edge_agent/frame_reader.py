"""The reader thread of a camera: source -> mailbox, opened anew with back-off, silence told as `no_data`.

    source --reader--> mailbox: the newest frame, or the fault --watcher--> camera health -> prefilter -> score

The same rules as for readings (`stream.py`), but for the overflow: frames of a camera replace each other, those of a
file, a folder or a simulated scene wait to be taken. Whatever fails while reading, the source is closed, waited for and
opened again; the first failure of a streak is logged as a warning.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.backoff import Backoff
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Fault, Unknown
from edge_agent.contract.words import duration
from edge_agent.errors import EndOfData, SourceError
from edge_agent.mailbox import Mailbox
from edge_agent.ports import Clock, FrameSource
from edge_agent.watch_loop import READ_TIMEOUT_S, Supervision, WatchCounts

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class FrameCounts(WatchCounts):
    """What happened to the frames of a camera."""

    frames: int = 0
    frames_unseen: int = 0
    """Frames that nobody watched: a newer one was there, or the watcher failed on them."""
    reopened: int = 0


class FrameReader:
    """Reads one source of frames into a mailbox.

    Args:
        name: of the thread, as supervision and log know it.
        source: where frames come from.
        mailbox: where they go; closed when there are no more.
        clock: monotonic time for silence.
        no_data_s: silence in seconds that is told as `no_data`.
        supervision: told of every turn; a source may hold one for 8 s (`ports.FrameSource`).
        backoff: delays between attempts to open the source.
        wait: waits so many seconds, or less when the reader is to stop; None: really.
    """

    def __init__(
        self,
        name: str,
        source: FrameSource,
        mailbox: Mailbox,
        *,
        clock: Clock,
        no_data_s: float,
        supervision: Supervision,
        backoff: Backoff,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.mailbox = mailbox
        self.counts = FrameCounts()
        self.no_data_s = no_data_s
        self.last_frame_ns: int | None = None
        """Reading time of the latest frame."""
        self.heard_ns: int | None = None
        """Monotonic time of its arrival."""
        self._clock, self._supervision, self._backoff = clock, supervision, backoff
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._away = False

    def ask_to_stop(self) -> None:
        """Stop reading; returns at once."""
        self._stopping.set()

    def run(self) -> None:
        """Open, read, reopen until stopped or the source has no more; the body of a thread."""
        while not self._stopping.is_set():
            try:
                self._read_until_lost()
            except EndOfData:
                break
            except SourceError as error:
                self._lost(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the source is opened again
                _log.exception("%s: reading failed", self.name)
                self.counts.reader_restarts += 1
                self._lost(f"reading failed: {error!r}")
        self._close()
        self.mailbox.close()
        self._supervision.rested(self.name)

    def _read_until_lost(self) -> None:
        self._supervision.turned(self.name)
        self.source.open()
        began_ns = self._clock.monotonic_ns()
        self._backoff.succeeded(began_ns / NS)
        _log.info("%s: source open", self.name)
        silent = False
        while not self._stopping.is_set():
            frame = self.source.read(READ_TIMEOUT_S)
            self._supervision.turned(self.name)
            now_ns = self._clock.monotonic_ns()
            if frame is not None:
                self.heard_ns, began_ns, silent, self._away = now_ns, now_ns, False, False
                self._backoff.succeeded(now_ns / NS)
                self._take(frame)
            elif not silent and now_ns - began_ns > self.no_data_s * NS:
                silent = True
                self._tell(f"no frame for {duration(self.no_data_s)}; is the camera powered and connected?")

    def _take(self, frame: Frame) -> None:
        self.counts.frames += 1
        self.last_frame_ns = frame.t_ns
        if not self.source.lossless:
            self.mailbox.put(frame)
            return
        while not self._stopping.is_set() and not self.mailbox.put_when_empty(frame, READ_TIMEOUT_S):
            self._supervision.turned(self.name)

    def _lost(self, problem: str) -> None:
        """Release the source, say so, and wait in slices that the watchdog sees."""
        self._close()
        delay_s = self._backoff.delay_s()
        _log.log(
            logging.DEBUG if self._away else logging.WARNING, "%s: %s; next try in %.0f s", self.name, problem, delay_s
        )
        self.counts.reopened += 1
        self._away = True
        self._tell(problem)
        deadline_ns = self._clock.monotonic_ns() + round(delay_s * NS)
        while not self._stopping.is_set() and (left_ns := deadline_ns - self._clock.monotonic_ns()) > 0:
            self._supervision.turned(self.name)
            self._wait(min(left_ns / NS, READ_TIMEOUT_S))

    def _tell(self, detail: str) -> None:
        """Leave a fault that is in no frame, at the reading time it would have had."""
        last_ns = self.last_frame_ns
        t_ns = self._clock.now_ns() if last_ns is None else last_ns + 1
        self.mailbox.tell(Unknown(t_ns=t_ns, fault=Fault.NO_DATA, detail=detail))

    def _close(self) -> None:
        try:
            self.source.close()
        except Exception:  # noqa: BLE001 - it is opened again, which tells whether that matters
            _log.exception("%s: the source does not close", self.name)
