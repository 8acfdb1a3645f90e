"""Results kept in the output folder, so that an interrupted run goes on and a changed one repeats only what changed.

    OUT/kept/<data>/<detector>/<case>/
        key.txt         digest of all that the result depends on; written last, so that half a result is none
        outcome.json    what was measured of the bundle, or why there is none
        judged.npz      scores, alarms, events of the trials
        model.bundle    the bundle itself, where there is one

After an unexpected error there is a `traceback.txt` instead.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.contract.arrays import write_npz
from training.evaluation.metrics import Confusion
from training.experiments.bench.figures import Shipped
from training.experiments.bench.judging import Judged


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of a detector on a case."""

    judged: tuple[Judged, ...] = ()
    """One for each trial; empty where it failed."""
    shipped: Shipped | None = None
    """None for controls and published methods, which ship nothing."""
    float_rows: tuple[Confusion, ...] = ()
    """Rows counted with the float32 graph where int8 ships, one for each trial; empty where it does not."""
    reason: str = ""
    """Why it failed."""


def is_kept(folder: Path, key: str) -> bool:
    """Whether the result in a folder is whole and the one of this key."""
    return (folder / "key.txt").is_file() and (folder / "key.txt").read_text(encoding="utf-8") == key


def seal(folder: Path, key: str) -> None:
    """Say that the result in a folder is whole."""
    (folder / "key.txt").write_text(key, encoding="utf-8")


def kept(folder: Path, key: str) -> Outcome | None:
    """The result in a folder, if it is the one of this key."""
    if not is_kept(folder, key):
        return None
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    shipped = outcome["shipped"]
    with np.load(folder / "judged.npz", allow_pickle=False) as arrays:
        judged = tuple(_judged(arrays, number) for number in range(outcome["trials"]))
    return Outcome(
        judged=judged,
        shipped=None if shipped is None else Shipped(**shipped),
        float_rows=tuple(Confusion(**rows) for rows in outcome["float_rows"]),
        reason=outcome["reason"],
    )


def keep(folder: Path, key: str, outcome: Outcome) -> None:
    """Write a result."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{number}_{field.name}": np.asarray(getattr(judged, field.name))
        for number, judged in enumerate(outcome.judged)
        for field in fields(Judged)
    }
    (folder / "judged.npz").write_bytes(write_npz(arrays))
    text = {
        "trials": len(outcome.judged),
        "shipped": None if outcome.shipped is None else asdict(outcome.shipped),
        "float_rows": [asdict(rows) for rows in outcome.float_rows],
        "reason": outcome.reason,
    }
    (folder / "outcome.json").write_text(json.dumps(text, indent=1), encoding="utf-8")
    seal(folder, key)


def fresh(folder: Path) -> Path:
    """The folder, emptied: what was in it is of another recipe, data or code."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _judged(arrays: Any, number: int) -> Judged:
    found = {field.name: arrays[f"{number}_{field.name}"] for field in fields(Judged)}
    return Judged(**found | {"unscored": int(found["unscored"])})
