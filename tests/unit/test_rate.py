"""The rate of readings, told from times that jitter, skip and bunch."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.rate import RateCheck, measured_rate_hz
from edge_agent.contract.records import NS

Steps = Callable[[np.random.Generator], np.ndarray]
SKAB = Path(__file__).parents[3] / "shared" / "data" / "skab" / "valve1"


def times(steps_s: np.ndarray) -> np.ndarray:
    return (np.cumsum(np.asarray(steps_s, np.float64)) * NS).astype(np.int64)


def verdicts(t_ns: np.ndarray, rate_hz: float = 1.0, max_gap_s: float = 5.0) -> list[str]:
    return [detail for _, detail in RateCheck(rate_hz, max_gap_s).feed(np.diff(t_ns))]


def exponential(rng: np.random.Generator) -> np.ndarray:
    return rng.exponential(1.0, 20_000)


def gaussian(rng: np.random.Generator) -> np.ndarray:
    return np.maximum(rng.normal(1.0, 0.3, 20_000), 0.01)


def every_fifth_missing(rng: np.random.Generator) -> np.ndarray:
    return rng.choice([1.0, 2.0], 20_000, p=[0.8, 0.2])


def one_second_clock(rng: np.random.Generator) -> np.ndarray:
    return np.diff(np.floor(np.arange(20_000) * 1.05))


def bursts_of_ten(rng: np.random.Generator) -> np.ndarray:
    return np.tile([0.0001] * 9 + [9.9991], 2_000)


def bursts_of_any_size(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([[0.001] * (n - 1) + [n - 0.001 * (n - 1)] for n in rng.integers(1, 10, 4_000)])


def bursts_with_readings_missing(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([[0.001] * (n - 1) + [1.2 * n] for n in rng.integers(1, 8, 4_000)])


def some_readings_sent_twice(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([[0.001, 0.999] if twice else [1.0] for twice in rng.random(16_000) < 0.25])


def nightly_gaps(rng: np.random.Generator) -> np.ndarray:
    return np.tile([1.0] * 500 + [40_000.0], 40)


ORDINARY = [
    exponential,
    gaussian,
    every_fifth_missing,
    one_second_clock,
    bursts_of_ten,
    bursts_of_any_size,
    bursts_with_readings_missing,
    some_readings_sent_twice,
    nightly_gaps,
]


@pytest.mark.parametrize("steps", ORDINARY, ids=lambda f: f.__name__)
def test_ordinary_times_of_a_source_at_its_rate_are_no_fault(steps: Steps) -> None:
    assert verdicts(times(steps(np.random.default_rng(3))), max_gap_s=15.0) == []


@pytest.mark.parametrize(
    "steps", [exponential, gaussian, bursts_of_ten, bursts_of_any_size, nightly_gaps], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_source_at_another_rate_is_a_fault_under_the_same_conditions(steps: Steps, factor: float) -> None:
    t_ns = times(steps(np.random.default_rng(3)) * factor)
    (told, *later) = verdicts(t_ns, max_gap_s=15.0 * max(1.0, factor))
    assert told.endswith("the bundle expects 1 Hz")
    assert not later


@pytest.mark.parametrize(("rate_hz", "wrong"), [(0.88, True), (0.92, False), (1.0, False), (1.08, False), (1.12, True)])
def test_the_tolerance_is_a_tenth(rate_hz: float, wrong: bool) -> None:
    assert bool(verdicts(times(np.full(200, 1 / rate_hz)))) is wrong


def test_a_source_slower_than_the_longest_gap_is_a_wrong_rate_and_not_gaps_for_ever() -> None:
    assert verdicts(times(np.full(100, 20.0))) == ["readings come at 0.05 Hz, the bundle expects 1 Hz"]


def test_a_fast_source_is_judged_within_seconds() -> None:
    assert len(verdicts(times(np.full(100_000, 1 / 8_000)), rate_hz=10_000.0, max_gap_s=0.5)) == 1


def test_time_running_back_says_nothing_about_the_rate() -> None:
    assert verdicts(times([1.0, -1.0] * 500 + [1.0] * 500)) == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(f, 1.0) for f in ORDINARY if f not in {bursts_with_readings_missing, one_second_clock, some_readings_sent_twice}],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_the_measured_rate_is_the_true_one(steps: Steps, expected: float) -> None:
    assert measured_rate_hz(times(steps(np.random.default_rng(3))), 15.0) == pytest.approx(expected, rel=0.05)


def test_times_out_of_order_are_left_out_of_the_measured_rate() -> None:
    assert measured_rate_hz(np.array([0, 1, 2, -(2**63), -(2**63) + 1, 2**63 - 1]) * 1, 1.0) == pytest.approx(1e9)


@pytest.mark.parametrize("t_ns", [[], [5], [5, 5], [5, 4]])
def test_no_rate_without_two_readings_in_order(t_ns: list[int]) -> None:
    with pytest.raises(ValueError, match="at least 2 readings"):
        measured_rate_hz(np.array(t_ns, np.int64), 1.0)


@pytest.mark.data
@pytest.mark.skipif(not SKAB.is_dir(), reason=f"needs the recordings in {SKAB}")
@pytest.mark.parametrize("path", sorted(SKAB.glob("*.csv")), ids=lambda p: p.stem)
def test_recorded_times_with_skipped_seconds_and_gaps_are_1_hz(path: Path) -> None:
    with path.open() as file:
        stamps = [row["datetime"] for row in csv.DictReader(file, delimiter=";")]
    t_ns = np.array([int(datetime.fromisoformat(s).replace(tzinfo=UTC).timestamp()) * NS for s in stamps], np.int64)
    assert measured_rate_hz(t_ns[:400], 5.0) == 1.0
    assert verdicts(t_ns) == []
