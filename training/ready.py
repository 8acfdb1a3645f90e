"""The ready recipe of every detector: one text for all, with the steps, settings and tuned values of the detector.

    python -m training.ready      writes training/recipes/NAME.toml and, for images, training/recipes/images/NAME.toml

The comments of a table come from the docstrings below the fields of its settings, so that each setting is explained in
one place. `init` and the bench read the files and need no TensorFlow for that.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from training.detectors import DETECTORS
from training.detectors.autoencoder import Autoencoder
from training.detectors.base import Detector
from training.guess import LEARNS_FAULTS, READY, ROWS_LINE, TEST_LINE
from training.images.detectors import IMAGE_DETECTORS, image_detector
from training.images.guess import LEARNS_DEFECTS, LEARNS_TIME
from training.images.guess import READY as IMAGES_READY
from training.images.recipe import (
    OF_A_SCENE,
    FrameDecisionSettings,
    FramePrefilterSettings,
    FrameSettings,
    ImagesSettings,
)
from training.recipe import CleaningSettings, DecisionSettings, TrainingSettings, WindowSettings
from training.steps import STEPS

WIDTH = 120
"""Columns of a line, as in the code."""

CLEANING = {"outliers": 0.1, "spikes": 4.0}
"""What faults among the training rows cost nevertheless: docs/choosing.md."""

STRETCH = {"outliers": 0.2}
"""Of those to try first. A stretch of faults in 5 % of 400 rows is in 15 % of their windows of 32 rows: what is left
out must be more."""

LEVELS = [{"type": "reference"}, {"type": "trailing_means"}]
"""For a Gaussian, as T-squared of an autoencoder is one too: the best of 30 by VUS-PR on a normal recording with
injected faults, see docs/choosing.md."""

TUNED: dict[str, dict[str, Any]] = {
    "gaussian": {"rows": 40, "k": 2.5, "cleaning": STRETCH, "steps": LEVELS},
    "conv_autoencoder": {"training": {"epochs": 40}, "cleaning": STRETCH, "steps": LEVELS},
    "lstm_forecaster": {"training": {"epochs": 40, "learning_rate": 0.005}, "cleaning": {"outliers": 0.0}},
    "lstm_autoencoder": {
        "training": {"epochs": 40, "learning_rate": 0.005},
        "cleaning": STRETCH,
        "steps": LEVELS,
    },
    "pseudo_labels": {"cleaning": {"outliers": 0.0}},
}
"""Settings other than the defaults, by detector: of its tables, its steps, `rows` of a window, and k. Pseudo-labels are
made of what cleaning would take away, and the sequences of a streaming detector would be cut to pieces."""

USUAL_ROWS = WindowSettings(rate_hz=1.0).rows
"""Length of a window where the detector needs no other."""

ROWS_NOTE = {"conv_autoencoder": "; a multiple of 4", "lstm_autoencoder": "; at most 32"}
"""What a detector asks of the length of a window."""

HEAD = """\
{about}
#
# As it stands it fits recordings like those of a pump test bench at 1 Hz: a table with the columns datetime, anomaly
# and changepoint, every other column a channel, and {protocol}:
#   python -m training fit training/recipes/{type}.toml --data FILE.csv
# For your own recording, `python -m training init FILE.csv --detector {type}` writes a recipe like this one.
# Which detector for which data: docs/choosing.md

name = "{name}"  # lower case; names the run and the bundle

[data]
files = []  # in time order, relative to this recipe; or --data FILE
test_files = []  # recordings that are only tested on, for instance of faults
delimiter = ""  # of a CSV; "" looks at the header
time_column = "datetime"  # "" counts rows at rate_hz
time_unit = "auto"  # of a numeric time: auto, s, ms, us, ns since 1970
# Known faults: a column above 0 in faulty rows, or a CSV with the header start,end and one interval a line. Not both.
label_column = "anomaly"
labels_file = ""
ignore_columns = ["changepoint"]

# Without [[channels]] every other numeric column is one. To give units and plausible ranges, list them all, in the
# order in which the device gets them. A reading outside low..high is a sensor fault and never scored.
# [[channels]]
# name = "pressure"
# column = "Pressure"  # of the file, where it is called otherwise
# unit = "bar"
# low = 0.0
# high = 16.0

[windows]
rate_hz = 1.0  # readings a second; the device refuses a source that is off by more than 10 %
{rows}
stride = 1  # rows between two windows; raise it for fast sensors
hold = 3  # a value missing for so many samples is held; longer breaks the window
max_gap_s = 3.5  # a longer step in time breaks the window
"""

ROWS = "rows = {rows}  # length of a window: long enough for the slowest pattern, short enough to alarm in time"
STREAMING_ROWS = "rows = 32  # not used: a streaming detector takes one row at a time, and the prefilter with it"
WARM_UP = "warm_up = 30  # rows after a gap before the score counts: about one and a half smoothing_rows\n"

SPLIT = """
[split]
{first}
guard_s = 10  # left out between training and validation; without this line, one window
validation = 0.3  # share of the fit rows, at their end, that the thresholds are set on
"""
SCALING = """
[scaling]
method = "robust"  # robust: median and quartiles; standard: mean and standard deviation
body_range = 20  # training spreads at which the network's input saturates; 5 costs quality, 40 begins to lose int8
"""

STEPS_NOTE = """
# What {seen_by} sees of a window: steps in order, from rows to features. Those that give features stand side by
# side. There are {names}.
"""

TAIL = """
[prefilter]
mode = "gate"  # gate: clear windows are not scored; watch: all are, gross ones alarm at once; off
max_skip_s = 60  # at least this often a window is scored whatever the prefilter says

[decision]
alarms_per_day = 1  # false alarms to set the threshold for, once there are enough normal data to say
k = {k}  # until then: threshold = median + k (0.99 quantile - median) of the validation scores
n = 3  # an anomaly opens when n of the last m windows are above the threshold
m = 5
hysteresis = 0.8  # share of the way from median to threshold below which a window is quiet
hold_off_s = 60  # quiet time before an event closes
update_s = 60  # shortest time between two updates of an open event
"""


_SMALL_FRAME, _SMALLER_FRAME = ({"frame": {"height": side, "width": side}} for side in (128, 64))

IMAGES_TUNED: dict[str, dict[str, dict[str, Any]]] = {
    "student_teacher": _SMALL_FRAME,
    "frame_autoencoder": _SMALL_FRAME,
    "frame_vae": _SMALL_FRAME,
    "frame_gan": _SMALLER_FRAME,
    "content_style": _SMALLER_FRAME,
    "frame_cnn": _SMALLER_FRAME,
    "clip_convolution": _SMALLER_FRAME,
    "clip_lstm": _SMALLER_FRAME,
}
"""Settings other than the defaults, by image detector and table: frame, detector, training. What is trained from
nothing takes minutes on two cores at these sizes, and four times as long at twice the side."""

NOT_IN_FOLDS = tuple(each.name for each in dataclasses.fields(ImagesSettings) if each.name != "folds")
"""Settings of the images for detectors that are fitted once."""

IMAGES_HEAD = """\
{about}
#
# As it stands it takes any folder of images:
#   python -m training fit training/recipes/images/{type}.toml --data FOLDER
# For your own folder, `python -m training init FOLDER --detector {type}` writes a recipe like this one.
# What a folder may look like, and which detector for which images: docs/images.md

name = "{name}"  # lower case; names the run and the bundle
"""


def main() -> int:
    """Write the file of every detector."""
    for name in DETECTORS:
        (READY / f"{name}.toml").write_text(ready_recipe(name), encoding="utf-8")
    for name in IMAGE_DETECTORS:
        (IMAGES_READY / f"{name}.toml").write_text(image_ready_recipe(name), encoding="utf-8")
    print(f"wrote {len(DETECTORS)} recipes to {READY} and {len(IMAGE_DETECTORS)} to {IMAGES_READY}")
    return 0


def ready_recipe(name: str) -> str:
    """The complete TOML text of a detector's recipe, every setting explained."""
    cls, tuned = DETECTORS[name], TUNED.get(name, {})
    training = {"seed": TrainingSettings().seed} | tuned.get("training", {})
    trained = None if cls.kind == "neural" else ("seed",)
    return "".join(
        [
            _head(name, cls),
            SPLIT.format(first=TEST_LINE if cls.needs_labels else ROWS_LINE.format(rows=400)),
            table("[cleaning]", CleaningSettings, CLEANING | tuned.get("cleaning", {})),
            SCALING,
            _steps(tuned.get("steps") or cls.usual_steps(tuned.get("rows", USUAL_ROWS)), _seen_by(cls)),
            table("[detector]", cls.Settings, tuned.get("detector", {}), type_name=name),
            table("[training]", TrainingSettings, training, only=trained),
            TAIL.format(k=tuned.get("k", DecisionSettings().k)),
        ]
    )


def image_ready_recipe(name: str) -> str:
    """The complete TOML text of an image detector's recipe, every setting explained."""
    cls, tuned = image_detector(name), IMAGES_TUNED.get(name, {})
    trained = ("seed",) if cls.kind == "pretrained" else None
    about = [" ".join((sys.modules[cls.__module__].__doc__ or "").partition("\n\n")[0].split())]
    about += [f"{LEARNS_DEFECTS}."] * cls.needs_labels + [f"{LEARNS_TIME}."] * cls.streaming
    return "".join(
        [
            IMAGES_HEAD.format(about="\n".join(comment(" ".join(about))), type=name, name=name.replace("_", "-")),
            table("[images]", ImagesSettings, {}, only=None if cls.crossed else NOT_IN_FOLDS),
            table("[frame]", FrameSettings, tuned.get("frame", {})),
            table("[detector]", cls.Settings, tuned.get("detector", {}), type_name=name),
            table("[training]", TrainingSettings, tuned.get("training", {}), only=trained),
            table("[prefilter]", FramePrefilterSettings, {}),
            table("[decision]", FrameDecisionSettings, OF_A_SCENE if cls.streaming else {}),
        ]
    )


def _head(name: str, cls: type[Detector[Any]]) -> str:
    """From the first line to the windows."""
    summary = (sys.modules[cls.__module__].__doc__ or "").partition("\n\n")[0]
    labels = f" {LEARNS_FAULTS}, so the training part must hold some." if cls.needs_labels else ""
    rows = (
        STREAMING_ROWS
        if cls.streaming
        else ROWS.format(rows=TUNED.get(name, {}).get("rows", USUAL_ROWS)) + ROWS_NOTE.get(name, "")
    )
    return HEAD.format(
        about="\n".join(comment(" ".join(summary.split()) + labels)),
        protocol="labelled faults in the first three quarters"
        if cls.needs_labels
        else "400 normal rows at the start of each file",
        type=name,
        name=name.replace("_", "-"),
        rows=rows,
    ) + (WARM_UP if cls.streaming else "")


def _seen_by(cls: type[Detector[Any]]) -> str:
    return "T-squared" if issubclass(cls, Autoencoder) else "the detector"


def _steps(steps: Sequence[Mapping[str, Any]], seen_by: str) -> str:
    """Tables of steps, with a sentence of what they are; nothing where there are none."""
    if not steps:
        return ""
    tables = [table("[[steps]]", STEPS[step["type"]].Settings, step, type_name=step["type"]) for step in steps]
    return STEPS_NOTE.format(seen_by=seen_by, names=", ".join(STEPS)) + "".join(tables).removeprefix("\n")


def table(
    heading: str,
    settings: type[Any],
    given: Mapping[str, Any],
    *,
    type_name: str = "",
    only: tuple[str, ...] | None = None,
) -> str:
    """A table of TOML with every setting of a dataclass, or `only` some: the given value or else the default.

    Args:
        heading: its first line.
        settings: the dataclass.
        given: values other than the defaults; `type` is the table's own.
        type_name: of the detector or step.
        only: names of fields; None: all.
    """
    notes = field_notes(settings)
    chosen = settings(**{key: value for key, value in given.items() if key != "type"})
    lines = ["", heading] + ([f"type = {_value(type_name)}"] if type_name else [])
    inner = ""
    for field in dataclasses.fields(settings):
        value = getattr(chosen, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner += table(f"{heading[:-1]}.{field.name}]", type(value), dataclasses.asdict(value))
        elif only is None or field.name in only:
            lines += _setting(field.name, value, notes.get(field.name, ""))
    return "\n".join(lines) + "\n" + inner


def field_notes(settings: type[Any]) -> dict[str, str]:
    """The docstrings below the fields of a dataclass and its bases, each as one line."""
    notes: dict[str, str] = {}
    for cls in reversed([each for each in settings.__mro__ if dataclasses.is_dataclass(each)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        if not isinstance(body, ast.ClassDef):
            continue
        for field, after in zip(body.body, body.body[1:], strict=False):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    notes[name] = " ".join(text.split())
    return notes


def _setting(name: str, value: Any, note: str) -> list[str]:
    """One setting, explained beside it or, where that is too long, above it; one without a value is a comment."""
    told = note.removesuffix(".").replace("None:", "without this line:")
    told = told if told[1:2].isupper() else told[:1].lower() + told[1:]
    line = f"# {name} = …" if value is None else f"{name} = {_value(value)}"
    if not told:
        return [line]
    beside = f"{line}  # {told}"
    return [beside] if len(beside) <= WIDTH else [*comment(told), line]


def comment(text: str) -> list[str]:
    """The lines of a comment."""
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _value(value: Any) -> str:
    """A TOML value; texts, numbers and booleans of JSON are TOML's too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
