"""Learning on site: a Gaussian where there is no model yet.

`Learning` watches a stream without a bundle: it collects readings (state `calibrating`), fits the window Gaussian, and
from then on decides with it. What it learned is a `SiteModel`, one file, so that a restart goes on watching.

What was learned on site is `provisional` unless there was enough normal data to count alarms on
(contract/calibration.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import Decider, DecisionRule, OpenEvent
from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Block, Channel, Decision, Doubles, Fault, Floats, Times, Unknown, WindowBatch
from edge_agent.contract.windows import Windower, measured_rate_hz, stuck_limits
from edge_agent.pipeline import Pipeline
from edge_agent.site_model import SiteModel

LEAST_READINGS, MOST_READINGS = 100, 1_000_000
"""Readings to learn from: fewer say nothing of a machine, more do not fit beside it in the memory of a small one."""

PROVISIONAL_K = 5.0
"""Factor of the provisional threshold of a Gaussian alone: its distances have longer tails than the scores of a
network."""

MIN_WINDOWS = 8
"""Windows that do not overlap below which no spread can be told from chance."""

FOLDS = 4
"""Stretches of the readings that are each measured by a Gaussian of the others: each has three quarters of them."""

LEAST_FOLD = 2.0
"""Independent windows that a Gaussian of a few overlapping ones is taken to be worth; it needs two."""

FAULT_HOLD_OFF_S = 60.0
"""Seconds of readings that close a fault while learning: a minute tells a loose plug from one put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """How a Gaussian is learned where there is no bundle."""

    readings: int = 600
    """Normal readings to learn from, 100..1,000,000."""
    window: int = 16
    """T, readings in a window, 2..1024."""
    rate_hz: float | None = None
    """Readings a second; None: measured."""
    alarms_per_day: float = 1.0
    """False alarms a day to aim at."""

    def __post_init__(self) -> None:
        """Refuse too few readings to learn anything from."""
        if not 2 <= self.window <= 1024:  # noqa: PLR2004 - as documented
            raise ValueError(f"window must be 2..1024 readings, got {self.window}")
        least = max(LEAST_READINGS, MIN_WINDOWS * self.window)
        if not least <= self.readings <= MOST_READINGS:
            raise ValueError(
                f"readings must be {least}..{MOST_READINGS} for a window of {self.window}, got {self.readings}"
            )
        if self.rate_hz is not None and not 0 < self.rate_hz <= 1e6:  # noqa: PLR2004 - as in the manifest
            raise ValueError(f"rate_hz must be above 0 and at most 1e6, got {self.rate_hz}")
        if not 0 < self.alarms_per_day <= 1e6:  # noqa: PLR2004 - as in the manifest
            raise ValueError(f"alarms_per_day must be above 0 and at most 1e6, got {self.alarms_per_day}")


@dataclass(slots=True)
class Recorded:
    """Readings kept while learning."""

    blocks: list[Block] = field(default_factory=list)
    count: int = 0

    def add(self, block: Block) -> None:
        """Keep a block."""
        self.blocks.append(block)
        self.count += len(block)

    def arrays(self) -> tuple[Floats, Times]:
        """Return values float32 [n, C] and t_ns int64 [n]."""
        return np.concatenate([b.values for b in self.blocks]), np.concatenate([b.t_ns for b in self.blocks])


def windows_of(rule_input: InputSpec, blocks: Sequence[Block]) -> tuple[Floats, Times, list[str]]:
    """Cut readings into windows as the device does.

    Returns:
        Windows float32 [k, T, C], t_ns int64 [k] of their last rows, and the faults met on the way.
    """
    windower, batches, problems = Windower(rule_input.rule()), [], []
    for block in blocks:
        for item in windower.feed(block):
            if isinstance(item, WindowBatch):
                batches.append((item.values[item.warming :].copy(), item.t_ns[item.warming :]))
            elif item.fault is not Fault.NOT_READY:
                problems.append(item.detail)
    if not batches:
        width = len(rule_input.channels)
        return np.empty((0, rule_input.window, width), np.float32), np.empty(0, np.int64), problems
    return np.concatenate([values for values, _ in batches]), np.concatenate([t for _, t in batches]), problems


def learn(
    channels: tuple[Channel, ...], blocks: Sequence[Block], settings: LearningSettings, created: str
) -> SiteModel:
    """Fit the Gaussian to normal readings.

    Raises:
        ValueError: too few usable windows; the message says what was wrong with the rest.
    """
    recorded = Recorded(list(blocks), sum(map(len, blocks)))
    values, t_ns = recorded.arrays()
    rate_hz = settings.rate_hz or measured_rate_hz(t_ns, float("inf"))
    spec = InputSpec(
        channels=channels,
        rate_hz=rate_hz,
        window=settings.window,
        hold=2,
        max_gap_s=5 / rate_hz,
        stuck_samples=stuck_limits(values, settings.window),
    )
    windows, ends, problems = windows_of(spec, blocks)
    effective = len(windows) / settings.window
    if effective < MIN_WINDOWS:
        why = f": {problems[0]}" if problems else ""
        raise ValueError(
            f"only {len(windows)} usable windows of {settings.window} readings came from {len(values)} readings{why}"
        )
    prefilter = Prefilter.fit(windows, effective_windows=effective, names=tuple(channel.name for channel in channels))
    rule = DecisionRule(hold_off_s=spec.window_s)
    calibration = calibrate(
        unseen_distances(windows),
        ends,
        alarms_per_day=settings.alarms_per_day,
        n=rule.n,
        m=rule.m,
        join_s=spec.window_s + rule.hold_off_s,
        k=PROVISIONAL_K,
    )
    return SiteModel(input=spec, calibration=calibration, prefilter=prefilter, created=created)


def unseen_distances(windows: Floats) -> Doubles:
    """Return the distance of each window from a Gaussian that was not fitted to it.

    Windows that a Gaussian was fitted to lie closer to it than any that come later, and the more so the fewer there
    were: a threshold from their own distances gave 27 false alarms a day for one asked (600 readings of the simulated
    pump, 16 a window), these give 3. So each of `FOLDS` stretches is measured by a Gaussian of the others.

    Args:
        windows: float32 [k, T, C], in order of time, T rows apart or less.

    Returns:
        float64 [k].
    """
    k, rows = len(windows), windows.shape[1]
    edges = np.linspace(0, k, FOLDS + 1).astype(int)
    distances = np.empty(k)
    for begin, end in itertools.pairwise(edges.tolist()):
        # Windows that overlap the stretch share readings with it.
        others = np.concatenate((windows[: max(0, begin - rows)], windows[end + rows :]))
        fold = Prefilter.fit(others, effective_windows=max(len(others) / rows, LEAST_FOLD))
        distances[begin:end] = fold.distances(windows[begin:end])
    return distances


def gaussian_pipeline(model: SiteModel, new_id: Callable[[], str], *, problem: str = "") -> Pipeline:
    """Return the pipeline that watches with the Gaussian alone."""
    rule = DecisionRule(hold_off_s=model.input.window_s)
    return Pipeline(
        windower=Windower(model.input.rule()),
        decider=Decider(rule, model.calibration, model.input.window_s, new_id),
        calibration=model.calibration,
        prefilter=model.prefilter,
        scorer=None,
        mode=Mode.WATCH,
        max_skip_s=float(rule.hold_off_s),
        model_problem=problem,
    )


class Learning:
    """Collects readings of a stream without a model, and gives the model once there are enough.

    Args:
        channels: of the source.
        settings: how many readings, and which window.
        created: the time to write into the model, UTC, ISO 8601.
        new_id: makes event ids.
    """

    def __init__(
        self,
        channels: tuple[Channel, ...],
        settings: LearningSettings,
        created: Callable[[], str],
        new_id: Callable[[], str],
    ) -> None:
        self._channels, self._settings, self._created = channels, settings, created
        self._faults = _faults_only(new_id)
        self._kept: list[OpenEvent] = []
        self._recorded = Recorded()
        self._target = settings.readings
        self.problem = ""

    @property
    def progress(self) -> float:
        """Share of the readings that are here, 0..1."""
        return min(1.0, self._recorded.count / self._target)

    def feed(self, block: Block) -> tuple[Decision, SiteModel | None]:
        """Keep a block; the model comes with the block that completes it."""
        self._recorded.add(block)
        done = self._recorded.count >= self._target
        model = self._learn() if done else None
        detail = f"learning what is normal: {self._recorded.count} of {self._target} readings"
        if self.problem:
            detail += f"; the last try failed: {self.problem}"
        t_ns = int(block.t_ns[-1])
        transitions = self._faults.window(t_ns, score=None).transitions
        return Decision(t_ns=t_ns, anomaly=None, fault=Fault.CALIBRATING, detail=detail, transitions=transitions), model

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings: it is an event while learning, too."""
        return self._faults.unknown(unknown)

    def restore(self, events: Sequence[OpenEvent]) -> None:
        """Take over events that were open: faults end here, an anomaly waits for what can judge it."""
        self._kept = [event for event in events if event.fault is None]
        self._faults.restore(event for event in events if event.fault is not None)

    def open_events(self) -> list[OpenEvent]:
        """Return the events that are open."""
        return [*self._kept, *self._faults.open_events()]

    def _learn(self) -> SiteModel | None:
        try:
            return learn(self._channels, self._recorded.blocks, self._settings, self._created())
        except (ValueError, ArithmeticError, MemoryError) as error:
            self.problem = str(error) or type(error).__name__
            half = len(self._recorded.blocks) // 2
            kept = self._recorded.blocks[half:]
            self._recorded = Recorded(kept, sum(map(len, kept)))
            return None


def _faults_only(new_id: Callable[[], str]) -> Decider:
    """Return a decider for a time without scores: it opens and closes the events of faults, never an anomaly."""
    rule = DecisionRule(n=1, m=1, hold_off_s=FAULT_HOLD_OFF_S)
    never_asked = calibrate(np.zeros(1), np.zeros(1, np.int64), alarms_per_day=1, n=1, m=1, join_s=1, k=1)
    return Decider(rule, never_asked, 1.0, new_id)
