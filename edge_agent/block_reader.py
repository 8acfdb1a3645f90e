"""The reader of a sensor: source -> bounded queue of blocks.

    source --BlockReader--> queue: blocks in order, and faults among them --watcher--> pipeline

Overflow: a lossless source (file, stdin) waits for room; of any other the newest block is dropped, counted, and the
next one is marked as a gap, so that no reading is ever lost silently. The rest is as for frames (`read_loop.py`).
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from edge_agent.backoff import Backoff
from edge_agent.contract.records import Block, Unknown
from edge_agent.ports import Clock, Source
from edge_agent.read_loop import LoopCounts, ReadLoop
from edge_agent.supervised_loop import READ_TIMEOUT_S, Supervision

_log = logging.getLogger(__name__)

QUEUE_BLOCKS = 512
"""Blocks between reader and watcher: at 20 blocks a second, 25 s of a watcher held up by a slow disk."""


@dataclass(slots=True)
class BlockCounts(LoopCounts):
    """What happened to the readings of a sensor."""

    readings: int = 0
    blocks_dropped: int = 0
    readings_dropped: int = 0

    def drop(self, block: Block) -> None:
        """Count a block that nobody decides."""
        self.blocks_dropped += 1
        self.readings_dropped += len(block)


class BlockReader(ReadLoop[Block]):
    """Reads one source of readings into a queue.

    Args:
        name, source, clock, no_data_s, supervision, backoff, wait: as for `ReadLoop`.
    """

    SILENCE: ClassVar[str] = "no reading for {}; is the sensor powered and connected?"

    counts: BlockCounts

    def __init__(
        self,
        name: str,
        source: Source,
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
        self.counts = BlockCounts()
        self.queue: queue.Queue[Block | Unknown | None] = queue.Queue(QUEUE_BLOCKS)
        """What waits for the watcher; None: nothing more will come."""
        self._gap = self._dropping = False

    @staticmethod
    def time_of(item: Block) -> int:
        """Return the reading time of the last reading of a block, nanoseconds."""
        return int(item.t_ns[-1])

    def _lost(self, problem: str) -> None:
        self._gap = True
        super()._lost(problem)

    def _take(self, item: Block) -> None:
        self.counts.readings += len(item)
        if self._gap:
            item = replace(item, gap=True)
        if self.source.lossless:
            self._put(item)
        else:
            try:
                self.queue.put_nowait(item)
            except queue.Full:
                self._drop(item)
                return
        self._gap = self._dropping = False

    def _drop(self, block: Block) -> None:
        if not self._dropping:
            _log.warning("stream %s: readings come faster than they are decided; some are dropped", self.name)
        self._gap = self._dropping = True
        self.counts.drop(block)

    def _tell(self, fault: Unknown) -> None:
        self._put(fault)

    def _end(self) -> None:
        self._put(None)

    def _put(self, item: Block | Unknown | None) -> None:
        """Queue an item that must not be dropped, waiting for room."""
        while not self.unwatched.is_set():
            try:
                self.queue.put(item, timeout=READ_TIMEOUT_S)
            except queue.Full:
                self._turned()
            else:
                return
