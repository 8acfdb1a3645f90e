"""Does a converted graph still detect what the float model detects? Figures, limits, and a refusal that names both.

A rank correlation on normal windows proves nothing: a dead int8 detector had .998. So parity is measured on held-out
normal windows and on faulty ones together, and on a fault that grows out of every bound:

    rank_pooled      Spearman over all cases                               >= .99
    rank_normal      Spearman over the normal cases alone                  >= .95
    auc_pr_change    |average precision - that of the float model|         <= .01
    ratio_change     relative change of (median fault - median normal) / MAD of normal   <= .10
    growth_fall      largest relative fall of the score with a growing fault, from the body's range on   <= 1e-6

Of a sequence every step that counts is a score, and the highest stands for a faulty one, which is normal in places.

A fall counts from the highest score of a normal case on: below it, a fault is not told from normal whatever its score.
Inside the body's range the float model itself may fall for a moment; there the graph may fall by `growth_fall_inside`
and the float model by `growth_fall_reference`, and they must agree within .05.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from converters.cases import Cases, faulty_labels
from edge_agent.contract.records import Doubles, Floats
from edge_agent.scoring.selection import golden_error

MIN_RANK_POOLED = 0.99
MIN_RANK_NORMAL = 0.95
MAX_AUC_CHANGE = 0.01
MAX_RATIO_CHANGE = 0.10
"""Limits of the contract; the measured losses of a sound int8 build are a tenth of them."""

MAX_FALL = 1e-6
"""Relative fall of a growing score that is float32 rounding, not a fall."""

MAX_FALL_CHANGE = 0.05
"""How much more than the float model a graph may fall inside the body's range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParity:
    """How the scores of a graph compare with those of the float model; what is alike for readings and frames."""

    rank_pooled: float
    rank_normal: float
    auc_pr: float
    auc_pr_change: float
    ratio: float
    """(median fault - median normal) / MAD of the normal cases."""
    ratio_change: float
    largest_error: float
    """Largest |a - b| / (|b| + median |b|) over normal and faulty cases."""

    def figures(self) -> dict[str, float]:
        """As the manifest keeps them: six decimals."""
        return {name: round(value, 6) for name, value in asdict(self).items()}

    def problems(self) -> list[str]:
        """Every limit that does not hold, with the figure."""
        limits = (
            (
                self.rank_pooled >= MIN_RANK_POOLED,
                f"rank correlation {self.rank_pooled:.4f}, at least {MIN_RANK_POOLED}",
            ),
            (
                self.rank_normal >= MIN_RANK_NORMAL,
                f"rank correlation within normals {self.rank_normal:.4f}, at least {MIN_RANK_NORMAL}",
            ),
            (
                self.auc_pr_change <= MAX_AUC_CHANGE,
                f"AUC-PR changes by {self.auc_pr_change:.4f}, at most {MAX_AUC_CHANGE}",
            ),
            (
                self.ratio_change <= MAX_RATIO_CHANGE,
                f"fault-to-normal ratio changes by {self.ratio_change:.1%}, at most {MAX_RATIO_CHANGE:.0%}",
            ),
        )
        return [text for holds, text in limits if not holds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(ScoreParity):
    """How a graph on windows compares with the float model."""

    growth_fall: float
    """Largest relative fall of the score with a growing fault, from the body's range on."""
    growth_fall_inside: float
    """The same inside the body's range."""
    growth_fall_reference: float
    """The same inside the body's range, of the float model."""

    def problems(self) -> list[str]:
        """As those of scores, and what a growing fault must not do."""
        limits = (
            (
                self.growth_fall <= MAX_FALL,
                f"a growing fault lowers the score by {self.growth_fall:.2g} of itself, never allowed",
            ),
            (
                self.growth_fall_inside <= self.growth_fall_reference + MAX_FALL_CHANGE,
                (
                    f"a growing fault lowers the score by {self.growth_fall_inside:.0%} inside the body's range, "
                    f"{self.growth_fall_reference:.0%} in the float model, at most {MAX_FALL_CHANGE:.0%} more"
                ),
            ),
        )
        return [
            *ScoreParity.problems(self),
            *(text for holds, text in limits if not holds),
        ]


def compare_scores(got: Doubles, want: Doubles, labels: NDArray[np.bool_]) -> ScoreParity:
    """Compare scores with those of the float model, of the same cases.

    Args:
        got: float64 [k, L], every step that counts; L is 1 but for sequences.
        want: float64 [k, L], of the float model.
        labels: bool [k], which cases are faulty; of these the highest step stands for the case.
    """
    peak, peak_want = got.max(axis=1), want.max(axis=1)
    auc, auc_want = average_precision(peak, labels), average_precision(peak_want, labels)
    ratio, ratio_want = fault_to_normal(got[~labels], peak[labels]), fault_to_normal(want[~labels], peak_want[labels])
    return ScoreParity(
        rank_pooled=spearman(got.ravel(), want.ravel()),
        rank_normal=spearman(got[~labels].ravel(), want[~labels].ravel()),
        auc_pr=auc,
        auc_pr_change=abs(auc - auc_want),
        ratio=ratio,
        ratio_change=abs(ratio / ratio_want - 1) if ratio_want else 0.0,
        largest_error=golden_error(got, want),
    )


def compare(scores: Floats, reference: Floats, cases: Cases) -> Parity:
    """Compare a graph's scores of the cases with those of the float model; [k], or [k, L] along sequences."""
    judged = cases.normal + cases.faulty
    got, want = (_counted(array, cases)[:judged] for array in (scores, reference))
    labels = faulty_labels(cases)
    grown, grown_want = (
        np.maximum(_counted(array, cases)[judged:, -1].reshape(cases.growth), normal.max())
        for array, normal in ((scores, got[~labels]), (reference, want[~labels]))
    )
    inside = cases.growth_inside
    return Parity(
        **asdict(compare_scores(got, want, labels)),
        growth_fall=_largest_fall(grown[:, inside:]),
        growth_fall_inside=_largest_fall(grown[:, : inside + 1]),
        growth_fall_reference=_largest_fall(grown_want[:, : inside + 1]),
    )


def spearman(a: Doubles, b: Doubles) -> float:
    """Rank correlation, ties given their mean rank (Spearman 1904); 1 where both are constant, 0 where only one is."""
    return pearson(_ranks(a), _ranks(b))


def pearson(a: Doubles, b: Doubles) -> float:
    """Correlation of [n] with [n]; 1 where both are constant, 0 where only one is."""
    deviations = [values - values.mean() for values in (a, b)]
    norms = [float(np.sqrt((each**2).sum())) for each in deviations]
    if not all(norms):
        return 1.0 if not any(norms) else 0.0
    return float(deviations[0] @ deviations[1] / (norms[0] * norms[1]))


def average_precision(scores: Doubles, labels: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve by steps, ties taken together; NaN-free, 0 without faulty cases."""
    if not labels.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _counted(scores: Floats, cases: Cases) -> Doubles:
    """Scores as float64 [k, steps that count]."""
    wide = scores.astype(np.float64).reshape(len(scores), -1)
    return wide[:, cases.warm_up :]


def _ranks(values: Doubles) -> Doubles:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts - 1) / 2)[inverse.ravel()]


def fault_to_normal(normal: Doubles, fault_peaks: Doubles) -> float:
    """(median fault - median normal) / MAD of normal scores; 0 where those never differ."""
    centre = float(np.median(normal))
    spread = float(np.median(np.abs(normal - centre)))
    return (float(np.median(fault_peaks)) - centre) / spread if spread else 0.0


def _largest_fall(grown: Doubles) -> float:
    """Largest fall below an earlier score, as a share of it; [faults, severities]."""
    highest = np.maximum.accumulate(grown, axis=1)
    scale = np.maximum(np.abs(highest), np.finfo(np.float32).tiny)
    return float(np.max((highest - grown) / scale, initial=0.0))
