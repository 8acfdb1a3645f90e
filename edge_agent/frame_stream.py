"""One camera while it runs: a reader thread and a watcher thread with one frame between them.

    source --FrameReader--> Mailbox --watcher--> FramePipeline -> Sink (states, scores, alerts, pictures)

A watcher that is slower than the camera sees the newest frame; those it never saw are counted as dropped. What happens
when a part fails is said in `watch_loop.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from edge_agent.backoff import Backoff
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Decision, Unknown
from edge_agent.frame_reader import FrameCounts, FrameReader
from edge_agent.mailbox import Mailbox
from edge_agent.ports import Clock, FrameSource
from edge_agent.vision.frame_pipeline import FrameDecision
from edge_agent.watch_loop import READ_TIMEOUT_S, Supervision, WatchLoop

PACED: Final = 32
"""Latest frames that the rate is measured over: a second of a fast camera, half a minute of a slow one."""


class FrameSink(Protocol):
    """Where a camera's decisions go; called from the watcher thread alone."""

    def decided(self, decided: FrameDecision) -> None:
        """Take what was decided of a frame, or of a fault that is in none."""

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back, once it may go out, or at once at the end; called at every turn."""


class FrameWatcher(Protocol):
    """What turns frames into decisions."""

    def feed(self, frame: Frame) -> FrameDecision | None:
        """Decide a frame; None: it decides nothing."""

    def unknown(self, unknown: Unknown) -> FrameDecision:
        """Decide a fault found outside the frames."""


class FrameStream(WatchLoop[Frame, FrameWatcher]):
    """Runs one camera through one watcher.

    Args:
        name: of the stream, as in the topics.
        source: where frames come from.
        watcher: makes the watcher, as for `WatchLoop`.
        sink: where decisions go.
        clock: monotonic time for silence and progress.
        no_data_s: silence in seconds that is reported as `no_data`.
        supervision: told of every turn of the two loops.
        backoff: delays between attempts to open the source.
        wait: waits so many seconds, or less when the stream is to stop; None: really.
    """

    counts: FrameCounts

    def __init__(
        self,
        name: str,
        source: FrameSource,
        watcher: Callable[[], FrameWatcher],
        sink: FrameSink,
        *,
        clock: Clock,
        no_data_s: float,
        supervision: Supervision,
        backoff: Backoff,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(name, watcher, clock=clock, supervision=supervision, wait=wait)
        self._sink, self._mailbox = sink, Mailbox()
        self._reader = FrameReader(
            self.reader_name,
            source,
            self._mailbox,
            clock=clock,
            no_data_s=no_data_s,
            supervision=supervision,
            backoff=backoff,
            wait=self._wait,
        )
        self.counts = self._reader.counts
        self._watched_ns: deque[int] = deque(maxlen=PACED)
        self._failed = 0

    @property
    def heard_ns(self) -> int | None:
        """Monotonic time at which the latest frame came."""
        return self._reader.heard_ns

    @property
    def rate_hz(self) -> float | None:
        """Frames a second that are watched; None before there are two."""
        times = tuple(self._watched_ns)
        span_ns = times[-1] - times[0] if times else 0
        return (len(times) - 1) * NS / span_ns if span_ns > 0 else None

    def ask_to_stop(self) -> None:
        """Stop reading, and end once what was read is decided; returns at once."""
        super().ask_to_stop()
        self._reader.ask_to_stop()

    def run_reader(self) -> None:
        """Open, read, reopen until stopped or the source has no more."""
        self._reader.run()

    def _next(self) -> Frame | Unknown | None:
        item = self._mailbox.take(READ_TIMEOUT_S)
        self._count_unseen()
        return item

    def _over(self) -> bool:
        return self._mailbox.finished

    def _decide(self, watcher: FrameWatcher, item: Frame | Unknown) -> None:
        if isinstance(item, Unknown):
            self._sink.decided(watcher.unknown(item))
            return
        self._watched_ns.append(self._clock.monotonic_ns())
        decided = watcher.feed(item)
        if decided is not None:
            self._sink.decided(decided)

    def _tell(self, decision: Decision) -> None:
        self._sink.decided(FrameDecision(decision=decision))

    def _settle(self, *, end: bool = False) -> None:
        self._sink.settle(end=end)

    def _lose(self, item: Frame) -> None:
        del item
        self._failed += 1
        self._count_unseen()

    def _time_ns(self, item: Frame | None) -> int:
        if item is not None:
            return item.t_ns
        last_ns = self._reader.last_frame_ns
        return self._clock.now_ns() if last_ns is None else last_ns

    def _count_unseen(self) -> None:
        self.counts.frames_unseen = self._mailbox.dropped + self._failed
