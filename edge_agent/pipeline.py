"""Readings in, decisions out: window -> prefilter -> score -> decision. Pure: no clock, no input or output.

Order of events for one block of readings:

1. The windower cuts it into windows, or says why it cannot (`Unknown`): broken input is decided here and never scored.
2. The prefilter gives every window of the batch its squared Mahalanobis distance at once. `clear` windows end here in
mode
   `gate`; one in `max_skip_s` of reading time is scored all the same.
3. What is left is scored by the network. A streaming graph sees every row, or its state would be wrong.
4. The decider turns scores into states and events.

A network that fails does not end the watch: the Gaussian alone decides (only its upper limit raises an alarm), under
the fault `model`. Deliberately elsewhere: words, payloads and clocks (`stream.py`), learning on site (`on_site.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import Decider
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Block, Decision, Fault, Floats, Stage, Unknown, WindowBatch
from edge_agent.contract.windows import Windower
from edge_agent.errors import ScoringError
from edge_agent.ports import Scorer

MOST_SECONDS = 86_400.0
"""A day: no sensible setting of this module's times is longer."""


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
    """Seconds of quiet that close an event, 0 to a day."""
    update_s: float | None = None
    """Seconds between two updates of an event, 0 to a day."""

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
        self.last_window: Floats | None = None
        self.last_contributions: Floats | None = None
        self._mode = Mode.OFF if prefilter is None else mode
        self._max_skip_ns = int(max_skip_s * NS)
        self._model_problem = model_problem
        self._scored_ns: int | None = None

    def feed(self, block: Block) -> list[Decision]:
        """Decide every window that the block completes, in the order of reading time."""
        decisions: list[Decision] = []
        for item in self.windower.feed(block):
            if isinstance(item, Unknown):
                decisions.append(self.unknown(item))
            else:
                decisions.extend(self._batch(item))
        return decisions

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a stretch that cannot be scored, also one that others found (no data, camera health)."""
        if self.scorer is not None:
            self.scorer.reset()
        self._scored_ns = None
        return self.decider.unknown(unknown)

    def _batch(self, batch: WindowBatch) -> Iterator[Decision]:
        watching = self.prefilter is not None and self._mode is not Mode.OFF
        distances = self.prefilter.distances(batch.values).tolist() if self.prefilter and watching else None
        lower = self.prefilter.lower if self.prefilter and self._mode is Mode.GATE else -1.0
        upper = self.prefilter.upper if self.prefilter and watching else float("inf")
        streaming = self.scorer is not None and self.scorer.streaming
        for i, t_ns in enumerate(batch.t_ns.tolist()):
            d2 = distances[i] if distances else None
            gross = d2 is not None and d2 > upper
            self.counts.windows += 1
            self.counts.gross += gross
            must = streaming or d2 is None or d2 > lower or self._skipped_too_long(t_ns)
            yield from self._window(batch.values[i], t_ns, d2, gross=gross, score=must, warming=i < batch.warming)

    def _skipped_too_long(self, t_ns: int) -> bool:
        return self._scored_ns is None or not 0 <= t_ns - self._scored_ns < self._max_skip_ns

    def _window(
        self, window: Floats, t_ns: int, d2: float | None, *, gross: bool, score: bool, warming: bool
    ) -> Iterator[Decision]:
        self.last_window = window
        if self.scorer is None:
            yield self._gaussian(t_ns, d2, gross=gross)
            return
        if not score:
            yield self.decider.window(t_ns, score=None, d2=d2, gross=False, stage=Stage.PREFILTER)
            return
        try:
            result = self.scorer.score(window)
        except ScoringError as error:
            self.counts.model_failures += 1
            yield self._model_failed(t_ns, d2, str(error), gross=gross)
            return
        self._scored_ns = t_ns
        self.counts.scored += 1
        if warming:
            return
        self.last_contributions = result.contributions
        yield self.decider.window(t_ns, score=result.value, d2=d2, gross=gross, stage=Stage.NETWORK)

    def _gaussian(self, t_ns: int, d2: float | None, *, gross: bool) -> Decision:
        if self._model_problem:
            return self._model_failed(t_ns, d2, self._model_problem, gross=gross)
        return self.decider.window(t_ns, score=d2, d2=d2, gross=gross, stage=Stage.PREFILTER)

    def _model_failed(self, t_ns: int, d2: float | None, problem: str, *, gross: bool) -> Decision:
        if self.prefilter is None:
            return self.decider.unknown(Unknown(t_ns=t_ns, fault=Fault.MODEL, detail=problem))
        return self.decider.window(t_ns, score=None, d2=d2, gross=gross, stage=Stage.PREFILTER, model_fault=problem)


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
    rule = dataclasses.replace(
        manifest.decision.rule,
        **{
            name: value
            for name in ("hysteresis", "hold_off_s", "update_s")
            if (value := getattr(asked, name)) is not None
        },
    )
    base = calibration or spec.calibration
    if asked.alarms_per_day is not None or asked.k is not None:
        base = base.at(alarms_per_day=asked.alarms_per_day, k=asked.k)
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
