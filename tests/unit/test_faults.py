"""Injected faults: the same fault at any severity, never smaller when the severity grows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_agent.contract.faults import FaultKind, inject

KINDS = pytest.mark.parametrize("kind", list(FaultKind))
SPREAD = np.array([1.0, 10.0, 0.1])


def windows(k: int = 40, T: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((k, T, 3))
    return (rows * SPREAD + [5.0, 100.0, -3.0]).astype(np.float32)


def faulty(
    kind: FaultKind, severity: float, channel: int | None = None, seed: int = 7, of: np.ndarray | None = None
) -> np.ndarray:
    return inject(windows() if of is None else of, kind, severity, SPREAD, np.random.default_rng(seed), channel)


@KINDS
def test_a_fault_of_no_severity_changes_nothing(kind: FaultKind) -> None:
    assert np.array_equal(faulty(kind, 0.0), windows())


@KINDS
def test_no_reading_comes_back_when_the_severity_grows(kind: FaultKind) -> None:
    severities = [0.0, 0.1, 0.3, 0.7, 1.0, 3.0, 30.0, 1e3, 1e6, 1e30, 1e300]
    moved = [np.abs(faulty(kind, severity).astype(np.float64) - windows()) for severity in severities]
    for less, more in itertools.pairwise(moved):
        assert (more >= less * (1 - 1e-6) - 1e-5).all()
    assert moved[4].max() > 0.05


@KINDS
def test_the_same_chance_gives_the_same_fault(kind: FaultKind) -> None:
    assert np.array_equal(faulty(kind, 2.0), faulty(kind, 2.0))


@KINDS
def test_one_channel_goes_wrong_and_the_windows_given_stay(kind: FaultKind) -> None:
    given = windows()
    changed = faulty(kind, 1.0, channel=1, of=given) != given
    assert changed[:, :, 1].any()
    assert not changed[:, :, [0, 2]].any()
    assert np.array_equal(given, windows())


@KINDS
def test_without_a_channel_each_window_has_one_of_its_own(kind: FaultKind) -> None:
    changed = (faulty(kind, 1.0) != windows()).any(axis=1)
    assert (changed.sum(axis=1) <= 1).all()
    assert changed.any(axis=0).all()


@KINDS
@pytest.mark.parametrize("T", [1, 2, 3])
def test_short_windows_work(kind: FaultKind, T: int) -> None:
    assert np.isfinite(faulty(kind, 1.0, of=windows(T=T))).all()


@KINDS
def test_readings_stay_finite_at_any_severity(kind: FaultKind) -> None:
    assert np.isfinite(faulty(kind, 1e300)).all()


@KINDS
def test_no_windows_give_no_windows(kind: FaultKind) -> None:
    assert faulty(kind, 1.0, of=windows(k=0)).shape == (0, 16, 3)


def test_a_spike_is_one_row_of_so_many_spreads() -> None:
    moved = np.abs(faulty(FaultKind.SPIKE, 5.0, channel=1) - windows())[:, :, 1]
    assert ((moved > 1).sum(axis=1) == 1).all()
    assert moved.max(axis=1) == pytest.approx(50.0, rel=1e-4)


def test_a_step_stays_to_the_end() -> None:
    moved = np.abs(faulty(FaultKind.STEP, 5.0, channel=0) - windows())[:, :, 0]
    assert moved[:, -1] == pytest.approx(5.0, rel=1e-4)
    assert (np.diff(moved > 1, axis=1).sum(axis=1) <= 1).all()


def test_a_drift_grows_to_its_severity_at_the_last_row() -> None:
    moved = np.abs(faulty(FaultKind.DRIFT, 8.0, channel=0) - windows())[:, :, 0]
    assert np.allclose(moved, 8.0 * np.arange(1, 17) / 16, atol=1e-4)


def test_a_stuck_channel_is_constant_from_the_first_quarter_on() -> None:
    assert (np.ptp(faulty(FaultKind.STUCK, 1.0, channel=0)[:, 4:, 0], axis=1) == 0).all()


def test_a_lost_channel_reads_nothing() -> None:
    assert (faulty(FaultKind.LOST, 1.0, channel=1)[:, :, 1] == 0).all()


def test_a_changed_rhythm_runs_at_twice_the_speed() -> None:
    ramp = np.tile(np.arange(9, dtype=np.float32)[np.newaxis, :, np.newaxis], (1, 1, 3))
    assert faulty(FaultKind.RHYTHM, 1.0, channel=0, of=ramp)[0, :, 0].tolist() == [0, 2, 4, 6, 8, 6, 4, 2, 0]


@pytest.mark.parametrize("severity", [-1.0, np.nan, np.inf])
def test_a_severity_that_is_none_is_refused(severity: float) -> None:
    with pytest.raises(ValueError, match="severity"):
        faulty(FaultKind.STEP, severity)


@pytest.mark.parametrize(("spread", "channel"), [(np.ones(2), None), (SPREAD, 3), (SPREAD, -1)])
def test_shapes_and_channels_that_do_not_fit_are_refused(spread: np.ndarray, channel: int | None) -> None:
    with pytest.raises(ValueError, match=r"expected windows|channel must be"):
        inject(windows(), FaultKind.STEP, 1.0, spread, np.random.default_rng(0), channel)
