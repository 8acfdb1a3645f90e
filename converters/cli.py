"""The commands of `python -m converters`.

    build RUN              everything: convert, parity, thresholds, gating, golden data, backtest, pack
    convert RUN            convert and compare only: which formats hold, and why not
    backtest BUNDLE RUN    a packed bundle over a run's validation and labelled data
    edgetpu-check MODEL    which operators of a .tflite an Edge TPU would take, and why not the others

A run may be of readings or of images; `run.json` tells.

Exit codes: 0 done; 2 wrong arguments; 3 refused, the reasons are on standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from converters.build import Build, Options, backtests, build, convert_run
from converters.conversion import EDGETPU, FORMATS
from converters.edgetpu.mapping import mapping
from converters.frames.build import FrameBuild, build_frames, convert_frame_run, frame_backtests
from converters.frames.summary import frame_backtest_summary, frame_parity_summary, frame_summary
from converters.pack import write
from converters.refusal import Refused, clauses
from converters.summary import backtest_summary, parity_summary, summary, table
from edge_agent.contract.bundle import Bundle, FrameBundle
from edge_agent.contract.prefilter import Mode
from edge_agent.errors import EdgeAgentError
from training.artifacts import RunError
from training.image_artifacts import FrameRun, read_run

EXIT_REFUSED = 3
"""A graph, threshold or bundle was refused, or an input cannot be used."""


BUILD_HELP = """\
Make the bundle of a run: convert its graph to each format, compare each with the float model, set thresholds on the
validation data, fit the prefilter, and run the device's own pipeline over the labelled data.

  python -m converters build runs/pump                     refuses a threshold that the data do not support
  python -m converters build runs/pump --provisional       takes it all the same, named so wherever it is shown
  python -m converters build runs/pump --formats float32   one format alone
"""

CONVERT_HELP = """\
Convert a run's graph and compare it with the float model: which formats hold, and why not the others.

  python -m converters convert runs/pump --formats int8
"""

BACKTEST_HELP = """\
Run every graph of a bundle through the device's own pipeline, over a run's validation and labelled data. Counted are
events as the device opens them, each open until a window and the hold-off were quiet. `python -m training evaluate`
counts the rows where N of M scores are above the threshold instead, so its figures differ.

  python -m converters backtest pump.bundle runs/pump

Of a run of images every validation and test frame is decided, stills each alone.
"""

CHECK_HELP = """\
Say of every operator of a .tflite whether an Edge TPU would take it, by the documented rules of its compiler. From the
first that it does not take, everything runs on the CPU. `edgetpu_compiler` itself may map less.

  python -m converters edgetpu-check runs/weld/build/model_integer.tflite
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], str] = options.command
    try:
        print(command(options))
    except (Refused, RunError, EdgeAgentError, OSError) as error:
        print("\n".join(clauses(f"refused: {error}")), file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m converters", description=__doc__, formatter_class=plain)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _build_options(
        commands.add_parser(
            "build", help="make a bundle from a run folder", description=BUILD_HELP, formatter_class=plain
        )
    )
    converting = commands.add_parser(
        "convert",
        help="convert a run's graph and compare it with the float model",
        description=CONVERT_HELP,
        formatter_class=plain,
    )
    _run_options(converting)
    converting.set_defaults(command=_convert)
    testing = commands.add_parser(
        "backtest",
        help="run a bundle over a run's validation and labelled data",
        description=BACKTEST_HELP,
        formatter_class=plain,
    )
    testing.add_argument("bundle", type=Path, help="bundle file, from `build`")
    testing.add_argument("run", type=Path, help="run folder")
    testing.set_defaults(command=_backtest)
    checking = commands.add_parser(
        "edgetpu-check",
        help="which operators of a .tflite an Edge TPU would take",
        description=CHECK_HELP,
        formatter_class=plain,
    )
    checking.add_argument("model", type=Path, help=".tflite file")
    checking.set_defaults(command=_edgetpu_check)
    return parser


def _build_options(making: argparse.ArgumentParser) -> None:
    _run_options(making)
    making.add_argument("--out", type=Path, help="the file to write (default: NAME-VERSION.bundle in the run folder)")
    making.add_argument("--name", help="name of the bundle (default: the run's)")
    making.add_argument("--version", default="1.0.0", help="version of the bundle (default: 1.0.0)")
    making.add_argument(
        "--alarms-per-day", type=_positive, help="false alarms a day to set the thresholds for (default: the recipe's)"
    )
    making.add_argument(
        "--mode", type=Mode, choices=tuple(Mode), help="what the prefilter does (default: the recipe's, as gating pays)"
    )
    making.add_argument(
        "--provisional", action="store_true", help="pack a threshold that the data do not support, named so"
    )
    making.set_defaults(command=_build)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder, from `python -m training fit`")
    parser.add_argument(
        "--formats",
        type=_formats,
        metavar="F,F",
        help=f"of {','.join(FORMATS)} and, for images, {EDGETPU} (default: all)",
    )
    parser.add_argument(
        "--tflite-python", type=Path, help="Python of an environment with tflite-runtime, to measure on it as well"
    )


def _formats(text: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(text.split(",")))
    if not set(wanted) <= {*FORMATS, EDGETPU}:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(FORMATS)},{EDGETPU}, got {text}")
    return wanted


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _progress() -> Callable[[str], None]:
    start = time.monotonic()
    return lambda message: print(f"[{time.monotonic() - start:6.1f} s] {message}", file=sys.stderr, flush=True)


def _build(options: argparse.Namespace) -> str:
    run = read_run(options.run)
    settings = Options(
        formats=options.formats,
        name=options.name,
        version=options.version,
        alarms_per_day=options.alarms_per_day,
        mode=options.mode,
        provisional=options.provisional,
        tflite_python=options.tflite_python,
    )
    made: Build | FrameBuild
    if isinstance(run, FrameRun):
        made = build_frames(run, settings, _progress())
        said = frame_summary(made)
    else:
        made = build(run, settings, _progress())
        said = summary(made)
    assert made.manifest is not None  # noqa: S101 - building gives one or raises
    out = options.out or options.run / f"{made.manifest.name}-{made.manifest.version}.bundle"
    write(out, made.data)
    return f"{said}\nwritten to {out}"


def _convert(options: argparse.Namespace) -> str:
    run, settings = read_run(options.run), Options(formats=options.formats, tflite_python=options.tflite_python)
    said = (
        frame_parity_summary(convert_frame_run(run, settings, _progress()))
        if isinstance(run, FrameRun)
        else parity_summary(convert_run(run, settings, _progress()))
    )
    return f"{said}\nflatbuffers are in {options.run / 'build'}"


def _backtest(options: argparse.Namespace) -> str:
    run = read_run(options.run)
    if isinstance(run, FrameRun):
        return frame_backtest_summary(frame_backtests(FrameBundle.read(options.bundle), run))
    bundle = Bundle.read(options.bundle)
    return backtest_summary(backtests(bundle, run), bundle.manifest)


def _edgetpu_check(options: argparse.Namespace) -> str:
    placed = mapping(options.model.read_bytes())
    head = ("operator", "index", "version", "multiply-accumulates", "weights", "where")
    rows = [
        (
            each.name,
            str(each.index),
            str(each.version),
            f"{each.macs:,}",
            f"{each.weights:,}",
            f"CPU: {each.reason}" if each.reason else "Edge TPU",
        )
        for each in placed.operators
    ]
    return "\n".join([*table([head, *rows]), placed.sentence()])
