"""Faulty copies of normal windows that a network must rebuild as the normal ones they were.

An autoencoder that never saw a fault may rebuild half of it, and then a larger fault can leave a smaller residual. One
that was taught to leave faults out keeps what it rebuilds, so that the residual grows with the fault.

Source: P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, "Extracting and composing robust features with denoising
autoencoders", ICML 2008; the corruption here is the faults that detectors are for.
"""

from __future__ import annotations

import math

import numpy as np

from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.records import Floats

KINDS = (FaultKind.STEP, FaultKind.DRIFT, FaultKind.SPIKE, FaultKind.NOISE)
"""The faults that have a severity in training spreads."""

EVERY = 9
"""One window in so many gets a copy with each kind. On SKAB, one in three costs 0.1 of F1, and without copies three
trajectories of growing faults in a hundred fall somewhere above the threshold; so three in a thousand do."""

LARGEST_SEVERITY = 1.5
"""Largest fault, in body ranges: beyond one the body sees no difference any more."""


def with_faults(z: Floats, body_range: float, seed: int) -> tuple[Floats, Floats]:
    """Add faulty copies to the windows.

    Args:
        z: float32 [n, T, C] normalised training windows.
        body_range: training spreads at which the body's input saturates.
        seed: decides kinds, channels, places and severities (evenly on a logarithmic scale, from one spread).

    Returns:
        What the network sees, and the normal windows that it must answer, both float32 [m, T, C].
    """
    rng = np.random.default_rng(seed)
    one_spread = np.ones(z.shape[2])
    largest = math.log(LARGEST_SEVERITY * body_range)
    clean = [z[first::EVERY] for first in range(len(KINDS))]
    faulty = [
        inject(window[np.newaxis], kind, math.exp(rng.uniform(0, largest)), one_spread, rng)
        for kind, windows in zip(KINDS, clean, strict=True)
        for window in windows
    ]
    return np.concatenate([*faulty, z]), np.concatenate([*clean, z])
