"""Gaussians of pretrained features at every position of the frame: the one to begin with, fitted in a minute.

    map(p)  = Mahalanobis distance at position p, smoothed      see `training.images.gaussians`
    score   = mean of the largest share of the map

Variances are those of normal frames counted by how strange they are: in a direction in which normal frames sometimes go
far, a Gaussian of the usual variance alarms each time. So each half of the frames is measured by the Gaussians of the
other, and in the final ones a frame counts at a position by a power of its distance there. With the square, spreads
are those of the fourth moments.

Sources: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a patch distribution modeling framework for anomaly
detection and localization", 2020 (there 100 random features of a larger network on the finest grid, the maximum as
score); of covariances weighted by distances J.-F. Cardoso, "Source separation using higher order moments", ICASSP 1989.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.graph import Outputs
from training.images.frame_features import FORMATS, FrameFeatures
from training.images.gaussians import Gaussians, Moments, random_projection
from training.images.levels import MapSettings, score_and_map
from training.images.patch_detector import PatchDetector
from training.images.patches import FeatureSettings

LEAST_WEIGHT = 1e-12
"""Sum of the weights of frames that are all alike, whose distances are 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PadimSettings:
    """`[detector]` of type `padim`."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    projected: int = 0
    """Features that are left by a random projection, where a position has more; 0: all. Memory grows with it."""
    rank: int = 48
    """Directions in which a position differs from all others; 0: all share one covariance, for parts that lie anywhere
    and for the smallest model; the number of features: full covariances."""
    shrinkage: float | None = None
    """Share of each covariance replaced by the common one, 0 to 1; None: d / (d + n), of d features and n frames."""
    tolerance: float = 0.5
    """How far parts may lie apart, in positions: the deviation of the weights of a neighbourhood; 0: not at all."""
    tail: float = 3.0
    """Power of its distance by which a normal frame counts; 0: all alike."""
    map: MapSettings = field(default_factory=lambda: MapSettings(smoothing_px=8.0))

    def __post_init__(self) -> None:
        """Refuse what gives no Gaussians."""
        if self.projected < 0 or self.rank < 0:
            raise ValueError(f"projected and rank must be 0 or more, got {self.projected} and {self.rank}")
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be 0 to 1, got {self.shrinkage}")
        if self.tolerance < 0 or self.tail < 0:
            raise ValueError(f"tolerance and tail must be 0 or more, got {self.tolerance} and {self.tail}")


class Padim(PatchDetector[PadimSettings]):
    """See the module."""

    Settings = PadimSettings
    crossed = True
    least_frames = 4
    """Normal frames that a fit needs: two in each half for a covariance."""
    _projection: Doubles | None
    _gaussians: Gaussians

    def learn(self, features: FrameFeatures) -> None:
        """Two passes over the frames in each format."""
        self._projection = self._drawn(features)
        halves = self._moments(features)
        models = [self._solved(moments) for moments in halves]
        whole = halves[0].joined(halves[1])
        if self.settings.tail:
            whole = self._reaching(whole, models, features)
        self._gaussians = self._solved(whole)

    def _drawn(self, features: FrameFeatures) -> Doubles | None:
        """The random projection, which needs to know how far each feature varies: the first batch tells."""
        if not 0 < self.settings.projected < self.settings.features.channels:
            return None
        spread = next(features.exact()).std(axis=(0, 1))
        return random_projection(spread, self.settings.projected, self.training.seed)

    def _moments(self, features: FrameFeatures) -> tuple[Moments, Moments]:
        """Of the two halves of the frames."""
        width = self.settings.projected if self._projection is not None else self.settings.features.channels
        found = Moments(self._patches.positions, width), Moments(self._patches.positions, width)
        for batch in features.both():
            for moments, half in zip(found, split(batch), strict=True):
                moments.add(self._projected(half))
        return found

    def _reaching(self, whole: Moments, models: list[Gaussians], features: FrameFeatures) -> Moments:
        """Moments with frames counted at each position by their distance from the Gaussians of the other half."""
        scatter, weights = np.zeros_like(whole.covariance), np.full(len(whole.mean), LEAST_WEIGHT)
        for batch in features.both():
            for half, other in zip(split(batch), reversed(models), strict=True):
                weight = other.graph(tf.constant(half, tf.float32)).numpy().T.astype(np.float64) ** self.settings.tail
                apart = (self._projected(half) - whole.mean).transpose(1, 0, 2)  # [P, b, d]
                scatter += (apart * weight[:, :, np.newaxis]).transpose(0, 2, 1) @ apart
                weights += weight.sum(axis=1)
        return whole.reaching(scatter, weights)

    def _projected(self, features: Doubles) -> Doubles:
        return features if self._projection is None else features @ self._projection

    def _solved(self, moments: Moments) -> Gaussians:
        settings = self.settings
        d = moments.mean.shape[1]
        shrinkage = d / (d + moments.count / FORMATS) if settings.shrinkage is None else settings.shrinkage
        return Gaussians.fit(
            moments,
            self._patches.grid,
            projection=self._projection,
            shrinkage=shrinkage,
            tolerance=settings.tolerance,
            rank=settings.rank,
        )

    def _judge(self, features: tf.Tensor) -> Outputs:
        distances = self._patches.map(self._gaussians.graph(features))
        score, smooth = score_and_map(distances, self.settings.features.grid_stride, self.settings.map)
        return {"score": score, "map": smooth}


def split(batch: Doubles) -> tuple[Doubles, Doubles]:
    """The halves of a batch [tiles^2 b, P, c], by turns."""
    return batch[0::2], batch[1::2]
