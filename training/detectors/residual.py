"""The head of every reconstruction: squared residual against the unsaturated window, and the range term."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from training.graph import Front, Outputs, limited, score_and_contributions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residual:
    """score = mean over rows and channels of (z - r)^2 + range term, with r clipped to the body's range.

    Where z is beyond the body's range the body sees no difference any more, so r stands still and the residual grows with the fault.
    """

    front: Front

    def graph(self, z: tf.Tensor, rebuilt: tf.Tensor) -> Outputs:
        """Score of z [1, T, C] and its reconstruction, in scope `head`."""
        with tf.name_scope("head"):
            error = z - limited(rebuilt, self.front.body_range)
            per_value = error * error + self.front.range_term(z)
            parts = tf.reduce_mean(per_value, axis=1) / z.shape[2]
            return score_and_contributions(parts, parts)
