"""One camera while it runs: a reader thread and a watcher thread with one frame between them.

    source --FrameReader--> Mailbox --watcher--> FramePipeline -> Sink (states, scores, alerts, pictures)

A watcher that is slower than the camera sees the newest frame; those it never saw are counted as dropped. What happens
when a part fails is said in `watch_loop.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Decision, Unknown
from edge_agent.frame_reader import FrameCounts, FrameReader
from edge_agent.supervised_loop import READ_TIMEOUT_S
from edge_agent.vision.frame_pipeline import FrameDecision
from edge_agent.watch_loop import WatchLoop

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
        reader: of its source.
        watcher: makes the watcher, as for `WatchLoop`.
        sink: where decisions go.
        wait: as for `WatchLoop`.
    """

    reader: FrameReader
    counts: FrameCounts

    def __init__(
        self,
        reader: FrameReader,
        watcher: Callable[[], FrameWatcher],
        sink: FrameSink,
        *,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(reader, watcher, wait=wait)
        self._sink = sink
        self._watched_ns: deque[int] = deque(maxlen=PACED)
        self._failed = 0

    @property
    def rate_hz(self) -> float | None:
        """Frames a second that are watched; None before there are two."""
        times = tuple(self._watched_ns)
        span_ns = times[-1] - times[0] if times else 0
        return (len(times) - 1) * NS / span_ns if span_ns > 0 else None

    def _next(self) -> Frame | Unknown | None:
        item = self.reader.mailbox.take(READ_TIMEOUT_S)
        self._count_unseen()
        return item

    def _over(self) -> bool:
        return self.reader.mailbox.finished

    def _decide(self, watcher: FrameWatcher, item: Frame | Unknown) -> None:
        if isinstance(item, Unknown):
            self._sink.decided(watcher.unknown(item))
            return
        self._watched_ns.append(self.clock.monotonic_ns())
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

    def _count_unseen(self) -> None:
        self.counts.frames_unseen = self.reader.mailbox.dropped + self._failed
