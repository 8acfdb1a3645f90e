"""Between the thread that reads a camera and the one that watches: holds one frame, and the newest wins.

Frames are never queued: a watcher that is slow sees the latest picture, not one from a minute ago. What was replaced
unseen is counted. A fault found outside the frames (no frames) has a place of its own, so that no frame replaces it; a
frame that waits when a fault is told is older than the fault and is dropped, so that it cannot seem to end it.

A lossless source (video file, folder) uses `put_when_empty`: there nothing is dropped, the reader waits.
"""

from __future__ import annotations

import threading

from edge_agent.contract.frames import Frame
from edge_agent.contract.records import Unknown


class Mailbox:
    """Holds the newest frame and the newest fault."""

    def __init__(self) -> None:
        """Begin empty and open."""
        self.dropped = 0
        """Frames that were replaced before anyone took them."""
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._fault: Unknown | None = None
        self._closed = False

    @property
    def finished(self) -> bool:
        """Closed, and all that was in it has been taken."""
        with self._changed:
            return self._closed and self._frame is None and self._fault is None

    def put(self, frame: Frame) -> None:
        """Leave a frame; one that nobody took is dropped and counted."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify_all()

    def put_when_empty(self, frame: Frame, timeout_s: float) -> bool:
        """Leave a frame once the one before was taken; False where that took longer than `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._frame is None, timeout_s):
                return False
            self._frame = frame
            self._changed.notify_all()
            return True

    def tell(self, fault: Unknown) -> None:
        """Leave a fault found outside the frames; it replaces an older one and a frame that waits."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame, self._fault = None, fault
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing more will come; what is in it can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | Unknown | None:
        """Take the fault, else the frame, waiting at most `timeout_s`; None: nothing came, or it is finished."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame or self._fault or self._closed, timeout_s)
            if self._fault is not None:
                fault, self._fault = self._fault, None
                return fault
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame
