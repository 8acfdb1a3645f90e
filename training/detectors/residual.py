"""The head of every reconstruction: squared residual against the unsaturated window, and the range term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Floats
from training.detectors.denoising import noisy, with_faults
from training.detectors.network import Examples
from training.graph import FRONT, HEAD, Front, Outputs, Reach, score_and_contributions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residual:
    """Two ways to be strange, in one sum over the channels.

        e = z - r,   score = mean over rows of e^2 + n (mean over the last n rows of e)^2 + range term

    The first term sees noise and wrong patterns; the second, which noise of the residual enters with the same weight,
    sees small lasting shifts.

    Why a fault that grows beyond the reach of the training readings never lowers the score: the network sees z limited
    to that reach and answers within it (-1..1, scaled), so there r stands still while z, unlimited, moves away from it.
    Within the reach it is taught to leave faults out (see `denoising`), which is learned, not proved: where a channel
    rests at two levels, the way from one to the other ends in what is normal again.
    """

    front: Front
    reach: Reach
    mean_rows: int
    """n, 0 to T."""

    @classmethod
    def fit(cls, front: Front, z: Floats, mean_rows: int) -> Residual:
        """Learn the reach of normalised training windows [n, T, C]."""
        return cls(front=front, reach=Reach.fit(z, front.body_range), mean_rows=mean_rows)

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

    def graph(self, z: tf.Tensor, rebuilt: tf.Tensor) -> Outputs:
        """Score of z [1, T, C] and the network's answer [1, T, C], -1..1, in scope `head`."""
        with tf.name_scope(HEAD):
            error = z - self.reach.answer(rebuilt)
            parts = tf.reduce_mean(error * error + self.front.range_term(z), axis=1)
            if self.mean_rows:
                shift = tf.reduce_mean(error[:, z.shape[1] - self.mean_rows :], axis=1)
                parts += self.mean_rows * shift * shift
            parts /= z.shape[2]
            return score_and_contributions(parts, parts)


def check_mean_rows(mean_rows: int, rows: int) -> None:
    """Refuse a mean that no window of `rows` rows has.

    Raises:
        ValueError: with what was expected and what came.
    """
    if not 0 <= mean_rows <= rows:
        raise ValueError(f"mean_rows must be 0 to {rows}, the rows of a window, got {mean_rows}")
