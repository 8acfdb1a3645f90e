"""Gaussians of features at every position of a grid, each a correction of the one that all positions share.

    D(p)^2 = |z|^2 / t_p - |V_p' z|^2,    z = B' (x_p - m_p)        squared Mahalanobis distance at position p

From n frames the covariance C_p of d features at a position is hardly known, so that it is drawn towards the mean one C
of all positions:

    S_p = (1 - a) C_p + a C,    a = d / (d + n) unless told otherwise

B whitens C. In its coordinates a position differs from all others in few directions: the r of largest variance l_i are
kept, with columns v_i = u_i sqrt(1 / t_p - 1 / l_i) of V_p, and the harmonic mean t_p of the other variances stands
for all of those. With d = 232 some 48 directions rank images as all of them do, in a fifth of the memory.

Parts do not lie in the same place to the pixel: mean and covariance of a position are those of its neighbourhood,
weighted by a Gaussian of `tolerance` positions.

Sources: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a patch distribution modeling framework for anomaly
detection and localization", 2020 (there: S_p = C_p + 0.01 I in full); of a few directions and an even rest M. Tipping
and C. Bishop, "Probabilistic principal component analysis", J. Royal Statistical Society B 61 (1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles, Floats

RIDGE = 0.01
"""Share of the mean variance added to the diagonal: features that never moved would make the covariance singular."""

NOISE = 0.05
"""Variance of every feature that is taken for noise, share of the mean one: int8 rounds all channels of a layer in
equal steps, and where directions of less variance than its rounding count in full, int8 and float32 disagree."""

LEAST_VARIANCE = 1e-6
"""In squared units of the features, which vary by some 1: frames that are all alike still give a distance."""


class Moments:
    """Mean and covariance at every position, from batches: memory for one batch and the result."""

    def __init__(self, positions: int, features: int) -> None:
        """Begin with no frame."""
        self.count = 0
        self.mean: Doubles = np.zeros((positions, features))
        self._scatter: Doubles = np.zeros((positions, features, features))

    def add(self, features: Doubles) -> None:
        """Take in the features [b, P, d] of b frames, none or more.

        Squares are summed about the mean of the batch and then moved to the common mean, which loses no digits.

        Source: T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", COMPSTAT 1982.
        """
        if len(features) == 0:
            return
        added, mean = len(features), features.mean(axis=0)
        total = self.count + added
        centred = (features - mean).transpose(1, 2, 0)
        moved = mean - self.mean
        self._scatter += centred @ centred.transpose(0, 2, 1)
        self._scatter += moved[:, :, np.newaxis] * moved[:, np.newaxis] * (self.count * added / total)
        self.mean = self.mean + moved * (added / total)
        self.count = total

    def joined(self, other: Moments) -> Moments:
        """Of the frames of both."""
        total = self.count + other.count
        moved = other.mean - self.mean
        both = Moments(0, 0)
        both.count, both.mean = total, self.mean + moved * (other.count / total)
        between = moved[:, :, np.newaxis] * moved[:, np.newaxis] * (self.count * other.count / total)
        both._scatter = self._scatter + other._scatter + between
        return both

    def reaching(self, scatter: Doubles, weights: Doubles) -> Moments:
        """The same frames and means with squares [P, d, d] in which frames counted by weights of these sums [P]."""
        other = Moments(0, 0)
        other.count, other.mean = self.count, self.mean
        other._scatter = scatter * (self.count / weights)[:, np.newaxis, np.newaxis]
        return other

    @property
    def covariance(self) -> Doubles:
        """Of each position, float64 [P, d, d]; needs two frames."""
        return self._scatter / (self.count - 1)

    def pooled(self, grid: tuple[int, int], tolerance: float) -> tuple[Doubles, Doubles]:
        """Mean [P, d] and covariance [P, d, d] of neighbourhoods.

        Args:
            grid: rows h and columns w of the positions, P = h w.
            tolerance: standard deviation of the weights in positions; 0: each position for itself.
        """
        if not tolerance:
            return self.mean, self.covariance
        along_rows, along_columns = (smoothing(size, tolerance) for size in grid)

        def smooth(values: Doubles) -> Doubles:
            on_grid = values.reshape(*grid, -1)
            across = np.einsum("jw,hwk->hjk", along_columns, on_grid)
            return np.tensordot(along_rows, across, axes=1).reshape(values.shape)

        mean = smooth(self.mean)
        apart = self.mean[:, :, np.newaxis] * self.mean[:, np.newaxis]
        return mean, smooth(self.covariance + apart) - mean[:, :, np.newaxis] * mean[:, np.newaxis]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussians:
    """One for each of P positions of c features; see the module."""

    first: Floats
    """B behind the projection, if there is one, float32 [c, d]."""
    offset: Floats
    """B' m_p, float32 [P, d]."""
    rest: Floats
    """1 / t_p, float32 [P]."""
    own: Floats
    """V_p, float32 [P, d, r]; r = 0: the positions share one covariance."""

    @classmethod
    def fit(
        cls,
        moments: Moments,
        grid: tuple[int, int],
        *,
        projection: Doubles | None = None,
        shrinkage: float | None = None,
        tolerance: float = 0.0,
        rank: int,
    ) -> Gaussians:
        """Solve for the Gaussians.

        Args:
            moments: of two frames or more.
            grid: rows and columns of the positions.
            projection: float64 [c, d], what the features were multiplied by before their moments were taken.
            shrinkage: a, 0 to 1; None: d / (d + n).
            tolerance: see the module, in positions.
            rank: r, at most d - 1 are kept.
        """
        mean, covariance = moments.pooled(grid, tolerance)
        d = mean.shape[1]
        share = d / (d + moments.count) if shrinkage is None else shrinkage
        common = covariance.mean(axis=0)
        whiten = whitening_of(common)
        rest, own = np.ones(len(mean)), np.empty((len(mean), d, 0))
        if (kept := min(rank, d - 1)) and share < 1:
            white = (1 - share) * (whiten.T @ covariance @ whiten) + share * np.eye(d)
            variances, directions = np.linalg.eigh(white)  # rising
            rest = (1 / variances[:, :-kept]).mean(axis=1)
            gains = np.sqrt(np.maximum(rest[:, np.newaxis] - 1 / variances[:, -kept:], 0))
            own = directions[:, :, -kept:] * gains[:, np.newaxis]
        return cls(
            first=(whiten if projection is None else projection @ whiten).astype(np.float32),
            offset=(mean @ whiten).astype(np.float32),
            rest=rest.astype(np.float32),
            own=own.astype(np.float32),
        )

    def graph(self, features: tf.Tensor) -> tf.Tensor:
        """Distances [b, P] of features [b, P, c], in their deviations: sqrt(d) is usual; call it in scope `head`."""
        positions, width = self.offset.shape
        z = tf.matmul(tf.reshape(features, (-1, self.first.shape[0])), tf.constant(self.first))
        z = tf.reshape(z, (-1, positions, width)) - tf.constant(self.offset)
        squared = tf.reduce_sum(z * z, axis=2) * tf.constant(self.rest)
        if self.own.shape[2]:
            own = tf.matmul(tf.transpose(z, (1, 0, 2)), tf.constant(self.own))  # [P, b, r]
            squared -= tf.transpose(tf.reduce_sum(own * own, axis=2))
        return tf.sqrt(tf.maximum(squared, 0.0))


def whitening_of(covariance: Doubles) -> Doubles:
    """B [d, d] with B' (C + ridge) B = I, where the ridge is the share `NOISE` of the mean variance."""
    variance = max(float(np.trace(covariance)) / len(covariance), LEAST_VARIANCE)
    ridged = covariance + NOISE * variance * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(ridged)).T)


def steadiest(covariance: Doubles, errors: Doubles, directions: int) -> Doubles:
    """Whitened directions of features that their errors change least beside how much they vary.

    Args:
        covariance: float64 [d, d], of the features.
        errors: float64 [d, d], mean of e e' over the errors e of the features, such as those of int8.
        directions: k, at most d are kept.

    Returns:
        B U float64 [d, k], where B whitens and U are those eigenvectors of B' E B that have the smallest eigenvalues.

    Source: A. Green, M. Berman, P. Switzer and M. Craig, "A transformation for ordering multispectral data in terms of
    image quality with implications for noise removal", IEEE Trans. Geoscience and Remote Sensing 26 (1988).
    """
    whiten = whitening_of(covariance)
    _, rising = np.linalg.eigh(whiten.T @ errors @ whiten)
    return np.asarray(whiten @ rising[:, :directions])


def whitening(covariance: Doubles, share: float) -> Doubles:
    """L^-1 of shrunk covariances S = L L'.

    Args:
        covariance: float64 [P, d, d].
        share: a, 0 to 1: how much of each is replaced by their mean.

    Returns:
        float64 [P, d, d], lower triangles; [1, d, d] where all are the same, that is a = 1.
    """
    pooled = covariance.mean(axis=0, keepdims=True)
    variance = max(float(np.trace(pooled[0])) / pooled.shape[1], LEAST_VARIANCE)
    shrunk = pooled if share == 1 else (1 - share) * covariance + share * pooled
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shrunk + RIDGE * variance * np.eye(pooled.shape[1]))))


def random_projection(spread: Doubles, features: int, seed: int) -> Doubles:
    """Orthogonal directions [c, d] drawn at random, of features with the deviations `spread` [c].

    Source: E. Bingham and H. Mannila, "Random projection in dimensionality reduction", KDD 2001.
    """
    drawn = np.random.default_rng(seed).standard_normal((len(spread), features))
    return np.asarray(np.linalg.qr(drawn)[0] / np.sqrt(np.maximum(spread**2, LEAST_VARIANCE))[:, np.newaxis])


def smoothing(size: int, sigma: float) -> Doubles:
    """Matrix [size, size] that smooths with a Gaussian of `sigma` positions (0: not); each row sums to 1."""
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-0.5 * (apart / sigma) ** 2) if sigma else np.eye(size)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
