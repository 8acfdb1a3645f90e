"""What is compared: detectors with their recipes, and published methods, by the names of the command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
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
    names = named(asked, {"recommended": RECOMMENDED, "all": tuple(DETECTORS)})
    boards = [name for name, kind in BOARD_KINDS.items() if kind in boards_of]
    if not names and not boards:
        raise nobody(asked)
    found = [_entrant(name) for name in dict.fromkeys([*names, *boards])]
    refuse_twins([each.name for each in found])
    return found


def named(asked: str, lists: Mapping[str, Sequence[str]]) -> list[str]:
    """The names and recipe files with commas between, lists such as `all` as what they hold."""
    parts = [part.strip() for part in asked.split(",")]
    return list(dict.fromkeys(name for part in parts for name in lists.get(part, (part,)) if name))


def nobody(asked: str) -> RecipeError:
    """That no detector is named."""
    return RecipeError(f"--detectors names none, got {asked!r}: give recommended, all, or names with commas between")


def unknown(name: str, known: Sequence[str]) -> RecipeError:
    """That there is no such detector, with the nearest that there is."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return RecipeError(f"--detectors: {name!r} is neither a detector nor a recipe FILE.toml, {hint}")


def refuse_twins(rows: Sequence[str]) -> None:
    """Refuse rows of one name.

    Raises:
        RecipeError: with the name.
    """
    if twice := sorted({name for name in rows if rows.count(name) > 1}):
        raise RecipeError(
            f"--detectors: more than one would be the row {twice[0]!r}: give the recipe file another name"
        )


def _entrant(name: str) -> Entrant | Published:
    if name in BOARDS:
        return Published(name=name, kind=BOARD_KINDS[name])
    if name.endswith(".toml"):
        return _from_file(Path(name).stem, Path(name))
    if name not in DETECTORS:
        raise unknown(name, ["recommended", "all", *DETECTORS, *BOARDS])
    ready = READY / f"{name}.toml"
    return _from_file(name, ready) if ready.is_file() else Entrant(name=name, tables={"detector": {"type": name}})


def _from_file(name: str, path: Path) -> Entrant:
    return Entrant(name=name, tables=read_tables(path, DETECTORS))


def read_tables(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Parse a recipe.

    Raises:
        RecipeError: it cannot be read, is not TOML, or its detector is none of those known.
    """
    try:
        tables = tomllib.loads(recipe_text(path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    detector = tables.get("detector")
    if not isinstance(detector, dict) or str(detector.get("type")) not in known:
        raise RecipeError(f"{path}: [detector] type must be one of {', '.join(known)}")
    return tables
