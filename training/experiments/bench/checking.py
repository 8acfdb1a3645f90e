"""What is refused before any work: recipes that cannot be built, and methods without the data they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_agent.contract import strict_json
from edge_agent.errors import ManifestError
from training.detectors import make_detector
from training.experiments.bench.cases import Case, DataSet
from training.experiments.bench.entrants import Entrant, Published
from training.experiments.bench.recipes import case_recipe
from training.graph import Front
from training.recipe import Recipe, RecipeError, parse_recipe


def check(entrants: Sequence[Entrant | Published], data: Sequence[DataSet]) -> None:
    """Refuse what would fail on every file.

    A setting that does not go with one data set alone is no reason: it is told of that one, and the others go on.

    Raises:
        RecipeError: which entrant, what was expected and what came.
    """
    for entrant in entrants:
        if isinstance(entrant, Entrant):
            _check_keys(entrant)
            _check_built(entrant, data)
        elif entrant.kind not in {each.kind for each in data}:
            raise RecipeError(f"{entrant.name} was published for {entrant.kind}: add --data {entrant.kind}:PATH")


def _check_keys(entrant: Entrant) -> None:
    """Read the whole recipe, also what a case replaces; the name and the rate may be left to the cases."""
    tables = {"name": entrant.name, "windows": {}, **entrant.tables}
    if isinstance(tables["windows"], dict):
        tables["windows"] = {"rate_hz": 1.0, **tables["windows"]}
    try:
        strict_json.read(Recipe, tables, entrant.name)
    except ManifestError as error:
        raise RecipeError(str(error)) from error


def _check_built(entrant: Entrant, data: Sequence[DataSet]) -> None:
    errors = [error for each in data if (error := _refusal(entrant, each.cases[0])) is not None]
    if len(errors) == len(data):
        raise errors[0]


def _refusal(entrant: Entrant, case: Case) -> RecipeError | None:
    """Why the detector cannot be built for the channels of a case, with windows of the recipe's own length."""
    recipe = parse_recipe(case_recipe(entrant, replace(case, window_rows=None)), entrant.name)
    channels = len(case.channels)
    try:
        make_detector(
            recipe, Front(centre=np.zeros(channels), spread=np.ones(channels), body_range=recipe.scaling.body_range)
        )
    except RecipeError as error:
        return error
    return None
