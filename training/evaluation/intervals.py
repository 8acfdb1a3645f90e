"""How far a figure would move had other files of the same kind been recorded: percentile bootstrap over files.

Files, not rows, are drawn: rows of one recording depend on each other, and an interval over rows would be far too
narrow. Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1), 1979; percentile
interval: B. Efron and R. Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from edge_agent.contract.words import counted

T = TypeVar("T")


def bootstrap_interval(
    per_file: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    seed: int = 0,
    rounds: int = 2000,
    share: float = 0.95,
) -> tuple[float, float]:
    """Return the interval that holds the middle `share` of the statistic over resampled files.

    With few files it is too narrow, and of one file it is a point: it tells nothing then.

    Args:
        per_file: whatever the statistic pools, such as confusions; one for each file.
        statistic: of as many files as there are, drawn with repetition; where it is None (undefined), the draw is left
            out.
        seed: the same seed gives the same interval.
        rounds: draws; 2,000 leave each end uncertain by some 1.5 % of the width (a normal statistic).
        share: 0..1, exclusive.

    Raises:
        ValueError: no file, no round, a share out of range, or a statistic that is undefined for every draw.
    """
    if not len(per_file) or rounds < 1 or not 0 < share < 1:
        raise ValueError(
            f"needs at least one file and one round and a share between 0 and 1, got "
            f"{counted(len(per_file), 'file')}, {counted(rounds, 'round')} and a share of {share}"
        )
    drawn = np.random.default_rng(seed).integers(len(per_file), size=(rounds, len(per_file)))
    values = [value for draw in drawn.tolist() if (value := statistic([per_file[i] for i in draw])) is not None]
    if not values:
        raise ValueError("the statistic is undefined for every draw of the files, so it has no interval")
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
