"""The median of the few values that a frame is reduced to."""

from __future__ import annotations

import numpy as np

from edge_agent.contract.records import Doubles, Floats


def median(values: Doubles | Floats) -> float:
    """Return the median of all values, at least one, none of them NaN.

    As `np.median`, whose many lines of Python cost far more than sorting some hundred values: between two calls of a
    network they leave the processor's caches (`python -m benchmarks.camera_path`).
    """
    ordered = np.sort(values, axis=None)
    half = ordered.size // 2
    return float(ordered[half] + ordered[-1 - half]) / 2
