"""Kernel density with weights by maximum likelihood: few kernels are left, where they are needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from edge_agent.contract.records import Doubles
from training.detectors.density import KernelDetector
from training.detectors.kernels import Kernels, LeftOut

logger = logging.getLogger(__name__)

OPTIMAL = 0.005
"""Nats of mean log likelihood by which the weights may fall short of the optimum: half of what two ways may differ."""

NEARLY_OPTIMAL = 0.02
"""The same where bandwidths are only compared: a step of theirs changes the likelihood by more."""

MOST_STEPS = 20_000
"""Steps at most; 1,000 windows took 190 of EM and 8,000 of gradient descent."""

STRETCHES = 8
"""Stretches of time that the windows are cut into, every other one to either half: few, since where two meet windows of
both halves share rows, and more than two, since machines drift."""

LEAST_WEIGHT = 1e-3
"""Share of a mean weight below which a kernel is left out: all of them together add less than a thousandth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KdemleSettings:
    """`[detector]` of type `kdemle` or `ce_kde`."""

    kernels: int = 128
    """Most kernels in the graph; the optimum usually has fewer."""

    def __post_init__(self) -> None:
        """Refuse none."""
        if self.kernels < 1:
            raise ValueError(f"kernels must be at least 1, got {self.kernels}")


class Likelihood:
    """Mean log likelihood of windows as a function of the weights of kernels, which is concave."""

    def __init__(self, squares: Doubles, bandwidth: float, dimensions: int) -> None:
        """Take squared distances [n, K] of windows to kernels, infinite where a kernel may not explain a window."""
        exponents = -squares / (2 * bandwidth**2)
        largest = exponents.max(axis=1, keepdims=True)
        self.relative = np.exp(exponents - largest)
        """Density [n, K] of each window by each kernel, over that of its best."""
        self._offset = float(largest.mean()) - dimensions * np.log(bandwidth * np.sqrt(2 * np.pi))

    def mean(self, weights: Doubles) -> float:
        """Mean log likelihood in nats; what no kernel explains has the least density that a double can hold, not 0."""
        density = np.maximum(self.relative @ weights, np.finfo(np.float64).tiny)
        return float(np.log(density).mean() + self._offset)

    def gains(self, weights: Doubles) -> Doubles:
        """Derivative [K] of the mean log likelihood by each weight; weighted, they sum to 1.

        The likelihood is concave, so the optimum is at most `max(gains) - 1` higher (B. G. Lindsay, "The geometry of
        mixture likelihoods", Ann. Statist. 11, 1983).
        """
        return np.asarray((1 / (self.relative @ weights)) @ self.relative / len(self.relative))


def weights_by_em(likelihood: Likelihood, short: float = OPTIMAL) -> Doubles:
    """Weights [K] by expectation maximisation: each becomes its kernel's mean responsibility for the windows."""
    weights = np.full(likelihood.relative.shape[1], 1 / likelihood.relative.shape[1])
    for _ in range(MOST_STEPS):
        gains = likelihood.gains(weights)
        if gains.max() - 1 <= short:
            return weights
        weights *= gains
    logger.warning("EM fell short of the optimum by up to %.3g nats a window", gains.max() - 1)
    return weights


def best_bandwidth(windows: LeftOut) -> float:
    """The bandwidth whose weights, learned from one half of the windows, make the other half most likely.

    The likelihood that the weights were learned by would not do: it rises down to kernels as thin as the noise.
    """
    stretch = np.arange(len(windows.x)) * STRETCHES // len(windows.x) % 2
    halves = windows.squares[stretch == 0], windows.squares[stretch == 1]

    def held_out(bandwidth: float) -> float:
        first, second = (Likelihood(half, bandwidth, windows.x.shape[1]) for half in halves)
        return first.mean(weights_by_em(second, NEARLY_OPTIMAL)) + second.mean(weights_by_em(first, NEARLY_OPTIMAL))

    return float(max(windows.bandwidths, key=held_out))


class KdemleDetector(KernelDetector[KdemleSettings]):
    """Kernel density whose weights maximise the likelihood that windows have by kernels at other windows.

        score = -2 log sum_k w_k exp(-|y - c_k|^2 / 2 h^2) + range term,   y as in `kde`

    The weights by EM, on the likelihood that leaves out all kernels which share rows with a window: with them each
    kernel would explain itself. The optimum needs some tenth of the kernels, which keeps the graph small at no cost.

    Sources: A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM
    algorithm", J. Royal Stat. Soc. B 39 (1977); weights of kernels: M. Girolami and C. He, "Probability density
    estimation from optimally condensed data samples", IEEE Trans. PAMI 25 (2003), by another criterion; for leaving
    blocks out see `kde`.
    """

    Settings = KdemleSettings

    def find_kernels(self, windows: LeftOut) -> Kernels:
        """Weights at the best bandwidth; kernels that got none are left out, and too many are reduced."""
        bandwidth = best_bandwidth(windows)
        weights = self.find_weights(Likelihood(windows.squares, bandwidth, windows.x.shape[1]))
        kept = weights > LEAST_WEIGHT / len(weights)
        shares = weights[kept] / weights[kept].sum()
        kernels = Kernels(centres=windows.x[kept], weights=shares, bandwidth=bandwidth)
        return kernels.reduced(self.settings.kernels, self.training.seed)

    def find_weights(self, likelihood: Likelihood) -> Doubles:
        """Weights [K] of the highest likelihood."""
        return weights_by_em(likelihood)
