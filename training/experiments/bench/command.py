"""The command `python -m training bench`: read the data, run what is not done yet, write the tables."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from training.experiments.bench.cases import DataSet
from training.experiments.bench.keeping import Outcome
from training.experiments.bench.kinds import read_data
from training.experiments.bench.recipes import Entrant, find_entrants
from training.experiments.bench.running import run, tasks
from training.experiments.bench.tables import Entry

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
}
"""Environment of the workers: as many as asked share the cores, and costs are told of one thread."""


def main(options: argparse.Namespace) -> None:
    """Run the command; raises what the kinds and recipes raise for wrong names and data."""
    entrants = find_entrants(options.detectors)
    data = read_data(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, value in SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as workers:
        entries = compare(data, entrants, options.out, workers)
    rows = [entry.pooled() for entry in entries]
    _write_json(options.out / "results.json", rows)
    _write_json(options.out / "files.json", [row for entry in entries for row in entry.by_file()])


def compare(data: Sequence[DataSet], entrants: Sequence[Entrant], out: Path, workers: Executor) -> list[Entry]:
    """Every entrant on every data set."""
    work = tasks(data, entrants, out)
    outcomes: dict[tuple[str, str, str], Outcome] = {}
    with tqdm(total=len(work), unit="fit", disable=None) as bar:
        for task, outcome in run(work, workers):
            outcomes[task.data, task.entrant.name, task.case.name] = outcome
            bar.set_description(f"{task.data} {task.entrant.name} {task.case.name}")
            bar.update()
    return [
        Entry.of(each, entrant.name, [outcomes[each.name, entrant.name, case.name] for case in each.cases])
        for each in data
        for entrant in entrants
    ]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
