"""Readings in, decisions out: window -> prefilter -> score -> decision. Pure: no clock, no input or output.

Order of events for one block of readings:

1. The windower cuts it into windows, or says why it cannot (`Unknown`): broken input is decided here and never scored.
2. The prefilter gives every window of the batch its squared Mahalanobis distance at once. `clear` windows end here in
   mode `gate`; one in `max_skip_s` of reading time is scored all the same, and the first one after any failure.
3. What is left is scored by the network. A streaming graph sees every row, or its state would be wrong.
4. The decider turns scores into states and events.

A network that fails does not end the watch: the Gaussian alone decides, whatever its mode (only its upper limit raises
an alarm), under the fault `model`. A streaming graph that failed warms up again before it is believed. A network that
needs more time than the readings leave it is `too slow`, the same fault; it rests for `REST_S` and is tried again.
Deliberately elsewhere: words and payloads (`reporting.py`), clocks (`read_loop.py`), learning on site (`on_site.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import Decider, DecisionRule
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Block, Decision, Fault, Floats, Stage, Unknown, WindowBatch
from edge_agent.contract.windows import Windower
from edge_agent.errors import ScoringError
from edge_agent.ports import Scorer

MOST_SECONDS = 86_400.0
"""A day: no sensible setting of this module's times is longer."""
BEHIND_S = 10.0
"""Seconds of scoring beyond the reading time that went by from which the network is too slow: above a busy moment of
the machine, below the 25 s of readings that wait for a watcher held up."""
REST_S = 300.0
"""Seconds of reading time that a network which is too slow is not run: the fault stays one event."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrefilterSettings:
    """What the device may change of the bundle's prefilter; None: as the bundle says."""

    mode: Mode | None = None
    """`gate`: the network is spared clear windows; `watch`: every window is scored; `off`."""
    max_skip_s: float | None = None
    """Seconds of reading time after which a window is scored whatever the prefilter says, above 0 and up to a day."""

    def __post_init__(self) -> None:
        """Refuse times that never come."""
        if self.max_skip_s is not None and not 0 < self.max_skip_s <= MOST_SECONDS:
            raise ValueError(f"max_skip_s must be above 0 and at most {MOST_SECONDS:.0f}, got {self.max_skip_s}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """What the device may change of the bundle's decision, without retraining; None: as the bundle says.

    N and M are not among them: the threshold was derived for these very numbers.
    """

    alarms_per_day: float | None = None
    """False alarms a day to aim at; more is more sensitive. Moves the threshold of grades `counted` and
    `extrapolated`."""
    k: float | None = None
    """Factor of a `provisional` threshold: median + k (q.99 - median); less is more sensitive."""
    hysteresis: float | None = None
    """Share of the way from median to threshold up to which a window is quiet, above 0 and at most 1."""
    hold_off_s: float | None = None
    """Seconds of quiet that close an event, 0 to a day. Shorter than the bundle's makes more events than it counted."""
    update_s: float | None = None
    """Seconds between two updates of an event, 0 to a day."""

    def rule(self, base: DecisionRule) -> DecisionRule:
        """Return the rule as this device follows it."""
        asked = {name: getattr(self, name) for name in ("hysteresis", "hold_off_s", "update_s")}
        return dataclasses.replace(base, **{name: value for name, value in asked.items() if value is not None})

    def calibration(self, base: Calibration) -> Calibration:
        """Return the threshold for what this device asks."""
        if self.alarms_per_day is None and self.k is None:
            return base
        return base.at(alarms_per_day=self.alarms_per_day, k=self.k)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name in ("alarms_per_day", "k"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1e6:  # noqa: PLR2004 - as in the manifest
                raise ValueError(f"{name} must be above 0 and at most 1e6, got {value}")
        if self.hysteresis is not None and not 0 < self.hysteresis <= 1:
            raise ValueError(f"hysteresis must be above 0 and at most 1, got {self.hysteresis}")
        for name in ("hold_off_s", "update_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MOST_SECONDS:
                raise ValueError(f"{name} must be 0 to {MOST_SECONDS:.0f}, got {value}")


@dataclasses.dataclass(slots=True)
class Counts:
    """What the pipeline has seen since it was made."""

    windows: int = 0
    scored: int = 0
    gross: int = 0
    model_failures: int = 0

    @property
    def skipped_share(self) -> float:
        """Share of the windows that the prefilter kept from the network, 0..1."""
        return 1 - self.scored / self.windows if self.windows else 0.0


class Pipeline:
    """One stream's way from readings to decisions.

    Args:
        windower: cuts readings into windows.
        decider: turns scores into decisions.
        calibration: what the decider's threshold comes from; told with every alert.
        prefilter: the Gaussian; None where the bundle has none.
        scorer: the network; None where the Gaussian watches alone.
        mode: what the prefilter does.
        max_skip_s: seconds of reading time after which a window is scored whatever the prefilter says.
        model_problem: why there is no scorer where there should be one; every decision then carries the fault `model`.
    """

    def __init__(
        self,
        *,
        windower: Windower,
        decider: Decider,
        calibration: Calibration,
        prefilter: Prefilter | None,
        scorer: Scorer | None,
        mode: Mode,
        max_skip_s: float,
        model_problem: str = "",
    ) -> None:
        if prefilter is None and scorer is None:
            raise ValueError("a pipeline needs a prefilter, a scorer or both, got neither")
        self.windower = windower
        self.decider = decider
        self.calibration = calibration
        self.prefilter = prefilter
        self.scorer = scorer
        self.counts = Counts()
        self._mode = Mode.OFF if prefilter is None else Mode.WATCH if scorer is None else mode
        self._max_skip_ns = int(max_skip_s * NS)
        self._model_problem = model_problem
        self._scored_ns: int | None = None
        self._pace = Pace()
        self._cold, self._cold_problem = 0, ""
        self._waiting: Unknown | None = None
        self._interrupted = False

    def feed(self, block: Block) -> list[Decision]:
        """Decide every window that the block completes, in the order of reading time."""
        items = self.windower.feed(block)
        decisions: list[Decision] = []
        if self._interrupted and len(block):
            self._interrupted = False
            if self._waiting is not None and not (items and isinstance(items[0], Unknown)):
                again = dataclasses.replace(self._waiting, t_ns=int(block.t_ns[0]))
                decisions.append(self.decider.unknown(again))
        for item in items:
            if isinstance(item, Unknown):
                decisions.append(self._break(item))
            else:
                decisions.extend(self._batch(item))
        return decisions

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a stretch that cannot be scored, found by others than the windower (no data, camera health).

        The windower knows nothing of it: whether readings go on without a break is for it to say. What it said last and
        still holds is said again with the next readings.
        """
        self._interrupted = True
        self._scored_ns = None
        return self.decider.unknown(unknown)

    def _break(self, unknown: Unknown) -> Decision:
        self._waiting = unknown
        self._scored_ns = None
        self._cold = 0
        if self.scorer is not None:
            self.scorer.reset()
        return self.decider.unknown(unknown)

    def _batch(self, batch: WindowBatch) -> Iterator[Decision]:
        if batch.warming < len(batch.t_ns):
            self._waiting = None
        watching = self.prefilter is not None and self._mode is not Mode.OFF
        distances = self.prefilter.distances(batch.values).tolist() if self.prefilter and watching else None
        lower = self.prefilter.lower if self.prefilter and self._mode is Mode.GATE else -1.0
        streaming = self.scorer is not None and self.scorer.streaming
        for i, t_ns in enumerate(batch.t_ns.tolist()):
            d2 = distances[i] if distances else None
            self.counts.windows += 1
            self.counts.gross += self._gross(d2)
            must = streaming or d2 is None or not d2 <= lower or self._skipped_too_long(t_ns)
            yield from self._window(batch.values[i], t_ns, d2, score=must, warming=i < batch.warming)

    def _gross(self, d2: float | None) -> bool:
        return d2 is not None and self.prefilter is not None and d2 > self.prefilter.upper

    def _skipped_too_long(self, t_ns: int) -> bool:
        return self._scored_ns is None or not 0 <= t_ns - self._scored_ns < self._max_skip_ns

    def _window(self, window: Floats, t_ns: int, d2: float | None, *, score: bool, warming: bool) -> Iterator[Decision]:
        if self.scorer is None:
            yield self._without_scorer(window, t_ns, d2)
        elif problem := self._pace.problem(t_ns):
            yield self._model_failed(window, t_ns, d2, problem)
        elif not score:
            yield self.decider.window(t_ns, score=None, d2=d2, gross=False, stage=Stage.PREFILTER)
        else:
            yield from self._score(self.scorer, window, t_ns, d2, warming=warming)

    def _score(
        self, scorer: Scorer, window: Floats, t_ns: int, d2: float | None, *, warming: bool
    ) -> Iterator[Decision]:
        try:
            result = scorer.score(window)
            if not math.isfinite(result.value):
                raise ScoringError(f"the graph gave the score {result.value}; expected a finite number")
        except ScoringError as error:
            self.counts.model_failures += 1
            yield self._model_failed(window, t_ns, d2, str(error))
            return
        self._scored_ns = t_ns
        self.counts.scored += 1
        self._pace.spent(result.took_ns)
        if self._cold:
            self._cold -= 1
            if not warming:
                problem = f"{self._cold_problem}; the graph warms up again"
                yield self._gaussian_alone(window, t_ns, d2, problem)
        elif not warming:
            decision = self.decider.window(t_ns, score=result.value, d2=d2, gross=self._gross(d2), stage=Stage.NETWORK)
            yield _explained(decision, window, result.contributions)

    def _without_scorer(self, window: Floats, t_ns: int, d2: float | None) -> Decision:
        if self._model_problem:
            return self._gaussian_alone(window, t_ns, d2, self._model_problem)
        decision = self.decider.window(t_ns, score=d2, d2=d2, gross=self._gross(d2), stage=Stage.PREFILTER)
        return _explained(decision, window)

    def _model_failed(self, window: Floats, t_ns: int, d2: float | None, problem: str) -> Decision:
        """Decide a window that the network should have scored; the next one is scored whatever the prefilter says."""
        self._scored_ns = None
        if self.scorer is not None and self.scorer.streaming:
            self.scorer.reset()
            self._cold, self._cold_problem = self.windower.rule.warm_up, problem
        return self._gaussian_alone(window, t_ns, d2, problem)

    def _gaussian_alone(self, window: Floats, t_ns: int, d2: float | None, problem: str) -> Decision:
        if self.prefilter is None:
            return self.decider.unknown(Unknown(t_ns=t_ns, fault=Fault.MODEL, detail=problem))
        if d2 is None:
            d2 = float(self.prefilter.distances(window[np.newaxis])[0])
        decision = self.decider.window(
            t_ns, score=None, d2=d2, gross=self._gross(d2), stage=Stage.PREFILTER, model_fault=problem
        )
        return _explained(decision, window)


class Pace:
    """Whether the network keeps up: the time that scoring took against the reading time that went by.

    A network may take longer than one window leaves it, where the prefilter spares it others. So what counts is the
    time owed: each call adds its own, reading time that goes by pays it off.
    """

    def __init__(self) -> None:
        """Begin without owing anything."""
        self._owed_ns = 0
        self._last_ns: int | None = None
        self._problem = ""

    def problem(self, t_ns: int) -> str:
        """Go on to the reading time of a window; return why it must not be scored, empty where it may."""
        last, self._last_ns = self._last_ns, t_ns
        if last is not None and t_ns > last:
            self._owed_ns = max(0, self._owed_ns - (t_ns - last))
        if not self._owed_ns:
            self._problem = ""
        return self._problem

    def spent(self, took_ns: int) -> None:
        """Add the time of a call."""
        self._owed_ns += took_ns
        if self._owed_ns > BEHIND_S * NS:
            self._problem = (
                f"the network is too slow: the last window took {took_ns / NS:.2g} s, and scoring is {BEHIND_S:.0f} s "
                f"behind the readings; it is tried again after {REST_S:.0f} s"
            )
            self._owed_ns = int(REST_S * NS)


def _explained(decision: Decision, window: Floats, contributions: Floats | None = None) -> Decision:
    """Return the decision with what its alerts are explained by, where it has any."""
    if not decision.transitions:
        return decision
    return dataclasses.replace(decision, window=window, contributions=contributions)


def bundle_pipeline(
    bundle: Bundle,
    spec: GraphSpec,
    scorer: Scorer | None,
    *,
    new_id: Callable[[], str],
    decision: DecisionSettings | None = None,
    prefilter: PrefilterSettings | None = None,
    calibration: Calibration | None = None,
    gaussian: Prefilter | None = None,
    model_problem: str = "",
) -> Pipeline:
    """Return the pipeline of a bundle as this device runs it.

    Args:
        bundle: read and checked.
        spec: the graph of it that runs.
        scorer: that graph, loaded; None where it cannot be, and `model_problem` says why.
        new_id: makes event ids.
        decision: what the device changes of the decision.
        prefilter: what the device changes of the prefilter.
        calibration: an on-site calibration instead of the bundle's.
        gaussian: the prefilter fitted on site with it.
        model_problem: why there is no scorer.
    """
    manifest = bundle.manifest
    asked = decision or DecisionSettings()
    wanted = prefilter or PrefilterSettings()
    rule = asked.rule(manifest.decision.rule)
    base = asked.calibration(calibration or spec.calibration)
    return Pipeline(
        windower=Windower(manifest.input.rule()),
        decider=Decider(rule, base, manifest.input.window_s, new_id),
        calibration=base,
        prefilter=gaussian or bundle.prefilter(),
        scorer=scorer,
        mode=wanted.mode or manifest.prefilter.mode,
        max_skip_s=wanted.max_skip_s or manifest.prefilter.max_skip_s,
        model_problem=model_problem,
    )
