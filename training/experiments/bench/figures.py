"""Figures of one file, and of a data set over its files.

    f1 far mar precision recall     row by row; over the rows of all files together
    auc_pr auc_roc vus_pr           of the scores; mean over the files that have faulty and normal rows. Where every
                                    file is of one kind (fan), over the rows of all files together
    event_recall delay_s            faults with an event on in one of their rows; median over these of the seconds from
                                    the fault's first row to the first such row
    false_alarms_per_hour           events on in no faulty row, per hour of normal rows
    f1_low f1_high                  95 % interval of F1 by bootstrap over the files

What is not defined, such as recall without a fault, is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edge_agent.contract.records import NS
from training.evaluation.metrics import Confusion, auc_pr, auc_roc, confusion, event_rows, vus_pr
from training.experiments.bench.cases import Trial
from training.experiments.bench.judging import Judged

LARGEST_BUFFER = 100
"""Longest buffer of VUS-PR in rows, as in its source."""

S_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What was measured of a bundle's default graph, the int8 one where the converter accepted it."""

    format: str
    bytes: int
    parity: float
    """Largest relative error of the graph's scores against the float model's (`converters.parity`)."""
    us_per_window: float
    """Median microseconds of a call of the device's scorer, one thread."""
    grade: str
    """How well the training rows support the threshold: counted, extrapolated or provisional."""
    seconds: float
    """Fit, conversion and scoring of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What is counted of a trial; sums over files follow from these."""

    rows: Confusion
    faults: int
    """Runs of labelled rows."""
    delays_s: tuple[float, ...]
    """Of the faults found."""
    false_alarms: int
    """Events that are on in no faulty row."""
    normal_s: float
    """Seconds that the normal rows stand for."""

    @classmethod
    def of(cls, judged: Judged, trial: Trial, rate_hz: float) -> Counts:
        """Count what was judged of a trial."""
        labels, t_ns = trial.labels, trial.rows.t_ns[trial.tested]
        faults = event_rows(labels)
        found = [start + np.flatnonzero(judged.event[start:stop])[:1] for start, stop in faults.tolist()]
        return cls(
            rows=confusion(labels, judged.alarms),
            faults=len(faults),
            delays_s=tuple(
                float(t_ns[row[0]] - t_ns[start]) / NS
                for row, start in zip(found, faults[:, 0].tolist(), strict=True)
                if len(row)
            ),
            false_alarms=len(set(judged.event.tolist()) - set(judged.event[labels].tolist()) - {0}),
            normal_s=float(np.count_nonzero(~labels)) / rate_hz,
        )


def summed(counts: Sequence[Counts]) -> Counts:
    """The counts of several files as one."""
    return Counts(
        rows=summed_rows([each.rows for each in counts]),
        faults=sum(each.faults for each in counts),
        delays_s=tuple(delay for each in counts for delay in each.delays_s),
        false_alarms=sum(each.false_alarms for each in counts),
        normal_s=sum(each.normal_s for each in counts),
    )


def summed_rows(counts: Sequence[Confusion]) -> Confusion:
    """Rows counted over several files."""
    return Confusion(**{each.name: sum(getattr(count, each.name) for count in counts) for each in fields(Confusion)})


def counted_figures(counts: Counts) -> dict[str, float | None]:
    """The figures that follow from counts alone."""
    rows, hours = counts.rows, counts.normal_s / S_PER_HOUR
    return {
        "f1": rows.f1,
        "far": rows.far_percent,
        "mar": rows.mar_percent,
        "precision": rows.precision,
        "recall": rows.recall,
        "event_recall": len(counts.delays_s) / counts.faults if counts.faults else None,
        "false_alarms_per_hour": counts.false_alarms / hours if hours else None,
        "delay_s": float(np.median(counts.delays_s)) if counts.delays_s else None,
    }


def ranking_figures(labels: Sequence[Any], scores: Sequence[Any]) -> dict[str, float | None]:
    """Areas of scores against labels, given in pieces that are joined; None where one kind of rows is missing."""
    truth, joined = np.concatenate([np.empty(0, bool), *labels]), np.concatenate([np.empty(0), *scores])
    if truth.all() or not truth.any():
        return dict.fromkeys(("auc_pr", "auc_roc", "vus_pr"))
    return {
        "auc_pr": auc_pr(truth, joined),
        "auc_roc": auc_roc(truth, joined),
        "vus_pr": vus_pr(truth, joined, LARGEST_BUFFER),
    }
