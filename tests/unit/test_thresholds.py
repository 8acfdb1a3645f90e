"""Thresholds count what the device would alarm on: gross windows included, gaps left out, all within what was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.thresholds import GROSS_MARGIN, Normal, calibrate_graph, normal_windows, upper_limit
from edge_agent.contract.calibration import GROSS_SHARE, Grade
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec, InputSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Channel
from training.artifacts import Run, RunInfo

INPUT = InputSpec(
    channels=(Channel(name="a"), Channel(name="b")),
    rate_hz=1.0,
    window=8,
    stride=8,
    hold=0,
    max_gap_s=3.5,
    stuck_samples=(None, None),
)
DAY_WINDOWS = 86_400 // 8


class Recorded(Run):
    """A run whose validation readings are given instead of read."""

    @property
    def validation(self):
        return READINGS


def readings(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 2)).astype(np.float32)


READINGS = readings(4000, seed=1), np.arange(4000) * NS


@pytest.fixture(scope="module")
def run() -> Run:
    return Recorded(
        path=Path("nowhere"),
        info=RunInfo(
            name="x",
            created="2026-01-02T03:04:05Z",
            detector="gaussian",
            has_body=False,
            body_range=20.0,
            centre=(0.0, 0.0),
            spread=(1.0, 1.0),
            input=INPUT,
            decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
            k=3.0,
            prefilter_mode=Mode.GATE,
            max_skip_s=60.0,
        ),
    )


@pytest.fixture(scope="module")
def prefilter() -> Prefilter:
    return Prefilter.fit(readings(8 * 500).reshape(500, 8, 2))


def test_no_normal_window_comes_near_the_upper_limit(run: Run, prefilter: Prefilter) -> None:
    normal = normal_windows(run, prefilter)
    assert len(normal.d2) == 500
    assert upper_limit(run, prefilter, normal, 1e6) == GROSS_MARGIN * normal.d2.max()


@pytest.mark.parametrize("alarms_per_day", [1.0, 100.0])
def test_over_days_of_new_windows_the_upper_limit_uses_up_no_more_than_its_share(
    run: Run, prefilter: Prefilter, alarms_per_day: float
) -> None:
    limit = upper_limit(run, prefilter, normal_windows(run, prefilter), alarms_per_day)
    days = 4
    d2 = prefilter.distances(readings(8 * days * DAY_WINDOWS, seed=2).reshape(-1, 8, 2))
    expected = GROSS_SHARE * alarms_per_day * days
    assert np.count_nonzero(d2 > limit) <= expected + 3 * np.sqrt(expected)


def normal_days(days: float, *, gross: tuple[int, ...] = (), gap_s: int = 0) -> Normal:
    """Windows of so many days, halfway through which nothing was recorded for `gap_s`."""
    t_ns = np.arange(round(days * DAY_WINDOWS)) * 8 * NS
    t_ns[len(t_ns) // 2 :] += gap_s * NS
    d2 = np.zeros(len(t_ns))
    d2[list(gross)] = 100.0
    return Normal(stretches=[], t_ns=t_ns, d2=d2)


def scores(normal: Normal) -> np.ndarray:
    return np.random.default_rng(3).exponential(size=len(normal.t_ns))


def test_gross_windows_leave_the_network_fewer_alarms(run: Run) -> None:
    quiet, loud = normal_days(1), normal_days(1, gross=(1000, 3000, 5000))
    thresholds = [
        calibrate_graph(run, normal, scores(normal), upper=50.0, alarms_per_day=10.0).threshold
        for normal in (quiet, loud)
    ]
    assert thresholds[1] > thresholds[0]


def test_what_was_not_recorded_counts_as_no_normal_data(run: Run) -> None:
    whole, parted = normal_days(1), normal_days(1, gap_s=8)
    days = [
        calibrate_graph(run, normal, scores(normal), upper=50.0, alarms_per_day=10.0).normal_days
        for normal in (whole, parted)
    ]
    assert days[1] == pytest.approx(days[0])


def test_too_little_normal_data_give_a_provisional_threshold(run: Run) -> None:
    normal = normal_days(0.04)
    assert calibrate_graph(run, normal, scores(normal), upper=50.0, alarms_per_day=1.0).grade is Grade.PROVISIONAL
