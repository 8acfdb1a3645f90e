"""One stream of the agent as the agent sees it: what sensors and cameras have in common.

Which model watches and what it is given is told in `watching.py` and `watched_camera.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from edge_agent.config import StreamSettings
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.wire import StreamHealth, StreamInfo
from edge_agent.ports import FrameSource, Source
from edge_agent.reporting import Reporter
from edge_agent.watch_loop import WatchLoop

SILENT_READINGS = 3
"""Readings or frames missing in a row before silence is reported."""
LEAST_SILENCE_S = 10.0
"""Shortest silence that is reported, seconds: fast sensors pause when their board restarts."""


class Watched(ABC):
    """A stream of the agent: made from its settings, started, asked how it is, stopped."""

    name: str
    source: Source | FrameSource
    stream: WatchLoop[Any, Any]
    reporter: Reporter[Any]
    _describe: dict[str, Any]
    """What the scorer says of itself; empty without one."""

    @property
    @abstractmethod
    def calibration(self) -> Calibration | None:
        """What decides now; None while that is still being learned."""

    def info(self) -> StreamInfo:
        """What the stream is, for the birth message."""
        calibration = self.calibration
        return StreamInfo(
            channels=(),
            units=(),
            model=self.reporter.model,
            grade=calibration.grade if calibration else None,
            hours_needed=calibration.hours_needed if calibration else None,
        )

    def state(self) -> str:
        """The stream's state in one word."""
        last = self.reporter.last
        if last is None:
            return "starting"
        if last.fault is not None:
            return str(last.fault)
        return "anomaly" if last.anomaly else "normal"

    def health(self) -> StreamHealth:
        """How the stream runs now."""
        last, model, calibration = self.reporter.last, self.reporter.model, self.calibration
        age_s = self.stream.reader.age_s()
        return StreamHealth(
            state=self.state(),
            detail=self.reporter.detail_of(last) if last else "",
            sample_age_s=None if age_s is None else round(age_s, 3),
            delegate=str(self._describe.get("kernels", "")) or None,
            model=model.name if model else None,
            version=model.version if model else None,
            alarms_per_day=self.reporter.alarms_per_day(),
            alarms_per_day_asked=calibration.alarms_per_day if calibration else None,
        )


def silence_s(settings: StreamSettings, rate_hz: float | None, unknown_s: float = LEAST_SILENCE_S) -> float:
    """Return the silence of a source that is reported, seconds.

    Args:
        settings: of its stream.
        rate_hz: how often it speaks; None: nobody knows.
        unknown_s: the silence then.
    """
    if settings.no_data_s is not None:
        return settings.no_data_s
    return max(LEAST_SILENCE_S, SILENT_READINGS / rate_hz) if rate_hz else unknown_s
