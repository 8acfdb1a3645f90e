"""From a score to what a person can read: a level in 0..1 that is 0.5 at the threshold, and a p-value.

Scores of different detectors have different units; the level puts them on one scale. With p the share of normal
windows that score at least as high (log-linear between stored quantiles, a generalized Pareto tail above, exponential
below) and s = -ln p, a window's strength is x = (s - s_t) / s_t, with s_t taken at the threshold. While the calibration
is provisional p is not known well enough, and x = (score - threshold) / (threshold - median). Then

    level = (1 + x / (1 + |x|)) / 2

rises strictly with the score and stays below 1 in float64 up to a million thresholds. (Downwards it flattens: from some
thirty scales below the median all scores are equally normal.)
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right

from edge_agent.contract.calibration import Calibration, Grade

_LONGEST = -math.log(sys.float_info.min)
"""Largest -ln p whose p is still an ordinary float64: a p-value is never 0."""


class LevelScale:
    """Level and p-value of any score under one calibration; made once, asked for every window."""

    def __init__(self, calibration: Calibration) -> None:
        normal = calibration.normal
        self.provisional = calibration.grade is Grade.PROVISIONAL
        self._threshold = calibration.threshold
        self._spread = calibration.threshold - calibration.median
        self._tail = normal.tail
        self._scores = normal.quantile_scores
        self._surprises = tuple(-math.log(share) for share in normal.quantile_shares)
        self._below = self._scale_below()
        self._at_threshold = self.surprise(calibration.threshold)

    def level(self, score: float) -> float:
        """Return 0..1: exactly 0.5 at the threshold, strictly rising with the score."""
        if self.provisional:
            x = (score - self._threshold) / self._spread
        else:
            x = self.surprise(score) / self._at_threshold - 1
        return 1 - 0.5 / (1 + x) if x >= 0 else 0.5 / (1 - x)

    def p_value(self, score: float) -> float | None:
        """Return the share of normal windows that score at least as high, above 0; None while provisional."""
        return None if self.provisional else math.exp(-min(self.surprise(score), _LONGEST))

    def surprise(self, score: float) -> float:
        """Return s = -ln p, above 0 and strictly rising."""
        scores, surprises = self._scores, self._surprises
        if score >= scores[-1]:
            return -self._tail.log_beyond(score)
        if score < scores[0]:
            return surprises[0] * math.exp((score - scores[0]) / self._below)
        above = bisect_right(scores, score)
        share = (score - scores[above - 1]) / (scores[above] - scores[above - 1])
        return surprises[above - 1] + share * (surprises[above] - surprises[above - 1])

    def _scale_below(self) -> float:
        """Scale of the exponential below the lowest quantile: it leaves with the slope that s has just above."""
        if len(self._scores) == 1:
            return self._tail.scale * self._surprises[0]
        slope = (self._surprises[1] - self._surprises[0]) / (self._scores[1] - self._scores[0])
        return self._surprises[0] / slope


def level(score: float, calibration: Calibration) -> float:
    """Return the level of one score; for many, keep a `LevelScale`."""
    return LevelScale(calibration).level(score)


def p_value(score: float, calibration: Calibration) -> float | None:
    """Return the p-value of one score, None while provisional; for many, keep a `LevelScale`."""
    return LevelScale(calibration).p_value(score)
