"""Whether a broker that speaks MQTT 3.1.1 keeps what we publish. Pure.

Such a broker acknowledges a publish that its rules deny, and drops it. So the link subscribes to its own `state`,
publishes it, and waits until it comes back live (not as a stored message of an earlier life). Until then alerts are
held.
"""

from __future__ import annotations

from edge_agent.contract.records import NS

READ_BACK_S = 10.0
"""Seconds within which our own `state` must come back before we say that publishing is denied."""

READ_BACK_AGAIN_S = 300.0
"""Seconds between two tries while it is denied: only a person can change the broker's rules."""


class ReadBack:
    """The state of the question on one connection."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self._due_ns: int | None = None

    @property
    def is_open(self) -> bool:
        """We have asked, and nothing has come back."""
        return self._due_ns is not None

    def ask(self, now_ns: int) -> None:
        """Begin to wait for our own message (monotonic time)."""
        self._due_ns = now_ns + int(READ_BACK_S * NS)

    def settle(self) -> None:
        """Our message has come back, or nobody wants to know."""
        self._due_ns = None

    def is_overdue(self, now_ns: int) -> bool:
        """Say that it did not come back in time, once for each try."""
        if self._due_ns is None or now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + int(READ_BACK_AGAIN_S * NS)
        return True
