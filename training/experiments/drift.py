"""What it costs in missed slow faults to live with a normal state that drifts.

    python -m training.experiments.drift --data RECORDING.csv --recipe FILE.toml

The recording is normal throughout, and long. Each choice is fitted on its first rows. The rest shows how much of normal
it alarms; then a slow fault is added to it, one channel at a time and in both directions, growing steadily from normal
to LARGEST training spreads: it counts as found when N of M windows are above the threshold that are not without the
fault. Told are, for each speed, the share that is never found and at how many spreads the median one is.

Choices: a plain Gaussian; the same with the step `reference`, in channels that drift and in all; `drift_gaussian`; and
the plain Gaussian whose threshold is set anew from the rows just before, as `edge-agent calibrate` does on site. Nobody
knows of a slow fault while it grows, so those rows may hold it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge_agent.contract.calibration import calibrate
from edge_agent.contract.peaks import nth_largest
from edge_agent.contract.records import NS, Doubles, Floats
from training.cleaning import without_outliers, without_spikes
from training.data import find_channels, read_recording
from training.detectors import make_detector
from training.detectors.base import NormalData
from training.detectors.on_features import FeatureDetector
from training.fit import input_spec
from training.graph import Front
from training.guess import READY
from training.recipe import ChannelSettings, Recipe, read_recipe
from training.splits import Rows, windows_of

LARGEST = 10.0
"""Training spreads at which a fault that was not found is counted as missed."""

SPREADS_PER_MINUTE = (6.0, 1.0, 0.2)
"""Speeds of the faults: the largest size after 1.7 minutes, 10 minutes and 50 minutes."""

STARTS = 3
"""Faults of each channel, direction and speed, evenly over the recording."""

CALIBRATION_ROWS = 1000
"""Rows from which the threshold is set anew for as many after them."""

MEANS = {"type": "trailing_means", "rows": [10]}
REFERENCE = {"type": "reference"}
CHOICES: dict[str, dict[str, Any]] = {
    "gaussian": {"steps": (MEANS,)},
    "gaussian, reference": {"steps": (REFERENCE, MEANS)},
    "gaussian, reference in all channels": {"steps": (REFERENCE | {"drifting": 0.0}, MEANS)},
    "drift_gaussian": {"steps": (MEANS,), "detector": {"type": "drift_gaussian"}},
    "gaussian, calibrated on site": {"steps": (MEANS,)},
}
CALIBRATED = "gaussian, calibrated on site"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFault:
    """One channel that leaves normal at a steady speed."""

    start: int
    """First row of it."""
    channel: int
    per_row: float
    """Training spreads; negative: downwards."""
    rows: int
    """Until it is at its largest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A detector, its threshold, and how it decides."""

    detector: FeatureDetector[Any]
    recipe: Recipe
    threshold: float

    def scores(self, values: Floats) -> Doubles:
        """Scores of the windows that end with rows T - 1 and later of readings [n, C]."""
        windows = np.lib.stride_tricks.sliding_window_view(values, self.detector.rows, axis=0).transpose(0, 2, 1)
        return self.detector.scores(self.detector.steps.features(self.detector.front.normalise(windows)))

    def strengths(self, scores: Doubles) -> Doubles:
        """N-th largest of the last M scores."""
        starts = np.arange(len(scores)) == 0
        return nth_largest(scores, starts, self.recipe.decision.n, self.recipe.decision.m)

    def threshold_of(self, scores: Doubles) -> float:
        """The threshold that normal scores give."""
        decision = self.recipe.decision
        return calibrate(
            scores,
            np.round(np.arange(len(scores)) * (NS / self.recipe.windows.rate_hz)).astype(np.int64),
            alarms_per_day=decision.alarms_per_day,
            n=decision.n,
            m=decision.m,
            join_s=self.detector.rows / self.recipe.windows.rate_hz + decision.hold_off_s,
            k=decision.k,
        ).threshold

    def calibrated_thresholds(self, scores: Doubles) -> Doubles:
        """The threshold that holds for each score [n] where it is set anew from every CALIBRATION_ROWS of them."""
        thresholds = np.full(len(scores), self.threshold)
        for at in range(CALIBRATION_ROWS, len(scores), CALIBRATION_ROWS):
            thresholds[at : at + CALIBRATION_ROWS] = self.threshold_of(scores[at - CALIBRATION_ROWS : at])
        return thresholds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every choice and print the table."""
    options = _parser().parse_args(arguments)
    base = read_recipe(options.recipe)
    unlabelled = replace(base.data, label_column="", ignore_columns=(*base.data.ignore_columns, base.data.label_column))
    base = replace(base, data=unlabelled)
    channels = base.channels or find_channels(options.data, base.data)
    recording = read_recording(options.data, base.data, channels, base.windows.rate_hz)
    known = np.isfinite(recording.values).all(axis=1)
    rows = Rows(values=recording.values[known], t_ns=recording.t_ns[known], labels=None)
    speeds = [f"{speed:g} spreads a minute" for speed in SPREADS_PER_MINUTE]
    table = [["choice", "normal rows alarmed", *speeds], ["---"] * (len(speeds) + 2)]
    for name, changes in tqdm(CHOICES.items(), unit="choice", disable=None):
        fitted = fit(replace(base, **({"detector": {"type": "gaussian"}} | changes)), channels, rows, options.fit_rows)
        later = rows.values[options.fit_rows :]
        table.append([name, *measure(fitted, later, calibrated=name == CALIBRATED)])
    print("\n".join(f"| {' | '.join(cells)} |" for cells in table))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.drift", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="long recording, normal throughout")
    parser.add_argument("--recipe", type=Path, default=READY / "drift_gaussian.toml", help="recipe that reads it")
    parser.add_argument("--fit-rows", type=int, default=2400, help="rows that are fitted on (default: 2400)")
    return parser


def fit(recipe: Recipe, channels: tuple[ChannelSettings, ...], rows: Rows, fit_rows: int) -> Fitted:
    """Fit on the first rows; the threshold is that of a share at their end."""
    first = fit_rows - round(recipe.split.validation * fit_rows)
    before = slice(0, first - recipe.guard_rows)
    training = Rows(values=rows.values[before], t_ns=rows.t_ns[before], labels=None)
    spec = input_spec(recipe, channels, (training,), streaming=False)
    (training,), _ = without_spikes([training], recipe.cleaning.spikes, recipe.windows.hold)
    front = Front.fit(training.values, recipe.scaling.method, recipe.scaling.body_range)
    detector = make_detector(recipe, front)
    assert isinstance(detector, FeatureDetector)  # noqa: S101 - the choices are
    windows = without_outliers(windows_of([training], spec.rule()), front, recipe.cleaning.outliers)
    detector.fit(NormalData(windows=windows.values), progress=False)
    fitted = Fitted(detector=detector, recipe=recipe, threshold=np.inf)
    return replace(fitted, threshold=fitted.threshold_of(fitted.scores(rows.values[first:fit_rows])))


def measure(fitted: Fitted, values: Floats, *, calibrated: bool) -> list[str]:
    """Share of the normal rows that are alarmed, and what of the slow faults is found, for a line of the table."""
    normal = fitted.scores(values)

    def thresholds_of(scores: Doubles) -> Doubles:
        return fitted.calibrated_thresholds(scores) if calibrated else np.full(len(scores), fitted.threshold)

    alarmed = fitted.strengths(normal) > thresholds_of(normal)
    cells = [f"{100 * alarmed[CALIBRATION_ROWS:].mean():.1f} %"]
    for speed in SPREADS_PER_MINUTE:
        sizes = []
        for fault in _faults(fitted, len(values), speed):
            scores, size = _with_fault(fitted, values, normal, fault)
            new = (fitted.strengths(scores) > thresholds_of(scores)) & ~alarmed & (size > 0)
            sizes.append(float(size[np.argmax(new)]) if new.any() else np.inf)
        median = f"{np.median(sizes):.1f}" if np.isfinite(np.median(sizes)) else f"above {LARGEST:g}"
        cells.append(f"{100 * np.isinf(sizes).mean():.0f} % missed, found at {median}")
    return cells


def _faults(fitted: Fitted, rows: int, spreads_per_minute: float) -> list[SlowFault]:
    per_row = spreads_per_minute / 60 / fitted.recipe.windows.rate_hz
    length = int(np.ceil(LARGEST / per_row))
    if rows < CALIBRATION_ROWS + length:
        raise SystemExit(f"error: {rows} rows are left, {CALIBRATION_ROWS + length} are needed: record longer")
    return [
        SlowFault(start=int(start), channel=channel, per_row=sign * per_row, rows=length)
        for start in np.linspace(CALIBRATION_ROWS, rows - length, STARTS)
        for channel in range(fitted.detector.channels)
        for sign in (-1, 1)
    ]


def _with_fault(fitted: Fitted, values: Floats, normal: Doubles, fault: SlowFault) -> tuple[Doubles, Doubles]:
    """Scores [k] of the recording with the fault, and its size in spreads at the end of each window, 0 without it."""
    rows, spread = fitted.detector.rows, fitted.detector.front.spread[fault.channel]
    first, stop = fault.start - rows + 1, fault.start + fault.rows
    offset = np.maximum(np.arange(first, stop) - fault.start, 0) * fault.per_row
    faulty = values[first:stop].copy()
    faulty[:, fault.channel] += (offset * spread).astype(np.float32)
    scores, size = normal.copy(), np.zeros(len(normal))
    windows = slice(first, stop - rows + 1)
    scores[windows], size[windows] = fitted.scores(faulty), np.abs(offset[rows - 1 :])
    return scores, size


if __name__ == "__main__":
    sys.exit(main())
