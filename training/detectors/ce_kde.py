"""Kernel density with weights by gradient descent: the optimum of `kdemle` by another way."""

from __future__ import annotations

import logging

import numpy as np
from scipy.special import softmax

from edge_agent.contract.records import Doubles
from training.detectors.kdemle import MOST_STEPS, OPTIMAL, KdemleDetector, Likelihood

logger = logging.getLogger(__name__)

STEP = 0.1
"""Of the logits in one step of Adam: a kernel that is not needed falls to a thousandth in some 70 steps."""

MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999
"""Of Adam's running gradient and its square, as its authors recommend."""

SMALLEST_GRADIENT = 1e-12
"""Keeps Adam's quotient finite; far below the gradient of a kernel that matters."""


def weights_by_descent(likelihood: Likelihood, short: float = OPTIMAL) -> Doubles:
    """Weights [K] as a softmax of logits, by Adam on the cross-entropy."""
    logits = np.zeros(likelihood.relative.shape[1])
    mean, square = np.zeros_like(logits), np.zeros_like(logits)
    for step in range(1, MOST_STEPS + 1):
        weights: Doubles = softmax(logits)
        gains = likelihood.gains(weights)
        if gains.max() - 1 <= short:
            return weights
        gradient = weights - weights * gains
        mean += (1 - MEAN_DECAY) * (gradient - mean)
        square += (1 - SQUARE_DECAY) * (gradient**2 - square)
        scale = np.sqrt(square / (1 - SQUARE_DECAY**step)) + SMALLEST_GRADIENT
        logits -= STEP * mean / (1 - MEAN_DECAY**step) / scale
    logger.warning("gradient descent fell short of the optimum by up to %.3g nats a window", gains.max() - 1)
    return weights


class CeKdeDetector(KdemleDetector):
    """Kernel density whose weights minimise the cross-entropy of the training windows, by gradient descent.

        score = -2 log sum_k w_k exp(-|y - c_k|^2 / 2 h^2) + range term,   w = softmax(logits)

    The cross-entropy of the windows' distribution relative to the density is the negative mean log likelihood. Its
    gradient by the logits is w - r, weights minus mean responsibilities, that of a softmax classifier whose targets are
    the responsibilities. It ends at the optimum of `kdemle`, in steps that are as cheap but more.

    Sources: D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015; else as `kdemle`.
    """

    def find_weights(self, likelihood: Likelihood) -> Doubles:
        """Weights [K] of the lowest cross-entropy."""
        return weights_by_descent(likelihood)
