"""Command line of the workstation: `python -m training init | fit | evaluate | bench | detectors`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.contract.calibration import Grade
from edge_agent.contract.words import counted
from training.artifacts import RunError
from training.data import PARQUET_SUFFIXES, TEXT_SUFFIXES, DataError
from training.image_artifacts import FrameRun, read_run
from training.images.recipe import is_image_recipe, parse_image_recipe
from training.recipe import RecipeError, parse_recipe, recipe_text

if TYPE_CHECKING:
    from training.evaluation.evaluate import Choice
    from training.guess import Written

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

ABOUT = """\
Train a detector on your own recordings or images, in three steps:

  1. python -m training init pump.csv        looks at the file; writes pump.toml, a recipe with every setting explained
  2. python -m training fit pump.toml        trains on the normal part; writes the run folder runs/pump
  3. python -m training evaluate runs/pump   scores the rest; writes metrics.json and report.html to look at

Then `python -m converters build runs/pump` makes the bundle for the device.

With images: `python -m training init FOLDER`, and then the same. A folder has normal images in `normal` and others in
`anomaly`, or is in MVTec layout, or holds normal images alone; docs/images.md says more.

Which detector? `python -m training detectors` lists them, `python -m training bench` compares them on your data.

What a recording is: a CSV, CSV.gz or Parquet file with one reading a row, oldest first, and a column per channel.
Mostly normal operation; an hour is a start, a day is good. Where faults are known, say so with a column that is above 0
in faulty rows, or with a CSV of intervals `start,end`: they are left out of training, and `evaluate` can say how good
the detector is.
"""

DETECTORS_HELP = """\
Ready recipes to begin with, by what they are good at (training/recipes/<name>.toml; `python -m training detectors`
lists all, docs/choosing.md says which is for which data):
  conv_autoencoder   patterns in time, such as cycles, and what gaussian sees; int8; recommended
  gaussian           lasting shifts and broken relations between channels; fits in a second; the default
  pca                the same with many or strongly related channels
  lstm_forecaster    long memory, one reading at a time, cheapest per reading; int8
  lstm_autoencoder   patterns in time in short windows; int8
"""


BENCH_HELP = """\
Fit, convert and judge detectors on labelled data, each data set by its official protocol, from the graphs that ship:

  python -m training bench --data skab:SKAB/data/valve1 --detectors gaussian,pca --out out/skab
  python -m training bench --data images:bottles --data images:cables --detectors padim --out out/parts

writes results.json (a row per data set and detector, for images per format too), files.json (a row per file),
results.md and results.html. What is done is kept in the output folder: run the same command again to go on after an
interruption, or with more detectors: what is kept costs nothing. The tables hold what is named.

Kinds of data:
  csv:FOLDER        your own CSV files: a column anomaly (above 0: faulty), and a column train (1: to fit) or --fit-rows
  injected:FOLDER   recordings of normal operation in CSV: faults are injected, no labels are needed
  skab:FOLDER       Skoltech Anomaly Benchmark; each file is fitted on its first 400 rows
  nab:FOLDER        Numenta Anomaly Benchmark (data/, labels/); fitted on its probation, with its own score in the table
  tep:FOLDER        Tennessee Eastman process: d00.dat to fit, dNN_te.dat to test
  fan:FOLDER        ceiling fan at 200 Hz, in pieces of a second
  images:FOLDER     normal and defective images in any layout of docs/images.md; a table of their own, so not in one run
                    with recordings

Detectors: `recommended`, `all`, names from `python -m training detectors`, board_NAME for a published method, or recipe
files of your own; with commas between.
"""


INIT_HELP = """\
Guess delimiter, time column, label column, channels, rate and gaps of a recording, and write a recipe in which every
setting is explained. Check the units and ranges in it.

  python -m training init pump.csv --detector pca     looks at pump.csv and writes pump.toml

Of a folder of images: find its layout, how many there are of each kind and what cannot be read, and choose the size of
the frame.

  python -m training init bottles                     looks at the folder bottles and writes bottles.toml
"""

FIT_HELP = """\
Train the recipe's detector. Each recording is used in time order: training, a guard, validation (for thresholds; the
fit never sees it), and, where there are labels, a test part.

  python -m training fit pump.toml --out runs/pump    trains on the recipe's recordings and writes the folder runs/pump

Of images, a share of the normal ones is drawn for validation, or the detector is fitted once more without each fifth of
them (`folds`) and none is lost to the fit; unreadable ones are named and left out.
"""

EVALUATE_HELP = """\
Score a run's validation and test part with its float graph, one window after the other as the device would, and write
RUN/metrics.json and RUN/report.html. A row is alarmed where N of the last M scores are above the threshold (`n` and `m`
of the recipe). `python -m converters backtest` judges the graphs that ship, by the events that the device would open.

  python -m training evaluate runs/pump               then open runs/pump/report.html

Of images, the report shows the best, the worst and those on the border with their heatmaps. With --bundle, the graphs
that ship are judged beside the float graph, on the device's runtime.
"""

DETECTOR_LIST_HELP = """\
List every detector by the name that recipes and `bench` give it, or tell all about some. docs/choosing.md says which is
for which data.

  python -m training detectors              what each is, and its source
  python -m training detectors pca knn      all about these two
"""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0: done; 1: data, recipe, run or disk cannot be used, the message says why, or nobody reads the output any more.
        Wrong usage ends with 2.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels differ from machine to machine
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); what is left must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RecipeError, DataError, RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=ABOUT,
        epilog=DETECTORS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_init, _add_fit, _add_evaluate, _add_bench, _add_detectors):
        add(commands)
    return parser


def _add_init(commands: Commands) -> None:
    init = commands.add_parser(
        "init",
        help="look at a recording and write a recipe",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=INIT_HELP,
        epilog=DETECTORS_HELP,
    )
    init.add_argument("data", type=Path, help="CSV, CSV.gz or Parquet file, or a folder of images")
    init.add_argument(
        "--detector",
        metavar="NAME",
        help="ready recipe to start from (default: gaussian, which fits in a second; for images padim)",
    )
    init.add_argument(
        "--out", type=Path, metavar="RECIPE", help="recipe to write (default: <data>.toml in the working folder)"
    )
    init.add_argument(
        "--fit-rows", type=int, metavar="N", help="train on the first N rows and test on the rest (default: by shares)"
    )
    init.add_argument("--force", action="store_true", help="replace a recipe that is there")
    _add_quiet(init)
    init.set_defaults(command=_init)


def _add_fit(commands: Commands) -> None:
    fit = commands.add_parser(
        "fit",
        help="train and write a run folder",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=FIT_HELP,
    )
    fit.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe from `init` or training/recipes")
    fit.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="recording instead of the recipe's, may be repeated; or the folder of images",
    )
    fit.add_argument("--out", type=Path, metavar="RUN", help="run folder to write (default: runs/<name of the recipe>)")
    _add_quiet(fit)
    fit.set_defaults(command=_fit)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score the test part; JSON and an HTML report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=EVALUATE_HELP,
    )
    evaluate.add_argument("run", type=Path, metavar="RUN", help="run folder from `fit`")
    evaluate.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="use this threshold instead of the one from the validation part",
    )
    evaluate.add_argument(
        "--bundle", type=Path, metavar="FILE", help="images: judge the graphs of this bundle beside the float graph"
    )
    labels = evaluate.add_argument_group(
        "threshold by the labels",
        "also told in the report, for the test part: the threshold of the least weighted error",
    )
    labels.add_argument(
        "--false-alarm-weight",
        type=float,
        default=1.0,
        metavar="W",
        help="cost of alarming all normal rows (default: 1)",
    )
    labels.add_argument(
        "--miss-weight", type=float, default=1.0, metavar="W", help="cost of missing all faulty rows (default: 1)"
    )
    labels.add_argument(
        "--max-far",
        type=float,
        metavar="PERCENT",
        help="fewest misses with at most so many false alarms, whatever the weights",
    )
    _add_quiet(evaluate)
    evaluate.set_defaults(command=_evaluate)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar; without a terminal there is none anyway")


def _add_bench(commands: Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="compare detectors on labelled data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=BENCH_HELP,
    )
    bench.add_argument(
        "--data", action="append", required=True, metavar="KIND:PATH", help="data set; may be repeated (kinds: above)"
    )
    bench.add_argument(
        "--detectors",
        default="recommended",
        metavar="NAMES",
        help="recommended, all, or names and recipe files with commas between (default: recommended)",
    )
    bench.add_argument("--boards", action="store_true", help="published methods of the data's kind as well (skab, nab)")
    bench.add_argument("--out", type=Path, required=True, metavar="DIR", help="results, and what is done so far")
    bench.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    bench.add_argument("--fit-rows", type=int, metavar="N", help="kinds csv, injected: rows to fit on, at the start")
    bench.add_argument(
        "--contaminate",
        type=float,
        metavar="SHARE",
        help="every data set again, with this share of the rows to fit on replaced by faulty ones, such as 0.05",
    )
    bench.add_argument("--seed", type=int, metavar="N", help="images: of the split, the folds and the fit (default: 0)")
    bench.add_argument(
        "--formats", metavar="F,F", help="images: graphs to make and judge (default: int8,float32, each its own row)"
    )
    bench.set_defaults(command=_bench)


def _add_detectors(commands: Commands) -> None:
    detectors = commands.add_parser(
        "detectors",
        help="list the detectors, what they need and where they come from",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=DETECTOR_LIST_HELP,
    )
    detectors.add_argument(
        "names", nargs="*", metavar="NAME", help="tell all about this one (default: a line for each)"
    )
    detectors.add_argument("--json", action="store_true", help="everything, for programs")
    detectors.set_defaults(command=_detectors)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep from standard error what TensorFlow's libraries write there while loading, before log levels are obeyed."""
    sys.stderr.flush()
    with Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _init(options: argparse.Namespace) -> None:
    out = options.out or Path((options.data.resolve().name.split(".")[0] or "model") + ".toml")
    if not options.data.exists():
        raise RecipeError(f"{options.data} does not exist: expected a recording or a folder of images")
    if options.data.is_dir():
        written = _init_images(options, out)
    else:
        from training.guess import write_recipe

        written = write_recipe(
            options.data, options.detector or "gaussian", out, replace=options.force, fit_rows=options.fit_rows
        )
    print(f"wrote {written.path}: {written.summary}")
    if written.advice:
        print(written.advice)
    print(f"next: check it, then `python -m training fit {written.path}`")


def _init_images(options: argparse.Namespace, out: Path) -> Written:
    from training.images.guess import DEFAULT, write_image_recipe

    if options.fit_rows is not None:
        raise RecipeError("--fit-rows is for recordings; which images are to fit on is told by their folders")
    return write_image_recipe(
        options.data, options.detector or DEFAULT, out, replace=options.force, progress=_draws_bars(options)
    )


def _draws_bars(options: argparse.Namespace) -> bool:
    """Bars are for people: in a log file each step of one would be a line of control characters."""
    return not options.quiet and sys.stderr.isatty()


def _fit(options: argparse.Namespace) -> None:
    if options.recipe.is_dir():
        raise RecipeError(
            f"{options.recipe} is a folder, expected a recipe: `python -m training init {options.recipe}` makes one if "
            "it holds images"
        )
    if options.recipe.name.lower().endswith((*PARQUET_SUFFIXES, *TEXT_SUFFIXES)):
        raise RecipeError(
            f"{options.recipe} looks like a recording, expected a recipe: `python -m training init {options.recipe}` "
            "makes one from it"
        )
    text = recipe_text(options.recipe)
    if is_image_recipe(text):
        recipe_of_images = parse_image_recipe(text, options.recipe.name)
        with _quiet_libraries():
            from training.images.commands import fit_command

        print(fit_command(recipe_of_images, text, options, progress=_draws_bars(options)))
        return
    recipe = parse_recipe(text, options.recipe.name)
    with _quiet_libraries():
        from training.fit import fit, locate

    out = options.out or Path("runs") / recipe.name
    run = fit(recipe, locate(recipe, text, options.recipe.parent, options.data), out, progress=_draws_bars(options))
    figures = run.metrics["fit"]
    windows, cleaning = figures["windows"], figures["cleaning"]
    print(
        f"wrote {run.path}: {run.info.detector}, "
        f"{counted(windows['training'], 'training window')} and "
        f"{counted(windows['validation'], 'validation window')}; cleaning left out "
        f"{counted(cleaning['outliers'], 'window')} and {counted(sum(cleaning['spikes']), 'spike')}\n"
        f"next: `python -m training evaluate {run.path}`"
    )


def _evaluate(options: argparse.Namespace) -> None:
    run = read_run(options.run)
    with _quiet_libraries():
        from training.evaluation.evaluate import Choice, evaluate_run
        from training.evaluation.report import write_report

    choice = Choice(
        false_alarm_weight=options.false_alarm_weight, miss_weight=options.miss_weight, max_far_percent=options.max_far
    )
    if isinstance(run, FrameRun):
        _evaluate_images(run, options, choice)
        return
    if options.bundle:
        raise RunError("--bundle is for runs of images; for readings there is `python -m converters backtest`")
    evaluation = evaluate_run(run, threshold=options.threshold, choice=choice, progress=_draws_bars(options))
    build = f"`python -m converters build {run.path}`"
    if options.threshold is None and evaluation.calibration.grade is Grade.PROVISIONAL:
        build = f"record more normal data, or take the provisional threshold with {build[:-1]} --provisional`"
    print(
        f"{write_report(run, evaluation)}\nwrote {run.path / 'metrics.json'} and {run.path / 'report.html'}\n"
        f"next: look at the report, then {build}"
    )


def _evaluate_images(run: FrameRun, options: argparse.Namespace, choice: Choice) -> None:
    with _quiet_libraries():
        from training.experiments.bundle_graphs import bundle_graphs
        from training.images.commands import evaluate_command

    device = bundle_graphs(options.bundle, run) if options.bundle else {}
    print(evaluate_command(run, options, choice, device, progress=_draws_bars(options)))


def _bench(options: argparse.Namespace) -> None:
    with _quiet_libraries():
        from training.experiments.bench.command import main as bench

    print(bench(options))


def _detectors(options: argparse.Namespace) -> None:
    with _quiet_libraries():
        from training.detectors.listing import as_json, as_table, as_text

    if options.json:
        print(as_json(options.names))
    else:
        print(as_text(options.names) if options.names else as_table())


if __name__ == "__main__":
    sys.exit(main())
