"""Image detectors to compare, by the names of the command line, and their recipes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.experiments.bench.entrants import named, nobody, read_tables, refuse_twins, unknown
from training.experiments.bench.recipes import toml
from training.images.detectors import IMAGE_DETECTORS, make_image_detector
from training.images.guess import DEFAULT, READY
from training.images.recipe import ImageRecipe, parse_image_recipe
from training.recipe import RecipeError

RECOMMENDED = (DEFAULT,)
"""What `--detectors recommended` runs: the one that `init` writes a recipe of."""

OF_THE_BENCH = ("path", "seed", "test_share")
"""Settings of `[images]` that say which images are fitted on and tested: the same for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntrant:
    """An image detector with its settings, as rows of the table name it."""

    name: str
    tables: dict[str, Any]
    """Parsed TOML of its recipe."""

    @property
    def module(self) -> str:
        """The module that the detector is in."""
        return IMAGE_DETECTORS[str(self.tables["detector"]["type"])].partition(":")[0]

    def recipe_text(self, seed: int) -> str:
        """TOML text of its recipe, with the seed of the bench for split and fit; its folder is given apart."""
        images = self.tables.get("images", {})
        tables = {
            "name": re.sub(r"[^a-z0-9._-]+", "-", self.name.lower()).strip("-._") or "model",
            "images": {key: value for key, value in images.items() if key not in OF_THE_BENCH} | {"seed": seed},
            "training": self.tables.get("training", {}) | {"seed": seed},
        }
        return toml(tables | {key: value for key, value in self.tables.items() if key not in tables})

    def recipe(self, seed: int) -> ImageRecipe:
        """The same, checked.

        Raises:
            RecipeError: a setting is not known or not possible.
        """
        return parse_image_recipe(self.recipe_text(seed), self.name)


def find_image_entrants(asked: str, seed: int) -> list[ImageEntrant]:
    """Detectors by name: `recommended`, `all`, or names and recipe files with commas between.

    Raises:
        RecipeError: there is no name, one is not known (with the nearest), two rows would have one name, or a recipe
            cannot be read or built.
    """
    names = named(asked, {"recommended": RECOMMENDED, "all": tuple(IMAGE_DETECTORS)})
    if not names:
        raise nobody(asked)
    found = [_entrant(name) for name in names]
    refuse_twins([each.name for each in found])
    _check(found, seed)
    return found


def _entrant(name: str) -> ImageEntrant:
    if name.endswith(".toml"):
        return ImageEntrant(name=Path(name).stem, tables=_tables(Path(name)))
    if name not in IMAGE_DETECTORS:
        raise unknown(name, ["recommended", "all", *IMAGE_DETECTORS])
    ready = READY / f"{name}.toml"
    return ImageEntrant(name=name, tables=_tables(ready) if ready.is_file() else {"detector": {"type": name}})


def _tables(path: Path) -> dict[str, Any]:
    tables = read_tables(path, IMAGE_DETECTORS)
    for name in ("images", "training"):
        if not isinstance(tables.get(name, {}), dict):
            raise RecipeError(f"{path}: {name} must be a table, [{name}]")
    return tables


def _check(entrants: Sequence[ImageEntrant], seed: int) -> None:
    for each in entrants:
        make_image_detector(each.recipe(seed))
