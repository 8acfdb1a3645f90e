"""K-means: the distance to the nearest centre of normal behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import BisectingKMeans, KMeans

from edge_agent.contract.records import Doubles
from training.detectors.nearest import Nearest, NearestDetector, cluster_variances, thinned

STARTS = 10
"""Random beginnings of k-means, of which the best is kept: scikit-learn's long-standing default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClustersSettings:
    """`[detector]` of type `kmeans` or `bisecting_kmeans`."""

    clusters: int = 8
    """Centres, one for each state of the machine or more: too many come close to the nearest neighbour."""

    def __post_init__(self) -> None:
        """Refuse none."""
        if self.clusters < 1:
            raise ValueError(f"clusters must be at least 1, got {self.clusters}")


class KMeansDetector(NearestDetector[ClustersSettings]):
    """Squared distance to the nearest centre, in units of its cluster's spread.

        score = min over clusters of ||y - c||^2 / s^2 + range term,   s^2 = mean over its members of ||y - c||^2 / D

    y are the features without their correlations. Where the machine has one state only, it is a coarse Gaussian; it
    pays where there are several.

    Sources: S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28 (1982); D. Arthur and
    S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """

    Settings = ClustersSettings

    def find(self, y: Doubles) -> Nearest:
        """Find the centres and the spread around each."""
        y = thinned(y)
        distinct = len(np.unique(y, axis=0))
        model = self.clustering(min(self.settings.clusters, distinct)).fit(y)
        centres = model.cluster_centers_
        return Nearest(points=centres, variances=cluster_variances(y, model.labels_, centres))

    def clustering(self, clusters: int) -> KMeans | BisectingKMeans:
        """The method of scikit-learn."""
        return KMeans(clusters, n_init=STARTS, random_state=self.training.seed)
