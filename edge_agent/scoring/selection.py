"""Which of a bundle's graphs runs here: replay its golden data, time it, take the fastest that passes.

A graph that does not give its golden scores on this machine (another runtime, a broken delegate) is never run, however
fast. `edge-agent bench` shows the same figures to a person.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.records import Doubles, Floats
from edge_agent.errors import ScoringError
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.settings import ScoringSettings

_log = logging.getLogger(__name__)

TIMED_INVOKES = 60
"""Scored windows whose median is the time of a graph: 60 of the slowest sensible graph (5 ms) fit in the start-up
budget."""
WARM_INVOKES = 5
"""Windows scored before timing starts: the first ones touch cold memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one graph did on this machine."""

    spec: GraphSpec
    threads: int
    delegate: str
    kernels: str = ""
    us_per_window: float = float("nan")
    """Median microseconds of a whole `score` call."""
    golden_error: float = float("nan")
    """Largest difference from the golden scores, in units of |score| + median |score|."""
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


def golden_error(scores: Floats | Doubles, wanted: Floats | Doubles) -> float:
    """Return the largest |a - b| / (|b| + median |b|).

    Raises:
        ScoringError: there are not as many of both, or none.
    """
    if scores.shape != wanted.shape or not scores.size:
        raise ScoringError(
            f"the golden data have {wanted.size} scores for {scores.size} inputs; expected as many, and some"
        )
    scale = np.abs(wanted) + np.median(np.abs(wanted))
    return float(np.max(np.abs(scores - wanted) / np.where(scale > 0, scale, 1)))


def median_us(scorer: TFLiteScorer, window: Floats) -> float:
    """Return the median microseconds of scoring this window."""
    times = []
    for _ in range(WARM_INVOKES + TIMED_INVOKES):
        start = time.perf_counter_ns()
        scorer.score(window)
        times.append(time.perf_counter_ns() - start)
    scorer.reset()
    return float(np.median(times[WARM_INVOKES:])) / 1e3


def try_graph(
    bundle: Bundle, spec: GraphSpec, settings: ScoringSettings, *, timed: bool = True
) -> tuple[Trial, TFLiteScorer | None]:
    """Load one graph, replay its golden data and, if asked, time it; the scorer is None where it may not run."""
    base = Trial(spec=spec, threads=settings.threads, delegate=settings.delegate)
    try:
        scorer = TFLiteScorer(
            bundle.graph(spec.format),
            spec,
            runtime=settings.runtime,
            threads=settings.threads,
            delegate=settings.delegate,
        )
        golden = {name: array.astype(np.float32, copy=False) for name, array in bundle.golden().items()}
        described = scorer.describe()
        base = replace(base, delegate=str(described["delegate"]), kernels=str(described["kernels"]))
        error = golden_error(golden_scores(scorer, golden), golden[f"score_{spec.format}"])
        tolerance = spec.golden_tolerance.get(
            str(described["runtime"]), max(spec.golden_tolerance.values(), default=0.0)
        )
        base = replace(base, golden_error=error, tolerance=tolerance)
        if not error <= tolerance:
            raise ScoringError(f"golden scores differ by {error:.2g}, allowed {tolerance:.2g}")
        window = golden["sequence"][0, :1] if scorer.streaming else golden["windows"][0]
        return replace(base, us_per_window=median_us(scorer, window) if timed else float("nan")), scorer
    except KeyError as missing:
        return replace(base, problem=f"the golden data have no {missing}"), None
    except ScoringError as failure:
        return replace(base, problem=str(failure)), None


def choose(bundle: Bundle, settings: ScoringSettings) -> tuple[Trial, TFLiteScorer, list[Trial]]:
    """Return the graph to run, its scorer, and every trial made.

    Raises:
        ScoringError: none may run here, or the bundle has not the format asked for.
    """
    specs = [spec for spec in bundle.manifest.graphs if settings.graph in {"auto", spec.format}]
    if not specs:
        has = ", ".join(spec.format for spec in bundle.manifest.graphs)
        raise ScoringError(f'graph = "{settings.graph}" is asked for, but the bundle has {has}')
    tried = [try_graph(bundle, spec, settings, timed=len(specs) > 1) for spec in specs]
    fit = [(trial, scorer) for trial, scorer in tried if scorer is not None]
    if not fit:
        raise ScoringError("no graph of the bundle may run here: " + "; ".join(_reasons(trial for trial, _ in tried)))
    for trial, _ in tried:
        if trial.problem:
            _log.warning("graph %s is left out: %s", trial.spec.format, trial.problem)
    best, scorer = min(fit, key=lambda pair: pair[0].us_per_window if len(fit) > 1 else 0)
    return best, scorer, [trial for trial, _ in tried]


def _reasons(trials: Iterable[Trial]) -> list[str]:
    return [f"{trial.spec.format}: {trial.problem}" for trial in trials]
