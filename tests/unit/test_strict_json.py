"""JSON from strangers: bounded, and every wrong value named with its place."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import strict_json
from edge_agent.errors import ManifestError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    size: int
    colour: Colour = Colour.RED

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must not be negative, got {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    name: str
    weight: float
    parts: tuple[Part, ...] = ()
    limit: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)


GOOD = {
    "name": "a",
    "weight": 1,
    "parts": [{"size": 3, "colour": "blue"}],
    "limit": None,
    "figures": {"x": 0.5},
    "free": {"y": [1]},
}


def parse(text: str) -> dict[str, Any]:
    return strict_json.parse(text.encode(), place="file.json", max_bytes=10_000)


def test_records_survive_the_way_to_json_and_back() -> None:
    whole = strict_json.read(Whole, GOOD, "whole")
    assert whole == Whole(
        name="a", weight=1.0, parts=(Part(size=3, colour=Colour.BLUE),), figures={"x": 0.5}, free={"y": [1]}
    )
    assert strict_json.read(Whole, strict_json.plain(whole), "whole") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "b"}, "whole: unknown key 'nmae', did you mean 'name'"),
        ({"name": 3}, r"whole\.name must be a string, got an integer"),
        ({"weight": "3"}, r"whole\.weight must be a number, got a string"),
        ({"weight": True}, r"whole\.weight must be a number, got true or false"),
        ({"weight": None}, r"whole\.weight must be a number, got null"),
        ({"weight": float("inf")}, r"whole\.weight must be a finite number"),
        ({"weight": 10**400}, r"whole\.weight must be a finite number"),
        ({"limit": 1.5}, r"whole\.limit must be an integer, got a number"),
        ({"parts": {}}, r"whole\.parts must be an array, got an object"),
        ({"parts": [{"size": 1}, 7]}, r"whole\.parts\[1\] must be an object, got an integer"),
        ({"parts": [{}]}, r"whole\.parts\[0\]: key 'size' is missing"),
        ({"parts": [{"size": -1}]}, r"whole\.parts\[0\]: size must not be negative, got -1"),
        ({"parts": [{"size": 1, "colour": "green"}]}, r"colour must be one of red, blue, got 'green'"),
        ({"figures": {"x": "y"}}, r"whole\.figures\.x must be a number"),
        ({"free": {"a": [float("nan")]}}, r"whole\.free\.a\.0 must be a finite number"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        strict_json.read(Whole, GOOD | change, "whole")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_0 + "]" * 1000, "nests arrays and objects deeper than 24"),
        ('{"a": NaN}', "finite, got NaN"),
        ('{"a": -Infinity}', "finite, got -Infinity"),
        ('{"a": 1, "a": 2}', "key 'a' is given twice"),
        ("[1]", "must hold a JSON object, got an array"),
        ('{"a": ', "is not the JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not the JSON"),
        (" " * 10_001, "has 10001 bytes, at most 10000"),
    ],
)
def test_text_that_no_converter_writes_is_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse(text)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(ManifestError, match="is not the JSON"):
        strict_json.parse(b'{"a": "\xff"}', place="file.json", max_bytes=100)


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    assert parse('{"a": "' + "[" * 100 + '\\"{{{"}') == {"a": "[" * 100 + '"{{{'}


def test_a_text_of_unclosed_escaped_strings_is_judged_in_one_pass() -> None:
    with pytest.raises(ManifestError):
        strict_json.parse(b'{"' + b'\\"' * 500_000, place="file.json", max_bytes=1 << 20)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "weight", "parts", "size"]), inner)
        ),
        max_leaves=12,
    )
)
def test_no_json_value_raises_anything_but_a_manifest_error(value: object) -> None:
    with contextlib.suppress(ManifestError):
        strict_json.read(Whole, value, "whole")
