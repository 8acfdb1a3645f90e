"""Reading time for readings that carry none, or one that counts from their sensor's start.

Arrival is looked up on the monotonic clock, tied to UTC once, when the source is made: whatever the wall clock does
later, reading time goes on evenly. Rows arrive in chunks: one look a chunk, and the rows spread back evenly.

A chunk's arrival trembles by the operating system's and the adapter's delays, some tens of milliseconds: much more than
the time between rows of a fast sensor, where it must not look like a gap or a wrong rate. So the rows are counted on
from the last one, and the deviation from arrival is taken back over about `SETTLE_S`. Where arrival is later than the
count by `LATE_S`, the sensor was silent; where it is earlier by as much, the rate was mistaken: there the rows are
placed at their arrival. An interruption shorter than that, without a time or sequence number from the sensor, cannot be
told from a late delivery.
"""

from __future__ import annotations

import numpy as np

from edge_agent.contract.records import NS, Times
from edge_agent.ports import Clock

SETTLE_S = 1.0
"""Time over which counted rows move to their arrival, and the rate to that of the arrivals: well above the tremble."""

LATE_S = 0.25
"""Largest ordinary deviation: twice the worst adapter latency in use (Bluetooth, 0.1 s) plus our own chunk."""

SHORTEST_STEP = 10.0
"""Rows counted too fast are slowed to no less than this part of the time between rows, so that time always rises."""

SINCE_START_NS = 1_000_000_000 * NS
"""Own times below this (September 2001) count from the sensor's start: no sensor of this project is older."""


class ArrivalTimes:
    """Times for chunks of rows without their own."""

    def __init__(self, clock: Clock, rate_hz: float | None) -> None:
        """Tie the monotonic clock to UTC; `rate_hz` is what the sensor should do, None: unknown."""
        self._clock = clock
        self._utc_ns = clock.now_ns() - clock.monotonic_ns()
        self._period_ns = NS / rate_hz if rate_hz else None
        self._last_ns: int | None = None
        self.restart()

    def now_ns(self) -> int:
        """Reading time of something that arrives now."""
        return self._utc_ns + self._clock.monotonic_ns()

    def restart(self) -> None:
        """Begin anew after the device was opened: the next chunk is placed at its arrival."""
        self._chunk_ns = self.now_ns()
        self._counting = False

    def stamp(self, rows: int) -> Times:
        """Reading times of `rows` >= 1 readings that have just arrived: int64 [rows], rising, from call to call too."""
        arrival_ns = self.now_ns()
        elapsed_ns = max(arrival_ns - self._chunk_ns, 1)
        period_ns = self._period_ns or elapsed_ns / rows
        counted_ns = rows * period_ns
        last_ns = arrival_ns - round(counted_ns) if self._last_ns is None else self._last_ns
        late_ns = arrival_ns - last_ns - counted_ns
        share = min(1.0, elapsed_ns / (SETTLE_S * NS))
        if self._counting and abs(late_ns) <= LATE_S * NS:
            span_ns = counted_ns + late_ns * share
        else:
            span_ns = min(counted_ns, arrival_ns - last_ns)
            last_ns = max(last_ns, arrival_ns - round(span_ns))
        if self._counting and late_ns <= LATE_S * NS:
            period_ns += (elapsed_ns / rows - period_ns) * share
        step_ns = max(span_ns / rows, min(period_ns, elapsed_ns / rows) / SHORTEST_STEP, 1.0)
        times: Times = last_ns + np.rint(step_ns * np.arange(1, rows + 1)).astype(np.int64)
        self._last_ns, self._chunk_ns, self._period_ns, self._counting = int(times[-1]), arrival_ns, period_ns, True
        return times


class OwnTimes:
    """Places times that count from a sensor's start at their arrival; others stay as they are."""

    def __init__(self, arrival: ArrivalTimes) -> None:
        """Look arrival up in `arrival`."""
        self._arrival = arrival
        self._start_ns: int | None = None
        self._last_ns = 0

    def place(self, t_ns: Times) -> tuple[Times, bool]:
        """Return reading times for own times (int64 [n], n >= 1), and whether the sensor has started anew meanwhile."""
        if t_ns[0] >= SINCE_START_NS:
            return t_ns, False
        anew = self._start_ns is not None and bool(t_ns[0] < self._last_ns or np.any(np.diff(t_ns) < 0))
        if self._start_ns is None or anew:
            self._start_ns = self._arrival.now_ns() - int(t_ns[-1])
        self._last_ns = int(t_ns[-1])
        return t_ns + self._start_ns, anew
