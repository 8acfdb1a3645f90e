"""Which of a bundle's graphs runs here: replay its golden data, time it, take the fastest that passes.

A graph that does not give its golden scores on this machine (another runtime, a broken delegate) is never run, however
fast. `edge-agent bench` shows the same figures to a person. Bundles for cameras: `frame_selection.py`, by the same
rules (`attempt`, `fastest`).
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.manifest_base import PackedGraph
from edge_agent.contract.records import Doubles, Floats
from edge_agent.errors import ScoringError
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.loaded_graph import LoadedGraph
from edge_agent.scoring.settings import ScoringSettings

_log = logging.getLogger(__name__)

TIMED_INVOKES = 60
"""Scored windows whose median is the time of a graph: 60 of the slowest sensible graph (5 ms) fit in the start-up
budget."""
WARM_INVOKES = 5
"""Windows scored before timing starts: the first ones touch cold memory."""


G = TypeVar("G", bound=PackedGraph)
S = TypeVar("S", bound=LoadedGraph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Generic[G]):
    """How one graph did on this machine."""

    spec: G
    threads: int
    delegate: str
    kernels: str = ""
    us_per_call: float = float("nan")
    """Median microseconds of a whole `score` call."""
    golden_error: float = float("nan")
    """Largest difference from the golden data, in units of |value| + median |value|."""
    tolerance: float = float("nan")
    problem: str = ""
    """Why it may not run here; empty where it may."""


def golden_scores(scorer: TFLiteScorer, golden: dict[str, Floats]) -> Floats:
    """Score the golden inputs: float32 [g] of windows, or [g, L] of the sequences of a streaming graph."""
    scorer.reset()
    if not scorer.streaming:
        return np.array([scorer.score(window).value for window in golden["windows"]], np.float32)
    scores = []
    for sequence in golden["sequence"]:
        scorer.reset()
        scores.append([scorer.score(row[np.newaxis]).value for row in sequence])
    scorer.reset()
    return np.array(scores, np.float32)


def golden_error(given: Floats | Doubles, wanted: Floats | Doubles) -> float:
    """Return the largest |a - b| / (|b| + median |b|), of scores or of the cells of maps.

    Raises:
        ScoringError: they have not the same shape, or there are none.
    """
    if given.shape != wanted.shape or not given.size:
        raise ScoringError(
            f"the golden data have the shape {list(wanted.shape)}, what the graph gives {list(given.shape)}; expected "
            "the same, and some"
        )
    scale = np.abs(wanted) + np.median(np.abs(wanted))
    return float(np.max(np.abs(given - wanted) / np.where(scale > 0, scale, 1)))


class Timed(Protocol):
    """A scorer of windows or of frames."""

    def score(self, values: NDArray[Any], /) -> object:
        """Score one input."""

    def reset(self) -> None:
        """Forget the carried state."""


def median_us(scorer: Timed, values: NDArray[Any], *, warm: int = WARM_INVOKES, timed: int = TIMED_INVOKES) -> float:
    """Return the median microseconds of scoring this input, after `warm` calls that do not count."""
    times = []
    for _ in range(warm + timed):
        start = time.perf_counter_ns()
        scorer.score(values)
        times.append(time.perf_counter_ns() - start)
    scorer.reset()
    return float(np.median(times[warm:])) / 1e3


def attempt(
    spec: G,
    settings: ScoringSettings,
    *,
    load: Callable[[], S],
    error_of: Callable[[S], float],
    us_of: Callable[[S], float] | None,
) -> tuple[Trial[G], S | None]:
    """Load one graph, replay its golden data and time it; the scorer is None where it may not run.

    Args:
        spec: of the graph.
        settings: which threads and delegate are asked for.
        load: loads it.
        error_of: replays the golden data, returns the `golden_error`.
        us_of: times it, returns the microseconds of a call; None: it need not be timed.
    """
    trial = Trial(spec=spec, threads=settings.threads, delegate=settings.delegate)
    try:
        scorer = load()
        described = scorer.describe()
        trial = replace(trial, delegate=str(described["delegate"]), kernels=str(described["kernels"]))
        error, tolerances = error_of(scorer), spec.golden_tolerance
        tolerance = tolerances.get(str(described["runtime"]), max(tolerances.values(), default=0.0))
        trial = replace(trial, golden_error=error, tolerance=tolerance)
        if not error <= tolerance:
            raise ScoringError(f"what it gives differs from the golden data by {error:.2g}, allowed {tolerance:.2g}")
        return replace(trial, us_per_call=us_of(scorer) if us_of else float("nan")), scorer
    except KeyError as missing:
        return replace(trial, problem=f"the golden data have no {missing}"), None
    except ScoringError as failure:
        return replace(trial, problem=str(failure)), None


def fastest(
    specs: Sequence[G],
    settings: ScoringSettings,
    try_one: Callable[[G, bool], tuple[Trial[G], S | None]],
) -> tuple[Trial[G], S, list[Trial[G]]]:
    """Return the graph to run, its scorer, and every trial made.

    Args:
        specs: all graphs of the bundle.
        settings: which format is asked for.
        try_one: tries a graph, and times it where told to.

    Raises:
        ScoringError: none may run here, or the bundle has not the format asked for.
    """
    asked = [spec for spec in specs if settings.graph in {"auto", spec.format}]
    if not asked:
        has = ", ".join(spec.format for spec in specs)
        raise ScoringError(f'graph = "{settings.graph}" is asked for, but the bundle has {has}')
    tried: list[Trial[G]] = []
    best: tuple[Trial[G], S] | None = None
    for spec in asked:  # of two loaded graphs the slower one goes before a third comes
        trial, scorer = try_one(spec, len(asked) > 1)
        tried.append(trial)
        if trial.problem:
            _log.warning("graph %s is left out: %s", spec.format, trial.problem)
        if scorer is not None and (best is None or trial.us_per_call < best[0].us_per_call):
            best = trial, scorer
        del scorer
    if best is None:
        raise ScoringError("no graph of the bundle may run here: " + "; ".join(_reasons(tried)))
    _give_back_memory()
    return *best, tried


def try_graph(
    bundle: Bundle, spec: GraphSpec, settings: ScoringSettings, *, timed: bool = True
) -> tuple[Trial[GraphSpec], TFLiteScorer | None]:
    """Load one graph, replay its golden data and, if asked, time it; the scorer is None where it may not run."""
    golden = {name: array.astype(np.float32, copy=False) for name, array in bundle.golden().items()}

    def load() -> TFLiteScorer:
        model, runtime = bundle.graph(spec.format), settings.runtime
        return TFLiteScorer(model, spec, runtime=runtime, threads=settings.threads, delegate=settings.delegate)

    def error_of(scorer: TFLiteScorer) -> float:
        return golden_error(golden_scores(scorer, golden), golden[f"score_{spec.format}"])

    def us_of(scorer: TFLiteScorer) -> float:
        return median_us(scorer, golden["sequence"][0, :1] if scorer.streaming else golden["windows"][0])

    return attempt(spec, settings, load=load, error_of=error_of, us_of=us_of if timed else None)


def choose(bundle: Bundle, settings: ScoringSettings) -> tuple[Trial[GraphSpec], TFLiteScorer, list[Trial[GraphSpec]]]:
    """Return the graph to run, its scorer, and every trial made; errors as `fastest`."""
    return fastest(bundle.manifest.graphs, settings, lambda spec, timed: try_graph(bundle, spec, settings, timed=timed))


def _give_back_memory() -> None:
    """Return to the system what graphs that are not run have freed: glibc would keep it, 18 MB of a camera's graph."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
    if trim is not None:
        trim(0)


def _reasons(trials: Iterable[Trial[G]]) -> list[str]:
    return [f"{trial.spec.format}: {trial.problem}" for trial in trials]
