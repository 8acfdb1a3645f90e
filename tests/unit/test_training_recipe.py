"""Recipes: what they hold, and what is refused with which words."""

from pathlib import Path

import pytest

from training.recipe import RecipeError, parse_recipe, read_recipe

LEAST = """
name = "pump"
[windows]
rate_hz = 1.0
[detector]
type = "gaussian"
"""


def test_the_least_recipe_has_a_default_for_everything_else() -> None:
    recipe = parse_recipe(LEAST)
    assert recipe.windows.rows == 32
    assert recipe.scaling.body_range == 20
    assert recipe.guard_rows == recipe.windows.rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LEAST.replace("rate_hz", "rate_hertz"), r"windows.*rate_hertz.*did you mean 'rate_hz'"),
        (LEAST + "[decisions]\nk = 3", r"decisions.*did you mean 'decision'"),
        (LEAST + "[decision]\nn = 6\nm = 5", r"decision.*n must be 1 to m"),
        (LEAST + "[scaling]\nmethod = 'minmax'", r"scaling.method must be one of robust, standard, got 'minmax'"),
        (LEAST + "[windows]", "not TOML"),
        (LEAST.replace('"gaussian"', "3"), "detector needs a type"),
        (LEAST + "[cleaning]\noutliers = 0.5", "outliers must be a share from 0 to below 0.5"),
        (LEAST + "[cleaning]\nspikes = 1", "spikes must be at least 2"),
        (LEAST.replace("[detector]", "hold = 0\n[cleaning]\nspikes = 4\n[detector]"), "spikes needs windows.hold"),
        (LEAST + "[training]\nlearning_rate = nan", "finite"),
        (LEAST + "[data]\nlabel_column = 'a'\nlabels_file = 'b'", "not both"),
        (LEAST.replace("rate_hz = 1.0", "rate_hz = 1.0\nmax_gap_s = 0.5"), "longer than one sample"),
        (LEAST + "[[channels]]\nname = 'a'\n[[channels]]\nname = 'a'", "channel names must differ"),
        (LEAST + "[[channels]]\nname = 'a'\nlow = 2\nhigh = 1", "low must be below high"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place_and_reason(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe(text)


def test_a_missing_recipe_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="init"):
        read_recipe(tmp_path / "no.toml")


def test_data_given_for_a_recipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.write_bytes(b"1," * (1 << 20))
    with pytest.raises(RecipeError, match="is it the data"):
        read_recipe(path)
