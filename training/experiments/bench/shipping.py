"""A detector fitted on a case and converted: the bundle that would ship. Needs TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from converters.build import Options, build
from converters.conversion import Child
from training.data import DataError
from training.experiments.bench.cases import Case
from training.experiments.bench.entrants import Entrant
from training.experiments.bench.recipes import LABELS, TIME, case_recipe
from training.fit import fit, locate
from training.recipe import Recipe, parse_recipe

CHILD = Child()
"""Converts for this process as long as it lives: starting one costs some six times what a small conversion does."""


def ship(entrant: Entrant, case: Case, folder: Path) -> bytes:
    """Fit the entrant on the case's training rows alone, and convert it.

    The test part is not handed on, so that nothing is fitted to its labels, not even the prefilter's lower limit. A
    threshold that the data do not support is packed all the same, and its grade says so.

    Args:
        entrant: the detector and its settings.
        case: whose training rows.
        folder: for the training file and the run; replaced.

    Returns:
        The bundle file.

    Raises:
        DataError: the rows cannot be used.
        RecipeError: a setting does not go with the detector or the data.
        Refused: the converter ships no format.
    """
    text = case_recipe(entrant, case)
    recipe = parse_recipe(text, entrant.name)
    if entrant.needs_labels:
        _check_labels(entrant, case, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    rows = _training_file(case, folder / "train.parquet")
    run = fit(recipe, locate(recipe, text, folder, [rows]), folder / "run", progress=False)
    formats = ("float32", "int8") if run.info.has_body else ("float32",)
    return build(run, Options(formats=formats, provisional=True), lambda _: None, CHILD).data


def _check_labels(entrant: Entrant, case: Case, recipe: Recipe) -> None:
    """Refuse here, in words of the bench: what `fit` would say is for those who cut their own data."""
    rows, labels = len(case.train), case.train.labels
    learned = rows - round(recipe.split.validation * rows) - recipe.guard_rows
    if labels is None or not labels[: max(learned, 0)].any():
        raise DataError(
            f"{entrant.type} learns from labelled faults, and the rows to fit on hold none before their last "
            f"{rows - learned}, which are kept for the threshold: give data of the kind csv whose column train is 1 in "
            "rows of known faults too, or take a detector that needs no labels, such as gaussian"
        )


def _training_file(case: Case, path: Path) -> Path:
    columns = dict(zip(case.channels, np.transpose(case.train.values), strict=True))
    labels = np.zeros(len(case.train), bool) if case.train.labels is None else case.train.labels
    pd.DataFrame(columns | {TIME: case.train.t_ns, LABELS: labels.astype(np.int8)}).to_parquet(path)
    return path
