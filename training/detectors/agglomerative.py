"""Agglomerative clustering: the distance to the nearest member of a cluster of normal windows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from edge_agent.contract.records import Doubles
from training.detectors.nearest import Nearest, NearestDetector, cluster_variances, large_clusters, spread_out, thinned


class Linkage(StrEnum):
    """Which two clusters are the nearest and merged next."""

    WARD = "ward"
    """Those whose merging adds least to the sum of squares: round clusters of like size."""
    AVERAGE = "average"
    """By the mean distance of their members: outliers stay alone for long, and are left out."""
    COMPLETE = "complete"
    """By the largest distance of two members: tight clusters."""
    SINGLE = "single"
    """By the smallest: chains of any shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgglomerativeSettings:
    """`[detector]` of type `agglomerative`."""

    clusters: int = 8
    """Clusters at which merging stops."""
    linkage: Linkage = Linkage.WARD
    smallest_share: float = 0.02
    """Clusters with a smaller share of the training windows are taken for outliers and left out, 0 to 0.5."""
    points: int = 256
    """Members kept in the graph at most, of all clusters together."""

    def __post_init__(self) -> None:
        """Refuse what keeps nothing."""
        if not 1 <= self.clusters <= self.points:
            raise ValueError(f"clusters must be 1 to points = {self.points}, got {self.clusters}")
        if not 0 <= self.smallest_share <= 0.5:
            raise ValueError(f"smallest_share must be 0 to 0.5, got {self.smallest_share}")


class AgglomerativeDetector(NearestDetector[AgglomerativeSettings]):
    """Squared distance to the nearest labelled member, in units of its cluster's spread.

        score = min over kept members p of ||y - p||^2 / s^2 + range term
        s^2 = mean over the cluster of p of ||y - c||^2 / D

    y are the features without their correlations. The clusters have any shape, since their members stand for them and
    not their centres c. Kept members are spread evenly over their cluster (see `spread_out`), as many as is its share
    of the windows.

    Sources: J. H. Ward, "Hierarchical grouping to optimize an objective function", J. American Statistical Association
    58 (1963); G. N. Lance and W. T. Williams, "A general theory of classificatory sorting strategies", The Computer
    Journal 9 (1967).
    """

    Settings = AgglomerativeSettings

    def find(self, y: Doubles) -> Nearest:
        """Cluster, leave out the smallest clusters, keep some members of the others."""
        settings, y = self.settings, thinned(y)
        labels = AgglomerativeClustering(min(settings.clusters, len(y)), linkage=settings.linkage).fit(y).labels_
        y, labels = large_clusters(y, labels, settings.smallest_share)
        members = [y[labels == label] for label in range(labels.max() + 1)]
        variances = cluster_variances(y, labels, np.stack([each.mean(axis=0) for each in members]))
        kept = [each[spread_out(each, max(1, settings.points * len(each) // len(y)))] for each in members]
        return Nearest(points=np.concatenate(kept), variances=np.repeat(variances, [len(each) for each in kept]))
