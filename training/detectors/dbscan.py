"""DBSCAN: the distance to the nearest window in a dense region of normal windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import DBSCAN

from edge_agent.contract.records import Doubles
from training.detectors.nearest import Nearest, NearestDetector, k_distances, knee, large_clusters, spread_out, thinned
from training.recipe import RecipeError

LEAST_DENSE = 0.9
"""Share of the training windows that a found radius makes dense at least: with a steady and a noisy state the knee lies
between the two, and all of the noisy one would be noise. It still leaves out twice the contamination to be borne."""

SMALLEST_EPS = 1e-6
"""In standard deviations; where so many windows are equal that the found radius would be 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityReachSettings:
    """`[detector]` of type `dbscan` or `optics`."""

    eps: float | None = None
    """Radius of a neighbourhood, in standard deviations of the features without their correlations; None: the knee of
    the sorted distances to the `min_samples`-th neighbour, but large enough for nine of ten windows."""
    min_samples: int | None = None
    """Windows in a neighbourhood, its own included, that make it dense; None: twice the features."""
    smallest_share: float = 0.02
    """Clusters with a smaller share of the training windows are taken for noise too, 0 to 0.5."""
    points: int = 256
    """Windows kept in the graph at most."""

    def __post_init__(self) -> None:
        """Refuse what is dense nowhere or keeps nothing."""
        if self.eps is not None and not self.eps > 0:
            raise ValueError(f"eps must be above 0, got {self.eps}")
        if self.min_samples is not None and self.min_samples < 1:
            raise ValueError(f"min_samples must be at least 1, got {self.min_samples}")
        if not 0 <= self.smallest_share <= 0.5:
            raise ValueError(f"smallest_share must be 0 to 0.5, got {self.smallest_share}")
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")


class DbscanDetector(NearestDetector[DensityReachSettings]):
    """Squared distance to the nearest core point, in units of the neighbourhood's radius.

        score = min over kept core points of ||y - p||^2 / eps^2 + range term

    y are the features without their correlations; a core point has `min_samples` windows within `eps`; whatever is not
    in reach of one is noise, and is left out: so a contaminated training part does little harm. Below 1 DBSCAN would
    call a new window normal, above 1 noise, but for what keeping some of the core points (see `spread_out`) adds to the
    distances.

    Sources: M. Ester et al., "A density-based algorithm for discovering clusters in large spatial databases with
    noise", KDD 1996, with its k-distance rule for eps (the knee as in `knee`); J. Sander et al., "Density-based
    clustering in spatial databases", Data Mining and Knowledge Discovery 2 (1998), for `min_samples`.
    """

    Settings = DensityReachSettings

    def find(self, y: Doubles) -> Nearest:
        """Find the core points and keep some.

        Raises:
            RecipeError: no window is dense by the recipe's eps and min_samples.
        """
        y, settings = thinned(y), self.settings
        eps, min_samples = reach(y, settings)
        model = DBSCAN(eps=eps, min_samples=min_samples).fit(y)
        core = model.core_sample_indices_
        if not len(core):
            raise nothing_dense(eps, min_samples)
        points, _ = large_clusters(y[core], model.labels_[core], settings.smallest_share)
        points = points[spread_out(points, settings.points)]
        return Nearest(points=points, variances=np.full(len(points), eps**2))


def reach(y: Doubles, settings: DensityReachSettings) -> tuple[float, int]:
    """Radius and least number of windows of a dense neighbourhood, as set or from windows [n, D]."""
    min_samples = min(settings.min_samples or 2 * y.shape[1], len(y))
    if settings.eps is not None:
        return settings.eps, min_samples
    distances = k_distances(y, min_samples)
    return max(knee(distances), float(np.quantile(distances, LEAST_DENSE)), SMALLEST_EPS), min_samples


def nothing_dense(eps: float, min_samples: int) -> RecipeError:
    """What to say where all windows are noise."""
    return RecipeError(
        f"no training window has {min_samples} within eps = {eps:g}: raise detector.eps, lower detector.min_samples, "
        "or leave eps out to have it found"
    )
