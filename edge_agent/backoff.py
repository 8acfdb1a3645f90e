"""How long to wait before trying again: exponential back-off with full jitter.

The n-th delay in a row is drawn evenly from `first_s` to min(`longest_s`, `first_s` 2^n), so that a fleet that lost
the same broker does not come back as one. A connection must have held for `healthy_s` before the count begins anew:
one that breaks at once is no success.

Source of the method: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random

MOST_DOUBLINGS = 64
"""Bounds the exponent: the delay has long reached any `longest_s`, and a float must not overflow after years."""


class Backoff:
    """Delays between attempts; one for each thing that is tried again."""

    def __init__(
        self,
        first_s: float = 1.0,
        longest_s: float = 300.0,
        healthy_s: float = 300.0,
        rng: random.Random | None = None,
    ) -> None:
        """Draw from `rng`, a new one by default.

        Args:
            first_s: shortest delay, above 0 s.
            longest_s: longest delay, at least `first_s`.
            healthy_s: how long an attempt must hold to count as a success, at least 0 s.
            rng: seeded in tests.

        Raises:
            ValueError: a time is out of range.
        """
        if not 0 < first_s <= longest_s or healthy_s < 0:
            raise ValueError(
                f"expected 0 < first_s <= longest_s and healthy_s >= 0, got {first_s}, {longest_s} and {healthy_s}"
            )
        self._first_s = first_s
        self._longest_s = longest_s
        self._healthy_s = healthy_s
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._attempts = 0
        self._up_since_s: float | None = None

    def delay_s(self) -> float:
        """Seconds to wait now that an attempt failed or a connection broke."""
        self._up_since_s = None
        self._attempts += 1
        highest_s = min(self._longest_s, self._first_s * 2.0 ** min(self._attempts, MOST_DOUBLINGS))
        return self._rng.uniform(self._first_s, highest_s)

    def succeeded(self, now_s: float) -> None:
        """Say, when it begins and at least once later, that it works; `now_s` is on the monotonic clock."""
        if self._up_since_s is None:
            self._up_since_s = now_s
        if now_s - self._up_since_s >= self._healthy_s:
            self._attempts = 0
