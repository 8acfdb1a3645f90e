"""The Gaussian prefilter: distances, limits, words, and its file."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.prefilter import Mode, Prefilter, independent_windows
from edge_agent.contract.records import WindowBatch
from edge_agent.errors import ManifestError

NAMES = ("Pressure", "Flow", "Current")


def readings(rows: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(rows)[:, np.newaxis] * [0.2, 0.31, 0.17])
    return (waves + 0.3 * rng.standard_normal((rows, 3)) + offset).astype(np.float32)


def windows(rows: int = 2_000, step: int = 1, T: int = 16, **options: Any) -> np.ndarray:
    return sliding_window_view(readings(rows, **options), T, axis=0).transpose(0, 2, 1)[::step]


@pytest.fixture(scope="module")
def prefilter() -> Prefilter:
    return Prefilter.fit(windows(), names=NAMES)


def test_windows_as_it_has_learned_them_are_neither_gross_nor_all_suspicious(prefilter: Prefilter) -> None:
    d2 = prefilter.distances(windows(seed=1))
    assert (d2 <= prefilter.upper).all()
    assert 0.3 < np.mean(d2 > prefilter.lower) < 0.7


def test_a_batch_and_its_bare_windows_have_the_same_distances(prefilter: Prefilter) -> None:
    values = windows(40)
    times = np.zeros(len(values), np.int64)
    batch = WindowBatch(values=values, t_ns=times, start_ns=times)
    assert np.array_equal(prefilter.distances(batch), prefilter.distances(values))


@pytest.mark.parametrize("kind", [FaultKind.SPIKE, FaultKind.STEP, FaultKind.DRIFT, FaultKind.NOISE])
def test_the_distance_grows_with_the_fault_up_to_a_million_spreads(prefilter: Prefilter, kind: FaultKind) -> None:
    normal = windows(200, seed=2)
    severities = np.geomspace(10, 1e6, 26)
    d2 = [
        prefilter.distances(inject(normal, kind, severity, prefilter.spread, np.random.default_rng(0)))
        for severity in severities
    ]
    assert np.isfinite(d2).all()
    assert (np.diff(d2, axis=0) > 0).all()
    assert (d2[-1] > prefilter.upper).all()


@pytest.mark.parametrize("value", [1e20, -1e20, 3.4e38])
def test_absurd_readings_have_finite_gross_distances(prefilter: Prefilter, value: float) -> None:
    window = windows(40, seed=2).copy()
    window[:, 5, 1] = value
    d2 = prefilter.distances(window)
    assert np.isfinite(d2).all()
    assert (d2 > prefilter.upper).all()


def test_nan_is_refused_and_never_measured(prefilter: Prefilter) -> None:
    window = windows(40).copy()
    window[3, 2, 1] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        prefilter.distances(window)


def test_no_windows_have_no_distances(prefilter: Prefilter) -> None:
    assert prefilter.distances(np.zeros((0, 16, 3), np.float32)).shape == (0,)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_an_offset_common_to_training_and_use_changes_little(offset: float) -> None:
    near, far = (Prefilter.fit(windows(offset=o)) for o in (0.0, offset))
    assert np.allclose(near.distances(windows(seed=1)), far.distances(windows(seed=1, offset=offset)), rtol=0.01)


def test_a_large_offset_with_a_small_spread_keeps_faults_visible() -> None:
    prefilter = Prefilter.fit(windows(offset=1e5))
    normal = windows(200, seed=2, offset=1e5)
    stepped = inject(normal, FaultKind.STEP, 20.0, prefilter.spread, np.random.default_rng(0))
    assert np.median(prefilter.distances(normal)) < prefilter.upper / 3
    assert (prefilter.distances(stepped) > prefilter.upper).mean() > 0.9


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_shares_point_at_the_faulty_channel(prefilter: Prefilter, channel: int | None) -> None:
    for window in inject(
        windows(60, seed=2), FaultKind.STEP, 15.0, prefilter.spread, np.random.default_rng(0), channel
    ):
        shares = prefilter.shares(window)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1.0)
        assert shares.argmax() == channel


@pytest.mark.parametrize("value", [1e20, 3.4e38])
def test_shares_and_words_survive_absurd_readings(prefilter: Prefilter, value: float) -> None:
    window = np.full((16, 3), value, np.float32)
    assert prefilter.shares(window).sum() == pytest.approx(1.0)
    assert "e+" in prefilter.describe(window)


def test_the_words_name_the_channel_and_how_far_it_is_off(prefilter: Prefilter) -> None:
    window = windows(16, seed=2)[0] + np.array([0, 50, 0], np.float32) * prefilter.spread.astype(np.float32)
    assert prefilter.describe(window).startswith(("Flow 49", "Flow 50"))
    assert prefilter.describe(window).endswith("spreads above its usual mean")


def test_the_words_tell_a_dead_channel_from_a_moved_one(prefilter: Prefilter) -> None:
    window = windows(16, seed=2)[0].copy()
    window[:, 2] = window[:, 2].mean()
    assert prefilter.describe(window).startswith("Current")
    assert "usually" in prefilter.describe(window)


def test_words_fall_back_to_channel_numbers() -> None:
    assert Prefilter.fit(windows()).describe(windows(16, seed=2)[0] + np.float32(30)).startswith("channel ")


def test_windows_that_share_rows_count_as_the_rows_they_have() -> None:
    assert independent_windows(windows(160)) == pytest.approx(10.0)
    assert independent_windows(np.ascontiguousarray(windows(160, step=3))) == pytest.approx(10.0, abs=0.2)
    assert independent_windows(windows(160, step=16)) == 10.0
    assert independent_windows(windows(16)) == 1.0
    assert independent_windows(windows(160)[np.r_[0:50, 100:145]]) == pytest.approx(7.0, abs=1.0)


def test_a_signal_that_stands_still_at_times_is_not_taken_for_more_windows() -> None:
    coarse = np.round(windows(160, step=3)[:, :, :1] / 2)
    assert independent_windows(coarse) <= 10.0


def test_the_same_window_again_adds_nothing() -> None:
    assert independent_windows(np.repeat(windows(160, step=16), 3, axis=0)) == 10.0


def test_a_few_dozen_windows_are_enough_to_learn_and_it_says_that_they_are_few() -> None:
    few = Prefilter.fit(windows(48 * 4 + 12, step=4, seed=3), names=NAMES)
    d2 = few.distances(windows(seed=1))
    assert "learned from 12.8 independent windows, few for 15 features" in few.trust
    assert (d2 <= few.upper).mean() > 0.999
    gross = inject(windows(200, seed=2), FaultKind.STEP, 1000.0, few.spread, np.random.default_rng(0))
    assert (few.distances(gross) > few.upper).all()


def test_fewer_windows_promise_less(prefilter: Prefilter) -> None:
    assert Prefilter.fit(windows(200)).upper > 2 * prefilter.upper
    assert "few" not in prefilter.trust


def test_overlapping_windows_do_not_pretend_to_be_independent() -> None:
    assert Prefilter.fit(windows(200)).upper > 2 * Prefilter.fit(windows(200), effective_windows=185).upper


def test_one_row_windows_of_a_streaming_graph_work() -> None:
    prefilter = Prefilter.fit(readings(300)[:, np.newaxis])
    assert prefilter.distances(readings(5, seed=1)[:, np.newaxis] + np.float32(50)).min() > prefilter.upper


@pytest.mark.parametrize("value", [0.0, 32.0, -1e5])
def test_a_channel_that_was_constant_is_normal_while_it_stays_and_gross_once_it_moves(value: float) -> None:
    learned = windows().copy()
    learned[:, :, 1] = value
    prefilter = Prefilter.fit(learned)
    stays, moves = learned[:50], learned[:50].copy()
    moves[:, :, 1] = value * 3 + 1
    assert (prefilter.distances(stays) <= prefilter.upper).all()
    assert (prefilter.distances(moves) > prefilter.upper).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros((0, 16, 3), np.float32), "none of them 0"),
        (np.zeros((20, 16), np.float32), "k, T, C"),
        (np.full((20, 16, 3), np.nan, np.float32), "finite"),
        (np.zeros((1, 16, 3), np.float32), "at least 2 independent windows"),
    ],
)
def test_windows_that_teach_nothing_are_refused(given: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Prefilter.fit(given)


@pytest.mark.parametrize(("lower", "upper"), [(-1.0, 5.0), (5.0, 1.0), (0.0, math.inf), (math.nan, 5.0)])
def test_limits_out_of_order_are_refused(prefilter: Prefilter, lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="limits"):
        prefilter.with_limits(lower, upper)


def test_limits_and_mode_can_be_set_without_touching_the_original(prefilter: Prefilter) -> None:
    other = prefilter.with_limits(1.0, 2.0).with_mode(Mode.GATE)
    assert (other.lower, other.upper, other.mode) == (1.0, 2.0, "gate")
    assert prefilter.mode is Mode.WATCH


def test_the_file_gives_the_same_prefilter_and_the_same_bytes(prefilter: Prefilter, tmp_path: Path) -> None:
    prefilter.with_limits(3.0, 9.0).to_npz(tmp_path / "prefilter.npz")
    data = (tmp_path / "prefilter.npz").read_bytes()
    again = Prefilter.from_npz(data)
    assert (again.lower, again.upper, again.names, again.mode) == (3.0, 9.0, NAMES, Mode.WATCH)
    assert again.to_bytes() == data
    assert np.array_equal(again.distances(windows(seed=1)), prefilter.distances(windows(seed=1)))


def members(prefilter: Prefilter) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(prefilter.to_bytes())) as archive:
        return dict(archive)


@pytest.mark.parametrize(
    "change",
    [
        {"spread": np.zeros(3)},
        {"spread": np.ones(4)},
        {"centre": np.full(3, np.nan)},
        {"centre": np.zeros(3, np.float32)},
        {"limits": np.array([5.0, 1.0])},
        {"limits": np.array([1.0])},
        {"mode": np.array("perhaps")},
        {"features": np.array(["mean"])},
        {"names": np.array([], dtype=np.str_)},
        {"gaussian_whiten": np.eye(3)},
        {"gaussian_whiten": np.full((15, 15), 1e200)},
        {"gaussian_samples": np.array(1.0)},
        {"gaussian_determined": np.array([[2.0, 3.0]])},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_file_whose_arrays_do_not_fit_is_refused(prefilter: Prefilter, change: dict[str, object]) -> None:
    file = io.BytesIO()
    np.savez(file, **{**members(prefilter), **change})
    with pytest.raises(ManifestError, match=r"prefilter\.npz cannot be used"):
        Prefilter.from_npz(file.getvalue())


def test_a_file_with_a_pickle_is_refused(prefilter: Prefilter) -> None:
    file = io.BytesIO()
    np.savez(file, **{**members(prefilter), "names": np.array(["a", "b", {}], dtype=object)})
    with pytest.raises(ManifestError, match="holds object"):
        Prefilter.from_npz(file.getvalue())


def test_a_file_that_would_unpack_to_gigabytes_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("centre.npy", b"\0" * 100_000_000)
    with pytest.raises(ManifestError, match="unpacks to more"):
        Prefilter.from_npz(file.getvalue())


def test_an_array_that_claims_to_be_huge_is_refused(prefilter: Prefilter) -> None:
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("centre.npy", npy.getvalue() + b"\0" * 64)
    with pytest.raises(ManifestError):
        Prefilter.from_npz(file.getvalue())


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_any_damage_to_the_file_is_refused_or_harmless(changes: list[tuple[int, int]], cut_at: int) -> None:
    data = bytearray(SMALL)
    for place, byte in changes:
        data[place % len(data)] = byte
    if cut_at % 3 == 0:
        del data[cut_at % len(data) :]
    try:
        read = Prefilter.from_npz(bytes(data))
    except ManifestError:
        return
    assert np.isfinite(read.distances(windows(20)[:, :, : len(read.names)])).all()


SMALL = Prefilter.fit(windows(100)[:, :, :1]).to_bytes()
