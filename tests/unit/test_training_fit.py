"""`fit`: what decides a run, what is refused, and that a broken fit leaves nothing that looks like a run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.recordings import recipe, table, write_csv
from training.artifacts import Run, read_json
from training.data import DataError
from training.recipe import RecipeError, Scaling, parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own


def fitted(folder: Path, text: str, out: str = "run") -> Run:
    from training.fit import fit, locate

    parsed = parse_recipe(text)
    return fit(parsed, locate(parsed, text, folder), folder / out, progress=False)


def score_of(run: Run) -> float:
    from training.evaluation.scoring import FloatScorer

    return float(FloatScorer(run)(run.train_windows[-1])["score"][0])


@pytest.mark.parametrize("detector", ["gaussian", "conv_autoencoder"])
def test_the_same_recipe_and_data_give_the_same_scores(tmp_path: Path, detector: str) -> None:
    write_csv(tmp_path / "machine.csv")
    text = recipe(detector, epochs=2)
    first, second = fitted(tmp_path, text, "one"), fitted(tmp_path, text, "two")
    assert score_of(first) == score_of(second)


def test_another_seed_gives_another_network(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    text = recipe("conv_autoencoder", epochs=1)
    other = text.replace("epochs", "seed = 2\nepochs")
    assert score_of(fitted(tmp_path, text, "one")) != score_of(fitted(tmp_path, other, "two"))


def test_what_comes_after_the_fit_rows_changes_nothing(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    text = recipe("gaussian")
    before = fitted(tmp_path, text, "one")
    changed = table(600, fault=slice(460, 600))
    changed.to_csv(tmp_path / "machine.csv", index=False)
    after = fitted(tmp_path, text, "two")
    assert score_of(before) == score_of(after)
    assert before.info.spread == after.info.spread
    assert before.info.input == after.info.input


def test_the_validation_part_does_not_reach_the_detector(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    text = recipe("gaussian")
    before = fitted(tmp_path, text, "one")
    changed = table(600)
    changed.loc[320:449, "load"] += 0.05
    changed.to_csv(tmp_path / "machine.csv", index=False)
    after = fitted(tmp_path, text, "two")
    assert before.validation[0].tolist() != after.validation[0].tolist()
    assert score_of(before) == score_of(after)


def test_rows_known_to_be_faulty_are_left_out_of_training_and_validation(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv", fault=slice(100, 110))
    run = fitted(tmp_path, recipe("gaussian"))
    load = run.train_windows[:, :, 1]
    assert load.max() < 4
    gaps = np.diff(np.unique(run.train_t_ns)) / 1e9
    assert gaps.max() > 10


def test_a_training_part_that_is_faulty_throughout_is_refused_in_words(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv", fault=slice(0, 340))
    with pytest.raises(DataError, match="training gave 0 windows"):
        fitted(tmp_path, recipe("gaussian"))


def test_missing_values_are_held_or_break_windows_and_never_reach_the_fit(tmp_path: Path) -> None:
    data = table(600, fault=slice(500, 550))
    data.loc[50, "speed"] = np.nan
    data.loc[100:110, "heat"] = np.nan
    data.to_csv(tmp_path / "machine.csv", index=False)
    run = fitted(tmp_path, recipe("gaussian"))
    assert np.isfinite(run.train_windows).all()
    assert any("heat" in words for words in run.metrics["fit"]["unknown"]["training"])
    assert np.isnan(run.validation[0]).sum() == 0


def test_readings_out_of_a_channels_range_do_not_set_its_spread(tmp_path: Path) -> None:
    data = table(600)
    data.loc[60:70, "load"] = -999.0
    data.to_csv(tmp_path / "machine.csv", index=False)
    ranges = "\n".join(f'[[channels]]\nname = "{name}"\nlow = -10\nhigh = 100' for name in ("speed", "load", "heat"))
    text = recipe("gaussian").replace("[windows]", f"{ranges}\n\n[windows]") + '\n[scaling]\nmethod = "standard"\n'
    run = fitted(tmp_path, text)
    assert run.info.spread[1] < 0.5
    assert run.train_windows[:, :, 1].min() > 0


def test_data_of_another_rate_are_refused_with_both_rates(tmp_path: Path) -> None:
    table(600, rate_hz=2.0).to_csv(tmp_path / "machine.csv", index=False)
    with pytest.raises(DataError, match=r"2 readings a second, the recipe says 1: set windows.rate_hz = 2"):
        fitted(tmp_path, recipe("gaussian"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("detector", "settings", "words"),
    [
        ("gausian", "", "did you mean 'gaussian'"),
        ("gaussian", "shrinkag = 0.5", "did you mean 'shrinkage'"),
        ("gaussian", "[[steps]]\ntype = 'trailing_means'\nrows = [17]", "from 1 to 16"),
        ("gaussian", "[[steps]]\ntype = 'trailing_mean'", "did you mean 'trailing_means'"),
        ("gaussian", "[[steps]]\ntype = 'trailing_means'\nrow = [8]", "did you mean 'rows'"),
        ("gaussian", "[[steps]]\ntype = 'whiten'", "steps must be in this order"),
        ("lstm_forecaster", "[[steps]]\ntype = 'flatten'", "sees the window itself"),
        ("gaussian", "shrinkage = 0.0", "shrinkage must be 0.01 to 1"),
        ("pca", "variance = 1.5", "share between 0 and 1"),
        ("conv_autoencoder", "code = 0", "at least 1"),
        ("lstm_autoencoder", "units = 0", "at least 1"),
        ("lstm_forecaster", "sequence_rows = 1", "at least 2"),
    ],
)
def test_settings_that_do_not_go_with_the_detector_are_refused(
    tmp_path: Path, detector: str, settings: str, words: str
) -> None:
    write_csv(tmp_path / "machine.csv")
    with pytest.raises(RecipeError, match=words):
        fitted(tmp_path, recipe(detector, settings))


@pytest.mark.parametrize(
    ("detector", "rows", "words"),
    [("conv_autoencoder", 18, "multiple of 4"), ("lstm_autoencoder", 40, "at most 32.*lstm_forecaster")],
)
def test_windows_that_do_not_go_with_the_detector_are_refused(
    tmp_path: Path, detector: str, rows: int, words: str
) -> None:
    write_csv(tmp_path / "machine.csv")
    with pytest.raises(RecipeError, match=words):
        fitted(tmp_path, recipe(detector).replace("rows = 16", f"rows = {rows}"))


def test_a_folder_that_is_no_run_is_never_replaced_which_is_said_before_any_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not a run folder"):
        fitted(tmp_path, recipe("gaussian"))
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_a_run_is_replaced_by_the_next_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_csv(tmp_path / "machine.csv")
    run = fitted(tmp_path, recipe("gaussian"))
    assert not caplog.messages
    (run.path / "pump-1.0.0.bundle").touch()
    fitted(tmp_path, recipe("pca"))
    assert Run.read(tmp_path / "run").info.detector == "pca"
    assert "is replaced, and with it pump-1.0.0.bundle: copy" in "".join(caplog.messages)
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_several_files_are_one_recording_after_the_other(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    later = table(600, seed=1)
    later["time"] = table(1200)["time"].iloc[600:].to_numpy()
    later.to_csv(tmp_path / "later.csv", index=False)
    text = recipe("gaussian").replace('files = ["machine.csv"]', 'files = ["machine.csv", "later.csv"]')
    run = fitted(tmp_path, text)
    assert (
        run.metrics["fit"]["rows"]["training"]
        == 2 * fitted(tmp_path, recipe("gaussian"), "o").metrics["fit"]["rows"]["training"]
    )
    assert len(read_json(run.path / "provenance.json")["data"]) == 2


def test_a_channel_that_rests_in_one_of_the_files_can_still_be_stuck(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    resting = table(600, seed=1)
    resting["load"] = 3.0
    resting.to_csv(tmp_path / "resting.csv", index=False)
    text = recipe("gaussian").replace('files = ["machine.csv"]', 'files = ["machine.csv", "resting.csv"]')
    training_rows = fitted(tmp_path, recipe("gaussian"), "o").metrics["fit"]["rows"]["training"]
    assert fitted(tmp_path, text).input.stuck_samples[1] == 3 * training_rows


def test_early_stopping_watches_only_where_there_is_enough_to_watch(tmp_path: Path) -> None:
    table(2000).to_csv(tmp_path / "machine.csv", index=False)
    text = recipe("conv_autoencoder", "filters = 4\ncode = 2", epochs=2)
    few = fitted(tmp_path, text, "few").metrics["fit"]["curves"]
    many = fitted(tmp_path, text.replace("fit_rows = 450", "fit_rows = 1800"), "many").metrics["fit"]["curves"]
    assert set(few) == {"loss"}
    assert set(many) == {"loss", "stopping_loss"}
    assert len(many["loss"]) == 2


def test_the_front_survives_channels_that_rest_or_hardly_move() -> None:
    from training.graph import Front

    rows = np.zeros((100, 4), np.float32)
    rows[:, 1] = 5.0
    rows[:, 2] = 101325 + np.tile([0, 0.0078125], 50)
    rows[90:, 3] = 1.0
    for method in Scaling:
        front = Front.fit(rows, method, 20.0)
        assert (front.spread > 0).all()
        assert front.spread[1] == pytest.approx(0.005)
        assert front.spread[2] >= 8 * np.spacing(np.float32(101325))
        assert front.spread[3] > 0.02
        assert np.isfinite(front.normalise(np.full((1, 4), np.inf, np.float32))).all()
