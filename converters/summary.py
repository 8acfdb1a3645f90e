"""What was built, as a table a person reads: sizes, speed here, parity, thresholds, gating, backtest, refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from converters.backtest import Backtest
from converters.build import Build
from converters.judging import Graph
from converters.parity import MAX_FALL
from edge_agent.contract.calibration import HOURS_PER_DAY, Calibration, Grade


def summary(made: Build) -> str:
    """All tables of a build."""
    return "\n".join(
        [*_parity(made), *_thresholds(made), *_gating(made), *_backtests(made), *_refused(made), *_bundle(made)]
    )


def parity_summary(made: Build) -> str:
    """The tables of conversion and parity alone."""
    return "\n".join([*_parity(made), *_refused(made)])


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
        "us here",
        "rank",
        "rank normal",
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
    yield (
        "Parity with the float model (limits: rank .99, rank normal .95, AUC-PR .01, ratio 10 %, fall 0; "
        "inside the body's range: the float model's and 5 %)"
    )
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
    rows = [("graph", "grade", "threshold", "median", "asked a day", "hours seen", "hours more")]
    rows += [
        (
            graph_format,
            c.grade.value,
            f"{c.threshold:.4g}",
            f"{c.median:.4g}",
            f"{c.alarms_per_day:g}",
            f"{c.normal_days * HOURS_PER_DAY:.2f}",
            f"{c.hours_needed:.1f}",
        )
        for graph_format, c in made.calibrations.items()
    ]
    yield from table(rows)
    if any(c.grade is Grade.PROVISIONAL for c in made.calibrations.values()):
        yield _provisional(next(iter(made.calibrations.values())))


def _provisional(calibration: Calibration) -> str:
    return (
        f"PROVISIONAL: median + {calibration.k:g} x (0.99 quantile - median). No false-alarm rate stands behind it; "
        f"{calibration.hours_needed:.1f} more hours of normal validation data would do better."
    )


def _gating(made: Build) -> Iterator[str]:
    if made.gate is not None:
        yield ""
        yield f"Prefilter: {made.gate.summary()}"


def backtest_summary(backtests: Mapping[str, Mapping[str, Backtest]]) -> str:
    """The table of backtests by format and data."""
    rows: list[tuple[str, ...]] = [
        (
            "graph",
            "data",
            "hours",
            "windows",
            "scored",
            "unknown",
            "events",
            "false/day",
            "faults found",
            "delay s",
            "F1",
            "FAR",
            "MAR",
        )
    ]
    rows += [
        _backtest_row(graph, data, result) for graph, by_data in backtests.items() for data, result in by_data.items()
    ]
    return "\n".join(table(rows))


def _backtests(made: Build) -> Iterator[str]:
    if made.backtests:
        yield ""
        yield "Backtest through the device's pipeline (validation also set the threshold, so it flatters)"
        yield backtest_summary(made.backtests)


def _backtest_row(graph: str, data: str, result: Backtest) -> tuple[str, ...]:
    points = ("-" if value is None else f"{value:.3f}" for value in (result.f1, result.far, result.mar))
    delay = "-" if result.median_delay_s is None else f"{result.median_delay_s:.1f}"
    return (
        graph,
        data,
        f"{result.hours:.2f}",
        str(result.windows),
        str(result.scored),
        str(result.unknown),
        str(result.events),
        f"{result.false_alarms_per_day:.2f}",
        f"{result.detected}/{result.faults}",
        delay,
        *points,
    )


def _refused(made: Build) -> Iterator[str]:
    for graph_format, reason in made.refused.items():
        yield ""
        yield f"{graph_format} refused: {reason}"


def _bundle(made: Build) -> Iterator[str]:
    if made.manifest is not None:
        yield ""
        yield (
            f"{made.manifest.name} {made.manifest.version}: {len(made.data):,} bytes, {', '.join(made.graphs)}, "
            f"sha256 {hashlib.sha256(made.data).hexdigest()}"
        )
