"""Rows of `results.json` and `files.json`: plain values, the same keys in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation import nab
from training.evaluation.intervals import bootstrap_interval
from training.evaluation.metrics import Confusion, event_rows
from training.experiments.bench.cases import Case, DataSet, Trial
from training.experiments.bench.figures import (
    Counts,
    Shipped,
    counted_figures,
    ranking_figures,
    summed,
    summed_rows,
)
from training.experiments.bench.judging import Judged
from training.experiments.bench.keeping import Outcome

Row = dict[str, Any]

FEWEST_FILES = 5
"""Files below which an interval over files tells nothing."""

SEED = 1
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What was made of one trial."""

    case: Case
    trial: Trial
    judged: Judged
    counts: Counts
    rankings: dict[str, float | None]
    float_rows: Confusion | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """What came of one detector on one data set."""

    data: DataSet
    detector: str
    outcomes: tuple[Outcome, ...]
    """One for each case."""
    found: tuple[Found, ...]
    """Trials that were judged, in their order."""

    @classmethod
    def of(cls, data: DataSet, detector: str, outcomes: Sequence[Outcome]) -> Entry:
        """Count and rank every trial that was judged."""
        found = tuple(
            _found(case, trial, outcome, number)
            for case, outcome in zip(data.cases, outcomes, strict=True)
            for number, trial in enumerate(case.trials)
            if outcome.judged
        )
        return cls(data=data, detector=detector, outcomes=tuple(outcomes), found=found)

    def pooled(self) -> Row:
        """The row of `results.json`."""
        reasons = [outcome.reason for outcome in self.outcomes if outcome.reason]
        failed = sum(len(case.trials) for case in self.data.cases) - len(self.found)
        row = _row(self.data, self.detector, self.found, self.outcomes)
        row |= {"files": len(self.found), "failed": failed, "reason": reasons[0] if reasons else ""}
        row["f1_low"], row["f1_high"] = _interval([each.counts.rows for each in self.found])
        if self.data.kind == "nab":
            row |= {f"nab_{name}": None if failed else nab.score(self._series(), name).score for name in nab.PROFILES}
        return row

    def _series(self) -> list[nab.Series]:
        """The whole files as NAB scores them: what is fitted on is its probation, and never detected."""
        return [_series(each) for each in self.found]

    def by_file(self) -> list[Row]:
        """The rows of `files.json`."""
        found = {each.trial.name: each for each in self.found}
        return [
            _row(self.data, self.detector, [found[trial.name]] if trial.name in found else [], [outcome])
            | {"file": trial.name, "reason": outcome.reason}
            for case, outcome in zip(self.data.cases, self.outcomes, strict=True)
            for trial in case.trials
        ]


def _series(found: Found) -> nab.Series:
    rows, relative = found.trial.rows, found.judged.relative
    scores = np.full(len(rows), relative.min())
    scores[found.trial.tested] = relative
    events = event_rows(found.trial.all_labels)
    windows = tuple((int(rows.t_ns[start]), int(rows.t_ns[stop - 1])) for start, stop in events)
    return nab.Series(scores=scores, t_ns=rows.t_ns, windows=windows)


def _interval(counts: Sequence[Confusion]) -> tuple[float | None, float | None]:
    """95 % interval of F1 over the files; None with too few of them to draw from, or without a faulty row."""
    if len(counts) < FEWEST_FILES or summed_rows(counts).f1 is None:
        return None, None
    return bootstrap_interval(counts, lambda drawn: summed_rows(drawn).f1, seed=SEED)


def _found(case: Case, trial: Trial, outcome: Outcome, number: int) -> Found:
    judged = outcome.judged[number]
    return Found(
        case=case,
        trial=trial,
        judged=judged,
        counts=Counts.of(judged, trial, case.rate_hz),
        rankings=ranking_figures([trial.labels], [judged.scores]),
        float_rows=outcome.float_rows[number] if outcome.float_rows else None,
    )


def _row(data: DataSet, detector: str, found: Sequence[Found], outcomes: Sequence[Outcome]) -> Row:
    floats = [each.counts.rows if each.float_rows is None else each.float_rows for each in found]
    tested = sum(len(each.trial.labels) for each in found)
    return {
        "data": data.name,
        "detector": detector,
        **counted_figures(summed([each.counts for each in found])),
        **rankings(found),
        **_shipped([outcome.shipped for outcome in outcomes if outcome.shipped]),
        "f1_float32": summed_rows(floats).f1,
        "f1_low": None,
        "f1_high": None,
        "rows": tested,
        "unscored": sum(each.judged.unscored for each in found),
    }


def rankings(found: Sequence[Found]) -> dict[str, float | None]:
    """Mean over the files that have both kinds of rows; where none has, over the rows of all files together."""
    ranked = [each.rankings for each in found if each.rankings["auc_pr"] is not None]
    if not ranked:
        return ranking_figures([each.trial.labels for each in found], [each.judged.scores for each in found])
    return {name: float(np.mean([each[name] for each in ranked])) for name in ranked[0]}


def _shipped(bundles: Sequence[Shipped]) -> Row:
    """Median cost and size and the largest error over the bundles; how often which format where they differ."""
    if not bundles:
        return dict.fromkeys(("us_per_window", "bytes", "parity", "format", "grade", "seconds"))
    return {
        "us_per_window": float(np.median([each.us_per_window for each in bundles])),
        "bytes": round(np.median([each.bytes for each in bundles])),
        "parity": max(each.parity for each in bundles),
        "format": _counted([each.format for each in bundles]),
        "grade": _counted([each.grade for each in bundles]),
        "seconds": sum(each.seconds for each in bundles),
    }


def _counted(names: Sequence[str]) -> str:
    """`int8`, or `int8 14, float32 2` where they differ."""
    counts = Counter(names).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{name} {count}" for name, count in counts)
