"""What the detectors that learn from labelled faults share: balanced examples, and what lies beyond all of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.cluster import KMeans

from edge_agent.contract.records import Doubles
from training.detectors.base import Curves
from training.detectors.nearest import thinned
from training.detectors.on_features import FeatureDetector, S

MOST_EXAMPLES = 2000
"""Windows of each class that are learned from, evenly over the recording, so that every event keeps its share: the time
to fit a support vector machine grows with the square of their number, and neighbouring windows are alike."""

EDGE_QUANTILE = 0.01
"""Of each feature, at both ends: what lies further out does not widen the covered region, since some of the windows
that pass for normal may be faulty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covered:
    """The box of features that windows cover, and what a step out of it costs.

    beyond_j = slope_j e_j,   e_j = how far feature j is outside low_j..high_j
    """

    low: Doubles
    """float64 [D]."""
    high: Doubles
    """float64 [D]."""
    slope: Doubles
    """float64 [D], at least 0: log-odds per unit of the feature."""

    @classmethod
    def fit(cls, *classes: Doubles, slope: Doubles) -> Covered:
        """The box of all classes, each features [n, D]."""
        edges = [np.quantile(x, [EDGE_QUANTILE, 1 - EDGE_QUANTILE], axis=0) for x in classes]
        return cls(low=np.min(edges, axis=0)[0], high=np.max(edges, axis=0)[1], slope=slope)

    def beyond(self, x: tf.Tensor) -> tf.Tensor:
        """Log-odds per feature [b, D] in the graph, 0 inside the box."""
        above = tf.maximum(x - tf.constant(self.high, tf.float32), 0.0)
        below = tf.maximum(tf.constant(self.low, tf.float32) - x, 0.0)
        return (above + below) * tf.constant(self.slope, tf.float32)


class Classifier(FeatureDetector[S]):
    """A detector that learns from labelled faults as well as from normal windows.

        score = log-odds(x) + sum of beyond_j + range term

    The log-odds are for the faults that were labelled. Of anything else a classifier knows nothing, and may call it
    more normal than normal: hence the second term, which grows with the distance from what was learned, see `Covered`.
    It is made as steep as the log-odds fall where that was probed, so that a fault which has left the box of normal
    windows does not look more normal again behind a known fault; within that box it may.

    Both classes weigh the same, however few the faults are, and are thinned to MOST_EXAMPLES, evenly in time.
    """

    kind = "supervised"
    needs_labels = True
    centre: Doubles
    """float64 [D], mean of the normal windows."""
    covered: Covered

    def fit_features(self, x: Doubles, faulty: Doubles | None, *, progress: bool) -> Curves:  # noqa: ARG002 - solved
        """Learn both classes.

        Raises:
            ValueError: there is no faulty window.
        """
        if faulty is None or not len(faulty):
            raise ValueError("a classifier needs faulty windows beside normal ones, got none")
        self.centre = x.mean(axis=0)
        self.covered = self.learn(thinned(x, MOST_EXAMPLES), thinned(faulty, MOST_EXAMPLES))
        return {}

    @classmethod
    def usual_steps(cls, rows: int) -> tuple[dict[str, Any], ...]:
        """Trailing means, each on its own scale: whitening would mix the channel that shows a fault with the others."""
        return (*super().usual_steps(rows), {"type": "scale"})

    @abstractmethod
    def learn(self, normal: Doubles, faulty: Doubles) -> Covered:
        """Learn from features [n, D] and [m, D]; returns what they cover, as steep as the log-odds can fall."""

    @abstractmethod
    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """Evidence for a labelled fault [b, 1] of features [b, D] in the graph."""

    def parts(self, x: tf.Tensor) -> tf.Tensor:
        """Log-odds, and how far each feature is beyond what was learned."""
        return tf.concat([self.log_odds(x), self.covered.beyond(x)], axis=1)

    def range_term(self, z: tf.Tensor) -> tf.Tensor:
        """As of the others, but with the excess in units of `body_range`.

        In squared spreads it would drown log-odds: of a channel that mostly rests single normal readings lie outside.
        """
        excess = tf.maximum(tf.abs(z) * (1 / self.front.body_range) - 1.0, 0.0)
        return tf.reduce_mean(excess + excess * excess, axis=1)

    def pull(self, x: tf.Tensor) -> tf.Tensor:
        """Each feature's part of the squared distance from normal; the log-odds do not add up over features."""
        offset = x - tf.constant(self.centre, tf.float32)
        return offset * offset


def prototypes(x: Doubles, most: int, seed: int) -> Doubles:
    """At most so many points [K, D] that stand for the rows [n, D]: the centres of k-means."""
    count = min(most, len(np.unique(x, axis=0)))
    return np.asarray(KMeans(count, n_init=1, random_state=seed).fit(x).cluster_centers_, np.float64)
