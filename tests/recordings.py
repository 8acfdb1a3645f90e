"""Small recordings for tests of training: a made-up machine of three channels, one of them a mixture of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

NAMES = ("speed", "load", "heat")
START = "2024-01-01T00:00:00Z"


def machine(rows: int, *, seed: int = 0, fault: slice | np.ndarray | None = None) -> np.ndarray:
    """Normal readings [rows, 3]; in `fault` the load is off by some ten spreads."""
    rng = np.random.default_rng(seed)
    turn = np.arange(rows) / 20
    speed = 50 + np.sin(turn) + 0.1 * rng.standard_normal(rows)
    load = 3 + 0.2 * np.cos(turn) + 0.02 * rng.standard_normal(rows)
    heat = 20 + 0.5 * (speed - 50) + 2 * (load - 3) + 0.1 * rng.standard_normal(rows)
    if fault is not None:
        load[fault] += 1.5
    return np.stack([speed, load, heat], axis=1)


def table(
    rows: int, *, seed: int = 0, fault: slice | None = None, learned: slice | None = None, rate_hz: float = 1.0
) -> pd.DataFrame:
    """The readings with time and label columns; `learned` is a fault of the same kind before the other."""
    faulty = np.isin(np.arange(rows), np.concatenate([np.arange(rows)[part or slice(0)] for part in (fault, learned)]))
    times = pd.Timestamp(START) + pd.to_timedelta(np.arange(rows) / rate_hz, unit="s")
    stamps = times.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return pd.DataFrame(
        {
            "time": stamps,
            **dict(zip(NAMES, machine(rows, seed=seed, fault=faulty).T, strict=True)),
            "fault": faulty.astype(int),
        }
    )


LEARNED = slice(120, 150)
"""Rows of a fault in the training part, for detectors that learn from labels."""


def write_csv(
    path: Path,
    rows: int = 600,
    *,
    fault: slice | None = slice(500, 550),
    learned: slice | None = None,
    separator: str = ",",
) -> Path:
    """Write a recording with one labelled fault, or one more in the training part."""
    table(rows, fault=fault, learned=learned).to_csv(path, index=False, sep=separator)
    return path


RECIPE = """\
name = "small"

[data]
files = ["machine.csv"]
time_column = "time"
label_column = "fault"

[windows]
rate_hz = 1.0
rows = 16
warm_up = 20

[split]
fit_rows = 450
guard_s = 16

[detector]
type = "{detector}"
{settings}

[training]
epochs = {epochs}
learning_rate = 0.01

[decision]
hold_off_s = 10
"""
"""Recipe of the recording that `write_csv` writes."""


def recipe(detector: str, settings: str = "", epochs: int = 4) -> str:
    """The recipe for a detector."""
    return RECIPE.format(detector=detector, settings=settings, epochs=epochs)
