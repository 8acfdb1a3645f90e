"""`python -m training bench --data images:PATH`: read the folders, run what is not done yet, write the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from converters.conversion import FORMATS
from training.data import DataError
from training.experiments.bench.images import report
from training.experiments.bench.images.controls import CONTROLS
from training.experiments.bench.images.data import ImageSet, read_images
from training.experiments.bench.images.entrants import find_image_entrants
from training.experiments.bench.images.outcome import ImageOutcome
from training.experiments.bench.images.running import outcome_of, tasks
from training.experiments.bench.images.tables import by_file, rows
from training.experiments.bench.report import write_files
from training.experiments.bench.work import run
from training.experiments.bench.workers import workers

SEED = 0
"""Of split and fit where none is given."""

JUDGED = ("int8", "float32")
"""Formats where none are named: what ships, and what int8 costs."""

Outcomes = dict[str, dict[str, ImageOutcome]]
"""By folder, then by detector or control, in the order of the tables."""


def main(options: argparse.Namespace) -> str:
    """Run the command.

    Returns:
        The tables and what was written, for the terminal.

    Raises:
        DataError: a folder cannot be used, an option is of recordings alone, or no detector gave a result.
        RecipeError: a detector or recipe is not known, or cannot be built.
    """
    _check_options(options)
    seed = SEED if options.seed is None else options.seed
    formats = _formats(options.formats) if options.formats else JUDGED
    data = read_images(options.data, seed)
    entrants = find_image_entrants(options.detectors, seed)
    options.out.mkdir(parents=True, exist_ok=True)
    work = tasks(data, entrants, seed, formats, options.out)
    found: Outcomes = {each.name: dict.fromkeys((task.name for task in work), ImageOutcome()) for each in data}
    with workers(options.jobs, options.out / "workers.log") as pool:
        try:
            for task, outcome in run(work, outcome_of, pool, options.jobs):
                found[task.data.name][task.name] = outcome
        except KeyboardInterrupt:
            print(f"what is done is kept in {options.out}: run the same command again to go on", file=sys.stderr)
            raise
    table = write(data, found, options.out, seed)
    _check_any(found, options.out)
    return table


def _check_options(options: argparse.Namespace) -> None:
    of_recordings = {
        "--boards": options.boards,
        "--fit-rows": options.fit_rows is not None,
        "--contaminate": options.contaminate is not None,
    }
    if given := [name for name, value in of_recordings.items() if value]:
        raise DataError(f"{', '.join(given)}: of recordings alone, leave it out with images")


def _formats(text: str) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(text.split(",")))
    if not set(asked) <= set(FORMATS):
        raise DataError(f"--formats expects some of {', '.join(FORMATS)} with commas between, got {text}")
    return asked


def write(data: Sequence[ImageSet], found: Outcomes, out: Path, seed: int) -> str:
    """Write the four files; gives the tables."""
    each = [(folder, name, outcome) for folder, outcomes in found.items() for name, outcome in outcomes.items()]
    results = [row for one in each for row in rows(*one)]
    return write_files(
        out,
        results,
        [row for one in each for row in by_file(*one)],
        report.markdown(data, results, seed),
        report.html(data, found, results),
    )


def _check_any(found: Outcomes, out: Path) -> None:
    """Refuse to end well with nothing but failures."""
    asked = [
        (folder, name, outcome)
        for folder, outcomes in found.items()
        for name, outcome in outcomes.items()
        if name not in CONTROLS
    ]
    if not any(outcome.graphs for _, _, outcome in asked):
        folder, name, outcome = asked[0]
        raise DataError(
            f"no detector gave a result on any folder, for instance {name} on {folder}: {outcome.reason} (all reasons "
            f"are in {out / 'results.json'})"
        )
