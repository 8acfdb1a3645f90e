"""Which kind of defect it is: a softmax over kinds at each position, learned from defective frames alone.

    P(kind | x) = softmax(V x + c)
    minimise      sum over frames i and positions p of  g_i a_ip (-log P(kind_i | x_ip)) + decay |V|^2

x are features of a position, of one frame or of all of it. a_ip, which sums to 1 over the positions of a frame, is how
much of its odds of being defective comes from there: no place needs a label, and what is normal around a defect does
not count. g gives each kind the same weight in all, however many frames there are of it. The loss is convex, so the
same frames give the same V.

Source of the weights: M. Ilse, J. M. Tomczak and M. Welling, "Attention-based deep multiple instance learning", ICML
2018 (there they are learned for this alone; here the detector has found the place already).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from edge_agent.contract.records import Floats
from training.images.folders import ANOMALY

FEWEST_OF_KIND = 4
"""Frames of a kind to learn from: as few as the detectors themselves learn from."""

MOST_POSITIONS = 32
"""Positions of a frame that are learned from, the likeliest to be defective: beyond some 30 none has a say, and 200
frames have 6 MB of them with the usual features."""

LEAST_SPREAD = 1e-3
"""Smallest spread that a feature is measured in; they vary by some 1."""

MOST_STEPS = 1000
"""Of L-BFGS; some 50 suffice."""


def told_apart(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of some frames that can be learned, by name; none where there are not two.

    >>> told_apart(["dent"] * 4 + ["scratch"] * 9 + ["hole"] * 2)
    ('dent', 'scratch')
    """
    counts = Counter(kind for kind in kinds if kind not in {"", ANOMALY})
    found = tuple(sorted(kind for kind, count in counts.items() if count >= FEWEST_OF_KIND))
    return found if len(found) > 1 else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KindHead:
    """The softmax over kinds."""

    weights: Floats
    """V, float32 [D, C]."""
    offset: Floats
    """c, float32 [C]."""

    @classmethod
    def fit(
        cls, features: Floats, log_odds: Floats, kinds: Sequence[str], classes: Sequence[str], decay: float
    ) -> KindHead:
        """Learn from defective frames.

        Args:
            features: float [n, P, D].
            log_odds: float [n, P], of each position being defective.
            kinds: n names; frames of other kinds than `classes` are left out.
            classes: two or more, in the order of the outputs.
            decay: weight of the squared weights, of features in their spreads; 0 or more.
        """
        known = np.isin(kinds, classes)
        labels = np.array([classes.index(kind) for kind in kinds if kind in classes])
        strongest = np.argsort(-log_odds[known], axis=1, kind="stable")[:, :MOST_POSITIONS]
        x = np.take_along_axis(features[known], strongest[..., np.newaxis], axis=1).astype(np.float64)
        odds = np.take_along_axis(log_odds[known], strongest, axis=1).astype(np.float64)
        shares = np.exp(odds - odds[:, :1])
        shares /= shares.sum(axis=1, keepdims=True) * np.bincount(labels)[labels][:, np.newaxis] * len(classes)
        x = x.reshape(-1, x.shape[-1])
        mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), LEAST_SPREAD)
        solved = LogisticRegression(C=1 / (2 * decay) if decay else np.inf, max_iter=MOST_STEPS).fit(
            (x - mean) / spread, np.repeat(labels, strongest.shape[1]), sample_weight=shares.ravel()
        )
        coefficients, intercept = solved.coef_, solved.intercept_
        if len(classes) == 2:  # scikit-learn has one row for two classes, the odds of the second
            coefficients, intercept = (np.concatenate([0 * each, each]) for each in (coefficients, intercept))
        weights = coefficients.T / spread[:, np.newaxis]
        return cls(weights=weights.astype(np.float32), offset=(intercept - mean @ weights).astype(np.float32))

    def graph(self, features: tf.Tensor) -> tf.Tensor:
        """Probabilities [P, C] of features [P, D]; call it in scope `head`."""
        return tf.nn.softmax(tf.matmul(features, tf.constant(self.weights)) + tf.constant(self.offset))
