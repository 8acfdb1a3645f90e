"""From a run folder to a bundle, every step measured: convert, parity, thresholds, gating, golden data, backtest, pack.

1. Convert to each format in a child process; the float model scores the same cases.
2. Each flatbuffer is checked, run by the device's scorer on every runtime there is, and compared with the float model.
   One that differs is refused with its figures; the others go on.
3. The validation readings pass through the device's windower, prefilter and scorers: upper limit, then each graph's threshold.
4. The prefilter's lower limit is fitted to what the graphs alarm on.
5. The bundle is packed, read back, run over validation and labelled readings by the device's pipeline, and packed with the figures.

Nothing that differs between two runs of this goes into the bundle: times of this machine are shown and forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters import flatbuffer, gating, thresholds
from converters.backtest import Backtest, backtest
from converters.cases import Cases, cases, samples
from converters.conversion import CANDIDATES, FORMATS, Conversion, convert
from converters.golden import golden_arrays, tolerances
from converters.pack import member, pack
from converters.parity import Parity, compare
from converters.refusal import Refused
from converters.replay import labels_of, stretches
from converters.runtimes import Measured, face_of, find_tflite_python, measure_here, measure_tflite, median_us, scorer
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration, Grade
from edge_agent.contract.manifest import DecisionSpec, GraphFace, GraphSpec, Manifest, PrefilterSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Floats
from edge_agent.errors import BundleError, ScoringError
from training.artifacts import Run

LATER_WINDOWS = 512
"""Windows at the end of the validation data that gating's saving is measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user decides."""

    formats: tuple[str, ...] = FORMATS
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """One format, converted and found equal to the float model."""

    model: bytes
    face: GraphFace
    facts: flatbuffer.GraphFacts
    measured: tuple[Measured, ...]
    """The first is ai-edge-litert, whose scores are the golden ones."""
    parity: dict[str, Parity]
    """By runtime."""
    tolerance: dict[str, float]
    us: float
    """Microseconds of a `score` call here."""


@dataclass(slots=True, kw_only=True, eq=False)
class Build:
    """A bundle and everything that was found on the way."""

    run: Run
    graphs: dict[str, Graph]
    refused: dict[str, str]
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    gate: gating.Gating | None = None
    backtests: dict[str, dict[str, Backtest]] = field(default_factory=dict)
    """By format: `validation`, and `labelled` where there are labels."""
    data: bytes = b""
    manifest: Manifest | None = None
    tflite_measured: bool = False


Progress = Callable[[str], None]


def convert_run(run: Run, options: Options, progress: Progress) -> tuple[Build, Cases]:
    """Steps 1 and 2.

    Raises:
        Refused: no format is left, with the reason of each.
    """
    judged = cases(run)
    python = find_tflite_python(options.tflite_python)
    conversion = convert(run.graph, formats=options.formats, samples=samples(run), cases=judged.inputs,
                         streaming=run.input.streaming, out=run.path / "build", progress=progress)
    graphs: dict[str, Graph] = {}
    refused: dict[str, str] = {}
    for format in options.formats:
        progress(f"comparing {format} with the float model on {len(judged.inputs)} cases")
        found = _first_sound(format, conversion, judged, run, python)
        if isinstance(found, Graph):
            graphs[format] = found
        else:
            refused[format] = found
            progress(f"{format}: refused, {found}")
    if not graphs:
        raise Refused("no format can be shipped:\n" + "\n".join(f"  {name}: {why}" for name, why in refused.items()))
    return Build(run=run, graphs=graphs, refused=refused, tflite_measured=python is not None), judged


def build(run: Run, options: Options, progress: Progress) -> Build:
    """All steps.

    Raises:
        Refused: no format is left, the data give no threshold, or the threshold is provisional and that was not asked for.
    """
    made, judged = convert_run(run, options, progress)
    asked = options.alarms_per_day or run.info.decision.alarms_per_day
    progress("setting thresholds on validation data")
    prefilter = _calibrated(made, asked)
    _refuse_provisional(made, options)
    progress("fitting the prefilter's lower limit to what the graphs alarm on")
    prefilter = _gated(made, prefilter, options)
    assembled = _Parts(made=made, judged=judged, prefilter=prefilter, options=options, asked=asked)
    draft = Bundle.read(pack(*assembled.manifest({})))
    progress("running the device's pipeline over validation and labelled data")
    _backtested(made, draft)
    manifest, members = assembled.manifest(
        {format: {name: result.figures() for name, result in by_data.items()} for format, by_data in made.backtests.items()})
    made.manifest, made.data = manifest, pack(manifest, members)
    return made


def _first_sound(format: str, conversion: Conversion, judged: Cases, run: Run, python: Path | None) -> Graph | str:  # noqa: A002
    """The first way to make the format that holds, else why none does."""
    reasons: list[str] = []
    for way in CANDIDATES.get(format, (format,)):
        if way in conversion.refused:
            reasons.append(conversion.refused[way])
            continue
        try:
            return _judged(format, conversion.models[way], conversion, judged, run, python)
        except (Refused, ScoringError) as error:
            reasons.append(str(error))
    others = [other for other in ("float16", "float32") if other != format and other in conversion.models]
    instead = f"; ship {' or '.join(others)} instead" if others else ""
    return "; and with its matrix products alone, ".join(dict.fromkeys(reasons)) + instead


def _judged(format: str, model: bytes, conversion: Conversion, judged: Cases, run: Run, python: Path | None) -> Graph:  # noqa: A002
    facts = flatbuffer.check(model, format)
    face = face_of(format, facts, len(run.input.channels))
    there = measure_tflite(python, model, face, judged.inputs, run.path / "build")
    measured = (measure_here(model, face, judged.inputs), *([there] if there else []))
    assert conversion.reference is not None  # noqa: S101 - convert() raises without it
    parity = {m.runtime: compare(m.scores, conversion.reference, judged) for m in measured}
    problems = [f"{problem} ({runtime})" for runtime, figures in parity.items() for problem in figures.problems()]
    if problems:
        raise Refused(f"the {format} graph does not detect what the float model detects: {'; '.join(problems)}")
    return Graph(model=model, face=face, facts=facts, measured=measured, parity=parity,
                 tolerance=tolerances(face.format, measured, judged), us=median_us(model, face, judged.inputs[0][-run.input.window:]))


def _calibrated(made: Build, asked: float) -> Prefilter:
    run = made.run
    normal = thresholds.normal_windows(run, run.prefilter)
    upper = thresholds.upper_limit(run, run.prefilter, normal, asked)
    for format, graph in made.graphs.items():
        scores = thresholds.normal_scores(normal, scorer(graph.model, graph.face))
        made.calibrations[format] = thresholds.calibrate_graph(run, normal, scores, upper=upper, alarms_per_day=asked)
    return run.prefilter.with_limits(0.0, upper)


def _refuse_provisional(made: Build, options: Options) -> None:
    worst = max(made.calibrations.values(), key=lambda calibration: calibration.grade is Grade.PROVISIONAL)
    if worst.grade is Grade.PROVISIONAL and not options.provisional:
        raise Refused(
            f"{worst.normal_days * 24:.2f} hours of normal validation data do not support {worst.alarms_per_day:g} false alarms a day: the "
            f"threshold would be provisional. Record {worst.hours_needed:.1f} more hours of normal validation data, ask for more "
            "false alarms with --alarms-per-day, or pack it all the same with --provisional")


def _gated(made: Build, prefilter: Prefilter, options: Options) -> Prefilter:
    run = made.run
    held_out = stretches(run.input.rule(), *run.validation)
    normal = np.concatenate([stretch.windows[stretch.warming:] for stretch in held_out])
    wanted = options.mode or run.info.prefilter_mode
    if run.input.streaming:
        injected, labelled = normal[:0], None
    else:
        alarms = gating.any_alarm([_alarms(graph, made.calibrations[format]) for format, graph in made.graphs.items()])
        injected = gating.alarming_faults(normal, run.spread, alarms)
        labelled = _labelled_alarms(run, alarms)
    lower = min(gating.fit_lower(prefilter, injected, labelled), prefilter.upper)
    made.gate = gating.judge(
        prefilter=prefilter, lower=lower, wanted=wanted, streaming=run.input.streaming,
        network_us=min(graph.us for graph in made.graphs.values()), injected=injected, labelled=labelled, later=normal[-LATER_WINDOWS:])
    return prefilter.with_limits(lower, prefilter.upper).with_mode(made.gate.mode)


def _alarms(graph: Graph, calibration: Calibration) -> gating.Alarms:
    device = scorer(graph.model, graph.face)

    def alarms(windows: Floats) -> NDArray[np.bool_]:
        return np.array([device.score(window).value > calibration.threshold for window in windows], bool)

    return alarms


def _labelled_alarms(run: Run, alarms: gating.Alarms) -> Floats | None:
    if run.faulty is None:
        return None
    values, t_ns, labels = run.faulty
    found = [stretch.windows[labels_of(stretch, t_ns, labels)[0]] for stretch in stretches(run.input.rule(), values, t_ns)]
    faulty = np.concatenate(found) if found else np.empty((0, run.input.window, len(run.input.channels)), np.float32)
    return faulty[alarms(faulty)] if len(faulty) else None


def _backtested(made: Build, draft: Bundle) -> None:
    for format in made.graphs:
        made.backtests[format] = {"validation": backtest(draft, format, *made.run.validation)}
        if made.run.faulty is not None:
            made.backtests[format]["labelled"] = backtest(draft, format, *made.run.faulty)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Parts:
    """What a manifest is made of."""

    made: Build
    judged: Cases
    prefilter: Prefilter
    options: Options
    asked: float

    def manifest(self, backtests: dict[str, object]) -> tuple[Manifest, dict[str, bytes]]:
        """The manifest with these backtest figures, and the members it names."""
        run, info = self.made.run, self.made.run.info
        golden = golden_arrays(self.judged, {format: graph.measured[0].scores for format, graph in self.made.graphs.items()},
                               streaming=run.input.streaming)
        members = {f"model_{format}.tflite": graph.model for format, graph in self.made.graphs.items()}
        members |= {"prefilter.npz": self.prefilter.to_bytes(), "golden.npz": write_npz(dict(golden))}
        if (run.path / "report.html").is_file():
            members["report.html"] = (run.path / "report.html").read_bytes()
        gate_member = member("prefilter.npz", members["prefilter.npz"])
        manifest = Manifest(
            name=self.options.name or info.name, version=self.options.version, created=info.created, input=run.input,
            graphs=tuple(self._graph(format, graph) for format, graph in self.made.graphs.items()),
            prefilter=PrefilterSpec(file=gate_member.file, sha256=gate_member.sha256, size=gate_member.size,
                                    mode=self.prefilter.mode, max_skip_s=info.max_skip_s),
            decision=replace(info.decision, alarms_per_day=self.asked),
            golden=member("golden.npz", members["golden.npz"]),
            report=member("report.html", members["report.html"]) if "report.html" in members else None,
            provenance=self._provenance(backtests),
        )
        return manifest, members

    def _graph(self, format: str, graph: Graph) -> GraphSpec:  # noqa: A002
        face, file = graph.face, f"model_{format}.tflite"
        return GraphSpec(
            format=face.format, window=face.window, score=face.score, contributions=face.contributions, states=face.states,
            file=file, sha256=hashlib.sha256(graph.model).hexdigest(), size=len(graph.model),
            parity={runtime: parity.figures() for runtime, parity in graph.parity.items()},
            calibration=self.made.calibrations[format], golden_tolerance=graph.tolerance)

    def _provenance(self, backtests: dict[str, object]) -> dict[str, object]:
        run, gate = self.made.run, self.made.gate
        assert gate is not None  # noqa: S101 - set before packing
        return {
            **run.provenance, "detector": run.info.detector, "recipe": run.recipe, "metrics": run.metrics,
            "operators": {format: dict(sorted(graph.facts.operators.items())) for format, graph in self.made.graphs.items()},
            "runtimes": {m.runtime: m.version for graph in self.made.graphs.values() for m in graph.measured},
            "refused_formats": dict(sorted(self.made.refused.items())),
            "gating": {"mode": gate.mode.value, "reason": gate.reason, "hidden_injected": gate.hidden_injected,
                       "hidden_labelled": gate.hidden_labelled, "skipped": gate.skipped},
            "backtest": backtests,
        }
