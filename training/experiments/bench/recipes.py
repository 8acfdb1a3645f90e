"""The recipe of a detector for a case: the ready one, with the case's channels, rate and rows.

From the ready recipe come detector, steps, training, scaling, decision and the length of windows; from the case come
data, channels, rate, stride and the split. All of the case's training rows are for the fit: a share at their end sets
the thresholds. Times of the recipe that count rows at its own rate (`guard_s`) are taken as that many rows.
"""

from __future__ import annotations

import json
import re
from typing import Any

from training.experiments.bench.cases import Case
from training.experiments.bench.entrants import Entrant
from training.recipe import TimeUnit

TIME, LABELS = "time", "anomaly"
"""Columns of the training file that the bench writes, beside its channels."""

TABLES = ("cleaning", "scaling", "steps", "detector", "training", "prefilter", "decision")
"""Parts of a recipe that belong to the detector, whatever the data."""


def case_recipe(entrant: Entrant, case: Case) -> str:
    """TOML text of the entrant's recipe for a case; its one file, the training rows, is given with `--data`."""
    data: dict[str, Any] = {"time_column": TIME, "time_unit": TimeUnit.NANOSECONDS.value}
    if entrant.needs_labels:
        data["label_column"] = LABELS
    return toml(
        {
            "name": re.sub(r"[^a-z0-9._-]+", "-", entrant.name.lower()).strip("-._") or "model",
            "data": data,
            "channels": [{"name": name} for name in case.channels],
            "windows": _windows(entrant.tables.get("windows", {}), case),
            "split": _split(entrant.tables, case),
            **{name: entrant.tables[name] for name in TABLES if name in entrant.tables},
        }
    )


def _windows(ready: dict[str, Any], case: Case) -> dict[str, Any]:
    """Rows as the recipe has them unless the case says otherwise; gaps are counted in samples of the case's rate."""
    kept = {key: value for key, value in ready.items() if key != "max_gap_s"}
    rows = {} if case.window_rows is None else {"rows": case.window_rows}
    return kept | {"rate_hz": case.rate_hz, "stride": case.stride} | rows


def _split(tables: dict[str, Any], case: Case) -> dict[str, Any]:
    ready, rate_hz = tables.get("split", {}), tables.get("windows", {}).get("rate_hz")
    split: dict[str, Any] = {"fit_rows": len(case.train)}
    if "validation" in ready:
        split["validation"] = ready["validation"]
    if "guard_s" in ready and rate_hz is not None:
        split["guard_s"] = ready["guard_s"] * rate_hz / case.rate_hz
    return split


def toml(tables: dict[str, Any]) -> str:
    """Write parsed TOML as text again: plain values first, then tables, then arrays of tables."""
    plain = [f"{key} = {_value(value)}" for key, value in tables.items() if not _is_table(value)]
    parts = ["\n".join(plain)] if plain else []
    for key, value in tables.items():
        if isinstance(value, dict):
            parts.append(_table(f"[{key}]", value))
        elif _is_table(value):
            parts += [_table(f"[[{key}]]", each) for each in value]
    return "\n\n".join(parts) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value))


def _table(head: str, table: dict[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in table.items())])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's texts, numbers and booleans are TOML's too.
    return json.dumps(value, ensure_ascii=False)
