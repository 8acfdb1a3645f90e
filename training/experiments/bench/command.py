"""The command `python -m training bench`: read the data, run what is not done yet, write the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from training.data import DataError
from training.experiments.bench import report
from training.experiments.bench.boards import BOARDS
from training.experiments.bench.cases import DataSet
from training.experiments.bench.checking import check
from training.experiments.bench.contamination import contaminated
from training.experiments.bench.controls import CONTROLS, outcomes
from training.experiments.bench.entrants import Entrant, Published, find_entrants
from training.experiments.bench.falls import falls
from training.experiments.bench.images.command import main as compare_images
from training.experiments.bench.keeping import Outcome
from training.experiments.bench.kinds import IMAGES, kind_and_path, read_data
from training.experiments.bench.running import outcome_of, tasks
from training.experiments.bench.tables import Entry
from training.experiments.bench.work import run
from training.experiments.bench.workers import workers


def main(options: argparse.Namespace) -> str:
    """Run the command.

    Returns:
        The tables and what was written, for the terminal.

    Raises:
        DataError: a kind or path is wrong, the data cannot be read or contaminated, or no file gave a result.
        RecipeError: a detector or recipe is not known, or cannot be built.
    """
    if any(kind_and_path(text)[0] == IMAGES for text in options.data):
        return compare_images(options)
    if options.formats is not None or options.seed is not None:
        raise DataError("--formats and --seed are of images alone: leave them out with recordings")
    data = read_data(options.data, options.fit_rows)
    entrants = find_entrants(options.detectors, boards_of={each.kind for each in data} if options.boards else ())
    check(entrants, data)
    if options.contaminate is not None:
        data = [each for clean in data for each in (clean, *contaminated(clean, options.contaminate))]
    options.out.mkdir(parents=True, exist_ok=True)
    with workers(options.jobs, options.out / "workers.log") as pool:
        try:
            entries = compare(data, entrants, options.out, pool, options.jobs)
        except KeyboardInterrupt:
            print(f"what is done is kept in {options.out}: run the same command again to go on", file=sys.stderr)
            raise
    table = write(data, entries, options.out)
    _check_any(entries, options.out)
    return table


def _check_any(entries: Sequence[Entry], out: Path) -> None:
    """Refuse to end well with nothing but failures; published methods count where no detector was asked for."""
    asked = [entry for entry in entries if entry.detector not in CONTROLS]
    judged = [entry for entry in asked if entry.detector not in BOARDS] or asked
    if not any(entry.found for entry in judged):
        first = judged[0]
        raise DataError(
            f"no detector gave a result on any file, for instance {first.detector} on {first.data.name}: "
            f"{first.pooled()['reason']} (all reasons are in {out / 'files.json'})"
        )


def compare(
    data: Sequence[DataSet], entrants: Sequence[Entrant | Published], out: Path, pool: Executor, jobs: int = 1
) -> list[Entry]:
    """Every entrant on every data set, and every control."""
    done: dict[tuple[str, str], dict[str, Outcome]] = {}
    for task, outcome in run(tasks(data, entrants, out), outcome_of, pool, jobs):
        done.setdefault((task.data, task.entrant.name), {})[task.case.name] = outcome
    return [
        entry
        for each in data
        for entry in (
            *(
                Entry.of(each, entrant.name, [done[each.name, entrant.name][case.name] for case in each.cases])
                for entrant in entrants
                if (each.name, entrant.name) in done
            ),
            *(Entry.of(each, name, outcomes(each, control)) for name, control in CONTROLS.items()),
        )
    ]


def write(data: Sequence[DataSet], entries: Sequence[Entry], out: Path) -> str:
    """Write the four files; gives the tables."""
    rows = [entry.pooled() for entry in entries]
    files = [row for entry in entries for row in entry.by_file()]
    fallen = falls(entries)
    return report.write_files(
        out, rows, files, report.markdown(data, rows, fallen), report.html(entries, rows, files, fallen)
    )
