"""The system's clocks behind the `Clock` port."""

from __future__ import annotations

import time


class SystemClock:
    """UTC and the monotonic clock of this machine."""

    def now_ns(self) -> int:
        """UTC in nanoseconds since the epoch; may jump when the clock is set."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since some point, never backwards."""
        return time.monotonic_ns()
