"""The work: every entrant on every case, in processes that keep TensorFlow loaded.

A result that is kept is read instead of made. What fails for a reason that can be told (bad data, a setting that does
not fit, a graph that the converter refuses) is kept as such; a bug is told in the table as well and tried again next
time (`work.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphFormat, GraphSpec
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
from training.experiments.bench.work import attempted

RUNTIME = "litert"
"""The runtime that scores here, and whose parity is told."""

NS_PER_US = 1e3

SEED = 1
"""Of the published methods."""


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

    @property
    def title(self) -> str:
        """Entrant and case."""
        return f"{self.data} {self.entrant.name} {self.case.name}"


def tasks(data: Sequence[DataSet], entrants: Sequence[Entrant | Published], out: Path) -> list[Task]:
    """All the work, in the order of the tables; published methods on their kind of data alone."""
    return [
        Task(data=each.name, entrant=entrant, case=case, out=out)
        for each in data
        for entrant in entrants
        if isinstance(entrant, Entrant) or entrant.kind == each.kind
        for case in each.cases
    ]


def outcome_of(task: Task) -> Outcome:
    """What comes of an entrant on a case: kept, or made and kept."""
    key = key_of(task.entrant, task.case)
    if (known := kept(task.folder, key)) is not None:
        return known
    folder = fresh(task.folder)
    outcome, settled = attempted(folder, lambda: _made(task, folder), lambda reason: Outcome(reason=reason))
    if settled:
        keep(folder, key, outcome)
    return outcome


def _made(task: Task, folder: Path) -> Outcome:
    if isinstance(task.entrant, Entrant):
        return _shipped(task.entrant, task.case, folder)
    return _published(task.entrant, task.case)


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


def kept_folder(out: Path, *names: str) -> Path:
    """Where the bench keeps a result, by the names of data, entrant and case."""
    return Path(out, "kept", *map(_folder_name, names))


def default_graph(bundle: Bundle) -> GraphSpec:
    """The graph that ships where nothing else is asked: int8 where the converter accepted it, else float32."""
    return min(bundle.manifest.graphs, key=lambda graph: graph.format is not GraphFormat.INT8)


def _folder_name(name: str) -> str:
    """A name as the name of a folder; what is changed carries a digest, so that no two names share one."""
    plain = re.sub(r"^\.+|[^A-Za-z0-9._-]+", "-", name)
    return plain if plain == name else f"{plain}-{digest(name)[:8]}"
