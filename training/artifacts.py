"""The run folder: what `fit` leaves and the converters read. No TensorFlow here.

    run.json          what the detector expects and how it was normalised (`RunInfo`)
    graph/            SavedModel of the score function: constants only, batch 1, signature `serving_default`
    normal.npz        train_windows float32 [n, T, C], train_t_ns int64 [n];
                      validation_values float32 [m, C], validation_t_ns int64 [m]
    faulty.npz        values float32 [n, C], t_ns int64 [n], labels bool [n]: the test part, where the data are labelled
    prefilter.npz     the Gaussian in front, fitted on the training windows
    recipe.toml       the recipe as it was given
    metrics.json      figures of the fit, and of `evaluate`
    provenance.json   digests of the data, versions of the tools
    report.html       from `evaluate`

Validation readings, not windows, are kept: the converter runs the device's own windower on them.
"""

from __future__ import annotations

import json
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract import strict_json
from edge_agent.contract.manifest import DecisionSpec, InputSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Doubles, Floats, Times
from edge_agent.errors import EdgeAgentError

FORMAT = 1
"""Version of the run folder."""

MAX_JSON_BYTES = 16 << 20
"""Largest JSON of a run; curves of 10,000 epochs take some 0.5 MB."""

T = TypeVar("T")

Array = NDArray[Any]

SENSOR = "sensor"
"""What a `run.json` is of that does not say so; runs of images say "frame"."""


class RunError(Exception):
    """The folder is not a complete run; the message says what is missing or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What the detector expects and how it was normalised (`run.json`)."""

    format: int = FORMAT
    name: str
    created: str
    """UTC, ISO 8601; the bundle carries the same time."""
    detector: str
    """Type of the detector."""
    has_body: bool
    """There is a network to quantize; a classical detector is all head and ships as float32."""
    body_range: float
    """Training spreads at which the body's input saturates."""
    centre: tuple[float, ...]
    """Per channel, in its unit."""
    spread: tuple[float, ...]
    """Per channel, in its unit: the size of one training spread, which injected faults are measured in."""
    input: InputSpec
    decision: DecisionSpec
    k: float
    """Factor of the provisional threshold."""
    prefilter_mode: Mode
    max_skip_s: float

    def __post_init__(self) -> None:
        """Refuse another format and figures that do not fit the channels."""
        channels = len(self.input.channels)
        check_format(self.format)
        if not len(self.centre) == len(self.spread) == channels:
            raise ValueError(
                f"centre and spread need one figure per channel, {channels}, "
                f"got {len(self.centre)} and {len(self.spread)}"
            )
        if min(self.spread) <= 0:
            raise ValueError(f"spreads must be above 0, got {min(self.spread)}")


def check_format(version: int) -> None:
    """Refuse a run folder of another version.

    Raises:
        ValueError: with both versions.
    """
    if version != FORMAT:
        raise ValueError(f"format must be {FORMAT}, got {version}: fit again with this version")


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """What every run folder holds, of readings or of images."""

    path: Path

    @property
    def graph(self) -> Path:
        """Folder of the SavedModel."""
        if not (self.path / "graph" / "saved_model.pb").is_file():
            raise RunError(f"{self.path} has no graph/saved_model.pb: run `python -m training fit` again")
        return self.path / "graph"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe as parsed TOML."""
        try:
            return tomllib.loads((self.path / "recipe.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.path / 'recipe.toml'}: {error}") from error

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures of the fit, and of `evaluate` where it ran."""
        return read_json(self.path / "metrics.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Digests of the data, versions of the tools."""
        return read_json(self.path / "provenance.json")


@dataclass(frozen=True, kw_only=True)
class Run(RunFolder):
    """A run folder of readings; arrays are read when asked for."""

    info: RunInfo

    @classmethod
    def read(cls, path: Path) -> Run:
        """Open a run folder.

        Raises:
            RunError: not a run folder, one of images, or one that another version wrote.
        """
        return cls(path=path, info=read_info(path, RunInfo, SENSOR))

    @property
    def input(self) -> InputSpec:
        """Channels and windows of the detector."""
        return self.info.input

    @cached_property
    def _normal(self) -> dict[str, Array]:
        channels, rows = len(self.input.channels), self.input.window
        return read_arrays(
            self.path / "normal.npz",
            {
                "train_windows": (np.float32, ("n", rows, channels)),
                "train_t_ns": (np.int64, ("n",)),
                "validation_values": (np.float32, ("m", channels)),
                "validation_t_ns": (np.int64, ("m",)),
            },
        )

    @property
    def train_windows(self) -> Floats:
        """float32 [n, T, C] that the detector was fitted on."""
        return self._normal["train_windows"]

    @property
    def train_t_ns(self) -> Times:
        """int64 [n] reading time of each training window's last row."""
        return self._normal["train_t_ns"]

    @property
    def validation(self) -> tuple[Floats, Times]:
        """Normal readings that the fit never saw: values float32 [m, C], t_ns int64 [m]."""
        return self._normal["validation_values"], self._normal["validation_t_ns"]

    @cached_property
    def faulty(self) -> tuple[Floats, Times, NDArray[np.bool_]] | None:
        """The labelled test part: values float32 [n, C], t_ns int64 [n], labels bool [n]; None without labels."""
        if not (self.path / "faulty.npz").exists():
            return None
        arrays = read_arrays(
            self.path / "faulty.npz",
            {
                "values": (np.float32, ("n", len(self.input.channels))),
                "t_ns": (np.int64, ("n",)),
                "labels": (np.bool_, ("n",)),
            },
        )
        return arrays["values"], arrays["t_ns"], arrays["labels"]

    @property
    def centre(self) -> Doubles:
        """float64 [C]."""
        return np.array(self.info.centre)

    @property
    def spread(self) -> Doubles:
        """float64 [C]."""
        return np.array(self.info.spread)

    @cached_property
    def prefilter(self) -> Prefilter:
        """The Gaussian fitted on the training windows."""
        try:
            return Prefilter.from_npz((self.path / "prefilter.npz").read_bytes())
        except (OSError, ValueError, EdgeAgentError) as error:
            raise RunError(f"cannot read {self.path / 'prefilter.npz'}: {error}") from error


def run_kind(path: Path) -> str:
    """What the run in a folder is of, "sensor" or "frame".

    Raises:
        RunError: not a run folder, or its `run.json` cannot be read.
    """
    return str(_said(path).get("kind", SENSOR))


def read_info(path: Path, cls: type[T], kind: str) -> T:
    """Read `run.json` of a run of this kind.

    Raises:
        RunError: not a run folder, one of another kind, or one that another version wrote.
    """
    said = _said(path)
    if (found := said.get("kind", SENSOR)) != kind:
        raise RunError(f"{path} is a run of kind {found!r}, expected {kind!r}: give another run folder")
    try:
        return strict_json.read(cls, said, str(path / "run.json"))
    except EdgeAgentError as error:
        raise RunError(str(error)) from error


def _said(path: Path) -> dict[str, Any]:
    """`run.json` as it stands."""
    if path.is_file():
        raise RunError(
            f"{path} is a file, expected a run folder, which `python -m training fit RECIPE --out RUN` makes"
        )
    if not (path / "run.json").is_file():
        raise RunError(
            f"{path} is not a run folder, it has no run.json: `python -m training fit RECIPE --out {path}` makes one"
        )
    return read_json(path / "run.json")


def write_info(path: Path, info: object) -> None:
    """Write `run.json`, last of all: a folder with it is complete."""
    write_json(path / "run.json", strict_json.plain(info))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the run.

    Raises:
        RunError: not there or not strict JSON.
    """
    try:
        return strict_json.parse(path.read_bytes(), place=str(path), max_bytes=MAX_JSON_BYTES)
    except (OSError, EdgeAgentError) as error:
        raise RunError(f"cannot read {path}: {error}") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that reads well and is the same for the same value."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_arrays(path: Path, expected: Mapping[str, tuple[type[np.generic], tuple[int | str, ...]]]) -> dict[str, Array]:
    """Read the named arrays of an npz and check types and shapes; the same letter in shapes stands for the same length.

    Raises:
        RunError: an array is missing or another than expected.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if missing := [name for name in expected if name not in archive]:
                raise RunError(f"{path} has no {', '.join(missing)}: it is of another version, fit again with this one")
            arrays = {name: archive[name] for name in expected}
    except OSError as error:
        raise RunError(f"cannot read {path}: {error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is damaged or cut short ({error}): fit again") from error
    lengths: dict[int | str, int] = {}
    for name, (kind, shape) in expected.items():
        array = arrays[name]
        wanted = [
            lengths.setdefault(size, size if isinstance(size, int) else got)
            for size, got in zip(shape, array.shape, strict=False)
        ]
        if array.dtype != kind or array.ndim != len(shape) or wanted != list(array.shape):
            raise RunError(
                f"{path}: {name} must be {kind.__name__} {list(shape)}, got {array.dtype} {list(array.shape)}"
            )
    return arrays
