"""Which frames a streaming graph takes: those that are as far apart as the ones it was trained on. Pure.

A graph that carries state has learned what follows within `interval_s`. A faster camera is thinned out to that pace; a
frame that comes more than half an interval late ends the run of frames, and the graph begins anew and warms up. So it
does after frames that were dropped because the device was busy. Where that goes on, no score ever counts: the camera,
or the device, is too slow for the graph, and every step says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_agent.contract.records import NS
from edge_agent.contract.words import duration

EARLY: Final = 0.25
"""Share of an interval that a frame may come early: a camera's frames tremble in time, and waiting for the next one
would be a whole step late."""

LATE: Final = 1.5
"""Intervals after the frame before from which frames are missing between the two."""

MOST_CUT_SHORT: Final = 5
"""Runs in a row that end before they have warmed up, from which on the pace itself is wrong: a network camera that
stutters loses a frame now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a frame is taken."""

    begins: bool
    """The first of a run: the state is forgotten before."""
    warming: bool
    """Its score does not count yet."""
    problem: str = ""
    """Why none has counted for long; empty: there is nothing wrong with the pace."""


class Cadence:
    """Thins out the frames of one camera."""

    def __init__(self, interval_s: float, warm_up: int) -> None:
        """Begin with a run of frames that warms up over `warm_up` of them."""
        self._interval_ns, self._warm_up = round(interval_s * NS), warm_up
        self._last_ns: int | None = None
        self._due_ns = 0
        self._taken = self._cut_short = 0

    def restart(self) -> None:
        """Begin anew with the next frame: one that should have been taken was not."""
        self._last_ns = None

    def take(self, t_ns: int) -> Step | None:
        """Return how the next frame is taken; None: it is not, since it comes between two steps."""
        last, interval_ns = self._last_ns, self._interval_ns
        begins = last is None or not 0 <= t_ns - last <= LATE * interval_ns
        if begins:
            self._cut_short += last is not None and self._taken <= self._warm_up
            self._due_ns, self._taken = t_ns, 0
        elif t_ns < self._due_ns - EARLY * interval_ns:
            return None
        self._last_ns, self._due_ns = t_ns, max(self._due_ns, t_ns - interval_ns // 2) + interval_ns
        self._taken += 1
        warming = self._taken <= self._warm_up
        if not warming:
            self._cut_short = 0
        return Step(begins=begins, warming=warming, problem=self._problem())

    def _problem(self) -> str:
        if self._cut_short < MOST_CUT_SHORT:
            return ""
        return (
            f"frames come too slowly or too unevenly: the graph takes one every {duration(self._interval_ns / NS)}, "
            f"{self._warm_up} in a row to warm up; let the camera give more a second, or the device do less"
        )
