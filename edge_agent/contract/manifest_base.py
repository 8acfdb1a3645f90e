"""What the manifests of all kinds of bundle have: files, graphs, decision, origin, and the limits they are held to.

    BaseManifest
    ├── Manifest          kind `sensor`: readings, in windows        (`manifest.py`)
    └── FrameManifest     kind `frame`: the pictures of a camera     (`frame_manifest.py`)

Unknown keys are refused: a manifest with a key that this agent does not know means something that it would not do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from edge_agent.contract import strict_json
from edge_agent.contract.decision import DecisionRule
from edge_agent.errors import ManifestError, UnsupportedFormat

FORMAT = 1
"""Version of the bundle format that this agent reads; raised when an older agent would misread a bundle."""

KINDS: Final = {"sensor": "the readings of sensors", "frame": "the frames of a camera"}
"""What a bundle may be for, with the words that errors use."""

MAX_MANIFEST_BYTES = 1 << 20
"""Largest manifest.json; one with 64 channels, four graphs and full provenance has some 60 kB."""

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

MAX_STATE_VALUES = 1 << 22
"""Values of all states of a graph together: 16 MiB of float32, copied in and out at each call; a clip of 16 frames of
224 x 224 kept as it came takes 9 MiB."""

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
        check_member(self.file, self.sha256, self.size)


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
        check_index(f"state {self.name} input", self.input)
        check_index(f"state {self.name} output", self.output)
        check(len(self.shape) <= MAX_DIMENSIONS, f"state {self.name} is too large: {list(self.shape)[:20]}")
        for size in self.shape:
            check(
                1 <= size <= MAX_STATE_VALUES,
                f"state {self.name}: dimensions must be 1 to {MAX_STATE_VALUES}, got {size}",
            )
        check(self.values <= MAX_STATE_VALUES, f"state {self.name} is too large: {list(self.shape)}")

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """How to call a graph of any kind: which tensor is which, by index."""

    format: GraphFormat
    score: int
    """Tensor index of the output float32 [1]."""
    states: tuple[StateTensor, ...] = ()

    def __post_init__(self) -> None:
        """Refuse indices that no graph has, and states that no device holds."""
        check(len(self.states) <= MAX_STATES, f"at most {MAX_STATES} states are supported, got {len(self.states)}")
        names = [state.name for state in self.states]
        check(len(set(names)) == len(names), f"state names must differ, got {names}")
        values = sum(state.values for state in self.states)
        check(values <= MAX_STATE_VALUES, f"the states hold {values} values, at most {MAX_STATE_VALUES} are supported")
        for kind, tensors in (("inputs", self.inputs()), ("outputs", self.outputs())):
            for name, index in tensors.items():
                check_index(name, index)
            indices = list(tensors.values())
            check(len(set(indices)) == len(indices), f"two {kind} have the same tensor index: {indices}")

    def inputs(self) -> dict[str, int]:
        """Tensor index of each input by name."""
        return {f"state_{state.name}": state.input for state in self.states}

    def outputs(self) -> dict[str, int]:
        """Tensor index of each output by name."""
        return {"score": self.score} | {f"state_{state.name}": state.output for state in self.states}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSpec:
    """Defaults of the decision; the settings of the device may differ."""

    rule: DecisionRule
    alarms_per_day: float
    """False alarms a day that the thresholds were set for, gross ones included."""

    def __post_init__(self) -> None:
        """Refuse a rate that no threshold can have."""
        check(
            0 < self.alarms_per_day <= MAX_RATE,
            f"alarms_per_day must be above 0 and at most {MAX_RATE:g}, got {self.alarms_per_day}",
        )


class MemberNamed(Protocol):
    """What says of a file of the bundle how it is called, how large it is, and what its digest is."""

    @property
    def file(self) -> str:
        """Its name in the bundle."""

    @property
    def sha256(self) -> str:
        """Its digest, hexadecimal."""

    @property
    def size(self) -> int:
        """Bytes."""


class PackedGraph(MemberNamed, Protocol):
    """A graph that is a file of the bundle."""

    @property
    def format(self) -> GraphFormat:
        """What its weights are stored as."""

    @property
    def states(self) -> tuple[StateTensor, ...]:
        """What it carries from call to call."""

    @property
    def golden_tolerance(self) -> dict[str, float]:
        """Per runtime, how far what it gives may be from its golden data."""


I = TypeVar("I")  # noqa: E741 - of `input`
G = TypeVar("G", bound=PackedGraph)
P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseManifest(Generic[I, G, P]):
    """All that a bundle says of itself; kinds differ in input, graphs and prefilter."""

    KIND: ClassVar[str]

    format: int = FORMAT
    name: str
    version: str
    created: str
    """UTC, ISO 8601; the time of the run, not of packing, so that packing twice gives the same bytes."""
    kind: str
    input: I
    graphs: tuple[G, ...]
    prefilter: P
    decision: DecisionSpec
    golden: Member
    report: Member | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what names two things alike or a kind that this agent cannot run."""
        check(NAME.fullmatch(self.name) is not None, f"name must match {NAME.pattern}, got {self.name[:80]!r}")
        check(
            VERSION.fullmatch(self.version) is not None,
            f"version must match {VERSION.pattern}, got {self.version[:80]!r}",
        )
        check(
            len(self.created) <= MAX_TIME_LENGTH,
            f"created must be a time in ISO 8601, got {len(self.created)} characters",
        )
        check(self.kind == self.KIND, f"kind must be {self.KIND!r}, got {self.kind[:40]!r}")
        check(1 <= len(self.graphs) <= MAX_GRAPHS, f"1 to {MAX_GRAPHS} graphs are supported, got {len(self.graphs)}")
        formats = [graph.format.value for graph in self.graphs]
        check(len(set(formats)) == len(formats), f"each format may come once, got {formats}")
        files = [member.file for member in self.members()]
        check(
            len(set(files)) == len(files) and "manifest.json" not in files,
            f"each member needs its own file name, got {files}",
        )

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Build from parsed JSON.

        Raises:
            UnsupportedFormat: made for a newer agent; the message names the version.
            ManifestError: of another kind, or a key is unknown, missing or wrong; the message names its place.
        """
        check_format(value)
        kind = kind_of(value)
        if kind in KINDS and kind != cls.KIND:
            raise ManifestError(
                f"the bundle is for {KINDS[kind]} (kind {kind!r}), here one for {KINDS[cls.KIND]} is expected: "
                "give it to a stream of its kind"
            )
        return strict_json.read(cls, value, "manifest")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse `manifest.json`; errors as `from_dict`."""
        return cls.from_dict(parse_manifest(data))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as `json.dumps` takes it."""
        return {each.name: strict_json.plain(getattr(self, each.name)) for each in fields(self)}

    def members(self) -> Iterator[MemberNamed]:
        """Every file that the bundle must hold beside `manifest.json`, in the order it is packed."""
        yield from self.graphs
        yield self.golden
        if self.report:
            yield self.report

    def graph(self, graph_format: str) -> G:
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


def parse_manifest(data: bytes) -> dict[str, Any]:
    """Parse `manifest.json` of any kind.

    Raises:
        ManifestError: too large, or not the JSON that this agent reads.
    """
    return strict_json.parse(data, place="manifest.json", max_bytes=MAX_MANIFEST_BYTES)


def kind_of(value: Mapping[str, Any]) -> str:
    """What a parsed manifest is for; sensors where it does not say."""
    return str(value.get("kind", "sensor"))[:40]


def check_format(value: Mapping[str, Any]) -> None:
    """Refuse a manifest made for another version of the format.

    Raises:
        UnsupportedFormat: the message names the version and what to do.
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


def check(holds: bool, message: str) -> None:
    """Raise ValueError with the message unless it holds."""
    if not holds:
        raise ValueError(message)


def check_index(name: str, index: int) -> None:
    """Refuse a tensor index that no graph has."""
    check(0 <= index < MAX_TENSOR_INDEX, f"tensor index of {name} must be 0 to {MAX_TENSOR_INDEX - 1}, got {index}")


def check_member(file: str, sha256: str, size: int) -> None:
    """Refuse names that are not plain file names, digests that are none, and sizes that no bundle can hold."""
    check(FILE.fullmatch(file) is not None, f"file must be a plain file name, got {file[:120]!r}")
    check(SHA256.fullmatch(sha256) is not None, f"sha256 of {file} must be 64 lower-case hexadecimal digits")
    check(0 < size <= MAX_MEMBER_BYTES, f"size of {file} must be 1 to {MAX_MEMBER_BYTES} bytes, got {size}")


def check_tolerances(golden_tolerance: Mapping[str, float]) -> None:
    """Refuse tolerances of golden scores that test nothing."""
    check(len(golden_tolerance) > 0, "golden_tolerance needs at least one runtime")
    for runtime, tolerance in golden_tolerance.items():
        check(0 < tolerance <= 1, f"golden_tolerance of {runtime} must be above 0 and at most 1, got {tolerance}")


def check_streaming(*, streaming: bool, graphs: Iterable[PackedGraph]) -> None:
    """Refuse a streaming input with a graph that carries nothing, and the reverse."""
    check(
        all(bool(graph.states) == streaming for graph in graphs),
        "a streaming input needs graphs with states, and only it",
    )
