"""What a bundle for a camera says of itself: `manifest.json` as frozen records, checked when built.

    FrameManifest
    ├── input: FrameSpec              size and pace of the frames, parts left out, zones
    ├── graphs: FrameGraphSpec …      the same detector in one or more formats, each calibrated on score and map
    ├── prefilter: FramePrefilterSpec defaults only: the scene itself is learned on site
    ├── decision: DecisionSpec        defaults: N of M, hysteresis, hold-off, false alarms per day
    ├── golden, report: Member        files without further settings
    └── provenance                    free JSON: data digests, recipe, tool versions, metrics

What it has in common with the manifest of sensors is in `manifest_base.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest_base import (
    MAX_S,
    BaseManifest,
    Face,
    check,
    check_member,
    check_streaming,
    check_tolerances,
)
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.zones import Polygon, Zone, check_masks, check_zones

LEAST_SIDE: Final = 8
"""Pixels a side of a frame: nothing is seen on fewer."""

MAX_SIDE: Final = 4096
"""Pixels a side of a frame; detectors take 224 to 512, an inspection camera gives some 4,000."""

MAX_PIXELS: Final = 1 << 22
"""Pixels of a frame, 2048 x 2048: 12 MiB as they come, 48 MiB as the float32 that a graph makes of them."""

MAX_MAP_CELLS: Final = 1 << 20
"""Cells of a map; the largest detectors give some 50,000."""

MAX_WARM_UP: Final = 1 << 16
"""Frames after a gap that do not count; a clip has some 16, and nobody waits for 65,536 frames (40 minutes)."""

MAX_CLASSES: Final = 256
"""Kinds of defect that a detector tells apart; inspection data sets have up to twenty."""

MAX_CLASS_LENGTH: Final = 64
"""Characters of the name of a kind of defect: it stands in a sentence."""

MAX_SKIP_S: Final = 86_400.0
"""Seconds without a scored frame: a day, as in the settings of the prefilter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpec:
    """What a detector expects of its camera."""

    width: int
    """Pixels; frames of another size are resized (`resize.py`)."""
    height: int
    """Pixels."""
    interval_s: float
    """Usual seconds between frames that the thresholds were counted with."""
    streaming: bool = False
    """The graph carries state from frame to frame."""
    warm_up: int = 0
    """Frames after a gap whose scores of a streaming graph do not count yet."""
    masks: tuple[Polygon, ...] = ()
    """Parts of the picture that were left out of training and thresholds."""
    zones: tuple[Zone, ...] = ()
    """Parts with a threshold of their own."""
    classes: tuple[str, ...] = ()
    """Kinds of defect that a supervised detector was trained on, in the order of its graphs' `kinds` where it tells
    them apart; empty: on normal frames alone."""

    def __post_init__(self) -> None:
        """Refuse what no camera gives or no device holds."""
        for name, side in (("width", self.width), ("height", self.height)):
            check(LEAST_SIDE <= side <= MAX_SIDE, f"{name} must be {LEAST_SIDE} to {MAX_SIDE} pixels, got {side}")
        check(
            self.width * self.height <= MAX_PIXELS,
            f"a frame may have {MAX_PIXELS} pixels at most, got {self.width} x {self.height}",
        )
        check(0 < self.interval_s <= MAX_S, f"interval_s must be above 0 and at most {MAX_S:g}, got {self.interval_s}")
        check(self.streaming or self.warm_up == 0, f"warm_up is for streaming graphs only, got {self.warm_up}")
        check(0 <= self.warm_up <= MAX_WARM_UP, f"warm_up must be 0 to {MAX_WARM_UP} frames, got {self.warm_up}")
        check_masks(self.masks)
        check_zones(self.zones)
        check(len(self.classes) <= MAX_CLASSES, f"at most {MAX_CLASSES} classes are supported, got {len(self.classes)}")
        check(
            len(set(self.classes)) == len(self.classes) and all(0 < len(c) <= MAX_CLASS_LENGTH for c in self.classes),
            f"classes must differ and have 1 to {MAX_CLASS_LENGTH} characters, got "
            f"{[name[: MAX_CLASS_LENGTH + 1] for name in self.classes[:20]]}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFace(Face):
    """How to call a graph on frames: all that a scorer needs to know beside the bytes; alike in all formats."""

    frame: int
    """Tensor index of the input uint8 [1, H, W, 3], RGB."""
    map: int | None = None
    """Tensor index of the output float32 [1, h, w], stranger is larger; None where the graph has none."""
    kinds: int | None = None
    """Tensor index of the output float32 [1, h, w, C], without a map [1, 1, 1, C]: probabilities that a defect there is
    of each of the C classes. They mean something where the map, or the score, says that there is one. None where the
    graph tells no kinds apart."""

    def inputs(self) -> dict[str, int]:
        """Tensor index of each input by name."""
        return {"frame": self.frame} | Face.inputs(self)

    def outputs(self) -> dict[str, int]:
        """Tensor index of each output by name."""
        further = {"map": self.map, "kinds": self.kinds}
        return Face.outputs(self) | {name: index for name, index in further.items() if index is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGraphSpec(FrameFace):
    """One format of the detector: where its graph is, how to call it, what was measured of it."""

    file: str
    sha256: str
    size: int
    """Bytes."""
    parity: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per runtime, the figures of the comparison with the float model on the workstation."""
    calibration: Calibration
    """Of the score."""
    map_calibration: Calibration | None = None
    """Of the largest cell of the maps of normal frames; None where the graph has no map."""
    golden_tolerance: dict[str, float]
    """Per runtime, the tolerance t of golden scores and cells of maps: |a - b| <= t (|b| + median |b|); of the mean
    probability of a kind over a frame: |a - b| <= t."""

    def __post_init__(self) -> None:
        """Refuse what no file of a bundle is, tolerances that test nothing, and a map without a threshold."""
        FrameFace.__post_init__(self)
        check_member(self.file, self.sha256, self.size)
        check_tolerances(self.golden_tolerance)
        check(
            (self.map is None) == (self.map_calibration is None),
            "a graph with a map needs a map_calibration, and only it",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrefilterSpec:
    """Defaults of the Gaussian in front of the network; the settings of the device may differ."""

    mode: Mode
    max_skip_s: float
    """At least this often, in reading time, a frame is scored whatever the prefilter says."""

    def __post_init__(self) -> None:
        """Refuse a time that never comes."""
        check(
            0 < self.max_skip_s <= MAX_SKIP_S,
            f"max_skip_s must be above 0 and at most {MAX_SKIP_S:g}, got {self.max_skip_s}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameManifest(BaseManifest[FrameSpec, FrameGraphSpec, FramePrefilterSpec]):
    """All that a bundle for a camera says of itself."""

    KIND: ClassVar[str] = "frame"

    kind: str = KIND
    input: FrameSpec
    graphs: tuple[FrameGraphSpec, ...]
    prefilter: FramePrefilterSpec

    def __post_init__(self) -> None:
        """Refuse graphs that do not take what the input gives, or that do not give the same."""
        BaseManifest.__post_init__(self)
        check_streaming(streaming=self.input.streaming, graphs=self.graphs)
        check(len({graph.map is None for graph in self.graphs}) == 1, "either every graph has a map or none has")
        check(len({graph.kinds is None for graph in self.graphs}) == 1, "either every graph has kinds or none has")
        check(
            self.graphs[0].kinds is None or len(self.input.classes) > 1,
            f"graphs that tell kinds apart need two classes or more, got {list(self.input.classes)}",
        )
