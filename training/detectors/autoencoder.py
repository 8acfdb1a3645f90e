"""What autoencoders have in common: how they are trained, and the graph around their network."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import keras
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.base import Curves, NormalData, StepsDetector
from training.detectors.combined_index import CombinedIndex
from training.detectors.network import Examples, train_network
from training.detectors.residual import Residual
from training.graph import HEAD, FrozenNetwork, Outputs, ScoreGraph

S = TypeVar("S")


class Autoencoder(StepsDetector[S]):
    """A network that rebuilds windows; score: see `CombinedIndex`.

    The network sees the window itself, T-squared what the recipe's steps make of it; without steps, its mean row.
    """

    has_body = True
    newest_first: ClassVar[bool] = False
    """The network answers the newest row first."""
    network: keras.Model
    index: CombinedIndex

    @classmethod
    def usual_steps(cls, rows: int) -> tuple[dict[str, Any], ...]:
        """The mean row of the window."""
        return ({"type": "trailing_means", "rows": [rows]},)

    @abstractmethod
    def build(self) -> keras.Model:
        """The network to train, [n, T, C] to [n, T, C] within -1..1."""

    def body(self) -> FrozenNetwork:
        """The trained network for the graph."""
        return FrozenNetwork(self.network)

    def fit(self, data: NormalData, *, progress: bool) -> Curves:
        """Train to rebuild normal windows, and the normal ones behind faulty ones; then learn levels and limits."""
        z = self.front.normalise(data.windows)
        residual = Residual.fit(self.front, z)
        self.network = self.build()
        scaled = keras.Sequential([self.network, residual.reach.scaling()])

        def examples(windows: Floats, rng: np.random.Generator | None) -> Examples:
            given, wanted = residual.examples(windows, rng)
            return given, self._turned(wanted)

        def rebuild(windows: Floats) -> Floats:
            return self._turned(np.asarray(self.network.predict(residual.seen(windows), verbose=0)))

        curves = train_network(scaled, z, examples, self.training, guard=self.rows - 1, progress=progress)
        self.index = CombinedIndex.fit(residual, self.steps, z, rebuild)
        return curves

    def _turned(self, windows: Floats) -> Floats:
        """Between the order of the window and that of the answer."""
        return windows[:, ::-1] if self.newest_first else windows

    def score_graph(self) -> ScoreGraph:
        """Combined index of the window."""
        body = self.body()

        def function(window: tf.Tensor) -> Outputs:
            z = self.front.graph(window)
            rebuilt = body.graph(self.index.residual.body_input(z))
            with tf.name_scope(HEAD):
                oldest_first = tf.reverse(rebuilt, axis=[1]) if self.newest_first else rebuilt
            return self.index.graph(z, oldest_first)

        return ScoreGraph(function=function, inputs={"window": (1, self.rows, self.channels)})
