"""Faults and noise that a network must leave out: it is given a faulty window and must answer as to the normal one.

One that never saw a fault may rebuild or expect half of it, and then a larger fault can leave a smaller residual. One
that was taught to leave faults out keeps its answer, so that the residual grows with the fault. And one that forgives
noise on its input forgives the rounding of int8.

Sources: P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, "Extracting and composing robust features with denoising
autoencoders", ICML 2008; the corruption here is the faults that detectors are for. C. M. Bishop, "Training with noise
is equivalent to Tikhonov regularization", Neural Computation 7 (1995).
"""

from __future__ import annotations

import math

import numpy as np

from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.records import Floats

KINDS = (FaultKind.STEP, FaultKind.DRIFT, FaultKind.SPIKE, FaultKind.NOISE)
"""The faults that have a severity in training spreads."""

LEAST_SEVERITY = 1.0
"""Smallest fault, training spreads: below it a fault is not told from noise, and leaving it out would blur."""

LARGEST_SEVERITY = 1.5
"""Largest fault, in body ranges: from one on, the body sees no more difference even across its whole range."""

INPUT_NOISE = 0.05
"""Standard deviation of the noise on what a network is given in training, companded spreads: three to four int8 steps.
What a recurrent cell rounds comes back to it row after row."""


def with_faults(z: Floats, body_range: float, rng: np.random.Generator) -> Floats:
    """Put one fault into each window: every kind in a quarter of them, in any channel, at any severity.

    Args:
        z: float32 [n, T, C] normalised windows.
        body_range: training spreads at which the body's input saturates.
        rng: decides channels, places, signs and, evenly on a logarithmic scale, severities.

    Returns:
        float32 [n, T, C].
    """
    one_spread = np.ones(z.shape[2])
    smallest, largest = math.log(LEAST_SEVERITY), math.log(LARGEST_SEVERITY * body_range)
    return np.concatenate(
        [
            inject(windows, kind, math.exp(rng.uniform(smallest, largest)), one_spread, rng)
            for kind, windows in zip(KINDS, np.array_split(z, len(KINDS)), strict=True)
            if len(windows)
        ]
    )


def noisy(given: Floats, rng: np.random.Generator) -> Floats:
    """Add noise to what a network is given, companded float32 [n, ...]."""
    return given + rng.normal(0, INPUT_NOISE, given.shape).astype(np.float32)
