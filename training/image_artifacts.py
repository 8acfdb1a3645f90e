"""The run folder of an image detector: what `fit` leaves and the converters read. No TensorFlow and no OpenCV here.

    run.json          what the detector expects of its camera (`FrameRunInfo`); kind = "frame"
    graph/            SavedModel from `frame` to `score` and, where the detector has one, `map`: constants only, batch 1
    frames.npz        calibration uint8 [c, H, W, 3]   frames of the training part, for the ranges of int8
                      validation uint8 [m, H, W, 3]    normal frames for thresholds
                      optimism float32 [m], map_optimism float32 [m, h, w]   of these, where the fit saw them; else none
                      test uint8 [k, H, W, 3], test_labels bool [k]   some of the test part, defective ones among them
                      test_kinds int64 [k]   of these, the place of the kind in `input.classes`; -1: normal, or of none
    images.json       which images are in which part (`Parts`)
    recipe.toml       the recipe as it was given
    metrics.json      figures of the fit, and of `evaluate`
    provenance.json   digest of the images, versions of the tools
    report.html       from `evaluate`

Frames are as the device's `resize` makes them. Those of a streaming detector are in order of time and follow each other
within each array, so that a detector's state runs through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.frame_manifest import FrameSpec
from edge_agent.contract.frames import Pixels
from edge_agent.contract.manifest import DecisionSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Doubles, Floats
from edge_agent.errors import ManifestError
from training.artifacts import (
    FORMAT,
    Array,
    Run,
    RunError,
    RunFolder,
    check_format,
    read_arrays,
    read_info,
    read_json,
    run_kind,
)

FRAME = "frame"
"""What `run.json` says it is of."""

MOST_CALIBRATION = 128
"""Training frames in `frames.npz`, evenly over all: 19 MB at 224 x 224; ranges of int8 change no more with more."""

MOST_VALIDATION = 2048
"""Validation frames in `frames.npz`, evenly over all: 308 MB at 224 x 224, and a quantile of 0.999 that is known."""

MOST_TEST = 128
"""Test frames in `frames.npz`, evenly over all: those that graphs are compared on, some 20 ms each in TensorFlow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Optimism:
    """How much stranger frames are to fits that left them out than to the one that ships, which learned from them all.

    It is measured on the float graph and added to what any graph gives for these frames: so thresholds stand on all
    normal frames, and no frame is lost to the fit.

    Sources: B. Efron, "Estimating the error rate of a prediction rule: improvement on cross-validation", J. American
    Statistical Association 78 (1983); of thresholds from fits that leave frames out R. Barber, E. Candes, A. Ramdas and
    R. Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49 (2021).
    """

    scores: Floats
    """float32 [m], in the unit of the scores."""
    maps: Floats | None
    """float32 [m, h, w]; None without a map."""

    def of(self, places: Sequence[int]) -> Optimism:
        """Of some of the frames."""
        at = list(places)
        return Optimism(scores=self.scores[at], maps=None if self.maps is None else self.maps[at])

    def unseen(self, scores: Doubles, maps: Floats | None) -> tuple[Doubles, Floats | None]:
        """What a graph gives for the frames, scores [m] and maps [m, h, w], as if the fit had not seen them."""
        return scores + self.scores, maps if maps is None or self.maps is None else maps + self.maps


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedImage:
    """An image that a detector is judged on."""

    file: str
    """Relative to the folder."""
    kind: str
    """"good", or the kind of its defect."""
    defective: bool
    mask: str | None = None
    """File that says where it is defective, relative to the folder; None: normal, or not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which images of a folder are for what (`images.json`)."""

    folder: str
    """Where it was, absolute."""
    sequence: bool
    """The images follow each other in time."""
    training: tuple[str, ...]
    """Normal images that the detector was fitted on, relative to the folder."""
    stopping: tuple[str, ...]
    """Normal ones that early stopping watched."""
    defective: tuple[str, ...]
    """Defective ones that it learned from."""
    validation: tuple[str, ...]
    """Normal ones that thresholds are set on: the same as `training` where fits left each of them out in turn."""
    test: tuple[JudgedImage, ...]
    unreadable: tuple[str, ...]
    """Left out of every part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRunInfo:
    """What the detector expects of its camera (`run.json`)."""

    format: int = FORMAT
    kind: str = FRAME
    name: str
    created: str
    """UTC, ISO 8601; the bundle carries the same time."""
    detector: str
    """Type of the detector."""
    has_map: bool
    """The graph tells where in the frame."""
    tells_kinds: bool = False
    """The graph tells which of `input.classes` a defect is of."""
    input: FrameSpec
    decision: DecisionSpec
    k: float
    """Factor of the provisional threshold."""
    prefilter_mode: Mode
    max_skip_s: float
    """At least this often a frame is scored whatever the prefilter says."""

    def __post_init__(self) -> None:
        """Refuse another format or kind."""
        check_format(self.format)
        if self.kind != FRAME:
            raise ValueError(f"kind must be {FRAME!r}, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class FrameRun(RunFolder):
    """A run folder of images; arrays are read when asked for."""

    info: FrameRunInfo

    @classmethod
    def read(cls, path: Path) -> FrameRun:
        """Open a run folder.

        Raises:
            RunError: not a run folder, one of readings, or one that another version wrote.
        """
        return cls(path=path, info=read_info(path, FrameRunInfo, FRAME))

    @property
    def input(self) -> FrameSpec:
        """Frames of the detector."""
        return self.info.input

    @cached_property
    def parts(self) -> Parts:
        """Which images are in which part."""
        try:
            return strict_json.read(Parts, read_json(self.path / "images.json"), "images.json")
        except ManifestError as error:
            raise RunError(str(error)) from error

    def calibrate(self, scores: Doubles, alarms_per_day: float | None = None) -> Calibration:
        """The threshold that scores of normal frames give, one frame every `input.interval_s`.

        Args:
            scores: float64 [m] of the validation frames in their order, or the largest cells of their maps.
            alarms_per_day: asked false alarms; None: as the recipe says.

        Raises:
            ValueError: no score, or one that is not finite.
        """
        rule, interval_s = self.info.decision.rule, self.input.interval_s
        return calibrate(
            scores,
            np.round(np.arange(len(scores)) * interval_s * NS).astype(np.int64),
            alarms_per_day=alarms_per_day or self.info.decision.alarms_per_day,
            n=rule.n,
            m=rule.m,
            join_s=rule.joined_s(interval_s),
            k=self.info.k,
        )

    @cached_property
    def _frames(self) -> dict[str, Array]:
        size = (self.input.height, self.input.width, 3)
        return read_arrays(
            self.path / "frames.npz",
            {
                "calibration": (np.uint8, ("c", *size)),
                "validation": (np.uint8, ("m", *size)),
                "optimism": (np.float32, ("o",)),
                "map_optimism": (np.float32, ("p", "h", "w")),
                "test": (np.uint8, ("k", *size)),
                "test_labels": (np.bool_, ("k",)),
                "test_kinds": (np.int64, ("k",)),
            },
        )

    @property
    def calibration(self) -> Pixels:
        """uint8 [c, H, W, 3] of the training part."""
        return self._frames["calibration"]

    @property
    def validation(self) -> Pixels:
        """uint8 [m, H, W, 3], normal; those that the fit saw have an `optimism`."""
        return self._frames["validation"]

    @property
    def optimism(self) -> Optimism | None:
        """Of the validation frames; None where the fit never saw them."""
        scores, maps = self._frames["optimism"], self._frames["map_optimism"]
        if not len(scores):
            return None
        wanted = [len(self.validation)] * (1 + self.info.has_map)
        if (found := [len(each) for each in (scores, maps) if len(each)]) != wanted:
            raise RunError(f"{self.path / 'frames.npz'}: optimism is of {found} frames, expected {wanted}: fit again")
        return Optimism(scores=scores, maps=maps if len(maps) else None)

    @property
    def test(self) -> Pixels:
        """uint8 [k, H, W, 3]; may be empty."""
        return self._frames["test"]

    @property
    def test_labels(self) -> NDArray[np.bool_]:
        """Which of `test` are defective, bool [k]."""
        return self._frames["test_labels"]

    @property
    def test_kinds(self) -> NDArray[np.int64]:
        """Of which of `input.classes` each of `test` is, int64 [k]; -1: normal, or of none of them."""
        return self._frames["test_kinds"]


def write_frames(
    folder: Path,
    *,
    calibration: Pixels,
    validation: Pixels,
    test: Pixels,
    test_labels: NDArray[np.bool_],
    test_kinds: NDArray[np.int64] | None = None,
    optimism: Optimism | None = None,
) -> None:
    """Write `frames.npz`; shapes as in `FrameRun`. Without `test_kinds` none is told."""
    maps = None if optimism is None else optimism.maps
    np.savez_compressed(
        folder / "frames.npz",
        calibration=calibration,
        validation=validation,
        optimism=np.empty(0, np.float32) if optimism is None else optimism.scores,
        map_optimism=np.empty((0, 0, 0), np.float32) if maps is None else maps,
        test=test,
        test_labels=test_labels,
        test_kinds=np.full(len(test), -1) if test_kinds is None else test_kinds,
    )


def read_run(path: Path) -> Run | FrameRun:
    """Open a run folder of either kind.

    Raises:
        RunError: not a run folder, or one that another version wrote.
    """
    return FrameRun.read(path) if run_kind(path) == FRAME else Run.read(path)


def spread(count: int, most: int) -> Sequence[int]:
    """Places of at most `most` of `count` items, evenly apart.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    return [round(at) for at in np.linspace(0, count - 1, min(count, most)).tolist()]
