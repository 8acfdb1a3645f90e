"""How each kind of data set becomes cases, on small folders of the same layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edge_agent.contract.records import NS, Channel, WindowBatch
from edge_agent.contract.windows import Windower, WindowRule
from training.data import DataError
from training.experiments.bench.kinds import read_data
from training.experiments.bench.kinds.tep import CHANNELS


def skab_file(path: Path, rows: int = 420) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(
        {
            "datetime": pd.date_range("2020-03-09", periods=rows, freq="1s").astype(str),
            "Pressure": np.arange(rows) / 100,
            "Voltage": 230.0,
            "anomaly": (np.arange(rows) >= 410).astype(float),
            "changepoint": 0.0,
        }
    )
    table.to_csv(path, sep=";", index=False)


def test_skab_fits_on_the_first_400_rows_of_each_file_and_tests_the_rest(tmp_path: Path) -> None:
    for name in ("10", "2"):
        skab_file(tmp_path / f"{name}.csv")
    (data,) = read_data([f"skab:{tmp_path}"])
    assert [case.name for case in data.cases] == ["2", "10"]
    case = data.cases[0]
    assert case.channels == ("Pressure", "Voltage")
    assert len(case.train) == 400
    assert len(case.trials[0].rows) == 420
    assert case.trials[0].labels.tolist() == [False] * 10 + [True] * 10


def test_skab_leaves_out_its_folder_without_labels(tmp_path: Path) -> None:
    skab_file(tmp_path / "valve1" / "0.csv")
    skab_file(tmp_path / "anomaly-free" / "anomaly-free.csv")
    (data,) = read_data([f"skab:{tmp_path}"])
    assert [case.name for case in data.cases] == ["valve1/0"]


def test_skab_refuses_a_file_without_rows_to_test(tmp_path: Path) -> None:
    skab_file(tmp_path / "0.csv", rows=400)
    with pytest.raises(DataError, match="400 rows"):
        read_data([f"skab:{tmp_path}"])


def nab_folder(path: Path, windows: dict[str, list[list[str]]]) -> None:
    (path / "data" / "known").mkdir(parents=True)
    (path / "labels").mkdir()
    times = pd.date_range("2014-01-01", periods=200, freq="5min")
    table = pd.DataFrame({"timestamp": times.astype(str), "value": np.arange(200.0)})
    table.to_csv(path / "data" / "known" / "load.csv", index=False)
    (path / "labels" / "combined_windows.json").write_text(json.dumps(windows))


def test_nab_fits_on_probation_and_labels_its_windows_both_ends_included(tmp_path: Path) -> None:
    nab_folder(tmp_path, {"known/load.csv": [["2014-01-01 05:00:00.000000", "2014-01-01 05:10:00.000000"]]})
    (case,) = read_data([f"nab:{tmp_path}"])[0].cases
    assert len(case.train) == 30
    assert case.rate_hz == pytest.approx(1 / 300)
    assert np.flatnonzero(case.trials[0].all_labels).tolist() == [60, 61, 62]
    assert len(case.trials[0].labels) == 170


def test_nab_takes_rows_as_evenly_spaced_where_its_clock_repeats_an_hour(tmp_path: Path) -> None:
    nab_folder(tmp_path, {"known/load.csv": []})
    file = tmp_path / "data" / "known" / "load.csv"
    table = pd.read_csv(file)
    table.loc[100:, "timestamp"] = table["timestamp"].shift(12).loc[100:]
    table.to_csv(file, index=False)
    (case,) = read_data([f"nab:{tmp_path}"])[0].cases
    assert set(np.diff(case.trials[0].rows.t_ns).tolist()) == {300 * NS}


def test_nab_refuses_a_series_that_its_labels_do_not_name(tmp_path: Path) -> None:
    nab_folder(tmp_path, {"known/other.csv": []})
    with pytest.raises(DataError, match=r"no entry 'known/load\.csv'"):
        read_data([f"nab:{tmp_path}"])


def test_tep_fits_on_the_transposed_normal_file_and_has_its_faults_from_row_160(tmp_path: Path) -> None:
    normal = np.arange(52 * 5, dtype=float).reshape(52, 5)
    np.savetxt(tmp_path / "d00.dat", normal)
    for name in ("d00", "d04"):
        np.savetxt(tmp_path / f"{name}_te.dat.gz", np.zeros((170, 52)))
    (case,) = read_data([f"tep:{tmp_path}"])[0].cases
    assert case.channels == CHANNELS
    assert np.array_equal(case.train.values, normal.T.astype(np.float32))
    assert [trial.name for trial in case.trials] == ["d00", "d04"]
    assert [np.flatnonzero(trial.labels)[:1].tolist() for trial in case.trials] == [[], [160]]


def test_tep_refuses_a_table_of_another_plant(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "d00.dat", np.zeros((52, 5)))
    np.savetxt(tmp_path / "d01_te.dat", np.zeros((170, 3)))
    with pytest.raises(DataError, match="52 signals"):
        read_data([f"tep:{tmp_path}"])


def fan_folder(path: Path, pieces: int = 4, rows: int = 200) -> None:
    for name in ("fan_0_low_0_weight", "fan_0_low_0_weight-moving", "fan_0_low_1_weight"):
        table = pd.DataFrame({"file": np.repeat(np.arange(pieces), rows), "x_g": 0.5, "y_g": 0.25, "z_g": 1.0})
        table.to_csv(path / f"{name}.csv.gz", index=False)


def test_fan_fits_on_the_first_half_of_the_normal_pieces(tmp_path: Path) -> None:
    fan_folder(tmp_path)
    (case,) = read_data([f"fan:{tmp_path}"])[0].cases
    assert len(case.train) == 2 * 200
    found = {trial.name: (len(trial.labels), bool(trial.labels.any())) for trial in case.trials}
    assert found == {"normal": (400, False), "normal-moving": (800, False), "1_weight": (800, True)}


def test_no_window_of_the_fan_spans_two_pieces(tmp_path: Path) -> None:
    fan_folder(tmp_path)
    (case,) = read_data([f"fan:{tmp_path}"])[0].cases
    rule = WindowRule(
        channels=tuple(Channel(name=name) for name in case.channels),
        rate_hz=case.rate_hz,
        window=case.window_rows or 0,
        stride=case.stride,
        hold=3,
        max_gap_s=3.5 / case.rate_hz,
        stuck_samples=(None, None, None),
    )
    batches = [item for item in Windower(rule).feed(case.train.block()) if isinstance(item, WindowBatch)]
    spans_ns = np.concatenate([batch.t_ns - batch.start_ns for batch in batches])
    assert len(spans_ns) == 2 * (1 + (200 - 128) // 8)
    assert spans_ns.max() < NS


def own_table(rows: int = 50) -> pd.DataFrame:
    row = np.arange(rows)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="500ms").strftime("%Y-%m-%dT%H:%M:%S.%f"),
            "heat": row / 7,
            "load": 1.0,
            "train": (row < 20).astype(int),
            "anomaly": (row >= 40).astype(int),
        }
    )


def test_csv_fits_on_the_rows_that_its_column_names_and_finds_channels_and_rate(tmp_path: Path) -> None:
    own_table().to_csv(tmp_path / "press.csv", index=False)
    (case,) = read_data([f"csv:{tmp_path}"])[0].cases
    assert case.channels == ("heat", "load")
    assert case.rate_hz == pytest.approx(2)
    assert len(case.train) == 20
    assert case.trials[0].labels.tolist() == [False] * 20 + [True] * 10


def test_csv_fits_on_the_first_rows_where_asked(tmp_path: Path) -> None:
    own_table().drop(columns="train").to_csv(tmp_path / "press.csv", index=False)
    (case,) = read_data([f"csv:{tmp_path}"], fit_rows=30)[0].cases
    assert len(case.train) == 30
    assert len(case.trials[0].labels) == 20


def test_recordings_that_differ_after_a_dot_are_two_and_one_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for name in ("press.1.csv", "press.2.csv"):
        own_table().to_csv(tmp_path / name, index=False)
    assert [case.name for case in read_data([f"csv:{tmp_path}"])[0].cases] == ["press.1", "press.2"]
    own_table().to_csv(tmp_path / "press.1.csv.gz", index=False)
    with pytest.raises(DataError, match=r"more than one recording 'press\.1'"):
        read_data([f"csv:{tmp_path}"])


@pytest.mark.parametrize(("missing", "message"), [("anomaly", "no column 'anomaly'"), ("train", "--fit-rows")])
def test_csv_refuses_a_file_without_a_needed_column(tmp_path: Path, missing: str, message: str) -> None:
    own_table().drop(columns=missing).to_csv(tmp_path / "press.csv", index=False)
    with pytest.raises(DataError, match=message):
        read_data([f"csv:{tmp_path}"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{folder}", "KIND:PATH"),
        ("skap:{folder}", "did you mean 'skab'"),
        ("skab:{folder}/valv1", "did you mean .*valve1"),
        ("skab:{folder}", r"has no \*\.csv"),
        ("nab:{folder}", "combined_windows.json is not there"),
        ("tep:{folder}", r"no d00\.dat"),
        ("fan:{folder}", r"no fan_0_low_0_weight\.csv"),
        ("csv:{folder}", r"no \*\.csv"),
    ],
)
def test_a_wrong_kind_path_or_layout_is_refused_with_what_was_expected(
    tmp_path: Path, given: str, message: str
) -> None:
    (tmp_path / "valve1").mkdir()
    with pytest.raises(DataError, match=message):
        read_data([given.format(folder=tmp_path)])


def test_two_data_sets_of_a_kind_are_named_by_their_folders(tmp_path: Path) -> None:
    for name in ("valve1", "valve2"):
        skab_file(tmp_path / name / "0.csv")
    named = read_data([f"skab:{tmp_path / name}" for name in ("valve1", "valve2")])
    assert [each.name for each in named] == ["skab:valve1", "skab:valve2"]


def normal_folder(folder: Path, rows: int) -> Path:
    folder.mkdir()
    values = np.random.default_rng(1).standard_normal((rows, 2))
    times = pd.date_range("2026-01-01", periods=rows, freq="1s").astype(str)
    pd.DataFrame({"time": times, "flow": values[:, 0], "heat": values[:, 1]}).to_csv(folder / "week.csv", index=False)
    return folder


def test_injected_faults_change_one_channel_of_the_tested_rows_and_are_labelled_where_they_do(tmp_path: Path) -> None:
    folder = normal_folder(tmp_path / "normal", 600)
    clean = pd.read_csv(folder / "week.csv")[["flow", "heat"]].to_numpy(np.float32)
    (data,) = read_data([f"injected:{folder}"], fit_rows=80)
    assert [case.name for case in data.cases] == ["week-0", "week-1", "week-2", "week-3"]
    for number, case in enumerate(data.cases):
        trial = case.trials[0]
        changed = trial.rows.values != clean[120 * number : 120 * number + 240]  # noqa: PD011 - an array, no table
        assert np.array_equal(trial.all_labels, changed.any(axis=1))
        assert not trial.all_labels[:80].any()
        assert changed.any(axis=0).sum() == 1
        assert 0 < trial.labels.sum() <= 80


def test_injected_faults_are_the_same_each_time(tmp_path: Path) -> None:
    folder = normal_folder(tmp_path / "normal", 300)
    once, again = (read_data([f"injected:{folder}"], fit_rows=80)[0].cases[0].trials[0] for _ in range(2))
    assert np.array_equal(once.rows.values, again.rows.values)


def test_a_normal_recording_shorter_than_a_piece_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 300 rows, a piece 1200"):
        read_data([f"injected:{normal_folder(tmp_path / 'normal', 300)}"])
