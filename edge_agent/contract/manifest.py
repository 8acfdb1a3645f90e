"""What a bundle says of itself: `manifest.json` as frozen records, checked when built.

    Manifest
    ├── input: InputSpec              channels and windows; `.rule()` is what the windower runs on
    ├── graphs: GraphSpec …           the same detector in one or more formats, each with its own calibration
    ├── prefilter: PrefilterSpec      the Gaussian in front (its limits live in the npz)
    ├── decision: DecisionSpec        defaults: N of M, hysteresis, hold-off, false alarms per day
    ├── golden, report: Member        files without further settings
    └── provenance                    free JSON: data digests, recipe, tool versions, metrics

Unknown keys are refused: a manifest with a key that this agent does not know means something that it would not do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Channel
from edge_agent.contract.windows import WindowRule
from edge_agent.errors import ManifestError, UnsupportedFormat

FORMAT = 1
"""Version of the bundle format that this agent reads; raised when an older agent would misread a bundle."""

MAX_MANIFEST_BYTES = 1 << 20
"""Largest manifest.json; one with 64 channels, four graphs and full provenance has some 60 kB."""

MAX_CHANNELS = 512
"""Columns of a stream; the widest public process data set has 52 and a covariance of 5 x 512 features takes 52 MB."""

MAX_WINDOW_VALUES = 1 << 20
"""T x C of one window: 4 MiB of float32, the most that a device with 512 MB can hold in history, evidence and graph
at once."""

MAX_RATE = 1e6
"""Readings a second, and false alarms a day: more than any sensor gives or any operator reads."""

MAX_S = 1e9
"""Seconds of a gap or a skip: thirty years, below what nanoseconds in 64 bits can hold."""

MAX_DIMENSIONS = 8
"""Dimensions of a state tensor; TFLite's own operators take at most six."""

MAX_TIME_LENGTH = 40
"""Characters of a time in ISO 8601 with nanoseconds and offset: 35."""

MAX_TENSOR_INDEX = 1 << 20
"""Tensor indices of a graph; an unrolled LSTM of 64 steps has some 3,000. The scorer checks them against the graph
itself."""

MAX_STATES = 64
"""State pairs of a streaming graph; an LSTM has two a layer, a causal convolution one."""

MAX_GRAPHS = 8
"""Formats of one detector; four are defined."""

MAX_MEMBER_BYTES = 64 << 20
"""Size of one file in the bundle; the whole bundle has the same limit."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class GraphFormat(StrEnum):
    """What the weights and activations of a graph are stored as."""

    INT8 = "int8"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    EDGETPU = "edgetpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the bundle."""

    file: str
    sha256: str
    size: int
    """Bytes."""

    def __post_init__(self) -> None:
        """Refuse names that are not plain file names, and sizes that no bundle can hold."""
        _check_member(self.file, self.sha256, self.size)


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
        _check(1 <= len(names) <= MAX_CHANNELS, f"1 to {MAX_CHANNELS} channels are supported, got {len(names)}")
        _check(len(set(names)) == len(names), f"channel names must differ, got {names[:20]}")
        _check(0 < self.rate_hz <= MAX_RATE, f"rate_hz must be above 0 and at most {MAX_RATE:g}, got {self.rate_hz}")
        _check(
            self.window >= 1 and self.window * len(names) <= MAX_WINDOW_VALUES,
            f"window x channels must be 1 to {MAX_WINDOW_VALUES}, got {self.window} x {len(names)}",
        )
        _check(1 <= self.stride <= MAX_WINDOW_VALUES, f"stride must be 1 to {MAX_WINDOW_VALUES}, got {self.stride}")
        _check(0 <= self.hold <= MAX_WINDOW_VALUES, f"hold must be 0 to {MAX_WINDOW_VALUES}, got {self.hold}")
        _check(0 < self.max_gap_s <= MAX_S, f"max_gap_s must be above 0 and at most {MAX_S:g}, got {self.max_gap_s}")
        _check(
            len(self.stuck_samples) == len(names),
            f"stuck_samples needs one entry per channel, {len(names)}, got {len(self.stuck_samples)}",
        )
        _check(
            all(limit is None or limit >= 1 for limit in self.stuck_samples), "stuck_samples must be null or at least 1"
        )
        _check(self.streaming or self.warm_up == 0, f"warm_up is for streaming graphs only, got {self.warm_up}")
        _check(0 <= self.warm_up <= MAX_WINDOW_VALUES, f"warm_up must be 0 to {MAX_WINDOW_VALUES}, got {self.warm_up}")
        _check(
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
class StateTensor:
    """A pair of tensors of a streaming graph: the agent feeds the output back as the next input."""

    name: str
    input: int
    """Tensor index."""
    output: int
    """Tensor index."""
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse indices and shapes beyond any graph."""
        _check_index(f"state {self.name} input", self.input)
        _check_index(f"state {self.name} output", self.output)
        values = 1
        for size in self.shape:
            _check(
                1 <= size <= MAX_WINDOW_VALUES,
                f"state {self.name}: dimensions must be 1 to {MAX_WINDOW_VALUES}, got {size}",
            )
            values *= size
        _check(
            len(self.shape) <= MAX_DIMENSIONS and values <= MAX_WINDOW_VALUES,
            f"state {self.name} is too large: {list(self.shape)}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFace:
    """How to call a graph: all that a scorer needs to know beside the bytes."""

    format: GraphFormat
    window: int
    """Tensor index of the input float32 [1, T, C]."""
    score: int
    """Tensor index of the output float32 [1]."""
    contributions: int | None = None
    """Tensor index of the output float32 [1, C]; None where the graph has none."""
    states: tuple[StateTensor, ...] = ()

    def __post_init__(self) -> None:
        """Refuse indices that no graph has."""
        _check_index("window", self.window)
        _check_index("score", self.score)
        if self.contributions is not None:
            _check_index("contributions", self.contributions)
        _check(len(self.states) <= MAX_STATES, f"at most {MAX_STATES} states are supported, got {len(self.states)}")
        inputs = [self.window, *(state.input for state in self.states)]
        outputs = [self.score, *(state.output for state in self.states)]
        outputs += [] if self.contributions is None else [self.contributions]
        _check(len(set(inputs)) == len(inputs), f"two inputs have the same tensor index: {inputs}")
        _check(len(set(outputs)) == len(outputs), f"two outputs have the same tensor index: {outputs}")


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
        """Refuse tolerances that test nothing."""
        GraphFace.__post_init__(self)
        _check_member(self.file, self.sha256, self.size)
        _check(len(self.golden_tolerance) > 0, "golden_tolerance needs at least one runtime")
        for runtime, tolerance in self.golden_tolerance.items():
            _check(0 < tolerance <= 1, f"golden_tolerance of {runtime} must be above 0 and at most 1, got {tolerance}")


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
        _check_member(self.file, self.sha256, self.size)
        _check(0 < self.max_skip_s <= MAX_S, f"max_skip_s must be above 0 and at most {MAX_S:g}, got {self.max_skip_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSpec:
    """Defaults of the decision; the settings of the device may differ."""

    rule: DecisionRule
    alarms_per_day: float
    """False alarms a day that the thresholds were set for, gross ones included."""

    def __post_init__(self) -> None:
        """Refuse a rate that no threshold can have."""
        _check(
            0 < self.alarms_per_day <= MAX_RATE,
            f"alarms_per_day must be above 0 and at most {MAX_RATE:g}, got {self.alarms_per_day}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a bundle says of itself."""

    format: int = FORMAT
    name: str
    version: str
    created: str
    """UTC, ISO 8601; the time of the run, not of packing, so that packing twice gives the same bytes."""
    kind: str = "sensor"
    input: InputSpec
    graphs: tuple[GraphSpec, ...]
    prefilter: PrefilterSpec
    decision: DecisionSpec
    golden: Member
    report: Member | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what names two things alike or a kind that this agent cannot run."""
        _check(NAME.fullmatch(self.name) is not None, f"name must match {NAME.pattern}, got {self.name[:80]!r}")
        _check(
            VERSION.fullmatch(self.version) is not None,
            f"version must match {VERSION.pattern}, got {self.version[:80]!r}",
        )
        _check(
            len(self.created) <= MAX_TIME_LENGTH,
            f"created must be a time in ISO 8601, got {len(self.created)} characters",
        )
        _check(self.kind == "sensor", f"kind must be 'sensor', got {self.kind[:40]!r}")
        _check(1 <= len(self.graphs) <= MAX_GRAPHS, f"1 to {MAX_GRAPHS} graphs are supported, got {len(self.graphs)}")
        formats = [graph.format.value for graph in self.graphs]
        _check(len(set(formats)) == len(formats), f"each format may come once, got {formats}")
        files = [member.file for member in self.members()]
        _check(
            len(set(files)) == len(files) and "manifest.json" not in files,
            f"each member needs its own file name, got {files}",
        )
        _check(
            all(bool(graph.states) == self.input.streaming for graph in self.graphs),
            "a streaming input needs graphs with states, and only it",
        )

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Manifest:
        """Build from parsed JSON.

        Raises:
            UnsupportedFormat: made for a newer agent; the message names the version.
            ManifestError: a key is unknown, missing or wrong; the message names its place.
        """
        version = value.get("format")
        if isinstance(version, int) and not isinstance(version, bool) and version != FORMAT:
            newer = version > FORMAT
            raise UnsupportedFormat(
                f"the bundle has format {str(version)[:20]}, this agent reads format {FORMAT}: "
                + (
                    "update the agent, or pack the bundle with the converter of this agent's release"
                    if newer
                    else "pack it again"
                )
            )
        return strict_json.read(cls, value, "manifest")

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parse `manifest.json`; errors as `from_dict`."""
        return cls.from_dict(strict_json.parse(data, place="manifest.json", max_bytes=MAX_MANIFEST_BYTES))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as `json.dumps` takes it."""
        return {name: strict_json.plain(getattr(self, name)) for name in self.__dataclass_fields__}

    def members(self) -> Iterator[Member | GraphSpec | PrefilterSpec]:
        """Every file that the bundle must hold beside `manifest.json`, in the order it is packed."""
        return chain(self.graphs, [self.prefilter, self.golden], [self.report] if self.report else [])

    def graph(self, graph_format: str) -> GraphSpec:
        """The graph of a format.

        Raises:
            ManifestError: the bundle has none; the message says which it has.
        """
        for graph in self.graphs:
            if graph.format == graph_format:
                return graph
        raise ManifestError(
            f"the bundle has no {graph_format} graph, only {', '.join(graph.format for graph in self.graphs)}"
        )


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _check_index(name: str, index: int) -> None:
    _check(0 <= index < MAX_TENSOR_INDEX, f"tensor index of {name} must be 0 to {MAX_TENSOR_INDEX - 1}, got {index}")


def _check_member(file: str, sha256: str, size: int) -> None:
    _check(FILE.fullmatch(file) is not None, f"file must be a plain file name, got {file[:120]!r}")
    _check(SHA256.fullmatch(sha256) is not None, f"sha256 of {file} must be 64 lower-case hexadecimal digits")
    _check(0 < size <= MAX_MEMBER_BYTES, f"size of {file} must be 1 to {MAX_MEMBER_BYTES} bytes, got {size}")
