"""JSON Schema from dataclasses, and the same rules held against the values.

A payload is a frozen dataclass whose fields may carry a `Rule` in `Annotated`. From that one place come the schema that
consumers get (`json_schema`) and what an instance is held to when it is built (`settle`), so the two cannot part.

Types understood: str, int, float, bool, StrEnum, dataclasses, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str,
X]`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

from edge_agent.contract.strict_json import key_of

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The version of JSON Schema that the generated schemas are written in: the one that AsyncAPI 3 builds upon."""

_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a field may hold beyond its type, and what it means."""

    about: str = ""
    """Meaning and unit, for the reader of the schema."""
    pattern: str = ""
    """Anchored regular expression of a string."""
    format: str = ""
    """JSON Schema format of a string, such as `date-time`."""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    """Characters of a string; longer ones are cut, since no alert may be lost to its own words."""
    max_items: int | None = None
    """Items of an array; the rest is cut for the same reason."""


def json_schema(cls: type) -> dict[str, Any]:
    """Return the schema of a payload dataclass; unknown keys are allowed, so that newer agents can add some."""
    return {"$schema": DIALECT, **object_schema(cls)}


def object_schema(cls: type) -> dict[str, Any]:
    """Return the schema of a dataclass as part of another: every field is required, since every field is sent."""
    properties = {key_of(field.name): _schema(_hints(cls)[field.name]) for field in dataclasses.fields(cls)}
    about = (cls.__doc__ or "").partition("\n")[0]
    return {
        "title": cls.__name__,
        "description": about,
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def settle(instance: Any) -> None:
    """Hold a frozen payload to its rules while it is built.

    Texts and arrays beyond their limit are cut and optional numbers that are not finite become None.

    Raises:
        ValueError: a pattern, a range or a required finite number is not met; says which field, what was expected and
        what came.
    """
    cls: type = type(instance)
    for name, rule, optional in _rules(cls):
        value = getattr(instance, name)
        settled = _settled(value, rule, optional, name)
        if settled is not value:
            object.__setattr__(instance, name, settled)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


@cache
def _rules(cls: type) -> tuple[tuple[str, Rule, bool], ...]:
    """Return name, rule and "may be None" of every field."""
    found = []
    for field in dataclasses.fields(cls):
        kind, rule = _split(_hints(cls)[field.name])
        found.append((field.name, rule, type(None) in typing.get_args(kind)))
    return tuple(found)


def _settled(value: Any, rule: Rule, optional: bool, name: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        if not optional:
            raise ValueError(f"{name} must be a finite number, got {value}")
        return None
    if rule.max_length is not None and isinstance(value, str) and len(value) > rule.max_length:
        value = value[: rule.max_length - 1] + "…"
    if rule.max_items is not None and isinstance(value, tuple) and len(value) > rule.max_items:
        value = value[: rule.max_items]
    if rule.pattern and isinstance(value, str) and not re.fullmatch(rule.pattern, value):
        raise ValueError(f"{name} must match {rule.pattern}, got {value[:80]!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(value, rule, name)
    return value


def _check_range(value: float, rule: Rule, name: str) -> None:
    if rule.minimum is not None and value < rule.minimum:
        raise ValueError(f"{name} must be at least {rule.minimum}, got {value}")
    if rule.maximum is not None and value > rule.maximum:
        raise ValueError(f"{name} must be at most {rule.maximum}, got {value}")


def _split(hint: Any) -> tuple[Any, Rule]:
    """Return the bare type and its rule."""
    if typing.get_origin(hint) is not Annotated:
        return hint, Rule()
    kind, *extras = typing.get_args(hint)
    return kind, next((extra for extra in extras if isinstance(extra, Rule)), Rule())


def _schema(hint: Any) -> dict[str, Any]:
    kind, rule = _split(hint)
    return _bare(kind) | _keywords(rule)


def _keywords(rule: Rule) -> dict[str, Any]:
    named = {
        "description": rule.about,
        "pattern": rule.pattern and f"^(?:{rule.pattern})$",
        "format": rule.format,
        "minimum": rule.minimum,
        "maximum": rule.maximum,
        "maxLength": rule.max_length,
        "maxItems": rule.max_items,
    }
    return {key: value for key, value in named.items() if value not in ("", None)}


def _bare(kind: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _nullable(_schema(next(a for a in arguments if a is not type(None))))
    if origin is tuple:
        return _array(arguments)
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    return _plain(kind)


def _array(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0])}
    size = len(arguments)
    return {"type": "array", "items": [_schema(a) for a in arguments], "minItems": size, "maxItems": size}


def _plain(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return object_schema(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [str(member) for member in kind]}
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    raise TypeError(
        f"payload fields are str, int, float, bool, StrEnum, dataclasses, tuples, dicts or None, got {kind!r}"
    )


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow null beside what the schema allows."""
    if "enum" in schema:
        return schema | {"type": [schema["type"], "null"], "enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}
