"""From blocks of readings to complete windows: one implementation for training, calibration and the device.

    Block -> Windower.feed -> WindowBatch (complete windows) | Unknown (why there are none), in order of reading time

A *break* ends the run of rows that windows are cut from; windows and stride begin anew with the rows after it:

- `not_ready`: readings lost (`Block.gap`), a step in time above `max_gap_s`, a time that does not rise;
- `sensor`: the fault in words, and no row in it is ever part of a window:
    - a channel out of range, stuck (constant for more than its limit, from the sample on that exceeds it), or lost
      (missing, that is NaN or infinite, for more than `hold` samples; until then its last value is held):
      `channels.py`;
    - a wrong rate, from the reading on that makes it certain: `rate.py`.

A fault ends with its cause. Rows at the beginning of a run with a channel missing, and so nothing to hold, are left
out.

Invariants. The output depends on the rows alone, never on how they were cut into blocks (windows of different blocks
come in different batches, that is all). An Unknown is given once per change, and at least one between two windows with
a break between them, so whoever carries state from window to window resets it there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.channels import ChannelCheck, mismatch
from edge_agent.contract.rate import RateCheck, measured_rate_hz
from edge_agent.contract.records import NS, Block, Channel, Fault, Floats, Times, Unknown, WindowBatch
from edge_agent.contract.stuck import longest_constant_run, stuck_limits

__all__ = ["WindowRule", "Windower", "longest_constant_run", "measured_rate_hz", "mismatch", "stuck_limits"]

MAX_WINDOW: Final = 1_000_000
"""Most rows in a window: bounds the memory that a manifest can ask for, far above any model's window."""

MAX_GAP_S: Final = 366 * 86_400
"""Longest gap that a rule may allow, a year: far inside the range of int64 nanoseconds."""

ROWS_AHEAD: Final = 1024
"""Rows that the tail has room for beyond a window, so that it is moved once in so many rows."""

NOT_RISING, READINGS_LOST, STREAM_BEGINS = -1, -2, -3
"""Stand for a step in time from one row to the next where there is none."""

BREAK_WORDS: Final = {
    NOT_RISING: "the time of the readings does not rise",
    READINGS_LOST: "readings were lost",
    STREAM_BEGINS: "the stream begins",
}
"""Why windows begin anew, for the technician."""

WAITING: Final = b"waiting"
"""What was said last is `not_ready`; after a fault it is one byte for each channel and one for the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """How windows are cut; part of the bundle, the same in training."""

    channels: tuple[Channel, ...]
    rate_hz: float
    """Readings a second that the model was trained on."""
    window: int
    """Rows T of a window; 1 for a streaming graph."""
    stride: int = 1
    """Rows from one window to the next, counted from the last break."""
    hold: int
    """Samples for which a missing value is held; 0: none."""
    max_gap_s: float
    """Longest step in reading time, in seconds, that is no gap."""
    stuck_samples: tuple[int | None, ...]
    """Per channel, most samples at one value; one more is a fault. None: never."""
    warm_up: int = 0
    """Windows after a break that a streaming graph runs before its score counts."""

    def __post_init__(self) -> None:
        """Refuse what no stream can satisfy."""
        names = [channel.name for channel in self.channels]
        limits = [limit for limit in self.stuck_samples if limit is not None]
        wanted = {
            "at least one channel, each with a name of its own": 0 < len(names) == len(set(names)),
            "rate_hz above 0": 0 < self.rate_hz < np.inf,
            f"window from 1 to {MAX_WINDOW}": 1 <= self.window <= MAX_WINDOW,
            "stride of at least 1": self.stride >= 1,
            "hold of at least 0": self.hold >= 0,
            "max_gap_s above one sample and at most a year": 1 / self.rate_hz < self.max_gap_s <= MAX_GAP_S
            if self.rate_hz > 0
            else False,
            "one stuck_samples for each channel, at least 1 or none": len(self.stuck_samples) == len(names)
            and all(limit >= 1 for limit in limits),
            "warm_up of 0, or above it with window = stride = 1": self.warm_up == 0
            or (self.warm_up > 0 and self.window == self.stride == 1),
        }
        wrong = [wish for wish, granted in wanted.items() if not granted]
        if wrong:
            raise ValueError(f"a window rule needs {'; '.join(wrong)}; got {self}")


class Windower:
    """Cuts one stream into windows."""

    def __init__(self, rule: WindowRule) -> None:
        """Begin with nothing."""
        self.rule = rule
        self._max_gap_ns = int(rule.max_gap_s * NS)
        self._nothing = np.full(len(rule.channels), np.nan, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all readings, as if the stream began."""
        rule = self.rule
        self._rate = RateCheck(rule.rate_hz, rule.max_gap_s)
        self._channels = ChannelCheck(rule.channels, rule.hold, rule.stuck_samples)
        self._tail = _Tail(rule)
        self._last_t: int | None = None
        self._readings_lost = False
        self._rate_detail = ""
        self._in_fault = False
        self._plain = False  # the newest row is in a window or on its way, and no channel of it was missing
        self._held = self._nothing
        self._said: bytes | None = None

    def feed(self, block: Block) -> list[WindowBatch | Unknown]:
        """Take the next readings.

        Returns:
            Batches of windows that they complete, and changes to "unknown", in order of reading time.

        Raises:
            ValueError: the block has another number of channels than the rule.
        """
        values, t_ns = block.values, block.t_ns
        if values.shape[1] != len(self._nothing):
            raise ValueError(f"expected blocks of {len(self._nothing)} channels, got {values.shape[1]}")
        self._readings_lost |= block.gap
        if not len(t_ns):
            return []
        steps = self._steps(t_ns)
        self._readings_lost = False
        self._last_t = int(t_ns[-1])
        rate_changes = self._rate.feed(steps)
        if self._plain and not rate_changes and self._no_break(steps) and self._channels.passes(values):
            batch = self._tail.append(values, t_ns)
            self._held = self._tail.newest
            return self._with_windows([], batch)
        return self._feed_any(values, t_ns, steps, rate_changes)

    def _steps(self, t_ns: Times) -> Times:
        """Return the time in ns from the row before to each row, or why there is none."""
        if self._last_t is None:
            first = STREAM_BEGINS
        elif self._readings_lost:
            first = READINGS_LOST
        else:
            step = int(t_ns[0]) - self._last_t
            first = min(step, sys.maxsize) if step > 0 else NOT_RISING
        if len(t_ns) == 1:
            return np.array((first,), np.int64)
        steps = np.empty(len(t_ns), np.int64)
        steps[0], later = first, steps[1:]
        np.subtract(t_ns[1:], t_ns[:-1], out=later)
        rising = t_ns[1:] > t_ns[:-1]
        if later.min() <= 0 or not rising.all():
            # A difference of far times wraps around: the order decides, and the largest number stands for the distance.
            later[:] = np.where(rising, np.where(later > 0, later, sys.maxsize), NOT_RISING)
        return steps

    def _no_break(self, steps: Times) -> bool:
        """Return whether the rows follow each other, and the row before them, without a break in time."""
        if len(steps) == 1:
            return 0 < int(steps[0]) <= self._max_gap_ns
        return bool(steps.min() > 0 and steps.max() <= self._max_gap_ns)

    def _feed_any(
        self, values: Floats, t_ns: Times, steps: Times, rate_changes: list[tuple[int, str]]
    ) -> list[WindowBatch | Unknown]:
        """Take rows among which there may be breaks, missing values and faults."""
        breaks = _breaks(steps, self._max_gap_ns)
        wrong = np.column_stack((self._channels.check(values), self._rate_off(len(values), rate_changes)))
        fault = np.asarray(wrong.any(axis=1))
        begins = breaks | np.concatenate((np.array([self._in_fault]), fault[:-1]))
        filled = self._filled(values, begins)
        usable = np.asarray(~(fault | np.isnan(filled).any(axis=1)))
        out: list[WindowBatch | Unknown] = []
        for begin, end in _stretches(begins, wrong, usable):
            self._rate_detail = dict(rate_changes).get(begin, self._rate_detail)
            if fault[begin]:
                words = self._channels.words(wrong[begin, :-1], values[begin])
                words += [self._rate_detail] * int(wrong[begin, -1])
                unknown = Unknown(t_ns=int(t_ns[begin]), fault=Fault.SENSOR, detail="; ".join(words))
                self._say(out, wrong[begin].tobytes(), unknown)
            elif begins[begin]:
                self._tail.cut()
                detail = self._break_words(int(steps[begin])) if breaks[begin] else "the sensor fault is over"
                self._say(out, WAITING, Unknown(t_ns=int(t_ns[begin]), fault=Fault.NOT_READY, detail=detail))
            if usable[begin]:
                self._with_windows(out, self._tail.append(filled[begin:end], t_ns[begin:end]))
        self._in_fault = bool(fault[-1])
        self._held = filled[-1]
        self._plain = bool(usable[-1]) and not self._channels.any_missing
        return out

    def _rate_off(self, rows: int, changes: list[tuple[int, str]]) -> NDArray[np.uint8]:
        """Return at which rows the rate is wrong."""
        off = np.full(rows, bool(self._rate_detail), np.uint8)
        for row, detail in changes:
            off[row:] = bool(detail)
        return off

    def _filled(self, values: Floats, begins: NDArray[np.bool_]) -> Floats:
        """Return the readings with missing ones held; NaN where the run of rows has nothing to hold yet.

        Args:
            values: float32 [n, C].
            begins: [n] rows at which a new run begins: nothing from before is held.
        """
        row = np.arange(1, len(values) + 1)
        source = np.maximum.accumulate(np.where(np.isfinite(values), row[:, np.newaxis], 0), axis=0)
        oldest = np.maximum.accumulate(np.where(begins, row, 0))
        filled = np.take_along_axis(np.concatenate((self._held[np.newaxis], values)), source, axis=0)
        filled[source < oldest[:, np.newaxis]] = np.nan
        return filled

    def _break_words(self, step_ns: int) -> str:
        """Return why windows begin anew."""
        return BREAK_WORDS.get(step_ns) or f"a gap of {step_ns / NS:.6g} s in the readings"

    def _say(self, out: list[WindowBatch | Unknown], state: bytes, unknown: Unknown) -> None:
        """Append an Unknown where it is a change."""
        if state != self._said:
            self._said = state
            out.append(unknown)

    def _with_windows(self, out: list[WindowBatch | Unknown], batch: WindowBatch | None) -> list[WindowBatch | Unknown]:
        """Append the batch where there is one: what was unknown is over."""
        if batch is not None:
            self._said = None
            out.append(batch)
        return out


def _breaks(steps: Times, max_gap_ns: int) -> NDArray[np.bool_]:
    """Return before which rows the time breaks the run."""
    return np.asarray((steps <= 0) | (steps > max_gap_ns))


def _stretches(
    begins: NDArray[np.bool_], wrong: NDArray[np.uint8], usable: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the stretches of rows that are alike: same faults, usable or not, no new run inside."""
    new = begins.copy()
    new[0] = True
    new[1:] |= (usable[1:] != usable[:-1]) | (wrong[1:] != wrong[:-1]).any(axis=1)
    # Rows of one fault follow each other without a new run, though each ends what came before.
    new[1:] &= ~((wrong[1:] == wrong[:-1]).all(axis=1) & wrong[1:].any(axis=1))
    first = np.flatnonzero(new)
    yield from zip(first.tolist(), [*first[1:].tolist(), len(new)], strict=True)


class _Tail:
    """The newest rows of the run, kept so that windows are views.

    Rows are only ever added behind; when there is no room, the rows that later windows need move to new memory. So
    views that were given out stay as they are.
    """

    def __init__(self, rule: WindowRule) -> None:
        """Begin without rows."""
        self._window, self._stride, self._warm_up = rule.window, rule.stride, rule.warm_up
        self._rows = np.empty((0, len(rule.channels)), np.float32)
        self._times = np.empty(0, np.int64)
        self._end = 0
        self._count = 0

    @property
    def newest(self) -> Floats:
        """The row added last, float32 [C]."""
        row: Floats = self._rows[self._end - 1]
        return row

    def cut(self) -> None:
        """Begin a new run."""
        self._count = 0

    def append(self, values: Floats, t_ns: Times) -> WindowBatch | None:
        """Add rows to the run and return the windows that they complete."""
        added = len(t_ns)
        if self._end + added > len(self._times):
            self._move(added)
        begin, self._end = self._end, self._end + added
        self._rows[begin : self._end] = values
        self._times[begin : self._end] = t_ns
        before, self._count = self._count, self._count + added
        index = max(0, (before - self._window) // self._stride + 1)
        row = begin - before + index * self._stride
        windows = (self._end - row - self._window) // self._stride + 1
        return self._batch(index, row, windows) if windows > 0 else None

    def _batch(self, index: int, row: int, windows: int) -> WindowBatch:
        """Return so many windows, of which the first is number `index` of the run and begins at `row` of the buffer."""
        between_rows, between_channels = self._rows.strides
        values = np.ndarray(
            (windows, self._window, self._rows.shape[1]),
            np.float32,
            self._rows,
            row * between_rows,
            (self._stride * between_rows, between_rows, between_channels),
        )
        values.flags.writeable = False
        last = row + self._window - 1
        reach = (windows - 1) * self._stride + 1
        return WindowBatch(
            values=values,
            t_ns=self._times[last : last + reach : self._stride],
            start_ns=self._times[row : row + reach : self._stride],
            warming=min(windows, max(0, self._warm_up - index)),
        )

    def _move(self, added: int) -> None:
        """Move the rows that later windows need to new memory with room for more."""
        kept = min(self._count, self._window - 1)
        capacity = kept + max(added, ROWS_AHEAD)
        rows = np.empty((capacity, self._rows.shape[1]), np.float32)
        times = np.empty(capacity, np.int64)
        rows[:kept] = self._rows[self._end - kept : self._end]
        times[:kept] = self._times[self._end - kept : self._end]
        self._rows, self._times, self._end = rows, times, kept
