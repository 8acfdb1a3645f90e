"""Recorded readings through the device's own windower: what the device would have scored, and where it would not.

Everything that the converters measure on recordings comes through here, so that a held value, a gap or a stuck channel
means on the workstation what it means on the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Block, Floats, Times, Unknown, WindowBatch
from edge_agent.contract.windows import Windower, WindowRule

BLOCK_ROWS = 256
"""Readings of a block: what a fast source delivers at once; small enough that batches stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """Windows without a break between them."""

    windows: Floats
    """float32 [k, T, C]."""
    t_ns: Times
    """int64 [k] reading time of each window's last row."""
    start_ns: Times
    """int64 [k] reading time of each window's first row."""
    warming: int
    """Leading windows whose score does not count yet (streaming)."""


def blocks(values: Floats, t_ns: Times, rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Cut a recording into blocks of readings."""
    for start in range(0, len(t_ns), rows):
        yield Block(values=values[start : start + rows], t_ns=t_ns[start : start + rows])


def replay(rule: WindowRule, values: Floats, t_ns: Times) -> Iterator[WindowBatch | Unknown]:
    """What the device's windower makes of a recording."""
    windower = Windower(rule)
    for block in blocks(values, t_ns):
        yield from windower.feed(block)


def stretches(rule: WindowRule, values: Floats, t_ns: Times) -> list[Stretch]:
    """The recording's windows, one stretch between two breaks."""
    found: list[Stretch] = []
    batches: list[WindowBatch] = []
    for item in replay(rule, values, t_ns):
        if isinstance(item, WindowBatch):
            batches.append(item)
        elif batches:
            found.append(_joined(batches))
            batches = []
    return [*found, _joined(batches)] if batches else found


def recordings(t_ns: Times) -> list[slice]:
    """Cut where time does not rise: several recordings may follow one another, in any order."""
    cuts = [0, *(np.flatnonzero(np.diff(t_ns) <= 0) + 1).tolist(), len(t_ns)]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts) if stop > start]


def faulty_stretches(
    rule: WindowRule, values: Floats, t_ns: Times, labels: NDArray[np.bool_]
) -> Iterator[tuple[Stretch, NDArray[np.bool_]]]:
    """Stretches of a labelled recording, with bool [k]: which windows end in a labelled row."""
    for part in recordings(t_ns):
        for stretch in stretches(rule, values[part], t_ns[part]):
            yield stretch, labels[part][np.searchsorted(t_ns[part], stretch.t_ns)]


def _joined(batches: list[WindowBatch]) -> Stretch:
    return Stretch(
        windows=np.concatenate([batch.values for batch in batches]),
        t_ns=np.concatenate([batch.t_ns for batch in batches]),
        start_ns=np.concatenate([batch.start_ns for batch in batches]),
        warming=sum(batch.warming for batch in batches),
    )
