"""A recipe for images: everything that decides what `fit` makes of a folder, in one TOML file.

    ImageRecipe
    ├── images: ImagesSettings           which folder, how it is split, what of the picture is left out
    ├── frame: FrameSettings             the size that the detector sees
    ├── detector: table                  which one; its own settings stand in the same table
    ├── training: TrainingSettings       seed, epochs, early stopping (all but pretrained detectors)
    ├── prefilter: FramePrefilterSettings    the Gaussian in front of the detector, learned on site
    └── decision: FrameDecisionSettings  thresholds and the life of an event

A recipe with a table `[images]` is one of images. Settings are frozen and checked when built, without touching a file.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Any, Final

from edge_agent.contract import strict_json
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.zones import Polygon, check_masks
from edge_agent.errors import ManifestError
from training.recipe import DecisionSettings, PrefilterSettings, RecipeError, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSettings:
    """Which folder, how it is split, what of the picture is left out."""

    path: str = ""
    """Folder, relative to this recipe; or --data FOLDER. Layouts: docs/images.md."""
    seed: int = 0
    """Of every draw between parts: the same folder and seed give the same split."""
    test_share: float = 0.3
    """Share of the normal images of a folder `normal` that is only tested on, and of the defective ones where a
    detector learns from the others."""
    folds: int = 5
    """All normal images are learned from, and thresholds come from so many further fits, each without one part of
    them; 0, and always of a sequence or of more than 2048 images: `validation_share` is held back instead."""
    validation_share: float = 0.15
    """Share of the normal images to fit on that thresholds are set on instead; of a sequence, its end."""
    interval_s: float = 1.0
    """Usual seconds between two frames of the camera: false alarms are counted per day."""
    masks: tuple[Polygon, ...] = ()
    """Parts left out, such as a clock in the picture: each a list of corners [x, y], 0..1 from the upper left."""

    def __post_init__(self) -> None:
        """Refuse empty parts."""
        for name in ("test_share", "validation_share"):
            _check(0 < getattr(self, name) < 1, f"{name} must be a share between 0 and 1, got {getattr(self, name)}")
        _check(self.folds in (0, *range(2, MOST_FOLDS + 1)), f"folds must be 0, or 2 to {MOST_FOLDS}, got {self.folds}")
        _check(self.interval_s > 0, f"interval_s must be above 0, got {self.interval_s}")
        check_masks(self.masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSettings:
    """The size that the detector sees."""

    height: int = 224
    """Pixels; images of any size are resized to it. Time and memory grow with its area."""
    width: int = 224
    """Pixels."""

    def __post_init__(self) -> None:
        """Refuse what shows nothing."""
        _check(
            min(self.height, self.width) >= LEAST_SIDE,
            f"height and width must be at least {LEAST_SIDE} pixels, got {self.height} and {self.width}",
        )


MOST_FOLDS = 50
"""Each is a fit: more take hours, and a threshold is hardly another."""

LEAST_SIDE = 16
"""Pixels: less than a step of the coarsest features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrefilterSettings(PrefilterSettings):
    """The Gaussian of the scene in front of the detector, learned on site."""

    mode: Mode = Mode.WATCH
    """Gate: frames in which nothing moved are not scored; watch: all are; off."""
    max_skip_s: float = 10.0
    """At least this often a frame is scored whatever the prefilter says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDecisionSettings(DecisionSettings):
    """Thresholds and the life of an event; defaults that the device may change."""

    k: float = 1.0
    """Where they are not: threshold = median + k (0.99 quantile - median) of the validation scores; with 1 some one
    normal part in a hundred is alarmed."""
    n: int = 1
    """An anomaly opens when n of the last m frames are above the threshold: 1 of 1 where every frame shows another
    part, 3 of 5 where a camera looks at one scene."""
    m: int = 1
    """Frames that n counts among."""
    hold_off_s: float = 0.0
    """Quiet seconds before an event closes; 0 with 1 of 1: every frame shows another part, whose events are its own."""


OF_A_SCENE: Final = {"k": 3.0, "n": 3, "m": 5, "hold_off_s": 10.0}
"""`[decision]` of recipes where frames follow each other and show one scene: a single strange one is no event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """All settings of one fit on images."""

    name: str
    """Lower-case name of the model; names the run and the bundle."""
    images: ImagesSettings = field(default_factory=ImagesSettings)
    frame: FrameSettings = field(default_factory=FrameSettings)
    detector: dict[str, Any]
    """`type`, and what that detector's settings are."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    prefilter: FramePrefilterSettings = field(default_factory=FramePrefilterSettings)
    decision: FrameDecisionSettings = field(default_factory=FrameDecisionSettings)

    def __post_init__(self) -> None:
        """Refuse what only the whole shows."""
        _check(isinstance(self.detector.get("type"), str), 'detector needs a type, for instance type = "padim"')


def is_image_recipe(text: str) -> bool:
    """Whether the text of a recipe has a table `[images]`; False for what is not TOML."""
    try:
        return "images" in tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False


def parse_image_recipe(text: str, place: str = "recipe") -> ImageRecipe:
    """Parse the TOML text of a recipe for images.

    Raises:
        RecipeError: not TOML, a key unknown (with the nearest known name), missing or wrong.
    """
    try:
        return strict_json.read(ImageRecipe, tomllib.loads(text), place)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{place} is not TOML: {error}") from error
    except ManifestError as error:
        raise RecipeError(str(error)) from error


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
