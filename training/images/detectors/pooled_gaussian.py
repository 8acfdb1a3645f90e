"""One Gaussian of pretrained features averaged over the frame: for parts that lie anywhere, and the smallest model.

    score = Mahalanobis distance of x; x the features of the layers, each averaged over all positions

From few frames the covariance of many features is hardly known: the largest directions are kept, all others share one
variance, so that what lies off the directions of normal frames counts as a residual. It tells how the frame is as a
whole, not where: there is no map, and small defects are lost in the average.

Source: N. A. Ahuja, I. Ndiour, T. Kalyanpur and O. Tickoo, "Probabilistic modeling of deep features for
out-of-distribution and adversarial detection", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.covariance import LEAST_VARIANCE, best_shrinkage
from training.graph import Outputs
from training.images.frame_features import FrameFeatures
from training.images.patch_detector import PatchDetector
from training.images.patches import LIGHT, FeatureSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledGaussianSettings:
    """`[detector]` of type `pooled_gaussian`."""

    layers: tuple[int, ...] = (4, 7, 10, 11)
    """Blocks of EfficientNet-Lite0 whose outputs are averaged, 0 to 15, rising."""
    directions: int = 64
    """Of largest variance, each with a variance of its own; all others share one. Fewer than the normal frames."""
    light: float = LIGHT
    """Largest factor by which the light of a frame is evened out; what is beyond stands out. 1: nothing is evened out,
    as an Edge TPU needs."""

    def __post_init__(self) -> None:
        """Refuse what gives no Gaussian."""
        _ = self.features
        if self.directions < 1:
            raise ValueError(f"directions must be at least 1, got {self.directions}")

    @property
    def features(self) -> FeatureSettings:
        """Those of the coarsest grid: averages over finer ones are the same."""
        return FeatureSettings(layers=self.layers, grid_stride=32, light=self.light)


class PooledGaussian(PatchDetector[PooledGaussianSettings]):
    """See the module."""

    Settings = PooledGaussianSettings
    has_map = False
    least_frames = 2
    """Normal frames that a covariance needs."""
    _mean: Doubles
    _root: Doubles

    def learn(self, features: FrameFeatures) -> None:
        """Mean and covariance of the averages."""
        x = np.concatenate([batch.mean(axis=1) for batch in features.both()])
        self._mean, self._root = x.mean(axis=0), root_of_precision(x, self.settings.directions)

    def _judge(self, features: tf.Tensor) -> Outputs:
        offset = tf.reduce_mean(features, axis=1) - tf.constant(self._mean, tf.float32)
        white = tf.matmul(offset, tf.constant(self._root, tf.float32))
        return {"score": tf.sqrt(tf.reduce_sum(white * white, axis=1))}


def root_of_precision(x: Doubles, directions: int) -> Doubles:
    """R [d, d] with R R' = S^-1, of features [n, d] brought to one spread.

    S is shrunk as much as Ledoit and Wolf find best; all but its largest directions share their mean variance.
    """
    spread = np.maximum(x.std(axis=0), np.sqrt(LEAST_VARIANCE))
    z = (x - x.mean(axis=0)) / spread
    share = best_shrinkage(z)
    variances, columns = np.linalg.eigh((1 - share) * np.cov(z.T, bias=True) + share * np.eye(z.shape[1]))  # rising
    others = max(z.shape[1] - directions, 0)
    variances[:others] = variances[:others].mean() if others else 0
    return np.asarray(columns / np.sqrt(np.maximum(variances, LEAST_VARIANCE)) / spread[:, np.newaxis])
