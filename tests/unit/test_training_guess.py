"""`init`: what is guessed of a recording, and that the recipe it writes can be fitted."""

from pathlib import Path

import pytest

from tests.recordings import NAMES, table, write_csv
from training.data import DataError
from training.guess import READY, guess, learns_faults, write_recipe
from training.recipe import RecipeError, read_recipe, recipe_text


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_delimiter_time_labels_channels_and_rate_are_found(tmp_path: Path, separator: str) -> None:
    found = guess(write_csv(tmp_path / "m.csv", separator=separator))
    assert (found.delimiter, found.time_column, found.label_column) == (separator, "time", "fault")
    assert found.channels == NAMES
    assert found.rate_hz == 1.0
    assert found.gaps == 0


def test_the_rate_of_a_fast_sensor_is_found_and_gaps_are_counted(tmp_path: Path) -> None:
    fast = table(400, rate_hz=50.0).drop(index=range(100, 150))
    fast.to_csv(tmp_path / "m.csv", index=False)
    found = guess(tmp_path / "m.csv")
    assert found.rate_hz == 50.0
    assert found.max_gap_s == pytest.approx(0.07)
    assert found.gaps == 1


def test_a_reading_that_rises_is_not_taken_for_the_time(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("energy,power\n" + "".join(f"{row * 2},{row % 3}\n" for row in range(50)))
    found = guess(tmp_path / "m.csv")
    assert found.time_column == ""
    assert found.channels == ("energy", "power")


def test_a_column_named_like_a_time_that_does_not_rise_is_a_reading(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("t,power\n" + "".join(f"{20 + row % 5},{row}\n" for row in range(50)))
    found = guess(tmp_path / "m.csv")
    assert found.time_column == ""
    assert found.channels == ("t", "power")


def test_columns_of_public_data_sets_that_are_no_readings_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "datetime;a;anomaly;changepoint\n2024-01-01 00:00:00;1;0;0\n2024-01-01 00:00:01;2;1;1\n"
    )
    found = guess(tmp_path / "m.csv")
    assert (found.label_column, found.ignored, found.channels) == ("anomaly", ("changepoint",), ("a",))


def test_init_names_the_columns_that_it_leaves_out(tmp_path: Path) -> None:
    data = tmp_path / "m.csv"
    data.write_text("flow,pressure,place,changepoint\n" + "".join(f"{row % 7},,hall,0\n" for row in range(50)))
    written = write_recipe(data, "gaussian", tmp_path / "m.toml", replace=False)
    assert written.summary.endswith(
        "left out pressure, place (mostly not numbers), left out changepoint (named like labels)"
    )


def test_binary_data_named_csv_are_refused_without_printing_them(tmp_path: Path) -> None:
    data = tmp_path / "m.csv"
    data.write_bytes(b"\x02\x07\x1b[2J,\xff\n\x00\x01,\x02\n")
    with pytest.raises(DataError, match="is not text") as refused:
        guess(data)
    assert str(refused.value).isprintable()


def test_a_file_without_numbers_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("name,place\nx,y\nx,y\n")
    with pytest.raises(DataError, match="name, place"):
        guess(tmp_path / "m.csv")


@pytest.mark.parametrize("detector", sorted(path.stem for path in READY.glob("*.toml")))
def test_the_recipe_written_for_any_detector_parses_and_finds_its_data(tmp_path: Path, detector: str) -> None:
    data = write_csv(tmp_path / "m.csv")
    written = write_recipe(data, detector, tmp_path / "own.toml", replace=False)
    recipe = read_recipe(written.path)
    assert [channel.name for channel in recipe.channels] == list(NAMES)
    assert (tmp_path / recipe.data.files[0]).samefile(data)
    assert recipe.split.fit_rows is None
    assert recipe.detector["type"] == detector


@pytest.mark.parametrize("detector", ["pca", "svm"])
def test_a_number_of_rows_to_fit_takes_the_place_of_the_shares(tmp_path: Path, detector: str) -> None:
    data = write_csv(tmp_path / "m.csv")
    written = write_recipe(data, detector, tmp_path / "own.toml", replace=False, fit_rows=123)
    assert read_recipe(written.path).split.fit_rows == 123


def test_hostile_column_names_survive_the_way_through_toml(tmp_path: Path) -> None:
    name = 'p "in" \\ bar # 1'
    table(50).rename(columns={"speed": name}).to_csv(tmp_path / "m.csv", index=False)
    recipe = read_recipe(write_recipe(tmp_path / "m.csv", "pca", tmp_path / "o.toml", replace=False).path)
    assert name in {channel.column or channel.name for channel in recipe.channels}


def test_a_recipe_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "m.csv"), tmp_path / "own.toml"
    out.write_text("mine")
    with pytest.raises(RecipeError, match="--force"):
        write_recipe(data, "pca", out, replace=False)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "meant"), [("Gaussian", "gaussian"), ("PCA", "pca"), ("lstm_autoencode", "lstm_auto")]
)
def test_an_unknown_detector_is_refused_with_the_one_that_was_perhaps_meant(
    tmp_path: Path, name: str, meant: str
) -> None:
    with pytest.raises(RecipeError, match=f"did you mean '{meant}"):
        write_recipe(write_csv(tmp_path / "m.csv"), name, tmp_path / "o.toml", replace=False)


def test_a_detector_that_learns_from_faults_asks_for_labels_where_there_are_none(tmp_path: Path) -> None:
    data = tmp_path / "m.csv"
    table(100).drop(columns="fault").to_csv(data, index=False)
    advice = write_recipe(data, "svm", tmp_path / "a.toml", replace=False).advice
    for word in ("no column looks like labels", "label_column", "labels_file", "start,end", "a.toml"):
        assert word in advice
    table(100).to_csv(data, index=False)
    assert "no row of fault is above 0" in write_recipe(data, "svm", tmp_path / "b.toml", replace=False).advice


@pytest.mark.parametrize(("detector", "fault"), [("svm", slice(100, 150)), ("gaussian", None)])
def test_nothing_is_asked_for_where_nothing_is_missing(tmp_path: Path, detector: str, fault: slice | None) -> None:
    data = write_csv(tmp_path / "m.csv", fault=fault)
    assert write_recipe(data, detector, tmp_path / "o.toml", replace=False).advice == ""


def test_the_ready_recipes_say_which_detectors_need_labels() -> None:
    from training.detectors import DETECTORS

    said = {name for name in DETECTORS if learns_faults(recipe_text(READY / f"{name}.toml"))}
    assert said == {name for name, detector in DETECTORS.items() if detector.needs_labels}


def test_what_was_found_is_counted_in_singular_and_plural(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("flow,label\n" + "".join(f"{row % 7},{int(row == 3)}\n" for row in range(50)))
    summary = write_recipe(tmp_path / "m.csv", "pca", tmp_path / "o.toml", replace=False).summary
    assert "50 readings of 1 channel at 1 Hz, 0 gaps" in summary
    assert "no time column: rows are counted, labels in label (1 faulty row)" in summary


def test_the_folder_of_the_recipe_is_made_where_it_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "recipes" / "own.toml"
    assert write_recipe(write_csv(tmp_path / "m.csv"), "pca", out, replace=False).path == out
    assert (out.parent / read_recipe(out).data.files[0]).samefile(tmp_path / "m.csv")


def test_an_unknown_detector_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="known are agglomerative, bayesian_gaussian"):
        write_recipe(write_csv(tmp_path / "m.csv"), "magic", tmp_path / "o.toml", replace=False)
