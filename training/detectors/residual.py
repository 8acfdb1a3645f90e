"""The head of every reconstruction: squared residual against the unsaturated window, and the range term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.denoising import noisy, with_faults
from training.detectors.network import Examples
from training.graph import FRONT, Front, Reach


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residual:
    """What a network cannot rebuild of a window: noise, wrong patterns, broken relations between channels.

        e = z - r,   mean over rows of e^2 + range term, for each channel

    Why a fault that grows beyond the reach of the training readings never lowers it: the network sees z limited to that
    reach and answers within it (-1..1, scaled), so there r stands still while z, unlimited, moves away from it.
    Within the reach it is taught to leave faults out (see `denoising`), which is learned, not proved: where a channel
    rests at two levels, the way from one to the other ends in what is normal again. See `CombinedIndex`.
    """

    front: Front
    reach: Reach

    @classmethod
    def fit(cls, front: Front, z: Floats) -> Residual:
        """Learn the reach of normalised training windows [n, T, C]."""
        return cls(front=front, reach=Reach.fit(z, front.body_range))

    def seen(self, z: Floats) -> Floats:
        """What the network sees of z [..., C], in numpy."""
        return self.front.seen(self.reach.limit(z))

    def examples(self, z: Floats, rng: np.random.Generator | None) -> Examples:
        """What an autoencoder learns of windows z [n, T, C]: to rebuild them, and them again behind a fault; noisy."""
        if rng is None:
            return self.seen(z), z
        faulty = with_faults(z, self.front.body_range, rng)
        return noisy(self.seen(np.concatenate([z, faulty])), rng), np.concatenate([z, z])

    def body_input(self, z: tf.Tensor) -> tf.Tensor:
        """The same in the graph, scope `front`."""
        with tf.name_scope(FRONT):
            return self.front.body_input(self.reach.graph(z))

    def parts(self, z: tf.Tensor, rebuilt: tf.Tensor) -> tf.Tensor:
        """Squared residual [b, C] of z [b, T, C] and the network's answer [b, T, C], -1..1, in the graph."""
        error = z - self.reach.answer(rebuilt)
        return tf.reduce_mean(error * error + self.front.range_term(z), axis=1)
