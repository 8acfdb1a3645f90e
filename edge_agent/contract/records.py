"""The records that travel through the agent: blocks, windows, scores, decisions, events.

    source -> Block -> WindowBatch | Unknown -> Score -> Decision -> Event

Readings travel in blocks, never one object a sample. Times in `t_ns` are **reading time**: nanoseconds since the
Unix epoch on the clock of the readings, which decisions, gaps and hold-off run on (a replay at any speed decides the
same).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Times = NDArray[np.int64]

NS = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One column of a sensor stream."""

    name: str
    unit: str = ""
    low: float | None = None
    """Smallest plausible reading in `unit`; anything below is a sensor fault. None: no limit."""
    high: float | None = None
    """Largest plausible reading in `unit`; anything above is a sensor fault. None: no limit."""

    def __post_init__(self) -> None:
        """Refuse an empty name and an empty range."""
        if not self.name:
            raise ValueError("a channel needs a name, got an empty string")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"channel {self.name}: low must be below high, got {self.low} and {self.high}")

    @property
    def heading(self) -> str:
        """The channel in the first line of a CSV: `pressure [bar]`."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


_HEADING = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]\s*")


def read_heading(text: str) -> tuple[str, str]:
    """Return name and unit of a CSV heading, `pressure [bar]` or `pressure (bar)`; the unit is empty where none stands.

    >>> read_heading("pressure [bar]")
    ('pressure', 'bar')
    """
    match = _HEADING.fullmatch(text)
    return (match["name"], match["unit"]) if match and match["name"] else (text, "")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Consecutive readings of one stream, oldest first."""

    values: Floats
    """float32 [n, C] in the channels' units; NaN is a missing value."""
    t_ns: Times
    """int64 [n] reading time."""
    gap: bool = False
    """Readings were lost between the block before and the first row: windows must not span it."""

    def __post_init__(self) -> None:
        """Refuse shapes and types that would fail later, far from their cause."""
        values, t_ns = self.values, self.t_ns
        if values.ndim != 2 or values.dtype != np.float32:  # noqa: PLR2004 - rows and channels
            raise ValueError(f"block values must be float32 [n, C], got {values.dtype} {list(values.shape)}")
        if t_ns.shape != values.shape[:1] or t_ns.dtype != np.int64:
            raise ValueError(f"block t_ns must be int64 [{len(values)}], got {t_ns.dtype} {list(t_ns.shape)}")

    def __len__(self) -> int:
        """Rows in the block."""
        return len(self.t_ns)


class Fault(StrEnum):
    """Why a stream is neither normal nor anomalous (the `fault` of the published state)."""

    NOT_READY = "not_ready"
    CALIBRATING = "calibrating"
    NO_DATA = "no_data"
    SENSOR = "sensor"
    CAMERA = "camera"
    SCENE = "scene"
    MODEL = "model"


class Stage(StrEnum):
    """Which part of the pipeline a decision rests on."""

    PREFILTER = "prefilter"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowBatch:
    """Complete windows, oldest first, in the order of their last row."""

    values: Floats
    """float32 [k, T, C]; a view where it can be, so never write to it."""
    t_ns: Times
    """int64 [k] reading time of each window's last row."""
    start_ns: Times
    """int64 [k] reading time of each window's first row."""
    warming: int = 0
    """How many of the leading windows only warm up a streaming graph: run them, decide nothing on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A stretch of readings that must not be scored; begins at `t_ns` and lasts until the next WindowBatch."""

    t_ns: int
    fault: Fault
    detail: str = ""
    """In words, for the technician: which channel, what is wrong, since how many samples."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """What a graph said about one window."""

    value: float
    """Raw score in the detector's own unit; larger is stranger; finite."""
    contributions: Floats | None = None
    """float32 [C] share of the score per channel, where the graph gives it."""
    took_ns: int = 0
    """Nanoseconds the call took; 0: not measured."""


class EventKind(StrEnum):
    """The `event_type` of an alert."""

    ANOMALY = "anomaly"
    ANOMALY_UPDATE = "anomaly_update"
    ANOMALY_CLEARED = "anomaly_cleared"
    SENSOR_FAULT = "sensor_fault"
    SENSOR_OK = "sensor_ok"
    SCENE_CHANGED = "scene_changed"
    MODEL_FAULT = "model_fault"
    MODEL_CHANGED = "model_changed"
    DRIFT = "drift"
    OUTBOX_OVERFLOW = "outbox_overflow"
    AGENT_RESTARTED = "agent_restarted"


class Life(StrEnum):
    """Where an event stands in its life."""

    OPEN = "open"
    UPDATE = "update"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A step in the life of an event, decided by the pipeline; the agent gives it words and sends it."""

    kind: EventKind
    life: Life
    id: str
    """The same for all transitions of one event."""
    t_ns: int
    """Reading time of the window or reading that caused it."""
    since_ns: int
    """Reading time at which the event opened."""
    stage: Stage = Stage.NETWORK
    gross: bool = False
    """Opened by the prefilter's upper limit, without waiting for N of M."""
    score: float | None = None
    level: float | None = None
    fault: Fault | None = None
    detail: str = ""
    reason: str = ""
    """Why it closed: `normal`, `restart`, `recovered`; empty otherwise."""
    box: tuple[float, ...] | None = None
    """Where in the picture its object is, or was last seen, as in `OpenEvent`; None: of no object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one window, or the lack of one, was decided to be."""

    t_ns: int
    anomaly: bool | None
    """None: unknown, never to be read as normal."""
    fault: Fault | None = None
    detail: str = ""
    stage: Stage = Stage.NETWORK
    gross: bool = False
    score: float | None = None
    """Raw score; None where the network was not run."""
    d2: float | None = None
    """Squared Mahalanobis distance of the prefilter; None where it is off."""
    level: float | None = None
    """0..1, exactly 0.5 at the threshold."""
    transitions: tuple[Transition, ...] = ()
    window: Floats | None = None
    """float32 [T, C] that was decided; only with transitions, to explain them."""
    contributions: Floats | None = None
    """float32 [C] of its score; only with transitions and where the graph gives them."""
