"""The simulated inspection station as a source: for first steps, demonstrations and tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS
from edge_agent.sources.formats import in_range, one_of
from edge_agent.sources.inspection import MAX_SEVERITY, SIDES, InspectionScene, SceneFault, SceneFaultKind
from edge_agent.sources.pixels import FrameCounters
from edge_agent.sources.playback import FASTEST
from edge_agent.sources.pump import START_NS

NO_FAULT = ""

MOST_FRAMES = 10**9
"""Largest `frames` and `fault_start`: a year at 30 a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings:
    """A simulated inspection station and what goes wrong there."""

    kind: ClassVar[str] = "synthetic_scene"

    seed: int = 0
    """Same seed, same frames; 0 and up."""
    width: int = 640
    """64 to 4096 pixels."""
    height: int = 480
    """64 to 4096 pixels."""
    rate_hz: float = 5.0
    """Frames a second, 0.001 to 1000."""
    speed: float = 1.0
    """How many times faster than real, up to 1,000,000; 0: as fast as the reader takes."""
    frames: int = 0
    """Frames after which it ends; 0: never."""
    fault: str = NO_FAULT
    """`missing`, `scratch`, `covered`, `dark`, `dimmed`, `frozen`, `moved` or `defocused`; empty: none."""
    fault_start: int = 0
    """Number of the first frame with the fault."""
    fault_frames: int = 50
    """How many frames it lasts; 1 and up."""
    fault_severity: float = 1.0
    """0 to 4; 1: what a technician would notice."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        in_range("seed", self.seed, 0, 2**63)
        in_range("width", self.width, *SIDES)
        in_range("height", self.height, *SIDES)
        in_range("rate_hz", self.rate_hz, 0.001, 1000)
        in_range("speed", self.speed, 0, FASTEST)
        in_range("frames", self.frames, 0, MOST_FRAMES)
        in_range("fault_start", self.fault_start, 0, MOST_FRAMES)
        in_range("fault_frames", self.fault_frames, 1, MOST_FRAMES)
        in_range("fault_severity", self.fault_severity, 0, MAX_SEVERITY)
        one_of("fault", self.fault, (NO_FAULT, *SceneFaultKind))

    @property
    def faults(self) -> tuple[SceneFault, ...]:
        """The fault as the scene takes it."""
        if self.fault == NO_FAULT:
            return ()
        kind = SceneFaultKind(self.fault)
        return (SceneFault(kind=kind, start=self.fault_start, frames=self.fault_frames, severity=self.fault_severity),)


class Station:
    """The station, switched on for as long as its source lives: opened again it goes on where it was."""

    def __init__(self, settings: SceneSettings, start_ns: int = START_NS) -> None:
        """Draw what stays the same; `start_ns` is the reading time of the first frame."""
        self._settings = settings
        self._start_ns = start_ns
        self._scene = InspectionScene(settings.seed, settings.width, settings.height, settings.faults)
        self._number = 0

    def frames(self, counters: FrameCounters) -> Iterator[Frame]:
        """Give the frames that are still to come."""
        while self._number < (self._settings.frames or MOST_FRAMES):
            number, self._number = self._number, self._number + 1
            yield counters.frame(
                self._scene.pixels(number), self._start_ns + round(number * NS / self._settings.rate_hz)
            )
