"""Bisecting k-means: centres found by halving the loosest cluster again and again."""

from __future__ import annotations

from sklearn.cluster import BisectingKMeans

from training.detectors.kmeans import STARTS, KMeansDetector


class BisectingKMeansDetector(KMeansDetector):
    """Squared distance to the nearest centre as in `kmeans`, of clusters that come from halving.

        score = min over clusters of ||y - c||^2 / s^2 + range term

    Each time the cluster with the largest sum of squares is halved by k-means. Centres are more even in size than those
    of k-means and depend less on chance.

    Source: M. Steinbach, G. Karypis, V. Kumar, "A comparison of document clustering techniques", KDD Workshop on Text
    Mining, 2000.
    """

    def clustering(self, clusters: int) -> BisectingKMeans:
        """The method of scikit-learn."""
        return BisectingKMeans(clusters, n_init=STARTS, random_state=self.training.seed)
