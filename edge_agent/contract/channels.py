"""What is wrong with single readings: out of range, lost, stuck. `windows.py` breaks the windows there.

Counts of missing and of constant samples go on across breaks: a lost channel stays lost over a gap.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import Channel, Floats, Times
from edge_agent.contract.stuck import constant_runs, last_samples

OK, STUCK, LOST, LOW, HIGH = range(5)
"""What may be wrong with one reading of one channel; where two things are, the larger is told."""

CHANNELS_IN_WORDS: Final = 4
"""Most channels that the words for a fault name: they travel in the payload of an alert."""


def mismatch(expected: tuple[Channel, ...], found: tuple[Channel, ...]) -> str:
    """Return in words how a source's channels differ from the bundle's in names, order or units; empty where not."""
    want, got = (", ".join(f"{c.name} [{c.unit}]" if c.unit else c.name for c in side) for side in (expected, found))
    return "" if want == got else f"the bundle expects the channels {want}; the source has {got}"


class ChannelCheck:
    """Judges the readings of one stream, row after row."""

    def __init__(self, channels: tuple[Channel, ...], hold: int, stuck_samples: tuple[int | None, ...]) -> None:
        """Take the channels' ranges, for how many samples a missing value is held, and the limits of `stuck_limits`."""
        self._channels = channels
        self._hold = hold
        self._stuck_samples = stuck_samples
        largest = float(np.finfo(np.float32).max)
        lows = [-largest if channel.low is None else channel.low for channel in channels]
        highs = [largest if channel.high is None else channel.high for channel in channels]
        self._low = np.clip(lows, -largest, largest).astype(np.float32)
        self._high = np.clip(highs, -largest, largest).astype(np.float32)
        self._limit = np.array([sys.maxsize if limit is None else limit for limit in stuck_samples], np.int64)
        self._last = np.full(len(channels), np.nan, np.float32)
        self._run = np.zeros(len(channels), np.int64)
        self._missing = np.zeros(len(channels), np.int64)

    @property
    def any_missing(self) -> bool:
        """Whether a channel had no value in the newest row."""
        return bool(self._missing.any())

    def passes(self, values: Floats) -> bool:
        """Return whether all of the rows [n, C] have all values and no fault, cheaply.

        The rows are taken if so. Otherwise nothing has happened, and `check` must take them.
        To be asked only while no channel is missing.
        """
        if len(values) == 1:
            runs = self._run * (values == self._last) + 1
        else:
            runs = constant_runs(values, self._last, self._run)
        fine = (values >= self._low) & (values <= self._high) & (runs <= self._limit)
        if np.count_nonzero(fine) < fine.size:
            return False
        self._last, self._run = values[-1].copy(), runs[-1]
        return True

    def check(self, values: Floats) -> NDArray[np.uint8]:
        """Take rows [n, C], n >= 1; return what is wrong with each reading: `OK`, `STUCK`, `LOST`, `LOW` or `HIGH`."""
        present = np.isfinite(values)
        missing = _missing_runs(present, self._missing)
        runs = constant_runs(values, self._last, self._run)
        wrong = np.full(values.shape, OK, np.uint8)
        wrong[runs > self._limit] = STUCK
        wrong[missing > self._hold] = LOST
        wrong[present & (values < self._low)] = LOW
        wrong[present & (values > self._high)] = HIGH
        self._last = last_samples(values, present, self._last)[-1]
        self._missing, self._run = missing[-1], runs[-1]
        return wrong

    def words(self, wrong: NDArray[np.uint8], values: Floats) -> list[str]:
        """Return what is wrong with one row [C], for the technician, one entry a channel."""
        words = [self._channel_words(i, int(code), float(values[i])) for i, code in enumerate(wrong) if code != OK]
        if len(words) > CHANNELS_IN_WORDS:
            words[CHANNELS_IN_WORDS:] = [f"{len(words) - CHANNELS_IN_WORDS} more channels"]
        return words

    def _channel_words(self, index: int, code: int, value: float) -> str:
        """Return what is wrong with one channel."""
        channel = self._channels[index]
        reading = f"{value:.6g} {channel.unit}".rstrip()
        words = {
            STUCK: f"is stuck: one value for more than {self._stuck_samples[index]} samples",
            LOST: f"is lost: no value for more than {self._hold} samples",
            LOW: f"is out of range: {reading} is below {self._low[index]:.6g}",
            HIGH: f"is out of range: {reading} is above {self._high[index]:.6g}",
        }
        return f"{channel.name} {words[code]}"


def _missing_runs(present: NDArray[np.bool_], before: Times) -> Times:
    """Return for how many rows each channel has been missing, up to and including each row, int64 [n, C]."""
    row = np.arange(1, len(present) + 1)[:, np.newaxis]
    last_present = np.maximum.accumulate(np.where(present, row, 0), axis=0)
    return np.where(last_present > 0, row - last_present, before + row)
