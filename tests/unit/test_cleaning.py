"""Cleaning of the training part: which readings are spikes, which windows are outliers, and what stays as it was."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.records import NS, Floats
from tests.recordings import machine, recipe, table
from training.artifacts import Run
from training.data import DataError
from training.recipe import parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own


def despiked(values: np.ndarray, factor: float = 6.0, longest: int = 3) -> tuple[Floats, list[int]]:
    from training.cleaning import without_spikes
    from training.splits import Rows

    part = Rows(values=values.astype(np.float32), t_ns=np.arange(len(values)) * NS, labels=None)
    (cleaned,), counts = without_spikes([part], factor, longest)
    return cleaned.values, counts.tolist()


def test_an_isolated_spike_becomes_a_missing_value_and_nothing_else_does() -> None:
    values = machine(300)
    values[50, 0] += 8
    values[120:123, 2] -= 9
    cleaned, counts = despiked(values)
    assert counts == [1, 0, 3]
    assert np.argwhere(np.isnan(cleaned)).tolist() == [[50, 0], [120, 2], [121, 2], [122, 2]]
    kept = ~np.isnan(cleaned)
    assert np.array_equal(cleaned[kept], values.astype(np.float32)[kept])


def test_what_lasts_longer_than_the_hold_is_an_event_and_stays() -> None:
    values = machine(300)
    values[120:124, 2] -= 9
    assert despiked(values)[1] == [0, 0, 0]
    assert despiked(values, longest=4)[1] == [0, 0, 4]


def test_a_step_and_a_missing_stretch_are_no_spikes() -> None:
    values = machine(300)
    values[150:, 1] += 20
    values[60:80, 0] = np.nan
    assert despiked(values)[1] == [0, 0, 0]


def test_the_steps_of_a_coarse_sensor_are_no_spikes_but_what_it_never_reads_is_one() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random((400, 1)) < 0.2, 1.1, 1.0)
    assert despiked(values)[1] == [0]
    values[200] = 3.0
    assert despiked(values)[1] == [1]


def test_a_spike_on_a_channel_that_rests_is_found() -> None:
    values = np.full((300, 1), 7.0)
    assert despiked(values)[1] == [0]
    values[100] = 9.0
    assert despiked(values)[1] == [1]


def test_factor_0_and_no_rows_are_left_alone() -> None:
    values = machine(300)
    values[50, 0] += 8
    assert despiked(values, factor=0)[1] == [0, 0, 0]
    assert despiked(values[:0])[1] == [0, 0, 0]


def test_the_most_normal_are_found_among_a_tenth_that_hides_itself_in_the_covariance() -> None:
    from training.cleaning import most_normal

    rng = np.random.default_rng(3)
    x = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    strange = rng.choice(400, 40, replace=False)
    x[strange] = 0.1 * x[strange] + np.linalg.cholesky(np.cov(x.T))[:, 5] * 40
    plain = np.einsum("ij,jk,ik->i", x - x.mean(0), np.linalg.inv(np.cov(x.T)), x - x.mean(0))
    assert not set(strange) <= set(np.argsort(plain)[-40:])  # it is not to be had without the iteration
    kept = most_normal(x, 0.1)
    assert kept.tolist() == sorted(set(range(400)) - set(strange))


def test_features_that_never_move_do_not_stop_the_search() -> None:
    from training.cleaning import most_normal

    assert len(most_normal(np.zeros((50, 4)), 0.2)) == 40


def test_runs_end_where_a_window_is_left_out() -> None:
    from training.cleaning import without_outliers
    from training.graph import Front
    from training.recipe import Scaling
    from training.splits import Windows, sequences_of

    values = np.random.default_rng(0).standard_normal((100, 1, 2)).astype(np.float32)
    values[40:45] += 50
    windows = Windows(
        values=values,
        t_ns=np.arange(100) * NS,
        run=np.repeat([0, 1], 50),
        warming=np.arange(100) % 50 < 5,
        unknown=(),
    )
    front = Front.fit(values[:, 0], Scaling.ROBUST, 20.0)
    cleaned = without_outliers(windows, front, 0.05)
    assert cleaned.t_ns.tolist() == [row * NS for row in range(100) if not 40 <= row < 45]
    assert [len(run) for run in sequences_of(cleaned)] == [40, 5, 50]
    assert cleaned.warming.sum() == 10
    same = without_outliers(replace(windows), front, 0.0)
    assert same.values is windows.values


def fitted(folder: Path, cleaning: str, out: str) -> Run:
    from training.fit import fit, locate

    text = recipe("gaussian") + cleaning
    parsed = parse_recipe(text)
    return fit(parsed, locate(parsed, text, folder), folder / out, progress=False)


def test_the_fit_leaves_out_spikes_and_outliers_and_says_how_many(tmp_path: Path) -> None:
    data = table(600)
    data.loc[30, "speed"] += 20
    data.loc[100:108, "load"] += 1.5
    data.loc[400, "load"] += 20
    data.to_csv(tmp_path / "machine.csv", index=False)
    plain = fitted(tmp_path, "", "plain")
    cleaned = fitted(tmp_path, "\n[cleaning]\noutliers = 0.1\nspikes = 6\n", "cleaned")
    figures = cleaned.metrics["fit"]
    count = len(plain.train_windows)
    assert figures["cleaning"] == {"outliers": round(0.1 * count), "spikes": [1, 0, 0]}
    assert figures["windows"]["training"] == len(cleaned.train_windows) == count - round(0.1 * count)
    assert plain.metrics["fit"]["cleaning"] == {"outliers": 0, "spikes": [0, 0, 0]}
    assert plain.train_windows[:, :, 0].max() > 60 > cleaned.train_windows[:, :, 0].max()
    assert plain.train_windows[:, :, 1].max() > 4 > cleaned.train_windows[:, :, 1].max()
    assert cleaned.prefilter.spread[1] < 0.8 * plain.prefilter.spread[1]


def test_too_few_windows_without_the_outliers_are_refused(tmp_path: Path) -> None:
    from training.fit import fit, locate

    table(600).to_csv(tmp_path / "machine.csv", index=False)
    text = recipe("gaussian").replace("fit_rows = 450", "fit_rows = 110\nvalidation = 0.5")
    parsed = parse_recipe(text + "\n[cleaning]\noutliers = 0.4\n")
    with pytest.raises(DataError, match="training, without outliers, gave 14 windows, at least 20"):
        fit(parsed, locate(parsed, text, tmp_path), tmp_path / "run", progress=False)


def test_validation_and_test_parts_stay_as_they_were_recorded(tmp_path: Path) -> None:
    data = table(600, fault=slice(500, 550))
    data.loc[400, "load"] += 20
    data.loc[580, "load"] += 20
    data.to_csv(tmp_path / "machine.csv", index=False)
    plain = fitted(tmp_path, "", "plain")
    cleaned = fitted(tmp_path, "\n[cleaning]\noutliers = 0.2\nspikes = 6\n", "cleaned")
    assert np.array_equal(plain.validation[0], cleaned.validation[0])
    assert plain.faulty is not None
    assert cleaned.faulty is not None
    assert np.array_equal(plain.faulty[0], cleaned.faulty[0])
    assert cleaned.metrics["fit"]["cleaning"]["spikes"] == [0, 0, 0]
