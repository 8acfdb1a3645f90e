"""One stream of readings while it runs: a reader thread and a watcher thread joined by a bounded queue.

    source --BlockReader--> queue of blocks --watcher--> pipeline -> Sink (states, scores, alerts, evidence)

What happens when a part fails is said in `watch_loop.py`.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Protocol

from edge_agent.block_reader import BlockCounts, BlockReader
from edge_agent.contract.records import Block, Decision, Unknown
from edge_agent.supervised_loop import READ_TIMEOUT_S
from edge_agent.watch_loop import WatchLoop


class Sink(Protocol):
    """Where a stream's decisions go; called from the watcher thread alone."""

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Take the decisions of one block (None: of a fault found outside the readings)."""

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back, once it may go out, or at once at the end; called at every turn."""


class Watcher(Protocol):
    """What turns blocks into decisions: a pipeline, or learning that becomes one."""

    def feed(self, block: Block) -> list[Decision]:
        """Decide what the block completes."""

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings."""


class Stream(WatchLoop[Block, Watcher]):
    """Runs one sensor through one watcher.

    Args:
        reader: of its source.
        watcher: makes the watcher, as for `WatchLoop`.
        sink: where decisions go.
        wait: as for `WatchLoop`.
    """

    reader: BlockReader
    counts: BlockCounts

    def __init__(
        self,
        reader: BlockReader,
        watcher: Callable[[], Watcher],
        sink: Sink,
        *,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(reader, watcher, wait=wait)
        self._sink = sink
        self._ended = False

    def _next(self) -> Block | Unknown | None:
        try:
            item = self.reader.queue.get(timeout=READ_TIMEOUT_S)
        except queue.Empty:
            return None
        self._ended = item is None
        return item

    def _over(self) -> bool:
        return self._ended

    def _decide(self, watcher: Watcher, item: Block | Unknown) -> None:
        if isinstance(item, Block):
            self._sink.decided(item, watcher.feed(item))
        else:
            self._sink.decided(None, [watcher.unknown(item)])

    def _tell(self, decision: Decision) -> None:
        self._sink.decided(None, [decision])

    def _settle(self, *, end: bool = False) -> None:
        self._sink.settle(end=end)

    def _lose(self, item: Block) -> None:
        self.counts.drop(item)
