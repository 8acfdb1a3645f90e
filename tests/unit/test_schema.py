from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import pytest

from edge_agent.contract.schema import Rule, json_schema, settle


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    x: float


@dataclass(frozen=True)
class Outer:
    """A thing.

    More about it.
    """

    name: Annotated[str, Rule(pattern="[a-z]+", about="of the thing")]
    colour: Colour | None
    inner: Inner | None
    pairs: tuple[tuple[str, int], ...]
    by_name: dict[str, Inner]
    flag: bool = False


def test_every_type_of_field_has_its_schema() -> None:
    schema = json_schema(Outer)
    number = {"type": "object", "title": "Inner", "properties": {"x": {"type": "number"}}, "required": ["x"]}

    assert schema["description"] == "A thing."
    assert schema["required"] == ["name", "colour", "inner", "pairs", "by_name", "flag"]
    assert schema["properties"]["name"] == {"type": "string", "description": "of the thing", "pattern": "^(?:[a-z]+)$"}
    assert schema["properties"]["colour"] == {"type": ["string", "null"], "enum": ["red", "blue", None]}
    assert schema["properties"]["inner"]["type"] == ["object", "null"]
    assert number.items() <= schema["properties"]["by_name"]["additionalProperties"].items()
    assert schema["properties"]["pairs"] == {
        "type": "array",
        "items": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2},
    }


def test_a_type_without_schema_is_refused() -> None:
    @dataclass
    class Odd:
        z: complex

    with pytest.raises(TypeError, match="complex"):
        json_schema(Odd)


def test_the_rules_of_the_schema_hold_for_the_instance() -> None:
    with pytest.raises(ValueError, match=r"name must match \[a-z\]\+, got 'A1'"):
        settle(Outer(name="A1", colour=None, inner=None, pairs=(), by_name={}))


def test_a_required_number_must_be_finite() -> None:
    with pytest.raises(ValueError, match="x must be a finite number, got nan"):
        settle(Inner(x=float("nan")))
