"""The list of detectors for a person and for programs, from what their classes say of themselves.

A class's docstring begins with one line that says what it is; a paragraph that begins with `Source:` or `Sources:` says
where the method comes from.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from typing import Any

from training.detectors import DETECTORS
from training.detectors.base import Detector

WIDTH = 100
"""Columns of the text."""

INDENT = 23
"""Columns in front of what is told of a detector: room for the longest name."""


def entries() -> list[dict[str, Any]]:
    """One entry for each detector, in the order of the registry."""
    return [_entry(name, detector) for name, detector in DETECTORS.items()]


def as_json() -> str:
    """The list as JSON."""
    return json.dumps(entries(), indent=1, ensure_ascii=False)


def as_text() -> str:
    """The list, one family after the other."""
    found = entries()
    families = dict.fromkeys(entry["kind"] for entry in found)
    return "\n\n".join(
        "\n".join([family, *(_lines(entry) for entry in found if entry["kind"] == family)]) for family in families
    )


def _entry(name: str, detector: type[Detector[Any]]) -> dict[str, Any]:
    paragraphs = [" ".join(each.split()) for each in inspect.cleandoc(detector.__doc__ or "").split("\n\n")]
    source = next((each for each in paragraphs if each.startswith(("Source:", "Sources:"))), "")
    return {
        "name": name,
        "kind": detector.kind,
        "about": paragraphs[0],
        "needs": _needs(detector),
        "needs_labels": detector.needs_labels,
        "streaming": detector.streaming,
        "int8": detector.has_body,
        "source": source.partition(":")[2].strip(),
    }


def _needs(detector: type[Detector[Any]]) -> str:
    """What it is fitted on."""
    takes = "normal readings, one row at a time" if detector.streaming else "normal windows"
    return f"{takes}, and labelled faults" if detector.needs_labels else takes


def _lines(entry: dict[str, Any]) -> str:
    told = [entry["about"], "needs " + entry["needs"] + ("; ships as int8" if entry["int8"] else ""), entry["source"]]
    wrapped = [textwrap.fill(line, WIDTH, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT) for line in told]
    text = "\n".join(line for line in wrapped if line)
    return f"  {entry['name']:<{INDENT - 2}}" + text[INDENT:]
