"""The work: every entrant on every case, in processes that keep TensorFlow loaded.

A result that is kept is read instead of made. What fails for a reason that can be told (bad data, a setting that does
not fit, a graph that the converter refuses) is kept as such; a bug is told in the table as well, with its traceback in
the case's folder, and tried again next time.
"""

from __future__ import annotations

import re
import shutil
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from converters.refusal import Refused
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphFormat, GraphSpec
from edge_agent.errors import EdgeAgentError
from training.artifacts import RunError
from training.data import DataError
from training.detectors import DETECTORS
from training.evaluation.metrics import Confusion, confusion
from training.experiments.bench.boards import BOARDS
from training.experiments.bench.cases import Case, DataSet, Trial
from training.experiments.bench.digests import case_digest, code_digest, digest
from training.experiments.bench.entrants import Entrant, Published
from training.experiments.bench.figures import Shipped
from training.experiments.bench.judging import from_alarms, judge
from training.experiments.bench.keeping import Outcome, fresh, keep, kept
from training.experiments.bench.recipes import case_recipe
from training.recipe import RecipeError

RUNTIME = "litert"
"""The runtime that scores here, and whose parity is told."""

NS_PER_US = 1e3

SEED = 1
"""Of the published methods."""

EXPECTED = (DataError, RecipeError, RunError, Refused, EdgeAgentError)
"""Failures that say what is wrong with data, recipe or graph."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One entrant on one case."""

    data: str
    entrant: Entrant | Published
    case: Case
    out: Path

    @property
    def folder(self) -> Path:
        """Where its result is kept."""
        return kept_folder(self.out, self.data, self.entrant.name, self.case.name)


def tasks(data: Sequence[DataSet], entrants: Sequence[Entrant | Published], out: Path) -> list[Task]:
    """All the work, in the order of the tables; published methods on their kind of data alone."""
    return [
        Task(data=each.name, entrant=entrant, case=case, out=out)
        for each in data
        for entrant in entrants
        if isinstance(entrant, Entrant) or entrant.kind == each.kind
        for case in each.cases
    ]


def run(work: Iterable[Task], pool: Executor, jobs: int) -> Iterator[tuple[Task, Outcome]]:
    """Do the tasks, `jobs` at a time; gives each as it is done.

    No more are handed to the pool than it works on: tasks carry their data, and what waits in a full pipe to a worker
    that is ended would keep this process from ending.
    """
    left = iter(work)
    running: dict[Future[Outcome], Task] = {}
    while running := running | {pool.submit(outcome_of, task): task for task in islice(left, jobs - len(running))}:
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(done), done.result()


def outcome_of(task: Task) -> Outcome:
    """What comes of an entrant on a case: kept, or made and kept."""
    key = key_of(task.entrant, task.case)
    if (known := kept(task.folder, key)) is not None:
        return known
    folder = fresh(task.folder)
    try:
        if isinstance(task.entrant, Entrant):
            outcome = _shipped(task.entrant, task.case, folder)
        else:
            outcome = _published(task.entrant, task.case)
    except EXPECTED as error:
        outcome = Outcome(reason=str(error))
    except Exception as error:  # noqa: BLE001 - one detector's bug must not end the comparison of the others
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return Outcome(reason=f"{type(error).__name__}: {error} (see {folder / 'traceback.txt'})")
    finally:
        shutil.rmtree(folder / "work", ignore_errors=True)
    keep(folder, key, outcome)
    return outcome


def key_of(entrant: Entrant | Published, case: Case) -> str:
    """Digest of all that the result depends on."""
    if isinstance(entrant, Published):
        return digest(entrant.name, case_digest(case), code_digest(BOARDS[entrant.name].__module__))
    code = code_digest(DETECTORS[entrant.type].__module__)
    return digest(case_recipe(entrant, case), case_digest(case), code)


def _published(entrant: Published, case: Case) -> Outcome:
    """Fit and judge a published method."""
    judged = []
    for trial in case.trials:
        alarms, scores = BOARDS[entrant.name](case.train.values, trial.rows.values[trial.tested], SEED)
        judged.append(from_alarms(alarms, scores, trial, case.rate_hz))
    return Outcome(judged=tuple(judged))


def _shipped(entrant: Entrant, case: Case, folder: Path) -> Outcome:
    """Fit and convert a detector, and judge the graph that would ship."""
    # Imported here: TensorFlow is for the workers alone.
    from training.experiments.bench.shipping import ship

    start = time.monotonic()
    data = ship(entrant, case, folder / "work")
    (folder / "model.bundle").write_bytes(data)
    bundle, trials = Bundle.read(data), case.trials
    spec = default_graph(bundle)
    found = [judge(bundle, spec, trial) for trial in trials]
    if all(each.judged.unscored == len(each.judged.scores) for each in found):
        raise DataError(f"no row could be scored: {'; '.join(dict.fromkeys(found[0].reasons)) or 'too few rows'}")
    return Outcome(
        judged=tuple(each.judged for each in found),
        shipped=Shipped(
            format=spec.format.value,
            bytes=spec.size,
            parity=spec.parity[RUNTIME]["largest_error"],
            us_per_window=float(np.median([took for each in found for took in each.took_ns])) / NS_PER_US,
            grade=spec.calibration.grade.value,
            seconds=time.monotonic() - start,
        ),
        float_rows=_float_rows(bundle, trials) if spec.format is not GraphFormat.FLOAT32 else (),
    )


def _float_rows(bundle: Bundle, trials: Sequence[Trial]) -> tuple[Confusion, ...]:
    """Rows counted with the float32 graph, where the bundle has one: what int8 costs."""
    floats = [spec for spec in bundle.manifest.graphs if spec.format is GraphFormat.FLOAT32]
    return tuple(
        confusion(trial.labels, judge(bundle, spec, trial).judged.alarms) for spec in floats for trial in trials
    )


def kept_folder(out: Path, data: str, entrant: str, case: str) -> Path:
    """Where the bench keeps the result of an entrant on a case, by their names."""
    return out / "kept" / _folder_name(data) / _folder_name(entrant) / _folder_name(case)


def default_graph(bundle: Bundle) -> GraphSpec:
    """The graph that ships where nothing else is asked: int8 where the converter accepted it, else float32."""
    return min(bundle.manifest.graphs, key=lambda graph: graph.format is not GraphFormat.INT8)


def _folder_name(name: str) -> str:
    """A name as the name of a folder; what is changed carries a digest, so that no two names share one."""
    plain = re.sub(r"^\.+|[^A-Za-z0-9._-]+", "-", name)
    return plain if plain == name else f"{plain}-{digest(name)[:8]}"
