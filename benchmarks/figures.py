"""A measured figure, how it is measured in turns, and how it is shown."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROUNDS = 300
"""Turns of each measurement; the median of so many is steady to a few per cent on a quiet machine."""


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    value: float
    unit: str
    limit: float | None = None


def medians(tasks: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median microseconds of each task, measured in turns: a busy machine slows all alike."""
    times: dict[str, list[int]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            begin = time.perf_counter_ns()
            task()
            times[name].append(time.perf_counter_ns() - begin)
    return {name: float(np.median(taken)) / 1e3 for name, taken in times.items()}


def show(figures: list[Figure]) -> None:
    """Print the table."""
    for figure in figures:
        limit = (
            ""
            if figure.limit is None
            else f"   limit {figure.limit:g}{'' if figure.value <= figure.limit else '   MISSED'}"
        )
        print(f"{figure.what:86} {figure.value:9.3f} {figure.unit}{limit}", flush=True)


def main(measure: Callable[[], list[Figure]], about: str | None) -> None:
    """Measure, print and, if asked, store."""
    parser = argparse.ArgumentParser(description=(about or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the figures")
    arguments = parser.parse_args()
    figures = measure()
    show(figures)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps([figure._asdict() for figure in figures], indent=2) + "\n", encoding="utf-8"
        )
