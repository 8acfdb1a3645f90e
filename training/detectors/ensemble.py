"""Several detectors in one graph, made comparable by their scores on windows held out from their fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.data import DataError
from training.detectors.base import Curves, Detector, NormalData
from training.detectors.members import make_member, window_scores
from training.graph import HEAD, Front, Outputs, ScoreGraph, score_and_contributions
from training.recipe import RecipeError, TrainingSettings

BLOCKS = 10
"""Contiguous pieces of the training windows that a member's share is drawn from: windows next to each other are alike,
so single ones drawn at random would give every member the same data."""

HIGH_QUANTILE = 0.99
"""Of the held-out scores: a member's unit is the way there from their median, as in the provisional threshold."""

SMALLEST_UNIT = 1e-3
"""Least unit as a share of the median: a member that hardly varied must not outweigh the others by rounding."""


class Combine(StrEnum):
    """How the members' scores become one."""

    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleSettings:
    """`[detector]` of type `ensemble`, and its `[[detector.members]]`."""

    members: tuple[dict[str, Any], ...] = ({"type": "gaussian"}, {"type": "pca"}, {"type": "knn"})
    """Each `type` and settings; `share` (0 to 1, default 1) of the training windows in random blocks, for bagging: then
    several members may be of one kind; `steps` of its own, else those of the recipe."""
    combine: Combine = Combine.MEAN
    """mean is steady; max alarms where a single member does."""
    held_out: float = 0.25
    """Share of the training windows, at their end, that no member is fitted on: it sets the members' scales."""

    def __post_init__(self) -> None:
        """Refuse what is no ensemble."""
        if len(self.members) < 2:
            raise ValueError(f"an ensemble needs at least 2 members, got {len(self.members)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must be a share between 0 and 1, got {self.held_out}")
        for number, member in enumerate(self.members):
            share = member.get("share", 1)
            if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
                raise ValueError(f"members[{number}].share must be above 0 and at most 1, got {share!r}")
            steps = member.get("steps", [])
            if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
                raise ValueError(f"members[{number}].steps must be tables of steps, got {steps!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where a member's scores lie on held-out windows."""

    median: float
    unit: float
    """0.99 quantile less median."""

    @classmethod
    def fit(cls, graph: ScoreGraph, windows: Floats) -> Scale:
        """Of windows float32 [n, T, C] that the member was not fitted on."""
        median, high = np.quantile(window_scores(graph, windows), [0.5, HIGH_QUANTILE])
        return cls(median=float(median), unit=float(max(high - median, SMALLEST_UNIT * max(abs(median), 1.0))))

    def graph(self, score: tf.Tensor) -> tf.Tensor:
        """Score [b] in the member's unit above its median."""
        return (score - self.median) * (1 / self.unit)


class EnsembleDetector(Detector[EnsembleSettings]):
    """The mean or the largest of several detectors' scores, each in its own unit.

        score = mean or max over members of (s_k - median_k) / (q99_k - median_k)

    Median and 0.99 quantile are those of the member's scores on the last training windows, which none was fitted on: a
    member that fits its own windows too closely is put right. Members with a `share` below 1 see random contiguous
    blocks (bagging). A recipe's steps are for all members that have none of their own. A mean of scores that do not
    fall as a fault grows does not fall either, nor does their maximum. The share of a channel is that of the members'
    contributions, weighted by their scores.

    Sources: L. Breiman, "Bagging predictors", Machine Learning 24 (1996); C. C. Aggarwal and S. Sathe, "Theoretical
    foundations and algorithms for outlier ensembles", SIGKDD Explorations 17 (2015); S. Lahiri, "Resampling methods for
    dependent data", 2003 (blocks).
    """

    Settings = EnsembleSettings
    kind = "ensemble"
    uses_steps = True
    scales: list[Scale]

    def __init__(
        self,
        settings: EnsembleSettings,
        training: TrainingSettings,
        front: Front,
        rows: int,
        tables: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Build the members.

        Raises:
            RecipeError: a member's type or setting is not known or not possible, takes single rows or needs labels.
        """
        super().__init__(settings, training, front, rows, tables)
        self.members = [self._make(number, member, tables) for number, member in enumerate(settings.members)]
        self.has_body = any(member.has_body for member in self.members)

    def _make(self, number: int, member: dict[str, Any], tables: Sequence[dict[str, Any]]) -> Detector[Any]:
        place = f"detector.members[{number}]"
        table = {key: value for key, value in member.items() if key not in {"share", "steps"}}
        built = make_member(
            table, member.get("steps") or tables, place, training=self.training, front=self.front, rows=self.rows
        )
        if built.needs_labels:
            raise RecipeError(
                f"{place}: a {table['type']} learns from labelled faults, members from normal windows alone"
            )
        return built

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Fit each member on its share of the windows, then put the members on one scale.

        Raises:
            DataError: too few windows are left beside those that are held out.
        """
        count = len(data.windows)
        held_out = max(1, round(self.settings.held_out * count))
        guard = min(self.rows - 1, (count - held_out) // 4)
        fitted_on = count - held_out - guard
        if fitted_on < BLOCKS:
            raise DataError(
                f"training: {fitted_on} of {count} windows are left for the members of the ensemble, at least {BLOCKS} "
                "are needed: record longer, or set a smaller detector.held_out"
            )
        blocks = np.array_split(data.windows[:fitted_on], BLOCKS)
        last = data.windows[count - held_out :]
        curves: Curves = {}
        self.scales = []
        for number, (member, table) in enumerate(zip(self.members, self.settings.members, strict=True)):
            chance = np.random.default_rng((self.training.seed, number))
            drawn = np.sort(chance.permutation(BLOCKS)[: max(1, round(table.get("share", 1) * BLOCKS))])
            own = NormalData(windows=np.concatenate([blocks[block] for block in drawn]))
            found = member.fit(own, progress=progress)
            curves |= {f"members[{number}] {name}": values for name, values in found.items()}
            self.scales.append(Scale.fit(member.score_graph(), last))
        return curves

    def score_graph(self) -> ScoreGraph:
        """All members in one graph: their fronts, bodies and heads in the same scopes."""
        graphs = [member.score_graph() for member in self.members]

        def function(window: tf.Tensor) -> Outputs:
            found = [graph.function(window) for graph in graphs]
            with tf.name_scope(HEAD):
                scores = [scale.graph(outputs["score"]) for scale, outputs in zip(self.scales, found, strict=True)]
                together = tf.stack(scores, axis=1)
                combine = tf.reduce_mean if self.settings.combine is Combine.MEAN else tf.reduce_max
                score = combine(together, axis=1)
                explained = [
                    tf.maximum(own, 0.0)[:, tf.newaxis] * outputs["contributions"]
                    for own, outputs in zip(scores, found, strict=True)
                    if "contributions" in outputs
                ]
                if not explained:
                    return {"score": score}
                return score_and_contributions(score[:, tf.newaxis], tf.reduce_sum(tf.stack(explained), axis=0))

        return ScoreGraph(function=function, inputs={"window": (1, self.rows, self.channels)})
