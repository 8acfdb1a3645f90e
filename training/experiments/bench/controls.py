"""Controls: what needs no model. A detector that does not beat them has found nothing; they stand in every table.

control_always    every row alarms
control_clock     rows from a to b of every tested part alarm, with a and b the best for F1, the labels known. It
sees no data and must look too good: it shows how much the place of a row gives away, and why no
detector may know how late it is
control_channel   the largest |z| of a single channel, normalised on the training rows as in every graph; threshold
by the provisional rule on the last of them, median + 3 (0.99 quantile - median)
control_random    scores of a seeded generator, of which half alarm
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_agent.contract.records import Doubles, Floats
from training.experiments.bench.cases import Case, DataSet, Flags, Trial
from training.experiments.bench.judging import DECISION, from_alarms
from training.experiments.bench.keeping import Outcome
from training.graph import Front
from training.recipe import ScalingSettings, SplitSettings

Control = Callable[[DataSet], Callable[[Case, Trial], tuple[Flags, Doubles]]]
"""Given a data set, how to alarm and score the tested rows of a trial."""

PLACES = 100
"""Places that `control_clock` may begin and end at, spread over the longest tested part."""

SEED = 1
HALF = 0.5


def outcomes(data: DataSet, control: Control) -> list[Outcome]:
    """What a control makes of every case."""
    alarms_of = control(data)
    return [
        Outcome(judged=tuple(from_alarms(*alarms_of(case, trial), trial, case.rate_hz) for trial in case.trials))
        for case in data.cases
    ]


def _always(_: DataSet) -> Callable[[Case, Trial], tuple[Flags, Doubles]]:
    return lambda _, trial: (np.ones(len(trial.labels), bool), np.ones(len(trial.labels)))


def _random(_: DataSet) -> Callable[[Case, Trial], tuple[Flags, Doubles]]:
    source = np.random.default_rng(SEED)

    def judged(_: Case, trial: Trial) -> tuple[Flags, Doubles]:
        scores = source.random(len(trial.labels))
        return scores > HALF, scores

    return judged


def _clock(data: DataSet) -> Callable[[Case, Trial], tuple[Flags, Doubles]]:
    start, stop = best_places([trial.labels for case in data.cases for trial in case.trials])

    def judged(_: Case, trial: Trial) -> tuple[Flags, Doubles]:
        row = np.arange(len(trial.labels))
        inside = (row >= start) & (row < stop)
        return inside, inside.astype(np.float64)

    return judged


def best_places(labels: Sequence[Flags]) -> tuple[int, int]:
    """First row, and the row after the last, that give the best F1 over the files when they alarm in each."""
    places = np.unique(np.linspace(0, max(map(len, labels)), PLACES + 1).round().astype(int))
    # Rows, and faulty rows, before each place.
    rows = np.sum([np.minimum(places, len(each)) for each in labels], axis=0)
    faulty = np.sum([np.append(0, np.cumsum(each))[np.minimum(places, len(each))] for each in labels], axis=0)
    hits = faulty[np.newaxis] - faulty[:, np.newaxis]
    alarmed = rows[np.newaxis] - rows[:, np.newaxis]
    f1 = np.where(alarmed > 0, 2 * hits / np.maximum(alarmed + faulty[-1], 1), -1)
    start, stop = np.unravel_index(np.argmax(f1), f1.shape)
    return int(places[start]), int(places[stop])


def _channel(_: DataSet) -> Callable[[Case, Trial], tuple[Flags, Doubles]]:
    def judged(case: Case, trial: Trial) -> tuple[Flags, Doubles]:
        fitted = round((1 - SplitSettings().validation) * len(case.train))
        scaling = ScalingSettings()
        front = Front.fit(case.train.values[:fitted], scaling.method, scaling.body_range)

        def largest(values: Floats) -> Doubles:
            return np.asarray(np.nan_to_num(np.abs(values - front.centre) / front.spread).max(axis=1), np.float64)

        usual, high = np.quantile(largest(case.train.values[fitted:]), (0.5, 0.99))
        scores = largest(trial.rows.values[trial.tested])
        return scores > usual + DECISION.k * (high - usual), scores

    return judged


CONTROLS: dict[str, Control] = {
    "control_always": _always,
    "control_clock": _clock,
    "control_channel": _channel,
    "control_random": _random,
}
