"""The reader of a camera: source -> mailbox.

    source --FrameReader--> mailbox: the newest frame, or the fault --watcher--> camera health -> prefilter -> score

Frames of a camera replace each other; those of a file, a folder or a simulated scene wait to be taken. The rest is as
for readings (`read_loop.py`). A source of frames may hold a turn for 8 s (`ports.FrameSource`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from edge_agent.backoff import Backoff
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import Unknown
from edge_agent.mailbox import Mailbox
from edge_agent.ports import Clock, FrameSource
from edge_agent.read_loop import LoopCounts, ReadLoop
from edge_agent.supervised_loop import READ_TIMEOUT_S, Supervision


@dataclass(slots=True)
class FrameCounts(LoopCounts):
    """What happened to the frames of a camera."""

    frames: int = 0
    frames_unseen: int = 0
    """Frames that nobody watched: a newer one was there, or the watcher failed on them."""


class FrameReader(ReadLoop[Frame]):
    """Reads one source of frames into a mailbox.

    Args:
        mailbox: where they go; closed when there are no more.
        name, source, clock, no_data_s, supervision, backoff, wait: as for `ReadLoop`.
    """

    SILENCE: ClassVar[str] = "no frame for {}; is the camera powered and connected?"

    counts: FrameCounts

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
        super().__init__(
            name, source, clock=clock, no_data_s=no_data_s, supervision=supervision, backoff=backoff, wait=wait
        )
        self.mailbox = mailbox
        self.counts = FrameCounts()

    @staticmethod
    def time_of(item: Frame) -> int:
        """Return the reading time of a frame, nanoseconds."""
        return item.t_ns

    def _take(self, item: Frame) -> None:
        self.counts.frames += 1
        if not self.source.lossless:
            self.mailbox.put(item)
            return
        while not self._stopping.is_set() and not self.mailbox.put_when_empty(item, READ_TIMEOUT_S):
            self._turned()

    def _tell(self, fault: Unknown) -> None:
        self.mailbox.tell(fault)

    def _end(self) -> None:
        self.mailbox.close()
