"""From a run of images to a bundle, every step measured: convert, parity, thresholds, golden data, backtest, pack.

0. Too few normal frames for the asked rate are refused at once.
1. Convert to each format in a child process; the float model scores the same frames, and gives its maps.
2. Each flatbuffer is checked, run by the device's scorer on every runtime there is, and compared with the float model.
   One that differs is refused with its figures; the others go on. `edgetpu` is made of the int8 graph.
3. The device's scorer scores the validation frames: each graph's thresholds of score and map.
4. The bundle is packed, read back, run over validation and test frames as the device decides them, and packed with the
   figures.

The prefilter of a camera is learned on site, so there is none to fit. Nothing that differs between two runs of this
goes into the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from converters.build import Options, Progress
from converters.conversion import EDGETPU, FORMATS, Child, convert
from converters.frames.assembly import FrameAssembly
from converters.frames.backtest import FrameBacktest, backtest
from converters.frames.cases import FrameCases, cases, samples
from converters.frames.edge import EdgeTpu, edgetpu
from converters.frames.judging import FrameGraph, FrameJudge
from converters.frames.thresholds import FrameThresholds, calibrate_graph, time_covered
from converters.grading import refuse_provisional, refuse_too_short
from converters.judging import refuse_empty
from converters.pack import pack
from converters.refusal import Refused
from converters.runtimes import find_tflite_python
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameManifest
from edge_agent.contract.prefilter import Mode
from training.image_artifacts import MOST_VALIDATION, FrameRun


@dataclass(slots=True, kw_only=True, eq=False)
class FrameBuild:
    """A bundle for a camera and everything that was found on the way."""

    run: FrameRun
    judge: FrameJudge
    graphs: dict[str, FrameGraph]
    refused: dict[str, str]
    """Formats that were tried, and why they are not shipped."""
    not_made: dict[str, str]
    """Formats that were not made, and why."""
    edgetpu: EdgeTpu | None
    """None: not asked for."""
    thresholds: dict[str, FrameThresholds] = field(default_factory=dict)
    backtests: dict[str, dict[str, FrameBacktest]] = field(default_factory=dict)
    """By format, then by data: `validation`, and `test` where there are test frames."""
    manifest: FrameManifest | None = None
    data: bytes = b""
    """The bundle file."""

    @property
    def cases(self) -> FrameCases:
        """What parity was measured on."""
        return self.judge.cases


def convert_frame_run(run: FrameRun, options: Options, progress: Progress, child: Child | None = None) -> FrameBuild:
    """Steps 1 and 2; `child` as in `convert`.

    Raises:
        Refused: no format is left, with the reason of each.
    """
    wanted = options.formats or (*FORMATS, EDGETPU)
    formats = [each for each in FORMATS if each in wanted]
    judged = cases(run)
    conversion = convert(
        run.graph,
        formats=formats if EDGETPU not in wanted or "int8" in formats else [*formats, "int8"],
        samples=samples(run),
        cases=judged.inputs,
        streaming=run.input.streaming,
        out=run.path / "build",
        progress=progress,
        child=child,
    )
    judge = FrameJudge(
        conversion=conversion,
        tflite_python=find_tflite_python(options.tflite_python),
        count=len(judged.inputs),
        run=run,
        cases=judged,
    )
    graphs, refused = judge.each_sound(formats, progress)
    made = FrameBuild(run=run, judge=judge, graphs=graphs, refused=refused, not_made={}, edgetpu=None)
    if EDGETPU in wanted:
        progress("making the graph for an Edge TPU")
        _take(made, edgetpu(judge))
    refuse_empty(made.graphs, made.refused | made.not_made)
    return made


def _take(made: FrameBuild, edge: EdgeTpu) -> None:
    """Keep the edgetpu graph, or why there is none."""
    made.edgetpu = edge
    if edge.graph is not None:
        made.graphs[EDGETPU] = edge.graph
    if edge.refused:
        made.refused[EDGETPU] = edge.refused
    if edge.not_made:
        made.not_made[EDGETPU] = edge.not_made


def build_frames(run: FrameRun, options: Options, progress: Progress, child: Child | None = None) -> FrameBuild:
    """All steps; `child` as in `convert`.

    Raises:
        Refused: no format is left, the data give no threshold, or it is provisional and that was not asked for.
    """
    asked = options.alarms_per_day or run.info.decision.alarms_per_day
    covered, most_s = time_covered(run, asked), MOST_VALIDATION * run.input.interval_s
    if not options.provisional:
        refuse_too_short(covered, most_s)
    made = convert_frame_run(run, options, progress, child)
    progress("setting thresholds on validation frames")
    for graph_format, graph in made.graphs.items():
        made.thresholds[graph_format] = calibrate_graph(run, graph, asked)
    if not options.provisional:
        for graph_format, thresholds in made.thresholds.items():
            for calibration in thresholds.both() if graph_format != EDGETPU else ():
                refuse_provisional(calibration, most_s)
    assembly = FrameAssembly(
        run=run,
        name=options.name or run.info.name,
        version=options.version,
        judge=made.judge,
        graphs=made.graphs,
        refused=made.refused,
        thresholds=made.thresholds,
        edgetpu={} if made.edgetpu is None else made.edgetpu.figures(),
        mode=_mode(run, options.mode or run.info.prefilter_mode),
        alarms_per_day=asked,
    )
    progress("deciding validation and test frames as the device does")
    made.backtests = frame_backtests(FrameBundle.read(pack(*assembly.manifest({}))), run)
    made.manifest, members = assembly.manifest(made.backtests)
    made.data = pack(made.manifest, members)
    return made


def frame_backtests(bundle: FrameBundle, run: FrameRun) -> dict[str, dict[str, FrameBacktest]]:
    """Every graph of a bundle that this machine can run, over the run's validation and test frames.

    Raises:
        Refused: the run's frames are not the bundle's.
    """
    expected, got = ((each.input.height, each.input.width) for each in (bundle.manifest, run))
    if got != expected:
        raise Refused(
            f"the bundle takes frames of {expected[0]} x {expected[1]}, those of {run.path} are {got[0]} x {got[1]}"
        )
    results: dict[str, dict[str, FrameBacktest]] = {}
    for graph in bundle.manifest.graphs:
        if graph.format != EDGETPU:
            by_data = results[graph.format.value] = {
                "validation": backtest(bundle, graph.format, run.validation, optimism=run.optimism)
            }
            if len(run.test):
                by_data["test"] = backtest(bundle, graph.format, run.test, labels=run.test_labels, kinds=run.test_kinds)
    return results


def _mode(run: FrameRun, wanted: Mode) -> Mode:
    """A streaming graph is never gated: a frame that is left out would corrupt its state."""
    return Mode.WATCH if run.input.streaming and wanted is Mode.GATE else wanted
