"""Frames that could all be given at once: a video file, a folder of images, a simulated scene, at their own pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.ports import Clock
from edge_agent.sources.pixels import FrameCounters

FASTEST = 1e6
"""Largest `speed`."""


class PlaybackSource:
    """Plays frames at `speed` times their own time; speed 0 gives them as fast as the reader takes."""

    own_time = True
    lossless = True

    def __init__(
        self,
        name: str,
        frames: Callable[[FrameCounters], Iterator[Frame]],
        speed: float,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open nothing yet.

        Args:
            name: in words.
            frames: begins to give frames, numbered by the counters; raises SourceUnavailable where it cannot begin.
            speed: how many times faster than their own time.
            clock: for the pace.
            sleep: waits some seconds.
        """
        self._name = name
        self._make, self._speed, self._clock, self._sleep = frames, speed, clock, sleep
        self._counters = FrameCounters(name)
        self._frames: Iterator[Frame] | None = None
        self._next: Frame | None = None
        self._began: tuple[int, int] | None = None

    def open(self) -> None:
        """Begin anew."""
        self.close()
        self._frames = self._make(self._counters)
        self._next = self._began = None

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame once it is due."""
        if self._frames is None:
            raise SourceUnavailable(f"{self._name} is not open: open it first")
        frame = self._next or next(self._frames, None)
        if frame is None:
            raise EndOfData(f"{self._name}: the last frame was given")
        self._next = frame
        wait_s = self._until_s(frame)
        if wait_s > 0:
            self._sleep(min(wait_s, timeout_s))
        if wait_s > timeout_s:
            return None
        self._next = None
        return frame

    def close(self) -> None:
        """Release the file."""
        if self._frames is not None:
            frames, self._frames = self._frames, None
            close = getattr(frames, "close", None)
            if close is not None:
                close()

    def status(self) -> dict[str, int | float | str]:
        """Counters."""
        return self._counters.status()

    def _until_s(self, frame: Frame) -> float:
        """Seconds until a frame is due; time that runs backwards is due at once."""
        if not self._speed:
            return 0.0
        now_ns = self._clock.monotonic_ns()
        if self._began is None:
            self._began = now_ns, frame.t_ns
        real_ns, first_ns = self._began
        return ((frame.t_ns - first_ns) / self._speed - (now_ns - real_ns)) / NS
