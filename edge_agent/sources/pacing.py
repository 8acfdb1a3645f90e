"""Hands out blocks as their own time goes by, for sources that could give everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edge_agent.contract.records import NS, Block
from edge_agent.errors import EndOfData
from edge_agent.ports import Clock

SHORTEST_WAIT_S = 0.02
"""A reader that waits for the next row of a fast sensor waits at least so long, and then gets many."""

MOST_ROWS = 512
"""Rows of a block where nothing paces it: some milliseconds of work at a time."""


class PacedBlocks:
    """Slices blocks at `speed` times their own time; speed 0 gives all that is there."""

    def __init__(self, blocks: Iterator[Block], clock: Clock, sleep: Callable[[float], None], speed: float) -> None:
        """Start the time of the first row at the first `read`."""
        self._blocks = blocks
        self._clock = clock
        self._sleep = sleep
        self._speed = speed
        self._block: Block | None = None
        self._start: tuple[int, int] | None = None
        self._latest_ns = 0

    def read(self, timeout_s: float) -> Block | None:
        """Rows that are due, waiting at most `timeout_s` for the first; None: none yet.

        Raises:
            EndOfData: there are no more.
        """
        block = self._block if self._block is not None else next(self._blocks, None)
        if block is None:
            raise EndOfData("the last reading was given")
        rows = min(MOST_ROWS, len(block)) if not self._speed else self._due(block, timeout_s)
        self._block = _slice(block, rows, None) if rows < len(block) else None
        return _slice(block, 0, rows) if rows else None

    def _due(self, block: Block, timeout_s: float) -> int:
        now_ns = self._clock.monotonic_ns()
        if self._start is None:
            self._start, self._latest_ns = (now_ns, int(block.t_ns[0])), int(block.t_ns[0])
        # Time that runs backwards in a recording is due at once: what follows must not wait for it.
        times = np.maximum.accumulate(np.maximum(block.t_ns, self._latest_ns))
        rows = self._count(times, now_ns)
        if not rows:
            wait_s = self._until_s(int(times[0]), now_ns)
            self._sleep(min(max(wait_s, SHORTEST_WAIT_S), timeout_s))
            rows = self._count(times, self._clock.monotonic_ns())
        if rows:
            self._latest_ns = int(times[rows - 1])
        return rows

    def _count(self, times: np.ndarray[tuple[int], np.dtype[np.int64]], now_ns: int) -> int:
        """How many rows are due by now."""
        real_ns, first_ns = self._start or (now_ns, int(times[0]))
        return int(np.searchsorted(times, first_ns + (now_ns - real_ns) * self._speed, side="right"))

    def _until_s(self, t_ns: int, now_ns: int) -> float:
        real_ns, first_ns = self._start or (now_ns, t_ns)
        return ((t_ns - first_ns) / self._speed - (now_ns - real_ns)) / NS


def _slice(block: Block, start: int, stop: int | None) -> Block:
    gap = block.gap and start == 0
    return Block(values=block.values[start:stop], t_ns=block.t_ns[start:stop], gap=gap)
