"""The range-aware precision-recall curve of every buffer at once: what VUS-PR is the mean of (see `metrics.vus_pr`).

Precision and recall change from one threshold to the next only where a row that counts is alarmed, and only rows at
most half the longest buffer away from a fault can count. So the scores are sorted once, every other row is kept as a
mere number of alarmed rows, and what is left is a matrix with a row for each buffer and a column for each threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Doubles

Indices = NDArray[np.int64]

CELLS = 1 << 17
"""Cells of a matrix worked on at a time, 1 MiB: the few that are needed at once stay in a processor's cache."""


class Surface:
    """What all buffers share.

    The m rows that can count stand in the order of their scores, from the highest down; there are g distinct scores
    among them, the thresholds at which anything changes.
    """

    def __init__(self, scores: Doubles, ranking: tuple[Indices, Indices], faults: Indices, max_buffer: int) -> None:
        """Sort once.

        Args:
            scores: float64 [k].
            ranking: int64 [k], rows from the highest score down; int64, place in that order of the last row of each
                distinct score.
            faults: int64 [e, 2], first row and the row after the last of each fault, at least one.
            max_buffer: the longest, in rows, 0 or more.
        """
        order, ends = ranking
        self._reach, self._faults, self._faulty_rows = max_buffer // 2, faults, int(np.diff(faults).sum())
        ranks = np.flatnonzero(_within(self._reach, faults, len(scores))[order])
        self._rows, groups = order[ranks], np.searchsorted(ends, ranks)
        self._last = np.flatnonzero(np.diff(groups, append=-1))
        self._alarmed = ends[groups[self._last]] + 1
        self._alarmed_before = np.append(0, ends + 1)[groups[self._last]]
        self._pair_with_faults(len(scores))
        self._find_first_alarms(len(scores))

    def _pair_with_faults(self, count: int) -> None:
        """List the rows outside the faults, once for each fault in reach, in the order of the m rows."""
        place = np.full(count, -1)
        outside = ~_within(0, self._faults, count)[self._rows]
        place[self._rows[outside]] = np.flatnonzero(outside)
        away = np.arange(1, self._reach + 1)
        rows = np.stack([self._faults[:, :1] - away, self._faults[:, 1:] - 1 + away])
        places = place[np.clip(rows, 0, count - 1)]
        pairs = np.flatnonzero((rows >= 0) & (rows < count) & (places >= 0))
        pairs = pairs[np.argsort(places.ravel()[pairs], kind="stable")]
        self._pair_away = np.broadcast_to(away, rows.shape).ravel()[pairs]
        places = places.ravel()[pairs]
        self._pair_starts = np.flatnonzero(np.diff(places, prepend=-1))
        self._fading = places[self._pair_starts]

    def _find_first_alarms(self, count: int) -> None:
        """For each reach and fault, the first threshold that alarms a row of the fault or within reach of it."""
        first = np.full(count + 2 * self._reach, len(self._last))
        first[self._rows + self._reach] = np.searchsorted(self._last, np.arange(len(self._rows)))
        starts, stops = self._faults.T + self._reach
        away = np.arange(1, self._reach + 1)[:, np.newaxis]
        inside = np.minimum.reduceat(np.append(first, 0), np.stack([starts, stops], axis=1).ravel())[::2]
        outside = np.minimum(first[starts - away], first[stops - 1 + away])
        self._first_alarms = np.minimum.accumulate(np.concatenate([inside[np.newaxis], outside]))

    def areas(self, buffers: Indices) -> Doubles:
        """Return the area for each buffer, float64 [b]; as many at a time as CELLS allows."""
        at_a_time = max(1, CELLS // max(len(self._rows), len(self._pair_away)))
        return np.concatenate([self._areas(buffers[at : at + at_a_time]) for at in range(0, len(buffers), at_a_time)])

    def _areas(self, buffers: Indices) -> Doubles:
        """Trapezoids; the precision before a threshold is that at the next higher score, which may be none of the g."""
        hits = np.cumsum(self._softened(buffers), axis=1)[:, self._last]
        recall = np.minimum(2 * hits / (self._faulty_rows + hits[:, -1:]), 1) * self._found(buffers // 2)
        before = np.zeros_like(hits)
        before[:, 1:] = hits[:, :-1] / self._alarmed_before[1:]
        before[:, 0] = self._alarmed_before[0] == 0
        return np.asarray(np.sum(np.diff(recall, axis=1, prepend=0) * (hits / self._alarmed + before), axis=1) / 2)

    def _softened(self, buffers: Indices) -> Doubles:
        """Labels, float64 [b, m]."""
        soft = np.ones((len(buffers), len(self._rows)))
        if len(self._fading):
            away, length = np.arange(1, self._reach + 1), buffers[:, np.newaxis]
            weights = np.sqrt(np.maximum(1 - away / np.maximum(length, 1), 0)) * (away <= length // 2)
            sums = np.add.reduceat(np.take(weights, self._pair_away - 1, axis=1), self._pair_starts, axis=1)
            soft[:, self._fading] = np.minimum(sums, 1)
        return soft

    def _found(self, reaches: Indices) -> Doubles:
        """Share of the softened faults with an alarmed row, float64 [b, g]; faults that touch are one."""
        gaps = self._faults[1:, 0] - self._faults[:-1, 1]
        apart = np.ones((len(reaches), len(self._faults)), np.bool_)
        apart[:, 1:] = gaps > 2 * reaches[:, np.newaxis]
        heads = np.flatnonzero(apart)
        first = np.minimum.reduceat(self._first_alarms[reaches].ravel(), heads)
        shape = len(reaches), len(self._last)
        cells = heads // len(self._faults) * shape[1] + first
        found = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        return np.cumsum(found, axis=1) / np.count_nonzero(apart, axis=1, keepdims=True)


def _within(reach: int, faults: Indices, count: int) -> NDArray[np.bool_]:
    """Rows at most so far from a fault, bool [count]."""
    starts = np.bincount(np.maximum(faults[:, 0] - reach, 0), minlength=count + 1)
    stops = np.bincount(np.minimum(faults[:, 1] + reach, count), minlength=count + 1)
    return np.asarray(np.cumsum(starts - stops)[:count] > 0)
