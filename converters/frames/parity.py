"""Does a graph on frames still detect, and show, what the float model does? Figures, limits, a refusal that names both.

Scores are held to the limits of `converters.parity`: rank correlation over all cases and over the normal ones, the
change of AUC-PR and of the distance from normal to strange frames. That distance is counted in the deviation of a few
dozen normal frames, which chance alone moves by a fifth: it is refused where frames drawn anew still show a change
beyond the limit in 95 of 100 draws. Of a map:

    map_correlation   Pearson, of all watched cells of all cases                                           >= .97
    peak_found        share of strange frames whose strongest cell is where the float model's may be       >= .9
    peak_error        median of |a - b| / |b| of the largest cells                                         <= .15

A correlation of .97 leaves the map's own noise a quarter of its spread; int8 features of a backbone have .97 to .99.
`peak_found` counts strange frames alone in which the float model's largest cell is above those of nearly all normal
ones: where nothing stands out, the strongest of many cells that are nearly alike is chance. For the same reason a place
is right within one cell of any that the float model gives nine tenths of its largest: a frame may have two defects, or
a long one. Every graph has thresholds of its own for score and map, so an error that is the same everywhere is none;
`peak_error` limits what cannot be such.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from converters.frames.cases import FrameCases
from converters.parity import MIN_RANK_NORMAL, ScoreParity, compare_scores, fault_to_normal, pearson
from edge_agent.contract.records import Doubles, Floats
from edge_agent.contract.zones import Cells

MIN_MAP_CORRELATION = 0.97
MIN_PEAK_FOUND = 0.9
MAX_PEAK_ERROR = 0.15
"""Limits, as above."""

NEARLY_AS_STRONG = 0.9
"""Share of the float model's largest cell from which a cell is as good a place."""

FEW_NORMAL = 20
"""Normal frames below which their rank correlation alone is not judged: its standard error is then above .02, half of
what the limit allows."""

DRAWS = 400
"""Times that frames are drawn anew: the 5 % quantile of as many is known to some 1 %."""

USUAL_PEAK = 0.95
"""Quantile of the largest cells of normal frames, of the float model, above which one stands out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapParity:
    """How the maps of a graph compare with those of the float model."""

    map_correlation: float
    peak_found: float
    peak_error: float

    def problems(self) -> list[str]:
        """Every limit that does not hold, with the figure."""
        limits = (
            (
                self.map_correlation >= MIN_MAP_CORRELATION,
                f"correlation of the maps {self.map_correlation:.4f}, at least {MIN_MAP_CORRELATION}",
            ),
            (
                self.peak_found >= MIN_PEAK_FOUND,
                f"strongest cell found in {self.peak_found:.1%} of strange frames, at least {MIN_PEAK_FOUND:.0%}",
            ),
            (
                self.peak_error <= MAX_PEAK_ERROR,
                f"the largest cell is off by {self.peak_error:.1%}, at most {MAX_PEAK_ERROR:.0%}",
            ),
        )
        return [text for holds, text in limits if not holds]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameParity:
    """How a graph on frames compares with the float model."""

    scores: ScoreParity
    maps: MapParity | None
    """None where the detector has none."""
    normal: int
    """Normal frames among the cases."""
    ratio_change_shown: float
    """Least change of the distance from normal to strange frames that 95 of 100 draws show; 0 where both signs come."""

    def figures(self) -> dict[str, float]:
        """As the manifest keeps them: six decimals."""
        maps = {} if self.maps is None else {name: round(value, 6) for name, value in asdict(self.maps).items()}
        return self.scores.figures() | maps

    def problems(self) -> list[str]:
        """Every limit that does not hold, with the figure."""
        few = self.normal < FEW_NORMAL
        scores = replace(self.scores, ratio_change=self.ratio_change_shown)
        scores = replace(scores, rank_normal=MIN_RANK_NORMAL) if few else scores
        return [*scores.problems(), *(self.maps.problems() if self.maps else [])]


def compare_frames(
    cases: FrameCases,
    watched: Cells | None,
    got: tuple[Floats, Floats | None],
    want: tuple[Floats, Floats | None],
) -> FrameParity:
    """Compare scores and maps of the cases with those of the float model; every frame that counts is a case.

    Args:
        cases: what was scored.
        watched: bool [h, w], the cells of maps that no mask leaves out; None where there is no map.
        got: scores [k] or [k, L], and maps [k, h, w] or [k, L, h, w] or None.
        want: the same of the float model.
    """
    labels = cases.counted.ravel()
    scores, reference = (_counted(given[0], cases).astype(np.float64) for given in (got, want))
    maps = None
    if watched is not None and got[1] is not None and want[1] is not None:
        maps = _maps(_counted(got[1], cases)[:, watched], _counted(want[1], cases)[:, watched], labels, watched)
    return FrameParity(
        scores=compare_scores(scores[:, np.newaxis], reference[:, np.newaxis], labels),
        maps=maps,
        normal=int((~labels).sum()),
        ratio_change_shown=_ratio_change_shown(scores, reference, labels),
    )


def _ratio_change_shown(got: Doubles, want: Doubles, labels: NDArray[np.bool_]) -> float:
    """Bootstrap over frames [n], the same draws for both.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).
    """
    rng, normal, strange = np.random.default_rng(0), np.flatnonzero(~labels), np.flatnonzero(labels)
    changes = []
    for _ in range(DRAWS):
        drawn, faults = rng.choice(normal, len(normal)), rng.choice(strange, len(strange))
        ratio, ratio_want = (fault_to_normal(scores[drawn], scores[faults]) for scores in (got, want))
        changes.append(ratio / ratio_want - 1 if ratio_want else 0.0)
    low, high = np.quantile(changes, [0.05, 0.95])
    return max(float(low), -float(high), 0.0)


def _counted(values: Floats, cases: FrameCases) -> Floats:
    """Scores [n] or maps [n, h, w] of the frames that count."""
    if cases.strange.ndim == 1:
        return values
    counted = values[:, cases.warm_up :]
    return counted.reshape(-1, *counted.shape[2:])


def _maps(got: Floats, want: Floats, labels: NDArray[np.bool_], watched: Cells) -> MapParity:
    """Compare the watched cells [n, c] of maps."""
    peaks, peaks_want = got.max(axis=1).astype(np.float64), want.max(axis=1).astype(np.float64)
    usual = np.quantile(peaks_want[~labels], USUAL_PEAK) if not labels.all() else -np.inf
    out = labels & (peaks_want > usual)
    places = np.argwhere(watched)
    right = [
        bool((np.abs(places[one >= NEARLY_AS_STRONG * one.max()] - places[at]).max(axis=1) <= 1).any())
        for one, at in zip(want[out], got[out].argmax(axis=1), strict=True)
    ]
    return MapParity(
        map_correlation=pearson(got.astype(np.float64).ravel(), want.astype(np.float64).ravel()),
        peak_found=float(np.mean(right)) if right else 1.0,
        peak_error=float(
            np.median(np.abs(peaks - peaks_want) / np.maximum(np.abs(peaks_want), np.finfo(np.float32).tiny))
        ),
    )
