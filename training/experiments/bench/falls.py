"""What contaminated rows to fit on cost: the figures of a detector beside those of the same one fitted on clean rows.

Compared are the files that have a result in both, so that a file which failed in one does not pass for a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.intervals import bootstrap_interval
from training.experiments.bench.controls import CONTROLS
from training.experiments.bench.figures import summed_rows
from training.experiments.bench.tables import FEWEST_FILES, SEED, Entry, Found, rankings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """One detector on one contaminated data set; what is not defined is None."""

    detector: str
    data: str
    """Name of the contaminated data set."""
    files: int
    """With a result in both."""
    clean_auc_pr: float | None
    """As in the tables, over these files, as are `auc_pr`, `clean_f1` and `f1`."""
    auc_pr: float | None
    low: float | None
    """95 % interval of the fall of AUC-PR, by bootstrap over the files that have normal and faulty rows."""
    high: float | None
    clean_f1: float | None
    f1: float | None
    """At the threshold that ships, which was set on contaminated rows too."""

    @property
    def fall(self) -> float | None:
        """Clean AUC-PR less contaminated: above 0 where contamination cost something."""
        return None if self.clean_auc_pr is None or self.auc_pr is None else self.clean_auc_pr - self.auc_pr

    @classmethod
    def of(cls, clean: Entry, contaminated: Entry) -> Fall:
        """Compare two entries of a detector."""
        before = {each.trial.name: each for each in clean.found}
        after = [each for each in contaminated.found if each.trial.name in before]
        same = [before[each.trial.name] for each in after]
        low, high = _interval(same, after)
        return cls(
            detector=contaminated.detector,
            data=contaminated.data.name,
            files=len(after),
            clean_auc_pr=rankings(same)["auc_pr"],
            auc_pr=rankings(after)["auc_pr"],
            low=low,
            high=high,
            clean_f1=_f1(same),
            f1=_f1(after),
        )


def falls(entries: Sequence[Entry]) -> list[Fall]:
    """Every detector and published method on every contaminated data set, in the order of the entries."""
    clean = {(entry.data.name, entry.detector): entry for entry in entries}
    return [
        Fall.of(clean[entry.data.clean_name, entry.detector], entry)
        for entry in entries
        if entry.data.clean_name and entry.detector not in CONTROLS
    ]


def largest(found: Sequence[Fall]) -> Fall | None:
    """The one that AUC-PR fell most in; None where no fall is defined."""
    return max((each for each in found if each.fall is not None), key=lambda each: each.fall or 0.0, default=None)


def _f1(found: Sequence[Found]) -> float | None:
    return summed_rows([each.counts.rows for each in found]).f1


def _interval(before: Sequence[Found], after: Sequence[Found]) -> tuple[float, float] | tuple[None, None]:
    pairs = [(x.rankings["auc_pr"], y.rankings["auc_pr"]) for x, y in zip(before, after, strict=True)]
    known = [x - y for x, y in pairs if x is not None and y is not None]
    if len(known) < FEWEST_FILES:
        return None, None
    return bootstrap_interval(known, lambda drawn: sum(drawn) / len(drawn), seed=SEED)
