"""Injected faults: what parity, the int8 ranges, the prefilter's limits and the tests all mean by "a fault".

Every fault is the window plus its severity times a pattern that does not depend on the severity: the same generator
state gives the same place, sign and channel at any severity, and no reading comes nearer to where it was when the
severity grows. So "the severity at which half of the windows alarm" exists and can be found by bisection.

    kind     severity            pattern
    spike    training spreads    one row off
    step     training spreads    off from some row on, to the end
    drift    training spreads    off in proportion to the time since the first row, all of it at the last
    noise    training spreads    white noise over at least half of the window
    stuck    share 0 .. 1        from a row in the first quarter on, drawn towards that row's reading; 1 is constant
    lost     share 0 .. 1        drawn towards 0, what an open input reads; 1 is a dead channel
    rhythm   share 0 .. 1        drawn towards the same window at twice the speed (run forwards, then backwards)

All readings stay finite: a channel that gives no value at all is a sensor fault, decided by the windows and never
scored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.features import WINDOW_AXES
from edge_agent.contract.records import Doubles, Floats


class FaultKind(StrEnum):
    """The ways in which a channel goes wrong."""

    SPIKE = "spike"
    STEP = "step"
    DRIFT = "drift"
    STUCK = "stuck"
    NOISE = "noise"
    LOST = "lost"
    RHYTHM = "rhythm"

    @property
    def relative(self) -> bool:
        """The severity is a share from 0 to 1 (larger is taken as 1), not a number of training spreads."""
        return self in _RELATIVE


_RELATIVE: Final = frozenset({FaultKind.STUCK, FaultKind.LOST, FaultKind.RHYTHM})


def inject(  # noqa: PLR0917 - the fault (kind, severity, channel) and its surroundings (windows, spread, chance)
    windows: Floats,
    kind: FaultKind,
    severity: float,
    spread: Doubles,
    rng: np.random.Generator,
    channel: int | None = None,
) -> Floats:
    """Return a copy of the windows with one fault in one channel of each.

    Args:
        windows: float32 [k, T, C] in raw units.
        kind: what goes wrong.
        severity: how far, >= 0: in training spreads or, for a relative kind, as a share.
        spread: [C] training spread of each channel in its unit.
        rng: decides place, sign and channel; the same state decides the same at any severity.
        channel: the channel that goes wrong; None draws one for each window.

    Returns:
        float32 [k, T, C], finite where the windows are.

    Raises:
        ValueError: the severity is negative or not finite, or the shapes do not fit.
    """
    k, rows, channels = _checked_shape(windows, severity, spread, channel)
    drawn = rng.integers(channels, size=k)
    column = drawn if channel is None else np.full(k, channel)
    clean = windows[np.arange(k), :, column].astype(np.float64)
    pattern = _relative(clean, kind, rng) if kind.relative else _additive(k, rows, kind, rng)
    scale = np.full(k, min(severity, 1.0)) if kind.relative else severity * np.asarray(spread, np.float64)[column]
    largest = np.finfo(np.float32).max
    faulty = windows.copy()
    faulty[np.arange(k), :, column] = np.clip(clean + scale[:, np.newaxis] * pattern, -largest, largest)
    return faulty


def _checked_shape(windows: Floats, severity: float, spread: Doubles, channel: int | None) -> tuple[int, int, int]:
    """Return k, T, C or say what does not fit."""
    if windows.ndim != WINDOW_AXES or not all(windows.shape[1:]) or np.shape(spread) != windows.shape[2:]:
        raise ValueError(
            f"expected windows [k, T, C] and spread [C], got {list(windows.shape)} and {list(np.shape(spread))}"
        )
    if not 0 <= severity < np.inf:
        raise ValueError(f"severity must be finite and not negative, got {severity}")
    k, rows, channels = windows.shape
    if channel is not None and not 0 <= channel < channels:
        raise ValueError(f"channel must be 0 to {channels - 1}, got {channel}")
    return k, rows, channels


def _additive(k: int, rows: int, kind: FaultKind, rng: np.random.Generator) -> Doubles:
    """Return what one training spread of the fault adds, float64 [k, T]."""
    row = np.arange(rows)
    sign = rng.choice((-1.0, 1.0), size=(k, 1))
    place = rng.random((k, 1))
    shape: NDArray[np.generic]
    match kind:
        case FaultKind.SPIKE:
            shape = row == np.floor(place * rows)
        case FaultKind.STEP:
            shape = row >= np.floor(place * rows)
        case FaultKind.DRIFT:
            shape = np.broadcast_to((row + 1) / rows, (k, rows))
        case _:
            begin = np.floor(place * (rows // 2))
            shape = rng.standard_normal((k, rows)) * ((row >= begin) & (row < begin + (rows + 1) // 2))
    return np.asarray(sign * shape, np.float64)


def _relative(clean: Doubles, kind: FaultKind, rng: np.random.Generator) -> Doubles:
    """Return the way from each reading [k, T] to what it would be at severity 1."""
    k, rows = clean.shape
    place = rng.random((k, 1))
    if kind is FaultKind.LOST:
        return -clean
    if kind is FaultKind.RHYTHM:
        last = rows - 1
        forwards_then_back = last - np.abs(2 * np.arange(rows) % max(2 * last, 1) - last)
        return clean[:, forwards_then_back] - clean
    start = np.floor(place * max(rows // 4, 1)).astype(np.int64)
    return np.where(np.arange(rows) >= start, np.take_along_axis(clean, start, axis=1) - clean, 0.0)
