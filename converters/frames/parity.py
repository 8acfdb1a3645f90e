"""Does a graph on frames still detect, and show, what the float model does? Figures, limits, a refusal that names both.

Scores are held to the limits of `converters.parity`: rank correlation over all cases and over the normal ones, the
change of AUC-PR and of the distance from normal to strange frames. That distance is counted in the deviation of a few
dozen normal frames, which chance alone moves by a fifth: it is refused where frames drawn anew still show a change
beyond the limit in 95 of 100 draws. Of a map:

    map_correlation   Pearson, of all watched cells of all cases                                           >= .97
    peak_found        share of strange frames whose strongest cell is where the float model's may be       >= .9
    peak_error        median of |a - b| / |b| of the largest cells                                         <= .15
    kinds_agreed      share of strange frames of which it tells the kind that the float model may tell     >= .9

A correlation of .97 leaves the map's own noise a quarter of its spread; int8 features of a backbone have .97 to .99.
`peak_found` counts strange frames alone in which the float model's largest cell is above those of nearly all normal
ones: where nothing stands out, the strongest of many cells that are nearly alike is chance. For the same reason a place
is right within one cell of any that the float model gives nine tenths of its largest: a frame may have two defects, or
a long one. `kinds_agreed` is asked of the same frames, where the float model's map is strongest; a kind is right, too,
that the float model finds nine tenths as likely as its likeliest. Every graph has thresholds of its own for score and
map, so an error that is the same everywhere is none; `peak_error` limits what cannot be such.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from converters.frames.cases import FrameCases
from converters.parity import MIN_RANK_NORMAL, ScoreParity, compare_scores, fault_to_normal, pearson
from converters.running import Outputs
from edge_agent.contract.records import Doubles, Floats
from edge_agent.contract.zones import Cells

MIN_MAP_CORRELATION = 0.97
MIN_PEAK_FOUND = 0.9
MIN_KINDS_AGREED = 0.9
MAX_PEAK_ERROR = 0.15
"""Limits, as above."""

NEARLY_AS_STRONG = 0.9
"""Share of the float model's largest cell from which a cell is as good a place, and of its likeliest kind likewise."""

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
    kinds_agreed: float | None
    """Share of strange frames whose kind agrees; None where the detector tells none apart."""
    normal: int
    """Normal frames among the cases."""
    ratio_change_shown: float
    """Least change of the distance from normal to strange frames that 95 of 100 draws show; 0 where both signs come."""

    def figures(self) -> dict[str, float]:
        """As the manifest keeps them: six decimals."""
        maps = {} if self.maps is None else {name: round(value, 6) for name, value in asdict(self.maps).items()}
        kinds = {} if self.kinds_agreed is None else {"kinds_agreed": round(self.kinds_agreed, 6)}
        return self.scores.figures() | maps | kinds

    def problems(self) -> list[str]:
        """Every limit that does not hold, with the figure."""
        few = self.normal < FEW_NORMAL
        scores = replace(self.scores, ratio_change=self.ratio_change_shown)
        scores = replace(scores, rank_normal=MIN_RANK_NORMAL) if few else scores
        found = [*scores.problems(), *(self.maps.problems() if self.maps else [])]
        if self.kinds_agreed is not None and self.kinds_agreed < MIN_KINDS_AGREED:
            found.append(f"kind agrees in {self.kinds_agreed:.1%} of strange frames, at least {MIN_KINDS_AGREED:.0%}")
        return found


def compare_frames(
    cases: FrameCases,
    watched: Cells | None,
    got: Outputs,
    want: Outputs,
) -> FrameParity:
    """Compare what a graph gives for the cases with what the float model does; every frame that counts is a case.

    Args:
        cases: what was scored.
        watched: bool [h, w], the cells of maps that no mask leaves out; None where there is no map.
        got: of the graph.
        want: of the float model.
    """
    labels = cases.counted.ravel()
    scores, reference = (_counted(given.scores, cases).astype(np.float64) for given in (got, want))
    maps, agreed, out, at = None, None, labels, np.zeros(len(labels), np.intp)
    if watched is not None and got.maps is not None and want.maps is not None:
        cells, cells_want = (_counted(each, cases)[:, watched] for each in (got.maps, want.maps))
        out, at = _outstanding(cells_want, labels), cells_want.argmax(axis=1)
        maps = _maps(cells, cells_want, out, watched)
    if got.kinds is not None and want.kinds is not None:
        kinds, kinds_want = (
            _counted(each, cases)[:, np.ones((1, 1), bool) if watched is None else watched]
            for each in (got.kinds, want.kinds)
        )
        agreed = _kinds_agreed(kinds[out, at[out]], kinds_want[out, at[out]])
    return FrameParity(
        scores=compare_scores(scores[:, np.newaxis], reference[:, np.newaxis], labels),
        maps=maps,
        kinds_agreed=agreed,
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


def _outstanding(want: Floats, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which strange frames stand out in the float model's maps, of watched cells [n, c]."""
    peaks = want.max(axis=1).astype(np.float64)
    usual = np.quantile(peaks[~labels], USUAL_PEAK) if not labels.all() else -np.inf
    return np.asarray(labels & (peaks > usual))


def _kinds_agreed(got: Floats, want: Floats) -> float:
    """Share of frames whose likeliest kind in probabilities [n, C] is one that may be the float model's, too."""
    told = np.take_along_axis(want, got.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return float((told >= NEARLY_AS_STRONG * want.max(axis=1)).mean()) if len(got) else 1.0


def _maps(got: Floats, want: Floats, out: NDArray[np.bool_], watched: Cells) -> MapParity:
    """Compare the watched cells [n, c] of maps, places of those that stand `out`."""
    peaks, peaks_want = got.max(axis=1).astype(np.float64), want.max(axis=1).astype(np.float64)
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
