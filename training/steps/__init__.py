"""Steps of a recipe between the normalised window and a detector that uses them, all inside the graph.

    z [T, C]  ─ rows ─►  [T', C]  ─ features, side by side ─►  [D]  ─ reduction ─►  [D']  ─►  detector

    [[steps]]                   [[steps]]
    type = "trailing_means"     type = "whiten"
    rows = [1, 10]

One implementation serves both: training runs the very graph functions over its windows. A new step is a class in one of
the files here and a line in `STEPS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edge_agent.contract import strict_json
from edge_agent.contract.records import Doubles, Floats
from edge_agent.errors import ManifestError
from training.recipe import RecipeError
from training.steps.base import Shape, Stage, Step
from training.steps.features import Flatten, Spectrum, TrailingDeviations, TrailingMeans
from training.steps.reduction import Scale, Whiten
from training.steps.rows import Difference, Reference

STEPS: dict[str, type[Step[Any]]] = {
    "difference": Difference,
    "reference": Reference,
    "trailing_means": TrailingMeans,
    "trailing_deviations": TrailingDeviations,
    "spectrum": Spectrum,
    "flatten": Flatten,
    "scale": Scale,
    "whiten": Whiten,
}

BATCH = 1024
"""Windows that are turned into features at once in training: some tens of MB."""


class Steps:
    """The steps of one recipe, in order."""

    def __init__(self, steps: Sequence[Step[Any]], window: Shape) -> None:
        """Check that the steps follow each other and go with windows of shape (T, C).

        Raises:
            ValueError: with what was expected and what came.
        """
        stages = [step.stage for step in steps]
        if stages != sorted(stages) or Stage.FEATURES not in stages:
            known = [", ".join(name for name, cls in STEPS.items() if cls.stage is stage) for stage in Stage]
            raise ValueError(
                f"steps must be in this order: rows to rows ({known[0]}), rows to features, at least one ({known[1]}), "
                f"features to features ({known[2]}); got {', '.join(map(_name, steps)) or 'none'}"
            )
        self._rows, self._features, self._reductions = (
            [step for step in steps if step.stage is stage] for stage in Stage
        )
        shape = window
        for step in self._rows:
            shape = _shape(step, shape)
        joined: Shape = (sum(_shape(step, shape)[0] for step in self._features),)
        for step in self._reductions:
            joined = _shape(step, joined)
        self.count = joined[0]
        """D, features that the detector gets."""

    @property
    def by_channel(self) -> bool:
        """Feature j belongs to channel j modulo C: nothing has mixed them."""
        return not any(isinstance(step, Whiten) for step in self._reductions)

    def fit(self, z: Floats) -> Doubles:
        """Fit the steps on normalised training windows [n, T, C]; returns their features, float64 [n, D]."""
        x: Doubles = z.astype(np.float64)
        for step in self._rows:
            step.fit(x)
            x = self._batched(step.graph, x.astype(np.float32))
        x = self._batched(self._side_by_side, x.astype(np.float32))
        for step in self._reductions:
            step.fit(x)
            x = self._batched(step.graph, x.astype(np.float32))
        return x

    def features(self, z: Floats) -> Doubles:
        """Features of normalised windows [n, T, C] by the fitted steps, float64 [n, D]."""
        return self._batched(self.graph, z)

    def graph(self, z: tf.Tensor) -> tf.Tensor:
        """Features [b, D] of normalised windows [b, T, C] in the graph."""
        for step in self._rows:
            z = step.graph(z)
        x = self._side_by_side(z)
        for step in self._reductions:
            x = step.graph(x)
        return x

    def _side_by_side(self, z: tf.Tensor) -> tf.Tensor:
        found = [step.graph(z) for step in self._features]
        return found[0] if len(found) == 1 else tf.concat(found, axis=1)

    @staticmethod
    def _batched(function: Callable[[tf.Tensor], tf.Tensor], x: Floats) -> Doubles:
        starts = range(0, max(len(x), 1), BATCH)
        return np.concatenate([function(tf.constant(x[at : at + BATCH])) for at in starts]).astype(np.float64)


def make_steps(tables: Sequence[dict[str, Any]], window: Shape) -> Steps:
    """Build the steps of a recipe's `[[steps]]` tables for windows of shape (T, C).

    Raises:
        RecipeError: a type or setting is not known (with the nearest known name) or not possible.
    """
    try:
        return Steps([_make_step(table, f"steps[{number}]") for number, table in enumerate(tables)], window)
    except (ManifestError, ValueError) as error:
        raise RecipeError(str(error)) from error


def _shape(step: Step[Any], given: Shape) -> Shape:
    """Shape that a step gives, or a refusal that names the step."""
    try:
        return step.shape(given)
    except ValueError as error:
        raise ValueError(f"step {_name(step)}: {error}") from error


def _name(step: Step[Any]) -> str:
    """What a recipe calls a step."""
    return next(name for name, cls in STEPS.items() if type(step) is cls)


def _make_step(table: dict[str, Any], place: str) -> Step[Any]:
    name = str(table.get("type"))
    if name not in STEPS:
        near = difflib.get_close_matches(name, STEPS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(STEPS)}"
        raise RecipeError(f"{place}.type {name!r} is not known, {hint}")
    cls = STEPS[name]
    return cls(strict_json.read(cls.Settings, {key: value for key, value in table.items() if key != "type"}, place))
