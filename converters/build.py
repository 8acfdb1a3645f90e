"""From a run folder to a bundle, every step measured: convert, parity, thresholds, gating, golden data, backtest, pack.

0. What no work would change is refused at once: formats that the detector does not have, too little normal data for
   the asked rate.
1. Convert to each format in a child process; the float model scores the same cases.
2. Each flatbuffer is checked, run by the device's scorer on every runtime there is, and compared with the float model.
   One that differs is refused with its figures; the others go on.
3. The validation readings pass through the device's windower, prefilter and scorers: upper limit, each graph's
   threshold.
4. The prefilter's lower limit is fitted to what the graphs alarm on.
5. The bundle is packed, read back, run over validation and labelled readings by the device's pipeline, and packed with
   the figures.

Nothing that differs between two runs of this goes into the bundle: times of this machine are shown and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters import gating, thresholds
from converters.assembly import Assembly
from converters.backtest import Backtest, backtest
from converters.cases import Cases, cases, samples
from converters.conversion import EDGETPU, FORMATS, Child, convert
from converters.grading import refuse_provisional, refuse_too_short
from converters.judging import Graph, WindowJudge, refuse_empty
from converters.pack import pack
from converters.refusal import Refused
from converters.replay import Stretch, faulty_stretches
from converters.runtimes import find_tflite_python, scorer
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest import Manifest
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Floats
from training.artifacts import Run

LATER_WINDOWS = 512
"""Windows at the end of the validation data that gating's saving is measured on."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user decides."""

    formats: tuple[str, ...] | None = None
    """None: all that the detector can have."""
    name: str | None = None
    """None: the run's."""
    version: str = "1.0.0"
    alarms_per_day: float | None = None
    """None: the run's."""
    mode: Mode | None = None
    """What the prefilter does; None: as the recipe says, and as gating pays."""
    provisional: bool = False
    """Pack also a threshold that the data do not support."""
    tflite_python: Path | None = None
    """Interpreter of an environment with tflite-runtime."""


@dataclass(slots=True, kw_only=True, eq=False)
class Build:
    """A bundle and everything that was found on the way."""

    run: Run
    cases: Cases
    graphs: dict[str, Graph]
    refused: dict[str, str]
    """Formats that were tried, and why they are not shipped."""
    not_made: dict[str, str]
    """Formats that the detector does not have, and why."""
    tflite_measured: bool
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    gate: gating.Gating | None = None
    backtests: dict[str, dict[str, Backtest]] = field(default_factory=dict)
    """By format, then by data: `validation`, and `labelled` where there are labels."""
    manifest: Manifest | None = None
    data: bytes = b""
    """The bundle file."""


def convert_run(run: Run, options: Options, progress: Progress, child: Child | None = None) -> Build:
    """Steps 1 and 2; `child` as in `convert`.

    Raises:
        Refused: no format is left, with the reason of each.
    """
    formats, not_made = _formats(run, options.formats or FORMATS)
    judged, python = cases(run), find_tflite_python(options.tflite_python)
    conversion = convert(
        run.graph,
        formats=formats,
        samples=samples(run),
        cases=judged.inputs,
        streaming=run.input.streaming,
        out=run.path / "build",
        progress=progress,
        child=child,
    )
    judge = WindowJudge(
        run=run,
        cases=judged,
        conversion=conversion,
        reference=conversion.reference_scores(),
        tflite_python=python,
        count=len(judged.inputs),
    )
    graphs, refused = judge.each_sound(formats, progress)
    refuse_empty(graphs, refused)
    return Build(
        run=run, cases=judged, graphs=graphs, refused=refused, not_made=not_made, tflite_measured=python is not None
    )


def _formats(run: Run, wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The formats that the detector can have, and why not the others.

    Raises:
        Refused: it has none of them.
    """
    if EDGETPU in wanted:
        raise Refused("edgetpu is made of detectors on frames, this run is of readings: leave it out of --formats")
    if run.info.has_body:
        return tuple(wanted), {}
    why = f"{run.info.detector} has no network, so there is nothing to store in fewer bits"
    made = tuple(graph_format for graph_format in wanted if graph_format == "float32")
    if not made:
        raise Refused(f"{why}: it ships as float32, ask for that with --formats float32, or leave --formats out")
    return made, {
        graph_format: f"{why}; float32 is all it needs" for graph_format in wanted if graph_format not in made
    }


def build(run: Run, options: Options, progress: Progress, child: Child | None = None) -> Build:
    """All steps; `child` as in `convert`.

    Raises:
        Refused: no format is left, the data give no threshold, or it is provisional and that was not asked for.
    """
    asked = options.alarms_per_day or run.info.decision.alarms_per_day
    normal = thresholds.normal_windows(run, run.prefilter)
    if not options.provisional:  # scores of the prefilter tell the time as well as those of any graph
        refuse_too_short(thresholds.calibrate_graph(run, normal, normal.d2, upper=np.inf, alarms_per_day=asked))
    made = convert_run(run, options, progress, child)
    progress("setting thresholds on validation data")
    prefilter = run.prefilter.with_limits(0.0, thresholds.upper_limit(run, run.prefilter, normal, asked))
    for graph_format, graph in made.graphs.items():
        scores = thresholds.normal_scores(normal, scorer(graph.model, graph.face))
        made.calibrations[graph_format] = thresholds.calibrate_graph(
            run, normal, scores, upper=prefilter.upper, alarms_per_day=asked
        )
    if not options.provisional:
        for calibration in made.calibrations.values():
            refuse_provisional(calibration)
    progress("fitting the prefilter's lower limit to what the graphs alarm on")
    made.gate = _gating(made, prefilter, normal.stretches, options.mode or run.info.prefilter_mode)
    assembly = Assembly(
        run=run,
        name=options.name or run.info.name,
        version=options.version,
        graphs=made.graphs,
        refused=made.refused,
        calibrations=made.calibrations,
        cases=made.cases,
        prefilter=prefilter.with_limits(made.gate.lower, prefilter.upper).with_mode(made.gate.mode),
        gating=made.gate,
        alarms_per_day=asked,
    )
    progress("running the device's pipeline over validation and labelled data")
    made.backtests = backtests(Bundle.read(pack(*assembly.manifest({}))), run)
    made.manifest, members = assembly.manifest(made.backtests)
    made.data = pack(made.manifest, members)
    return made


def backtests(bundle: Bundle, run: Run) -> dict[str, dict[str, Backtest]]:
    """Every graph of a bundle over the run's validation and labelled data.

    Raises:
        Refused: the run's channels are not the bundle's.
    """
    expected, got = ([channel.name for channel in each.input.channels] for each in (bundle.manifest, run))
    if got != expected:
        raise Refused(f"the bundle is for the channels {', '.join(expected)}, the run {run.path} has {', '.join(got)}")
    results: dict[str, dict[str, Backtest]] = {}
    for graph in bundle.manifest.graphs:
        results[graph.format.value] = {"validation": backtest(bundle, graph.format, *run.validation)}
        if run.faulty is not None:
            results[graph.format.value]["labelled"] = backtest(bundle, graph.format, *run.faulty)
    return results


def _gating(made: Build, prefilter: Prefilter, held_out: list[Stretch], wanted: Mode) -> gating.Gating:
    run = made.run
    normal = np.concatenate([stretch.windows[stretch.warming :] for stretch in held_out])
    injected, labelled = normal[:0], None
    if not run.input.streaming:
        alarms = gating.any_alarm([_alarms(graph, made.calibrations[name]) for name, graph in made.graphs.items()])
        injected = gating.alarming_faults(normal, run.spread, alarms)
        labelled = _labelled_alarms(run, alarms)
    return gating.judge(
        prefilter=prefilter,
        lower=min(gating.fit_lower(prefilter, injected, labelled), prefilter.upper),
        wanted=wanted,
        streaming=run.input.streaming,
        network_us=min(graph.us for graph in made.graphs.values()),
        injected=injected,
        labelled=labelled,
        later=normal[-LATER_WINDOWS:],
    )


def _alarms(graph: Graph, calibration: Calibration) -> gating.Alarms:
    device = scorer(graph.model, graph.face)

    def alarms(windows: Floats) -> NDArray[np.bool_]:
        return np.array([device.score(window).value > calibration.threshold for window in windows], bool)

    return alarms


def _labelled_alarms(run: Run, alarms: gating.Alarms) -> Floats | None:
    """Labelled faulty windows that a graph alarms on; None where there are none."""
    if run.faulty is None:
        return None
    found = [stretch.windows[faulty] for stretch, faulty in faulty_stretches(run.input.rule(), *run.faulty)]
    faulty = np.concatenate(found) if found else np.empty((0, 1, 1), np.float32)
    return faulty[alarms(faulty)] if len(faulty) else None
