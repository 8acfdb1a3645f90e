"""What was built of a run of images, as a table a person reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from converters.frames.backtest import FrameBacktest
from converters.frames.build import FrameBuild
from converters.frames.judging import FrameGraph
from converters.frames.parity import (
    FEW_NORMAL,
    MAX_PEAK_ERROR,
    MIN_KINDS_AGREED,
    MIN_MAP_CORRELATION,
    MIN_PEAK_FOUND,
    NEARLY_AS_STRONG,
)
from converters.parity import MAX_AUC_CHANGE, MAX_RATIO_CHANGE, MIN_RANK_NORMAL, MIN_RANK_POOLED
from converters.refusal import left_out
from converters.summary import table
from edge_agent.contract.calibration import Grade
from edge_agent.contract.words import counted, duration

S_PER_HOUR, S_PER_DAY = 3600.0, 86_400.0

PARITY_LEGEND = f"""\
Parity with the float model on {{cases}}, for each graph and runtime:
  int8      operators in int8; the others are float
  rank      rank correlation of the scores: at least {MIN_RANK_POOLED}
  normal    the same of the normal frames alone: at least {MIN_RANK_NORMAL}, judged from {FEW_NORMAL} frames on
  AUC-PR    of strange against normal frames; its change is at most {MAX_AUC_CHANGE}
  ratio     (median strange - median normal) / MAD of normal; its change is at most {MAX_RATIO_CHANGE:.0%}
  maps      correlation of their cells: at least {MIN_MAP_CORRELATION}
  place     share of strange frames whose strongest cell lies within one of a cell that the float model gives
            {NEARLY_AS_STRONG:.0%} of its strongest: at least {MIN_PEAK_FOUND:.0%}
  peak      median error of the largest cell: at most {MAX_PEAK_ERROR:.0%}
  kind      share of strange frames that are called what the float model calls them: at least {MIN_KINDS_AGREED:.0%}
  golden    tolerance of the golden scores and cells that the device checks before it uses the graph"""

BACKTEST_LEGEND = """\
Each still is decided alone, by score and map, as the device decides where N of M is 1 of 1; frames of a streaming
detector follow each other, with N of M and hold-off. Camera health and the scene's prefilter are learned on site. The
kind is that of the strongest region, of found defects of kinds that the graph knows."""


def frame_summary(made: FrameBuild) -> str:
    """All tables of a build."""
    return "\n".join([*_parity(made), *_thresholds(made), *_backtests(made), *_left_out(made), *_bundle(made)])


def frame_parity_summary(made: FrameBuild) -> str:
    """The tables of conversion and parity alone."""
    return "\n".join([*_parity(made), *_left_out(made)])


def frame_backtest_summary(backtests: Mapping[str, Mapping[str, FrameBacktest]]) -> str:
    """The table of backtests by format and data, and what it counts."""
    head = ("graph", "data", "frames", "false alarms", "of normal", "defects found", "of", "F1", "kind right", "of")
    rows = [(graph, data, *_cells(result)) for graph, by_data in backtests.items() for data, result in by_data.items()]
    return "\n".join([*table([head, *rows]), BACKTEST_LEGEND])


def _cells(result: FrameBacktest) -> tuple[str, ...]:
    return (
        str(result.frames),
        str(result.false_alarms),
        str(result.normal),
        str(result.found),
        str(result.defective),
        "-" if result.f1 is None else f"{result.f1:.3f}",
        "-" if result.named is None else str(result.named),
        "-" if result.known is None else str(result.known),
    )


def _parity(made: FrameBuild) -> Iterator[str]:
    strange, all_frames = int(made.cases.counted.sum()), made.cases.counted.size
    kind = "defective" if made.cases.labelled else "patched"
    moved = f" ({made.cases.moved} of them moved a little, since the fit saw them)" if made.cases.moved else ""
    yield PARITY_LEGEND.format(cases=f"{all_frames - strange} normal{moved} and {strange} {kind} frames")
    names = (
        "graph|runtime|bytes|operators|int8|ms here|rank|normal|AUC-PR|change|ratio|change|maps|place|peak|kind|golden"
    )
    head = tuple(names.split("|"))
    yield from table([head, *(row for name, graph in made.graphs.items() for row in _parity_rows(name, graph))])
    if made.judge.tflite_python is None:
        yield (
            "tflite-runtime was not measured: no environment with it was found (--tflite-python). There int8 graphs "
            "are held to the tolerance of the runtimes that were."
        )


def _parity_rows(graph_format: str, graph: FrameGraph) -> Iterator[tuple[str, ...]]:
    for runtime, parity in graph.parity.items():
        scores, maps = parity.scores, parity.maps
        of_maps = ("-",) * 3
        if maps is not None:
            of_maps = (f"{maps.map_correlation:.4f}", f"{maps.peak_found:.1%}", f"{maps.peak_error:.1%}")
        yield (
            graph_format,
            runtime,
            f"{len(graph.model):,}",
            str(sum(graph.facts.operators.values())),
            str(graph.facts.types.get("INT8", 0)),
            f"{graph.us / 1e3:.1f}",
            f"{scores.rank_pooled:.4f}",
            f"{scores.rank_normal:.4f}",
            f"{scores.auc_pr:.3f}",
            f"{scores.auc_pr_change:.4f}",
            f"{scores.ratio:.1f}",
            f"{scores.ratio_change:.2%}",
            *of_maps,
            "-" if parity.kinds_agreed is None else f"{parity.kinds_agreed:.1%}",
            f"{graph.tolerance[runtime]:.2g}",
        )


def _thresholds(made: FrameBuild) -> Iterator[str]:
    head = ("graph", "of", "grade", "threshold", "median", "false a day", "normal data", "next grade")
    rows = [
        (
            graph_format,
            name,
            calibration.grade,
            f"{calibration.threshold:.4g}",
            f"{calibration.median:.4g}",
            f"{calibration.alarms_per_day:g}",
            duration(S_PER_DAY * calibration.normal_days),
            duration(S_PER_HOUR * calibration.hours_needed),
        )
        for graph_format, thresholds in made.thresholds.items()
        for name, calibration in zip(("score", "map"), thresholds.both(), strict=False)
    ]
    yield ""
    yield f"Thresholds, from {counted(len(made.run.validation), 'validation frame')}"
    yield from table([head, *rows])
    if any(each.grade is Grade.PROVISIONAL for thresholds in made.thresholds.values() for each in thresholds.both()):
        yield "PROVISIONAL: median + k x (0.99 quantile - median). No false-alarm rate stands behind it."


def _backtests(made: FrameBuild) -> Iterator[str]:
    yield ""
    seen = "" if made.run.optimism is None else "; it is judged as if the fit had not seen it"
    flatters = f"validation also set the threshold, so it flatters{seen}"
    yield f"Validation and test frames as the device decides them ({flatters})"
    yield frame_backtest_summary(made.backtests)


def _left_out(made: FrameBuild) -> Iterator[str]:
    """Formats that are not in the bundle and why, and what an Edge TPU takes."""
    yield from left_out(made.refused, made.not_made)
    edge = made.edgetpu
    if edge is not None and edge.graph is not None and edge.graph.compiled is not None:
        yield ""
        yield f"edgetpu: {edge.graph.compiled.sentence()}. Parity and thresholds are those of its integers on the CPU."
    elif edge is not None and edge.placed is not None and edge.refused:
        yield f"By the documented rules {edge.placed.sentence()}"


def _bundle(made: FrameBuild) -> Iterator[str]:
    if made.manifest is not None:
        yield ""
        yield (
            f"{made.manifest.name} {made.manifest.version}: {len(made.data):,} bytes, {', '.join(made.graphs)}, "
            f"sha256 {hashlib.sha256(made.data).hexdigest()}"
        )
