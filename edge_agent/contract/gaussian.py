"""A multivariate Gaussian learned from few samples, and how far from it a new sample may lie by chance.

Covariance: shrunk towards a diagonal as Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional
covariance matrices", J. Multivariate Anal. 88, on features divided by their own standard deviation. Samples that
overlap (windows that share rows) are worth fewer independent ones; the estimate of the sampling error is raised
accordingly.

Limits: a Bayesian Gaussian with the conjugate normal-inverse-Wishart prior (Murphy 2007, "Conjugate Bayesian analysis
of the Gaussian distribution", section 8; Gelman et al., "Bayesian Data Analysis", 3rd ed., section 3.6). Its posterior
predictive is a multivariate Student-t, so the squared distance of the next sample is F distributed and few samples do
not pretend to know much: at n = 100 in 8 dimensions a chi-square limit asked for .001 gives .0049, the predictive .001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_agent.contract.records import Doubles

SAMPLE_AXES: Final = 2
"""Samples are [k, d]."""

MIN_SAMPLES: Final = 2
"""Fewest independent samples: one has no spread."""

MIN_FREEDOM: Final = 1.0
"""Fewest degrees of freedom of the predictive (a Cauchy distribution): its limits exist but are very wide, which is
what a handful of samples in many dimensions supports."""

SMALLEST_EIGENVALUE: Final = 1e-9
"""Least variance, in units of the features' own, in any direction: far below what shrinkage leaves of real data, far
above the rounding error of an eigenvalue, so that features that repeat each other exactly do no harm."""

MAX_SAMPLES: Final = 1e7
"""Most independent samples that are told apart from more: the predictive is a Gaussian's long before, and the continued
fraction still settles within its terms."""

CONTINUED_FRACTION_TERMS: Final = 10_000
"""Most terms of the continued fraction; it needs in the order of sqrt(max(a, b)), so 3,000 at `MAX_SAMPLES`."""

LIMIT_EXPONENTS: Final = (-100.0, 700.0)
"""Natural logarithms between which a limit is sought: almost all that a double can hold, so that even one degree
of freedom and p = 1e-12 give a finite limit."""

BISECTIONS: Final = 80
"""Halvings in the search for a limit: 800 / 2^80 is below the resolution of a double."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussian:
    """A mean and a shrunk covariance, in the form that makes distances cheap.

    With x a sample, y = (x - mean) @ whiten is white and d2 = |y|^2 is the squared Mahalanobis distance. `whiten` is
    diag(1 / scale) R^(-1/2) with R the shrunk correlation: of all whitenings the one whose y[i] stays closest to x[i]
    (ZCA-cor; Kessy, Lewin and Strimmer 2018, "Optimal whitening and decorrelation", Am. Stat. 72), so that the parts
    y[i]^2 of d2 can be told to a technician as the parts of feature i.
    """

    mean: Doubles
    """float64 [d]."""
    scale: Doubles
    """float64 [d] > 0, standard deviation of each feature."""
    whiten: Doubles
    """float64 [d, d]."""
    samples: float
    """How many independent samples it was learned from."""
    determined: float
    """How many of the d directions the samples and not the shrinkage target decided, 1 to d."""

    def whitened(self, x: Doubles) -> Doubles:
        """Return y, float64 [k, d], for samples float64 [k, d]."""
        return np.asarray((x - self.mean) @ self.whiten)

    def distances(self, x: Doubles) -> Doubles:
        """Return the squared Mahalanobis distances, float64 [k], for samples float64 [k, d]."""
        y = self.whitened(x)
        np.multiply(y, y, out=y)
        return np.asarray(np.add.reduce(y, axis=1))

    def predictive(self) -> BayesianGaussian:
        """Return how the distance of the next sample is distributed."""
        return BayesianGaussian(dimensions=len(self.mean), samples=self.samples, determined=self.determined)

    @classmethod
    def fit(cls, x: Doubles, *, samples: float | None = None, scale_floor: float = 0.0) -> Gaussian:
        """Learn from samples.

        Args:
            x: float64 [k, d], finite, k >= 2.
            samples: how many independent samples these k are worth, 2 to k; None: all of them.
            scale_floor: smallest standard deviation that is believed, in the features' unit. A feature that is
                constant even so gets 1, as nothing is known of its scale.

        Raises:
            ValueError: too few samples, or some that are not finite.
        """
        k, d = _checked_samples(x, samples)
        n = float(k) if samples is None else min(float(samples), MAX_SAMPLES)
        mean = x.mean(axis=0)
        centred = x - mean
        scale = np.maximum(np.sqrt((centred * centred).mean(axis=0)), scale_floor)
        scale[scale <= 0.0] = 1.0
        centred /= scale
        correlation = centred.T @ centred / k
        shrinkage = ledoit_wolf_shrinkage(centred, correlation, samples=n)
        target = shrinkage * np.trace(correlation) / d
        eigenvalues, vectors = np.linalg.eigh(correlation)
        kept = (1.0 - shrinkage) * np.maximum(eigenvalues, 0.0)
        shrunk = np.maximum(kept + target, SMALLEST_EIGENVALUE)
        return cls(
            mean=mean,
            scale=scale,
            whiten=(vectors / np.sqrt(shrunk)) @ vectors.T / scale[:, np.newaxis],
            samples=n,
            determined=min(float(d), max(1.0, float(np.sum(kept / shrunk)))),
        )


def _checked_samples(x: Doubles, samples: float | None) -> tuple[int, int]:
    """Return k, d or say what is wrong with the samples."""
    if x.ndim != SAMPLE_AXES or x.shape[0] < MIN_SAMPLES or x.shape[1] < 1:
        raise ValueError(f"expected at least 2 samples of at least 1 feature, got shape {list(x.shape)}")
    if samples is not None and not MIN_SAMPLES <= samples <= len(x):
        raise ValueError(
            f"independent samples must be from 2 to the {len(x)} given, got {samples:.4g}: collect more data"
        )
    if not np.isfinite(x).all():
        raise ValueError("samples must be finite: leave out what is missing before learning")
    return x.shape[0], x.shape[1]


def ledoit_wolf_shrinkage(centred: Doubles, covariance: Doubles, *, samples: float) -> float:
    """Return the best weight, 0 to 1, of the target mean(diag) * I against the sample covariance.

    Args:
        centred: float64 [k, d], mean removed.
        covariance: float64 [d, d], centred.T @ centred / k.
        samples: how many independent samples the k are worth; the sampling error of the covariance is taken as
            k / samples times that of k independent ones.
    """
    k, d = centred.shape
    squared_norm = float(np.sum(covariance * covariance))
    trace = float(np.trace(covariance))
    off_target = squared_norm - trace * trace / float(d)
    if off_target <= squared_norm * np.finfo(np.float64).eps:
        return 1.0
    fourth = float(np.sum(np.sum(centred * centred, axis=1) ** 2)) / float(k)
    error = (fourth - squared_norm) / samples
    return min(1.0, max(0.0, error / off_target))


@dataclass(frozen=True, slots=True, kw_only=True)
class BayesianGaussian:
    """The distribution of d2 of the next sample, given what n samples can have taught.

    Normal-inverse-Wishart posterior with kappa_n = n, nu_n = n - 1 + m and Psi_n = n * (the shrunk covariance). The
    predictive is Student-t with nu = nu_n - d + 1 = n - d + m degrees of freedom, hence
    d2 * nu / ((n + 1) d) ~ F(d, nu). m = 0, without shrinkage, is Jeffreys' prior, and exact. Otherwise m counts the
    directions in which the shrinkage target and not the samples decided, so that n - nu = d - m is the effective number
    of parameters of a ridge (Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed., eq.
    3.50), at least 1.
    """

    dimensions: int
    """d >= 1."""
    samples: float
    """n >= 2 independent samples, of whose covariance (divided by n, not n - 1) d2 is the distance."""
    determined: float | None = None
    """d - m, 1 to d: directions that the samples decided. None: all, the covariance was not shrunk."""

    def __post_init__(self) -> None:
        """Refuse what no samples can give."""
        determined = self.dimensions if self.determined is None else self.determined
        if (
            self.dimensions < 1
            or not MIN_SAMPLES <= self.samples <= MAX_SAMPLES
            or not 1 <= determined <= self.dimensions
        ):
            raise ValueError(
                f"expected dimensions >= 1, samples from 2 to {MAX_SAMPLES:g} and determined from 1 to dimensions, "
                f"got {self.dimensions}, {self.samples} and {self.determined}"
            )

    @property
    def freedom(self) -> float:
        """Degrees of freedom nu of the predictive Student-t."""
        return max(MIN_FREEDOM, self.samples - (self.dimensions if self.determined is None else self.determined))

    def survival(self, d2: float) -> float:
        """Return P(the next sample lies farther than d2)."""
        if math.isnan(d2):
            raise ValueError("d2 must be a number, got NaN")
        nu = self.freedom
        return incomplete_beta(nu / 2, self.dimensions / 2, (self.samples + 1) / (self.samples + 1 + max(d2, 0.0)))

    def limit(self, p: float) -> float:
        """Return the d2 that the next sample exceeds with probability `p`, 0 < p < 1."""
        if not 0.0 < p < 1.0:
            raise ValueError(f"the probability must be between 0 and 1, got {p}")
        low, high = LIMIT_EXPONENTS
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.survival(math.exp(middle)) > p else (low, middle)
        return math.exp(high)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), 0 <= x <= 1, a and b > 0.

    Continued fraction DLMF 8.17.22 (https://dlmf.nist.gov/8.17.E22) evaluated by the modified Lentz method (Press et
    al., "Numerical Recipes", 3rd ed., sections 5.2 and 6.4), with I_x(a, b) = 1 - I_(1-x)(b, a) where that converges
    faster.

    Raises:
        ValueError: an argument is outside its range.
        ArithmeticError: a or b is so large (beyond 1e7) that the fraction does not settle.
    """
    if not (a > 0 and b > 0 and 0 <= x <= 1):
        raise ValueError(f"expected a > 0, b > 0 and x from 0 to 1, got {a}, {b} and {x}")
    if x in {0.0, 1.0}:
        return x
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction 1 / (1 + d1 / (1 + d2 / (1 + ...))) of DLMF 8.17.22."""
    tiny = 1e-300
    value, c, d = 1.0, math.inf, 1.0
    for j in range(1, CONTINUED_FRACTION_TERMS):
        m = j // 2
        if j % 2:
            coefficient = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            coefficient = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / ((1.0 + coefficient * d) or tiny)
        c = (1.0 + coefficient / c) or tiny
        value *= c * d
        if abs(c * d - 1.0) < 4 * math.ulp(1.0):
            return value
    raise ArithmeticError(f"incomplete beta did not settle at a = {a}, b = {b}, x = {x}")
