"""The level is 0.5 exactly at the threshold and strictly rising; the p-value is the share of normal windows above."""

import numpy as np
import pytest

from edge_agent.contract.calibration import Calibration, Grade, calibrate
from edge_agent.contract.level import LevelScale, level, p_value

RNG = np.random.default_rng(11)
KINDS = {
    "exponential": RNG.exponential(size=40_000),
    "heavy": RNG.standard_t(4, size=40_000) ** 2,
    "log density around zero": RNG.normal(size=40_000),
    "negative": -50 + RNG.gamma(3.0, size=40_000),
    "coarse": np.round(RNG.gamma(3.0, size=40_000), 1),
    "mostly one value": np.where(RNG.uniform(size=40_000) < 0.9, 1.0, 1 + RNG.exponential(size=40_000)),
}
RATES = {Grade.COUNTED: 50.0, Grade.EXTRAPOLATED: 1.0, Grade.PROVISIONAL: 1e-4}


def calibrated(scores: np.ndarray, rate: float) -> Calibration:
    t_ns = np.arange(len(scores), dtype=np.int64) * 1_000_000_000
    return calibrate(scores, t_ns, alarms_per_day=rate, n=3, m=5, join_s=20, k=1.5)


@pytest.mark.parametrize("grade", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_half_exactly_at_the_threshold(kind: str, grade: Grade) -> None:
    calibration = calibrated(KINDS[kind], RATES[grade])
    assert calibration.grade is grade
    assert level(calibration.threshold, calibration) == 0.5
    assert level(np.nextafter(calibration.threshold, np.inf) + 1e-9, calibration) > 0.5
    assert level(np.nextafter(calibration.threshold, -np.inf) - 1e-9, calibration) < 0.5


@pytest.mark.parametrize("grade", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_strictly_rising_to_a_million_thresholds(kind: str, grade: Grade) -> None:
    calibration = calibrated(KINDS[kind], RATES[grade])
    scale = LevelScale(calibration)
    spread = calibration.threshold - calibration.median
    reach = 1e6 * max(spread, abs(calibration.threshold))
    below = calibration.threshold - np.geomspace(3 * spread, 1e-6 * spread, 400)
    above = calibration.threshold + np.geomspace(1e-6 * spread, reach, 4_000)
    levels = [scale.level(float(score)) for score in (*below, calibration.threshold, *above)]
    assert np.all(np.diff(levels) > 0)
    assert 0 < levels[0] < levels[-1] < 1


def test_never_falls_however_absurd_the_score() -> None:
    for rate in RATES.values():
        scale = LevelScale(calibrated(KINDS["heavy"], rate))
        levels = [scale.level(score) for score in (-1e308, -1e20, 0.0, 1e20, 1e300, 1e308)]
        assert np.all(np.diff(levels) >= 0)
        assert 0 <= levels[0] <= levels[-1] <= 1


@pytest.mark.parametrize("share", [0.4, 0.1, 0.01, 0.001, 1e-4])
def test_the_p_value_is_the_share_of_normal_windows_above(share: float) -> None:
    calibration = calibrated(KINDS["exponential"], 50.0)
    # 40,000 windows: 4 are expected beyond 1e-4, so the smallest share is known to a factor of 2.
    assert p_value(-float(np.log(share)), calibration) == pytest.approx(share, rel=0.05 if share > 0.001 else 0.5)


def test_p_values_fall_continuously_and_are_never_zero() -> None:
    scale = LevelScale(calibrated(KINDS["heavy"], 50.0))
    scores = np.linspace(-5, 400, 5_000)
    values = np.array([scale.p_value(float(score)) for score in scores])
    assert np.all(np.diff(values) < 0)
    assert np.all(np.diff(np.log(values)) > -0.5)
    assert scale.p_value(1e300) > 0


def test_there_is_no_p_value_while_provisional() -> None:
    assert p_value(3.0, calibrated(KINDS["exponential"], 1e-4)) is None


@pytest.mark.parametrize("scores", [np.ones(5_000), np.zeros(1), np.array([7.0]), np.array([7.0, 7.0])])
@pytest.mark.parametrize("rate", [1e-4, 50.0, 1e5])
def test_scores_without_spread_still_give_a_rising_level(scores: np.ndarray, rate: float) -> None:
    calibration = calibrated(scores, rate)
    levels = [level(score, calibration) for score in (scores[0] - 1, scores[0], calibration.threshold, scores[0] + 1)]
    assert levels[2] == 0.5
    assert np.all(np.diff(levels[1:]) > 0)
    assert levels[0] <= levels[1]
