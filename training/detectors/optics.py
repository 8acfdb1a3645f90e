"""OPTICS: the distance to the nearest normal window, measured by how dense it is there."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import OPTICS

from edge_agent.contract.records import Doubles
from training.detectors.dbscan import DbscanDetector, nothing_dense, reach
from training.detectors.nearest import Nearest, floored, large_clusters, spread_out, thinned

MOST_ORDERED = 2000
"""Windows that are put in order: scikit-learn does it in Python, some seconds for these."""


class OpticsDetector(DbscanDetector):
    """Squared distance to the nearest core point as in `dbscan`, each in units of its own core distance.

        score = min over kept core points of ||y - p||^2 / r_p^2 + range term

    The core distance r_p, to the `min_samples`-th neighbour, is small where normal windows lie close together: a
    machine that is steady in one state and noisy in another is judged by each state's own measure. Noise is what the
    reachability plot, cut at `eps`, leaves out.

    Source: M. Ankerst, M. Breunig, H.-P. Kriegel, J. Sander, "OPTICS: ordering points to identify the clustering
    structure", SIGMOD 1999.
    """

    def find(self, y: Doubles) -> Nearest:
        """Order the windows, cut, and keep some of the core points.

        Raises:
            RecipeError: no window is dense by the recipe's eps and min_samples.
        """
        y, settings = thinned(y, MOST_ORDERED), self.settings
        eps, min_samples = reach(y, settings)
        model = OPTICS(min_samples=max(2, min_samples), cluster_method="dbscan", eps=eps).fit(y)
        core = np.flatnonzero((model.core_distances_ <= eps) & (model.labels_ >= 0))
        if not len(core):
            raise nothing_dense(eps, min_samples)
        with_distance = np.column_stack([y[core], model.core_distances_[core]])
        dense, _ = large_clusters(with_distance, model.labels_[core], settings.smallest_share)
        dense = dense[spread_out(dense[:, :-1], settings.points)]
        return Nearest(points=dense[:, :-1], variances=floored(dense[:, -1] ** 2))
