"""Inputs that a graph is quantized with and judged on: normal, faulty, and growing out of every bound.

Two sets, kept apart: `samples` come from the training windows and set the int8 ranges; `Cases` come from validation
data (and labelled faults) and are what parity is measured on. Both hold windows [k, T, C], or for a streaming graph
sequences [k, L, C] that the graph steps along from a fresh state.

Ranges set on normal data alone destroyed an int8 detector (AUC-PR .903 to .838): a third of normal windows drifted
out of the range seen. So half of the samples are faults that drive every channel to both ends of the body's range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from converters.refusal import Refused
from converters.replay import faulty_stretches, stretches
from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.features import CLAMP
from edge_agent.contract.records import NS, Doubles, Floats
from training.artifacts import Run

Number = TypeVar("Number", bound=np.generic)

SAMPLES = 192
"""Normal windows that set the int8 ranges; ranges settle after some hundred."""

CASES = 192
"""Held-out normal windows that parity is measured on, and as many with faults: the standard error of a rank
correlation of .99 is then .001."""

SEQUENCES = 32
"""Normal or labelled sequences instead of windows for a streaming graph: each is many steps."""

STEPS_AFTER_WARM_UP = 24
"""Rows of a sequence whose scores count."""

OVERDRIVE = 2.0
"""Faults that set ranges reach this many body ranges: the front saturates them, so the body sees exactly both ends."""

SEVERITIES = (3.0, 6.0, 12.0)
"""Training spreads of the injected faults of parity: from barely to plainly visible."""

SHARES = (0.5, 1.0)
"""Severities of the relative faults (stuck, lost, rhythm)."""

GROWTH_START = 0.5
"""Training spreads from which the growing fault is followed: less is no fault."""

GROWTH_STEPS_INSIDE = 20
"""Severities of the growing fault inside the body's range, evenly on a logarithmic scale: with a range of 20 spreads
each is a fifth larger than the one before."""

GROWTH_OUTSIDE = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0, 1e3, 1e4)
"""The growing fault outside, in body ranges: first past the end even of readings that were on the other side; `CLAMP`
comes last."""

MAX_GROWTH_CHANNELS = 16
"""Channels whose growing fault is tried, evenly chosen."""

MAX_GROWTH_CHANNELS_STREAMING = 8
"""The same for a streaming graph, where each case is a sequence of steps."""

GROWTH_BASES = 3
"""Normal windows that the fault grows in, for each channel and sign; one sequence for a streaming graph."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cases:
    """What parity is measured on."""

    inputs: Floats
    """float32 [k, T or L, C]: first normal, then faulty, then growing."""
    normal: int
    """Number of normal cases."""
    faulty: int
    """Number of faulty cases."""
    growth: tuple[int, int]
    """Number of growing faults, and of their severities; each fault's cases follow one another, weakest first."""
    growth_inside: int
    """How many of the severities lie inside the body's range."""
    warm_up: int
    """Leading scores of a sequence that do not count."""


def sequence_rows(run: Run) -> int:
    """Rows of a case: T, or for a streaming graph the warm-up and some more."""
    return run.input.warm_up + STEPS_AFTER_WARM_UP if run.input.streaming else run.input.window


def samples(run: Run) -> Floats:
    """Windows or sequences [k, T or L, C] from training data that set the int8 ranges."""
    if run.input.streaming:
        gap_ns = run.input.max_gap_s * NS
        breaks = np.flatnonzero(np.diff(run.train_t_ns) > gap_ns) + 1
        normal = _sequences(np.split(run.train_windows[:, 0], breaks), sequence_rows(run), SEQUENCES)
    else:
        normal = _evenly(run.train_windows, SAMPLES)
    if not len(normal):
        raise Refused(
            "the run has too little training data for the int8 ranges: "
            f"at least {sequence_rows(run)} rows in a row are needed"
        )
    return np.concatenate([normal, _ends(normal, run.spread, OVERDRIVE * run.info.body_range), _mixed(normal, run)])


def cases(run: Run) -> Cases:
    """Held-out normal, faulty and growing cases.

    Raises:
        Refused: the validation data give no window.
    """
    normal, labelled = _held_out(run), _labelled(run)
    if not len(normal):
        raise Refused(
            "the validation data give no complete window: record more normal data, or lower `rows` in the recipe"
        )
    warm_up = run.input.warm_up if run.input.streaming else 0
    faulty = np.concatenate([_evenly(_injected(normal, warm_up, run.spread), CASES), *labelled])
    growing, growth = _growing(normal, run)
    return Cases(
        inputs=np.concatenate([normal, faulty, growing]),
        normal=len(normal),
        faulty=len(faulty),
        growth=growth,
        growth_inside=GROWTH_STEPS_INSIDE,
        warm_up=warm_up,
    )


def _injected(normal: Floats, warm_up: int, spread: Doubles) -> Floats:
    """The normal cases with a fault of every kind and severity each, in rows whose scores count."""
    rng = np.random.default_rng(0)
    counted = [
        inject(normal[:, warm_up:], kind, severity, spread, rng)
        for kind in FaultKind
        for severity in (SHARES if kind.relative else SEVERITIES)
    ]
    faulty = np.tile(normal, (len(counted), 1, 1))
    faulty[:, warm_up:] = np.concatenate(counted)
    return faulty


def _evenly(array: NDArray[Number], most: int) -> NDArray[Number]:
    """At most so many of the entries, evenly spaced, the first and last among them."""
    return array[np.unique(np.linspace(0, len(array) - 1, min(most, len(array))).astype(int))] if len(array) else array


def _sequences(stretched: Sequence[Floats], rows: int, most: int) -> Floats:
    """Cut stretches of rows [n, C] into sequences [s, rows, C], evenly chosen; they may overlap.

    By half where that gives enough of them, else by as much as `most` needs: the median deviation of three cases is
    chance.
    """
    room = sum(max(len(stretch) - rows + 1, 0) for stretch in stretched)
    step = min(max(rows // 2, 1), max(room // most, 1))
    cut = [stretch[start : start + rows] for stretch in stretched for start in range(0, len(stretch) - rows + 1, step)]
    channels = stretched[0].shape[1] if stretched else 0
    return _evenly(np.stack(cut), most) if cut else np.empty((0, rows, channels), np.float32)


def _ends(normal: Floats, spread: Doubles, reach: float) -> Floats:
    """Faults that drive every channel to both ends: a step from a third of the case on, and the whole case."""
    rows, channels = normal.shape[1:]
    driven = []
    for channel in range(channels):
        for sign in (-1, 1):
            for start in (0, rows // 3):
                case = normal[(2 * channel + start) % len(normal)].copy()
                case[start:, channel] += np.float32(sign * reach * spread[channel])
                driven.append(case)
    driven += [normal[0] + np.float32(sign * reach) * spread.astype(np.float32) for sign in (-1, 1)]
    return np.stack(driven)


def _mixed(normal: Floats, run: Run) -> Floats:
    """Injected faults of every kind at several sizes up to the end of the range."""
    rng = np.random.default_rng(1)
    some = _evenly(normal, max(len(normal) // 8, 1))
    reach = run.info.body_range
    return np.concatenate(
        [
            inject(some, kind, severity, run.spread, rng)
            for kind in FaultKind
            for severity in ((1.0,) if kind.relative else (reach / 4, reach / 2, reach))
        ]
    )


def _held_out(run: Run) -> Floats:
    found = stretches(run.input.rule(), *run.validation)
    if run.input.streaming:
        return _sequences([stretch.windows[:, 0] for stretch in found], sequence_rows(run), SEQUENCES)
    return (
        _evenly(np.concatenate([stretch.windows for stretch in found]), CASES)
        if found
        else np.empty((0, 1, 1), np.float32)
    )


def _labelled(run: Run) -> list[Floats]:
    """Labelled faulty windows, or sequences that end in a labelled row; empty where there are none."""
    if run.faulty is None:
        return []
    rows, chosen = sequence_rows(run), []
    for stretch, faulty in faulty_stretches(run.input.rule(), *run.faulty):
        if run.input.streaming:
            chosen += [
                stretch.windows[end - rows + 1 : end + 1, 0] for end in np.flatnonzero(faulty) if end >= rows - 1
            ]
        else:
            chosen += list(stretch.windows[faulty])
    return [_evenly(np.stack(chosen), SEQUENCES if run.input.streaming else CASES)] if chosen else []


def _growing(normal: Floats, run: Run) -> tuple[Floats, tuple[int, int]]:
    """One channel further and further off in the last half of the rows: channels x signs x base windows.

    Off its readings, not off its centre: on the way to a level, a channel passes those that the others agree with.
    """
    severities = np.array(_severities(run.info.body_range))
    streaming = run.input.streaming
    most = MAX_GROWTH_CHANNELS_STREAMING if streaming else MAX_GROWTH_CHANNELS
    channels = _evenly(np.arange(normal.shape[2]), most)
    start = normal.shape[1] - max(normal.shape[1] // 2, 1)
    grown = []
    for number, channel in enumerate(channels):
        bases = normal[[number % len(normal)]] if streaming else _evenly(normal, GROWTH_BASES)
        for sign in (-1, 1):
            off = (sign * severities * run.spread[channel]).astype(np.float32)
            for base in bases:
                fault = np.tile(base, (len(severities), 1, 1))
                fault[:, start:, channel] += off[:, np.newaxis]
                grown.append(fault)
    return np.concatenate(grown), (len(grown), len(severities))


def _severities(reach: float) -> list[float]:
    """Training spreads of the growing fault, the first `GROWTH_STEPS_INSIDE` of them inside the body's range."""
    inside = np.geomspace(min(GROWTH_START, reach / 2), reach, GROWTH_STEPS_INSIDE, endpoint=False)
    return [*inside.tolist(), *(share * reach for share in GROWTH_OUTSIDE if share * reach < CLAMP), CLAMP]


def faulty_labels(cases: Cases) -> NDArray[np.bool_]:
    """Bool [normal + faulty]: which of the first cases are faulty."""
    return np.arange(cases.normal + cases.faulty) >= cases.normal
