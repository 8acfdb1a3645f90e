"""A recipe: everything that decides what `fit` makes of a recording, in one TOML file.

    Recipe
    ├── data: DataSettings            which files, which columns, where the labels are
    ├── channels: ChannelSettings …   names, units, plausible ranges; empty: every numeric column of the file
    ├── windows: WindowSettings       rate, length, missing values; the device cuts windows by the same rule
    ├── split: SplitSettings          what is for training, thresholds and testing, in time order
    ├── cleaning: CleaningSettings    what is left out of the training part
    ├── scaling: ScalingSettings      the normalisation inside the graph
    ├── steps: tables …               from the window to features, for detectors on features; see `training.steps`
    ├── detector: DetectorSettings    which one; its own settings stand in the same table
    ├── training: TrainingSettings    seed, epochs, early stopping (neural detectors)
    ├── prefilter: PrefilterSettings  the Gaussian in front of the detector
    └── decision: DecisionSettings    thresholds and the life of an event

Settings are frozen and checked when built, without touching a file. Unknown keys are refused with the nearest known
name.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge_agent.contract import strict_json
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Channel
from edge_agent.errors import ManifestError

MAX_RECIPE_BYTES = 1 << 20
"""Largest recipe; one with 500 channels has some 60 kB, so a larger file is data given by mistake."""


class RecipeError(Exception):
    """The recipe cannot be used; the message says which key, what was expected and what came."""


class TimeUnit(StrEnum):
    """What a numeric time column counts, since the Unix epoch."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


class Scaling(StrEnum):
    """How centre and spread of a channel are estimated."""

    ROBUST = "robust"
    STANDARD = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Which files, which columns, where the labels are."""

    files: tuple[str, ...] = ()
    """CSV, CSV.gz or Parquet, in time order; relative to the recipe. May be given on the command line instead."""
    test_files: tuple[str, ...] = ()
    """Recordings used for testing alone, for instance of faults."""
    delimiter: str = ""
    """Column separator of a CSV; empty: guessed from the header."""
    time_column: str = ""
    """Column with the reading time, text (ISO 8601, UTC unless it says otherwise) or a number; empty: row / rate_hz."""
    time_unit: TimeUnit = TimeUnit.AUTO
    label_column: str = ""
    """Column that is above 0 in rows known to be faulty; empty: none."""
    labels_file: str = ""
    """CSV with a header `start,end` and one faulty interval a line, both ends included; empty: none."""
    ignore_columns: tuple[str, ...] = ()
    """Columns that are no channels, where `channels` is left out."""

    def __post_init__(self) -> None:
        """Refuse two sources of labels."""
        _check(not (self.label_column and self.labels_file), "give label_column or labels_file, not both")
        _check(len(self.delimiter) <= 1, f"delimiter must be one character, got {self.delimiter!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """One column of the stream."""

    name: str
    column: str = ""
    """Column of the file; empty: the same as `name`."""
    unit: str = ""
    low: float | None = None
    """Readings below are a sensor fault, never scored."""
    high: float | None = None
    """Readings above are a sensor fault, never scored."""

    def __post_init__(self) -> None:
        """Refuse what no channel may be."""
        self.channel()

    def channel(self) -> Channel:
        """The channel as the device knows it."""
        return Channel(name=self.name, unit=self.unit, low=self.low, high=self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How readings become windows, here and on the device."""

    rate_hz: float
    """Readings a second."""
    rows: int = 32
    """T, length of a window in rows; ignored by streaming detectors, which take one row at a time."""
    stride: int = 1
    """Rows between two windows."""
    hold: int = 3
    """Samples for which a missing value is held; longer breaks the window."""
    max_gap_s: float | None = None
    """A longer step in time breaks the window; None: 3.5 samples."""
    warm_up: int = 30
    """Rows after a gap that a streaming detector needs before its score counts."""

    def __post_init__(self) -> None:
        """Refuse what no window can be."""
        _check(self.rate_hz > 0, f"rate_hz must be above 0, got {self.rate_hz}")
        _check(self.rows >= 2, f"rows must be at least 2, got {self.rows}")
        _check(self.stride >= 1, f"stride must be at least 1, got {self.stride}")
        _check(
            self.hold >= 0 and self.warm_up >= 0,
            f"hold and warm_up must not be negative, got {self.hold} and {self.warm_up}",
        )
        _check(
            self.max_gap_s is None or self.max_gap_s * self.rate_hz > 1,
            f"max_gap_s must be longer than one sample, {1 / self.rate_hz:g} s, got {self.max_gap_s}",
        )

    @property
    def gap_s(self) -> float:
        """The longest step in time within a window, in seconds."""
        return self.max_gap_s if self.max_gap_s is not None else 3.5 / self.rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """What each recording is used for: training | guard | validation | test, in time order."""

    fit_rows: int | None = None
    """The first rows of each recording, for training and validation; the rest is for testing. None: by `test`."""
    test: float = 0.25
    """Share of each recording, at its end, that is only tested on (where there are labels)."""
    validation: float = 0.3
    """Share of what is left, at its end, that the thresholds are set on; the fit never sees it."""
    guard_s: float | None = None
    """Seconds left out before validation, since neighbouring readings are alike; None: one window."""

    def __post_init__(self) -> None:
        """Refuse empty parts."""
        _check(self.fit_rows is None or self.fit_rows > 0, f"fit_rows must be above 0, got {self.fit_rows}")
        _check(0 <= self.test < 1, f"test must be a share from 0 to below 1, got {self.test}")
        _check(0 < self.validation < 1, f"validation must be a share between 0 and 1, got {self.validation}")
        _check(self.guard_s is None or self.guard_s >= 0, f"guard_s must not be negative, got {self.guard_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningSettings:
    """What of the training part is noise; validation and test parts stay as recorded, since the device cleans nothing.

    What faults among the training rows cost with a recipe, and what its cleaning costs where there are none, is
    measured on labelled data by `python -m training bench --contaminate 0.05`.
    """

    outliers: float = 0.0
    """Share of the training windows, the strangest, that are left out: more than the share of rows that may be faulty,
    since a row is in many windows. 0: none, where rare states of the recording are normal too."""
    spikes: float = 0.0
    """Spreads off its neighbours from which a reading is taken as missing, unless more than windows.hold in a row are;
    0: none is."""

    def __post_init__(self) -> None:
        """Refuse to call half of the data strange."""
        _check(0 <= self.outliers < 0.5, f"outliers must be a share from 0 to below 0.5, got {self.outliers}")
        _check(self.spikes == 0 or self.spikes >= 2, f"spikes must be at least 2 spreads, or 0, got {self.spikes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSettings:
    """The normalisation inside the graph."""

    method: Scaling = Scaling.ROBUST
    body_range: float = 20.0
    """Training spreads at which the input of the int8 body saturates: 5 costs quality, 40 begins to lose int8."""

    def __post_init__(self) -> None:
        """Refuse a range that normal data leave."""
        _check(self.body_range >= 1, f"body_range must be at least 1 spread, got {self.body_range}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How neural detectors are trained; classical ones use the seed alone."""

    seed: int = 1
    epochs: int = 60
    batch: int = 32
    learning_rate: float = 2e-3
    patience: int = 10
    """Epochs without a better loss on `stopping` before training ends with the best weights; 0: run all epochs."""
    stopping: float = 0.15
    """Share of the training windows, at their end, that early stopping watches."""

    def __post_init__(self) -> None:
        """Refuse what would not train."""
        _check(
            self.epochs >= 1 and self.batch >= 1,
            f"epochs and batch must be at least 1, got {self.epochs} and {self.batch}",
        )
        _check(0 < self.learning_rate < 1, f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        _check(self.patience >= 0, f"patience must not be negative, got {self.patience}")
        _check(0 < self.stopping < 1, f"stopping must be a share between 0 and 1, got {self.stopping}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefilterSettings:
    """The Gaussian in front of the detector; the converter may still find that gating saves nothing."""

    mode: Mode = Mode.GATE
    max_skip_s: float = 60.0
    """At least this often a window is scored whatever the prefilter says."""

    def __post_init__(self) -> None:
        """Refuse a time that never comes."""
        _check(0 < self.max_skip_s <= 1e9, f"max_skip_s must be above 0 and at most 1e9, got {self.max_skip_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """Thresholds and the life of an event; defaults that the device may change."""

    alarms_per_day: float = 1.0
    """False alarms a day to set the threshold for, where the normal data are long enough to say."""
    k: float = 3.0
    """Where they are not: threshold = median + k (0.99 quantile - median) of the validation scores."""
    n: int = 3
    m: int = 5
    """An anomaly opens when n of the last m windows are above the threshold."""
    hysteresis: float = 0.8
    """Share of the way from median to threshold below which a score is quiet."""
    hold_off_s: float = 60.0
    """Quiet time before an event closes."""
    update_s: float = 60.0
    """Shortest time between two updates of an open event."""

    def __post_init__(self) -> None:
        """Refuse what decides nothing."""
        _check(self.alarms_per_day > 0, f"alarms_per_day must be above 0, got {self.alarms_per_day}")
        _check(self.k > 0, f"k must be above 0, got {self.k}")
        _check(1 <= self.n <= self.m, f"n must be 1 to m, got n = {self.n} and m = {self.m}")
        _check(0 < self.hysteresis <= 1, f"hysteresis must be a share above 0 and at most 1, got {self.hysteresis}")
        _check(self.hold_off_s >= 0 and self.update_s >= 0, "hold_off_s and update_s must not be negative")

    def spec(self) -> DecisionSpec:
        """What the bundle says of it."""
        rule = DecisionRule(
            n=self.n, m=self.m, hysteresis=self.hysteresis, hold_off_s=self.hold_off_s, update_s=self.update_s
        )
        return DecisionSpec(rule=rule, alarms_per_day=self.alarms_per_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of one fit."""

    name: str
    """Lower-case name of the model; names the run and the bundle."""
    data: DataSettings = field(default_factory=DataSettings)
    channels: tuple[ChannelSettings, ...] = ()
    windows: WindowSettings
    split: SplitSettings = field(default_factory=SplitSettings)
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    steps: tuple[dict[str, Any], ...] = ()
    """Steps between the normalised window and a detector that uses them, in order; empty: the detector's usual ones."""
    detector: dict[str, Any]
    """`type`, and what that detector's settings are."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    prefilter: PrefilterSettings = field(default_factory=PrefilterSettings)
    decision: DecisionSettings = field(default_factory=DecisionSettings)

    def __post_init__(self) -> None:
        """Refuse what only the whole shows."""
        names = [channel.name for channel in self.channels]
        _check(len(set(names)) == len(names), f"channel names must differ, got {names}")
        _check(
            not self.cleaning.spikes or self.windows.hold > 0,
            "cleaning.spikes needs windows.hold of at least 1: a spike becomes a missing value, which is held",
        )
        _check(isinstance(self.detector.get("type"), str), 'detector needs a type, for instance type = "gaussian"')

    @property
    def guard_rows(self) -> int:
        """Rows left out between training and validation."""
        guard_s = self.split.guard_s
        return self.windows.rows if guard_s is None else round(guard_s * self.windows.rate_hz)


def parse_recipe(text: str, place: str = "recipe") -> Recipe:
    """Parse the TOML text of a recipe.

    Raises:
        RecipeError: not TOML, a key unknown (with the nearest known name), missing or wrong.
    """
    try:
        return strict_json.read(Recipe, tomllib.loads(text), place)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{place} is not TOML: {error}") from error
    except ManifestError as error:
        raise RecipeError(str(error)) from error


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; file names in it become relative to it.

    Raises:
        RecipeError: not there, not readable as text, or as `parse_recipe`.
    """
    return parse_recipe(recipe_text(path), path.name)


def recipe_text(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: not there, a folder, too large, or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(
                f"{path} has {path.stat().st_size} bytes, a recipe at most {MAX_RECIPE_BYTES}: is it the data?"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the recipe {path}: {error}; `python -m training init data.csv` writes one"
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the nearest that is, or all."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
