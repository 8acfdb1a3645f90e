"""What was built, as a table a person reads: sizes, speed here, parity, thresholds, gating, backtest, refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from converters.backtest import Backtest
from converters.build import Build
from converters.judging import Graph
from converters.parity import (
    MAX_AUC_CHANGE,
    MAX_FALL,
    MAX_FALL_CHANGE,
    MAX_RATIO_CHANGE,
    MIN_RANK_NORMAL,
    MIN_RANK_POOLED,
)
from converters.refusal import left_out
from edge_agent.contract.calibration import Calibration, Grade
from edge_agent.contract.manifest import Manifest
from edge_agent.contract.words import duration

S_PER_HOUR, S_PER_DAY = 3600.0, 86_400.0

PARITY_LEGEND = f"""\
Parity with the float model on held-out normal, faulty and growing cases, for each graph and runtime:
  int8           operators in int8; the others are float
  rank           rank correlation of the scores: at least {MIN_RANK_POOLED}
  normal         the same of the normal cases alone: at least {MIN_RANK_NORMAL}
  AUC-PR         of faulty against normal cases; its change is at most {MAX_AUC_CHANGE}
  ratio          (median fault - median normal) / MAD of normal; its change is at most {MAX_RATIO_CHANGE:.0%}
  fall           share of its score that a growing fault may lose beyond the range of the network's input: none
  inside, float  the same within that range, and in the float model: at most {MAX_FALL_CHANGE:.0%} more
  golden         tolerance of the golden scores that the device checks before it uses the graph"""

BACKTEST_LEGEND = """\
Counted is what the device would show: an event, once open, stays open until a window and {hold_off} were quiet; gross
windows, beyond the prefilter's upper limit, open one at once. `python -m training evaluate` counts instead the rows
where {n} of {m} scores are above the threshold, hence other figures for the same model. False alarms are told by the
day of normal time. `unknown` counts stretches without a score, such as the first window."""


def summary(made: Build) -> str:
    """All tables of a build."""
    return "\n".join(
        [
            *_parity(made),
            *_thresholds(made),
            *_gating(made),
            *_backtests(made),
            *left_out(made.refused, made.not_made),
            *_bundle(made),
        ]
    )


def parity_summary(made: Build) -> str:
    """The tables of conversion and parity alone."""
    return "\n".join([*_parity(made), *left_out(made.refused, made.not_made)])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _parity(made: Build) -> Iterator[str]:
    head = (
        "graph",
        "runtime",
        "bytes",
        "operators",
        "int8",
        "µs here",
        "rank",
        "normal",
        "AUC-PR",
        "change",
        "ratio",
        "change",
        "fall",
        "inside",
        "float",
        "golden",
    )
    rows = [head, *(row for graph_format, graph in made.graphs.items() for row in _parity_rows(graph_format, graph))]
    yield PARITY_LEGEND
    yield from table(rows)
    yield from _falls(made)
    if not made.tflite_measured:
        yield (
            "tflite-runtime was not measured: no environment with it was found (--tflite-python). "
            "int8 graphs will not run on it."
        )


def _falls(made: Build) -> Iterator[str]:
    """What a growing fault may do to the float model's own score: said, since no other format could do better."""
    fall = max((p.growth_fall_reference for graph in made.graphs.values() for p in graph.parity.values()), default=0.0)
    if fall > MAX_FALL:
        yield (
            f"A growing fault may lower the score by up to {fall:.1%} inside the body's range, in the float model too: "
            "a channel that rests at two levels is normal again at the other."
        )


def _parity_rows(graph_format: str, graph: Graph) -> Iterator[tuple[str, ...]]:
    for runtime, p in graph.parity.items():
        yield (
            graph_format,
            runtime,
            f"{len(graph.model):,}",
            str(sum(graph.facts.operators.values())),
            str(graph.facts.types.get("INT8", 0)),
            f"{graph.us:.1f}",
            f"{p.rank_pooled:.4f}",
            f"{p.rank_normal:.4f}",
            f"{p.auc_pr:.3f}",
            f"{p.auc_pr_change:.4f}",
            f"{p.ratio:.1f}",
            f"{p.ratio_change:.2%}",
            f"{p.growth_fall:.1g}",
            f"{p.growth_fall_inside:.1%}",
            f"{p.growth_fall_reference:.1%}",
            f"{graph.tolerance.get(runtime, 0):.2g}",
        )


def _thresholds(made: Build) -> Iterator[str]:
    yield ""
    yield "Thresholds, from the device's scorer over validation data"
    rows = [("graph", "grade", "threshold", "median", "asked a day", "normal data", "more needed")]
    rows += [
        (
            graph_format,
            c.grade.value,
            f"{c.threshold:.4g}",
            f"{c.median:.4g}",
            f"{c.alarms_per_day:g}",
            duration(S_PER_DAY * c.normal_days),
            duration(S_PER_HOUR * c.hours_needed),
        )
        for graph_format, c in made.calibrations.items()
    ]
    yield from table(rows)
    if any(c.grade is Grade.PROVISIONAL for c in made.calibrations.values()):
        yield _provisional(next(iter(made.calibrations.values())))


def _provisional(calibration: Calibration) -> str:
    return (
        f"PROVISIONAL: median + {calibration.k:g} x (0.99 quantile - median). No false-alarm rate stands behind it; "
        f"{duration(S_PER_HOUR * calibration.hours_needed)} more of normal validation data would do better."
    )


def _gating(made: Build) -> Iterator[str]:
    if made.gate is not None:
        yield ""
        yield f"Prefilter: {made.gate.summary()}"


def backtest_summary(backtests: Mapping[str, Mapping[str, Backtest]], manifest: Manifest) -> str:
    """The table of backtests by format and data, and what it counts."""
    rule = manifest.decision.rule
    rows: list[tuple[str, ...]] = [
        (
            "graph",
            "data",
            "time",
            "windows",
            "scored",
            "unknown",
            "events",
            "false a day",
            "faults found",
            "median delay",
            "normal in alarm",
            "faulty silent",
        )
    ]
    rows += [
        _backtest_row(graph, data, result) for graph, by_data in backtests.items() for data, result in by_data.items()
    ]
    return "\n".join([*table(rows), BACKTEST_LEGEND.format(hold_off=duration(rule.hold_off_s), n=rule.n, m=rule.m)])


def _backtests(made: Build) -> Iterator[str]:
    if made.manifest is not None:
        yield ""
        yield "Backtest through the device's pipeline (validation also set the threshold, so it flatters)"
        yield backtest_summary(made.backtests, made.manifest)


def _backtest_row(graph: str, data: str, result: Backtest) -> tuple[str, ...]:
    shares = (
        "-" if value is None else f"{100 * value:.3g} %" for value in (result.normal_in_alarm, result.faulty_silent)
    )
    delay = "-" if result.median_delay_s is None else duration(result.median_delay_s)
    return (
        graph,
        data,
        duration(S_PER_HOUR * result.hours),
        str(result.windows),
        str(result.scored),
        str(result.unknown),
        str(result.events),
        f"{result.false_alarms_per_day:.2f}",
        f"{result.detected} of {result.faults}",
        delay,
        *shares,
    )


def _bundle(made: Build) -> Iterator[str]:
    if made.manifest is not None:
        yield ""
        yield (
            f"{made.manifest.name} {made.manifest.version}: {len(made.data):,} bytes, {', '.join(made.graphs)}, "
            f"sha256 {hashlib.sha256(made.data).hexdigest()}"
        )
