"""Time that passes only when a test says so."""

from __future__ import annotations

from edge_agent.contract.records import NS

EPOCH_NS = 1_767_225_600 * NS
"""2026-01-01T00:00:00Z."""


class VirtualClock:
    """A `Clock` whose `sleep` takes no time but its own."""

    def __init__(self) -> None:
        self.utc_ns = EPOCH_NS
        self.elapsed_ns = 0
        self.slept_s: list[float] = []

    def now_ns(self) -> int:
        return self.utc_ns + self.elapsed_ns

    def monotonic_ns(self) -> int:
        return 1_000 * NS + self.elapsed_ns

    def sleep(self, seconds: float) -> None:
        """Let time pass, as `time.sleep` would."""
        self.slept_s.append(seconds)
        self.elapsed_ns += round(seconds * NS)
