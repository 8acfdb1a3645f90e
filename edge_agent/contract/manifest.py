"""What a bundle for sensors says of itself: `manifest.json` as frozen records, checked when built.

    Manifest
    ├── input: InputSpec              channels and windows; `.rule()` is what the windower runs on
    ├── graphs: GraphSpec …           the same detector in one or more formats, each with its own calibration
    ├── prefilter: PrefilterSpec      the Gaussian in front (its limits live in the npz)
    ├── decision: DecisionSpec        defaults: N of M, hysteresis, hold-off, false alarms per day
    ├── golden, report: Member        files without further settings
    └── provenance                    free JSON: data digests, recipe, tool versions, metrics

What it has in common with the manifest of a camera is in `manifest_base.py`, and may be taken from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest_base import (
    MAX_RATE,
    MAX_S,
    BaseManifest,
    DecisionSpec,
    Face,
    GraphFormat,
    Member,
    MemberNamed,
    StateTensor,
    check,
    check_member,
    check_streaming,
    check_tolerances,
)
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Channel
from edge_agent.contract.windows import WindowRule

__all__ = [
    "DecisionSpec",
    "GraphFace",
    "GraphFormat",
    "GraphSpec",
    "InputSpec",
    "Manifest",
    "Member",
    "PrefilterSpec",
    "StateTensor",
]

MAX_CHANNELS = 512
"""Columns of a stream; the widest public process data set has 52 and a covariance of 5 x 512 features takes 52 MB."""

MAX_WINDOW_VALUES = 1 << 20
"""T x C of one window: 4 MiB of float32, the most that a device with 512 MB can hold in history, evidence and graph
at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a detector expects of its stream."""

    channels: tuple[Channel, ...]
    rate_hz: float
    """Readings a second."""
    window: int
    """T, rows of a window; 1 for a streaming graph."""
    stride: int = 1
    """Rows between the ends of two windows."""
    hold: int = 0
    """Samples for which a missing value is held; longer breaks the window."""
    max_gap_s: float
    """A longer step in reading time breaks the window."""
    stuck_samples: tuple[int | None, ...]
    """Per channel: constant for more samples than this is a sensor fault; None: never."""
    streaming: bool = False
    """The graph takes one row at a time and carries state."""
    warm_up: int = 0
    """Rows after a gap whose scores of a streaming graph do not count yet."""

    def __post_init__(self) -> None:
        """Refuse what no windower could run on."""
        names = [channel.name for channel in self.channels]
        check(1 <= len(names) <= MAX_CHANNELS, f"1 to {MAX_CHANNELS} channels are supported, got {len(names)}")
        check(len(set(names)) == len(names), f"channel names must differ, got {names[:20]}")
        check(0 < self.rate_hz <= MAX_RATE, f"rate_hz must be above 0 and at most {MAX_RATE:g}, got {self.rate_hz}")
        check(
            self.window >= 1 and self.window * len(names) <= MAX_WINDOW_VALUES,
            f"window x channels must be 1 to {MAX_WINDOW_VALUES}, got {self.window} x {len(names)}",
        )
        check(1 <= self.stride <= MAX_WINDOW_VALUES, f"stride must be 1 to {MAX_WINDOW_VALUES}, got {self.stride}")
        check(0 <= self.hold <= MAX_WINDOW_VALUES, f"hold must be 0 to {MAX_WINDOW_VALUES}, got {self.hold}")
        check(0 < self.max_gap_s <= MAX_S, f"max_gap_s must be above 0 and at most {MAX_S:g}, got {self.max_gap_s}")
        check(
            len(self.stuck_samples) == len(names),
            f"stuck_samples needs one entry per channel, {len(names)}, got {len(self.stuck_samples)}",
        )
        check(
            all(limit is None or limit >= 1 for limit in self.stuck_samples), "stuck_samples must be null or at least 1"
        )
        check(self.streaming or self.warm_up == 0, f"warm_up is for streaming graphs only, got {self.warm_up}")
        check(0 <= self.warm_up <= MAX_WINDOW_VALUES, f"warm_up must be 0 to {MAX_WINDOW_VALUES}, got {self.warm_up}")
        check(
            not self.streaming or (self.window == 1 and self.stride == 1),
            f"a streaming graph takes every row: window and stride must be 1, got {self.window} and {self.stride}",
        )

    def rule(self) -> WindowRule:
        """What the windower of training, converter and device runs on."""
        return WindowRule(
            channels=self.channels,
            rate_hz=self.rate_hz,
            window=self.window,
            stride=self.stride,
            hold=self.hold,
            max_gap_s=self.max_gap_s,
            stuck_samples=self.stuck_samples,
            warm_up=self.warm_up,
        )

    @property
    def window_s(self) -> float:
        """Time that a window spans, in seconds."""
        return self.window / self.rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFace(Face):
    """How to call a graph on windows: all that a scorer needs to know beside the bytes."""

    window: int
    """Tensor index of the input float32 [1, T, C]."""
    contributions: int | None = None
    """Tensor index of the output float32 [1, C]; None where the graph has none."""

    def inputs(self) -> dict[str, int]:
        """Tensor index of each input by name."""
        return {"window": self.window} | Face.inputs(self)

    def outputs(self) -> dict[str, int]:
        """Tensor index of each output by name."""
        contributions = {} if self.contributions is None else {"contributions": self.contributions}
        return Face.outputs(self) | contributions


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec(GraphFace):
    """One format of the detector: where its graph is, how to call it, what was measured of it."""

    file: str
    sha256: str
    size: int
    """Bytes."""
    parity: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per runtime, the figures of the comparison with the float model on the workstation."""
    calibration: Calibration
    golden_tolerance: dict[str, float]
    """Per runtime, the tolerance t of golden scores: |a - b| <= t (|b| + median |b|)."""

    def __post_init__(self) -> None:
        """Refuse what no file of a bundle is, and tolerances that test nothing."""
        GraphFace.__post_init__(self)
        check_member(self.file, self.sha256, self.size)
        check_tolerances(self.golden_tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefilterSpec:
    """The Gaussian in front of the network."""

    file: str
    sha256: str
    size: int
    """Bytes."""
    mode: Mode
    max_skip_s: float
    """At least this often, in reading time, a window is scored whatever the prefilter says."""

    def __post_init__(self) -> None:
        """Refuse a time that never comes."""
        check_member(self.file, self.sha256, self.size)
        check(0 < self.max_skip_s <= MAX_S, f"max_skip_s must be above 0 and at most {MAX_S:g}, got {self.max_skip_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(BaseManifest[InputSpec, GraphSpec, PrefilterSpec]):
    """All that a bundle for sensors says of itself."""

    KIND: ClassVar[str] = "sensor"

    kind: str = KIND
    input: InputSpec
    graphs: tuple[GraphSpec, ...]
    prefilter: PrefilterSpec

    def __post_init__(self) -> None:
        """Refuse graphs that do not take what the input gives."""
        BaseManifest.__post_init__(self)
        check_streaming(streaming=self.input.streaming, graphs=self.graphs)

    def members(self) -> Iterator[MemberNamed]:
        """Every file that the bundle must hold beside `manifest.json`, in the order it is packed."""
        yield from self.graphs
        yield self.prefilter
        yield self.golden
        if self.report:
            yield self.report
