"""What is compared: detectors with their recipes, and published methods, by the names of the command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.detectors import DETECTORS
from training.experiments.bench.boards import BOARD_KINDS, BOARDS
from training.guess import READY
from training.recipe import RecipeError, recipe_text

RECOMMENDED = ("conv_autoencoder", "gaussian")
"""What `--detectors recommended` runs: what to try first without labels, and what fits in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A detector with its settings, as a row of the table names it."""

    name: str
    tables: dict[str, Any]
    """Parsed TOML of its recipe."""

    @property
    def type(self) -> str:
        """Which detector it is."""
        return str(self.tables["detector"]["type"])

    @property
    def needs_labels(self) -> bool:
        """It is shown the labels of the training rows."""
        return DETECTORS[self.type].needs_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published method, which is fitted and judged here but ships nothing."""

    name: str
    kind: str
    """The kind of data set that it was published for."""


def find_entrants(asked: str, *, boards_of: Collection[str] = ()) -> list[Entrant | Published]:
    """Detectors by name: `recommended`, `all`, or names and recipe files with commas between.

    Args:
        asked: as on the command line.
        boards_of: kinds of data whose published methods are compared as well.

    Raises:
        RecipeError: there is no name, one is not known (with the nearest), a recipe cannot be read, or two rows would
            have one name.
    """
    lists = {"recommended": RECOMMENDED, "all": tuple(DETECTORS)}
    names = [name for part in asked.split(",") for name in lists.get(part.strip(), (part.strip(),)) if name]
    boards = [name for name, kind in BOARD_KINDS.items() if kind in boards_of]
    if not names and not boards:
        raise RecipeError(f"--detectors names none, got {asked!r}: give recommended, all, or names with commas between")
    found = [_entrant(name) for name in dict.fromkeys([*names, *boards])]
    rows = [each.name for each in found]
    if twice := sorted({name for name in rows if rows.count(name) > 1}):
        raise RecipeError(
            f"--detectors: more than one would be the row {twice[0]!r}: give the recipe file another name"
        )
    return found


def _entrant(name: str) -> Entrant | Published:
    if name in BOARDS:
        return Published(name=name, kind=BOARD_KINDS[name])
    if name.endswith(".toml"):
        return _from_file(Path(name).stem, Path(name))
    if name not in DETECTORS:
        known = ["recommended", "all", *DETECTORS, *BOARDS]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise RecipeError(f"--detectors: {name!r} is neither a detector nor a recipe FILE.toml, {hint}")
    ready = READY / f"{name}.toml"
    return _from_file(name, ready) if ready.is_file() else Entrant(name=name, tables={"detector": {"type": name}})


def _from_file(name: str, path: Path) -> Entrant:
    try:
        tables = tomllib.loads(recipe_text(path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    detector = tables.get("detector")
    if not isinstance(detector, dict) or str(detector.get("type")) not in DETECTORS:
        raise RecipeError(f"{path}: [detector] type must be one of {', '.join(DETECTORS)}")
    return Entrant(name=name, tables=tables)
