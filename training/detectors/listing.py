"""The list of detectors, of readings and of images, for a person and for programs, from what they say of themselves.

A module's docstring begins with a line that says what the detector is for. So does a class's with one that says what it
is; a paragraph of either that begins with `Source:` or `Sources:` says where the method comes from.
"""

from __future__ import annotations

import inspect
import itertools
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

from training.detectors import DETECTORS
from training.detectors.base import Detector
from training.images.detector import ImageDetector
from training.images.detectors import IMAGE_DETECTORS, image_detector
from training.recipe import RecipeError, nearest

AnyDetector: TypeAlias = type[Detector[Any]] | type[ImageDetector[Any]]

WIDTH = 100
"""Columns of the text."""

INDENT = 20
"""Columns in front of what is told of a detector: room for the longest name."""


def as_json(names: Sequence[str] = ()) -> str:
    """The entries of these detectors, or of all, as JSON.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    return json.dumps(entries(names), indent=1, ensure_ascii=False)


def as_table() -> str:
    """What each detector is and its first source, under its family and what it is fitted on."""
    families = itertools.groupby(_all().items(), lambda item: (item[1].kind, _needs(item[1])))
    told = [
        "\n".join([f"{kind}, fitted on {needs}:", *(_in_short(name, cls) for name, cls in members)])
        for (kind, needs), members in families
    ]
    return "\n\n".join([*told, "All about one: python -m training detectors NAME"])


def as_text(names: Sequence[str]) -> str:
    """All about these detectors.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    return "\n\n".join(_described(entry) for entry in entries(names))


def entries(names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One entry for each of these detectors, or for all in the order of the registry.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    known = _all()
    for name in names:
        if name not in known:
            raise RecipeError(f"detector {name!r} is not known, {nearest(name, known)}")
    return [_entry(name, known[name]) for name in names or known]


def _all() -> dict[str, AnyDetector]:
    """Every detector by its name, those of readings first."""
    return {**DETECTORS, **{name: image_detector(name) for name in IMAGE_DETECTORS}}


def _entry(name: str, detector: AnyDetector) -> dict[str, Any]:
    paragraphs = _paragraphs(detector.__doc__)
    told = [*paragraphs, *_paragraphs(sys.modules[detector.__module__].__doc__)]
    source = next((each for each in told if each.startswith(("Source:", "Sources:"))), "")
    return {
        "name": name,
        "input": "images" if issubclass(detector, ImageDetector) else "readings",
        "kind": detector.kind,
        "about": paragraphs[0],
        "needs": _needs(detector),
        "needs_labels": detector.needs_labels,
        "streaming": detector.streaming,
        "int8": issubclass(detector, ImageDetector) or detector.has_body,
        "source": source.partition(":")[2].strip(),
    }


def _needs(detector: AnyDetector) -> str:
    """What it is fitted on."""
    if issubclass(detector, ImageDetector):
        takes = "normal images in order of time" if detector.streaming else "normal images"
        return f"{takes}, and labelled defects" if detector.needs_labels else takes
    takes = "normal readings, one row at a time" if detector.streaming else "normal windows"
    return f"{takes}, and labelled faults" if detector.needs_labels else takes


def _purpose(detector: AnyDetector) -> str:
    """The first line of its module."""
    return (sys.modules[detector.__module__].__doc__ or "").partition("\n")[0]


def _in_short(name: str, detector: AnyDetector) -> str:
    source = _entry(name, detector)["source"].partition(";")[0]
    purpose = _wrapped(f"  {name:<{INDENT - 2}}", _purpose(detector), INDENT + WIDTH)
    return f"{purpose}\n{'':<{INDENT}}{textwrap.shorten(source, WIDTH, placeholder=' …')}"


def _paragraphs(text: str | None) -> list[str]:
    """Of a docstring, each as one line."""
    return [" ".join(each.split()) for each in inspect.cleandoc(text or "").split("\n\n")]


def _described(entry: dict[str, Any]) -> str:
    """An entry as text, and where its settings are."""
    name, images = entry["name"], entry["input"] == "images"
    file, data = (f"training/recipes/{'images/' if images else ''}{name}.toml", "FOLDER" if images else "FILE.csv")
    told = {
        "kind": entry["kind"],
        "what it is": _purpose(_all()[name]),
        "method": entry["about"],
        "fitted on": entry["needs"],
        "ships as": "int8, float16 or float32" if entry["int8"] else "float32",
        "source": entry["source"],
        "settings": f"{file} explains them; your own recipe: `python -m training init {data} --detector {name}`",
    }
    lines = [_wrapped(f"  {title:<{INDENT - 2}}", words) for title, words in told.items() if words]
    return "\n".join([name, *lines])


def _wrapped(start: str, words: str, width: int = WIDTH) -> str:
    return textwrap.fill(
        words,
        width,
        initial_indent=start,
        subsequent_indent=" " * INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
