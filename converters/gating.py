"""What the prefilter may hide from the network, what that saves, and so whether it gates or only watches.

The lower limit is the largest d2 that hides at most 1 % of the windows that a shipped graph would alarm on, among

- injected faults of every kind, each at the severity where the network alarms on half of the windows (the hardest to
  see), and
- labelled faults, where there are any (the limit holds for either alone).

Gating pays when the time of the skipped windows exceeds the prefilter's own; a network cheaper than three prefilters
saves nothing worth a missed fault, so the prefilter then only watches. A streaming graph sees every row: a skipped
one would corrupt its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Doubles, Floats

MAX_HIDDEN = 0.01
"""Share of the windows the network would alarm on that the prefilter may hide."""

BASE_WINDOWS = 96
"""Normal windows that faults are injected into: some 340 alarming windows over the seven kinds, of which 3 may hide."""

BISECTIONS = 10
"""Halvings of the logarithm of the severity between the two ends: 1.4 % apart at the end."""

HALF = 0.5
"""Share of the windows the network alarms on at the severity that is sought: below it is luck, above it is easy."""

SEVERITY_ENDS = (0.03, 3e4)
"""Training spreads between which the severity is sought: from invisible to far outside any body's range."""

SHARE_ENDS = (0.01, 1.0)
"""The same for relative faults."""

MIN_COST_RATIO = 3.0
"""A network that costs fewer prefilters than this is not gated."""

TIMED_CALLS = 200
"""Calls of the prefilter whose fastest quarter is timed."""

Alarms = Callable[[Floats], NDArray[np.bool_]]
"""Which windows [k, T, C] a graph alarms on: bool [k]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gating:
    """The fitted lower limit and what it costs and saves."""

    mode: Mode
    lower: float
    reason: str
    """Why this mode."""
    hidden_injected: float
    """Share of alarming injected faults that the limit hides."""
    hidden_labelled: float | None
    """Share of alarming labelled windows that the limit hides; None without labels."""
    skipped: float
    """Share of later normal windows that need no network."""
    saving: float
    """Share of the time a window takes that is saved on later normal data; negative: gating costs time."""
    network_us: float
    prefilter_us: float

    def summary(self) -> str:
        """One line for the table."""
        labelled = "" if self.hidden_labelled is None else f" and {self.hidden_labelled:.1%} of labelled ones"
        verb = "gating has" if self.mode is Mode.GATE else "gating would have"
        time = f"saved {self.saving:.0%} of the time" if self.saving >= 0 else f"cost {-self.saving:.0%} more time"
        return (
            f"{self.mode}: {self.reason}; {verb} hidden {self.hidden_injected:.1%} of injected alarms{labelled}, "
            f"skipped {self.skipped:.0%} of later normal windows, {time} "
            f"({self.network_us:.1f} µs graph, {self.prefilter_us:.1f} µs prefilter)"
        )


def alarming_faults(normal: Floats, spread: Doubles, alarms: Alarms) -> Floats:
    """Injected faults [k, T, C] that the network alarms on, each kind where it alarms on half of the windows."""
    chosen = normal[np.linspace(0, len(normal) - 1, min(BASE_WINDOWS, len(normal))).astype(int)]
    found = []
    for number, kind in enumerate(FaultKind):
        low, high = SHARE_ENDS if kind.relative else SEVERITY_ENDS
        for _ in range(BISECTIONS):
            middle = float(np.sqrt(low * high))
            few = alarms(_faulty(chosen, kind, middle, spread, number)).mean() < HALF
            low, high = (middle, high) if few else (low, middle)
        faulty = _faulty(chosen, kind, high, spread, number)
        found.append(faulty[alarms(faulty)])
    return np.concatenate(found)


def fit_lower(prefilter: Prefilter, injected: Floats, labelled: Floats | None) -> float:
    """The largest d2 that hides at most `MAX_HIDDEN` of either set; 0 hides none, where nothing alarms."""
    limits = [
        _hiding_limit(prefilter.distances(windows))
        for windows in (injected, labelled)
        if windows is not None and len(windows)
    ]
    return min(limits, default=0.0)


def judge(
    *,
    prefilter: Prefilter,
    lower: float,
    wanted: Mode,
    streaming: bool,
    network_us: float,
    injected: Floats,
    labelled: Floats | None,
    later: Floats,
) -> Gating:
    """Decide the mode and measure what it saves on later normal windows [k, T, C]."""
    prefilter_us = _median_us(prefilter, later)
    skipped = float(np.mean(prefilter.distances(later) <= lower))
    saving = skipped - prefilter_us / network_us
    mode, reason = Mode.GATE, "gating pays"
    if wanted is not Mode.GATE:
        mode, reason = wanted, "as the recipe says"
    elif streaming:
        mode, reason = Mode.WATCH, "a streaming graph must see every row"
    elif network_us < MIN_COST_RATIO * prefilter_us:
        mode, reason = Mode.WATCH, f"the graph costs less than {MIN_COST_RATIO:.0f} prefilters"
    elif saving <= 0:
        mode, reason = Mode.WATCH, "skipping this little costs more time than it saves"
    return Gating(
        mode=mode,
        lower=lower,
        reason=reason,
        hidden_injected=_hidden(prefilter, lower, injected),
        hidden_labelled=_hidden(prefilter, lower, labelled) if labelled is not None and len(labelled) else None,
        skipped=skipped,
        saving=saving,
        network_us=network_us,
        prefilter_us=prefilter_us,
    )


def any_alarm(graphs: Sequence[Alarms]) -> Alarms:
    """Alarm where any shipped graph does: each of them may run on some device."""
    return lambda windows: np.logical_or.reduce([alarms(windows) for alarms in graphs])


def _faulty(windows: Floats, kind: FaultKind, severity: float, spread: Doubles, number: int) -> Floats:
    return inject(windows, kind, severity, spread, np.random.default_rng(number))


def _hiding_limit(d2: Doubles) -> float:
    ordered = np.sort(d2)
    return float(max(np.nextafter(ordered[int(MAX_HIDDEN * len(ordered))], -np.inf), 0.0))


def _hidden(prefilter: Prefilter, lower: float, windows: Floats) -> float:
    return float(np.mean(prefilter.distances(windows) <= lower)) if len(windows) else 0.0


def _median_us(prefilter: Prefilter, windows: Floats) -> float:
    """Microseconds of one window by itself, as a slow sensor gives them: the median of the fastest quarter."""
    times = []
    for number in range(TIMED_CALLS):
        window = windows[number % len(windows)][np.newaxis]
        start = time.perf_counter_ns()
        prefilter.distances(window)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(np.sort(times)[: TIMED_CALLS // 4])) / 1e3
