"""JSON from strangers into frozen dataclasses: every field checked, nothing guessed, nothing ignored.

`parse` bounds what the text may cost (bytes, depth) and refuses what JSON libraries let through (NaN, infinity, keys
given twice). `read` turns the parsed value into a dataclass by its type hints: unknown and missing keys, wrong types
and numbers that are not finite are refused with the place they stand at, such as `manifest.graphs[0].size`. `plain`
is the way back. What a value may be is the dataclass's own business: it says so with a ValueError in `__post_init__`.

Understood as fields: str, int, float, bool, StrEnum, other dataclasses, `X | None`, `tuple[X, ...]`, `dict[str, X]`,
Any, and classes with a `from_dict` of their own.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from enum import StrEnum
from functools import cache
from typing import Any, NoReturn, TypeVar

from edge_agent.errors import ManifestError

MAX_DEPTH = 24
"""Nesting of arrays and objects; a manifest with its provenance needs some ten, Python's parser gives out near 1000."""

T = TypeVar("T")

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, closed or running to the end of the text: one pass, however the text is broken."""
_BRACKET = re.compile(rb"[\[\]{}]")


def parse(data: bytes, *, place: str, max_bytes: int) -> dict[str, Any]:
    """Parse a JSON object of at most `max_bytes`.

    Raises:
        ManifestError: too large, too deep, not UTF-8, not JSON, not an object, a key given twice, NaN or infinity.
    """
    if len(data) > max_bytes:
        raise ManifestError(
            f"{place} has {len(data)} bytes, at most {max_bytes} are read: it was not made by this converter"
        )
    _check_depth(data, place)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place} is not the JSON this agent reads: {error}") from error
    if not isinstance(value, dict):
        raise ManifestError(f"{place} must hold a JSON object, got {_kind(value)}")
    return value


def read(cls: type[T], value: object, place: str) -> T:
    """Build the dataclass `cls` from a parsed JSON object.

    Raises:
        ManifestError: with the place, what was expected, and what came.
    """
    return typing.cast(T, _record(cls, value, place))


def key_of(name: str) -> str:
    """Return the JSON key of a field: its name, without the underscore that keeps it apart from a word of Python.

    >>> key_of("class_"), key_of("class_score")
    ('class', 'class_score')
    """
    return name.removesuffix("_")


def plain(value: object) -> Any:
    """Turn dataclasses, tuples and enumerations into what `json.dumps` writes; the inverse of `read`."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key_of(field.name): plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _check_depth(data: bytes, place: str) -> None:
    """Count brackets outside strings, so that no hostile text reaches the recursive parser."""
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ManifestError(
                f"{place} nests arrays and objects deeper than {MAX_DEPTH}: it was not made by this converter"
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key {key[:60]!r} is given twice")
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {name}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(kind: Any, value: object, place: str) -> object:  # noqa: PLR0911 - one return for each kind of field
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _finite(value, place)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, place)
    if origin is tuple:
        return _items(arguments, value, place)
    if origin is dict:
        return {key: _convert(arguments[1], item, f"{place}.{key[:60]}") for key, item in _object(value, place).items()}
    if hasattr(kind, "from_dict") and value is not None:
        return _by_itself(kind, value, place)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind), value, place)
    return _scalar(kind, value, place)


def _items(arguments: tuple[Any, ...], value: object, place: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ManifestError(f"{place} must be an array, got {_kind(value)}")
    return tuple(_convert(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{place} must be an object, got {_kind(value)}")
    return value


def _by_itself(kind: Any, value: object, place: str) -> object:
    try:
        return kind.from_dict(_finite(_object(value, place), place))
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ManifestError(f"{place}: {error}") from error


def _record(cls: type, value: object, place: str) -> object:
    given, fields = _object(value, place), {key_of(field.name): field for field in dataclasses.fields(cls)}
    for key in given:
        if key not in fields:
            near = difflib.get_close_matches(key[:60], fields, 1)
            raise ManifestError(f"{place}: unknown key {key[:60]!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not optional:
            raise ManifestError(f"{place}: key {name!r} is missing")
    names = {key: field.name for key, field in fields.items()}
    values = {names[key]: _convert(_hints(cls)[names[key]], item, f"{place}.{key}") for key, item in given.items()}
    try:
        return cls(**values)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"{place}: {error}") from error


def _scalar(kind: type, value: object, place: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value, place)
    if issubclass(kind, StrEnum) and isinstance(value, str):
        if value not in tuple(kind):
            raise ManifestError(f"{place} must be one of {', '.join(kind)}, got {value[:60]!r}")
        return kind(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ManifestError(f"{place} must be {_NAMES.get(kind, kind.__name__)}, got {_kind(value)}")
    return _finite(value, place)


def _as_float(value: int, place: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ManifestError(f"{place} must be a finite number, got an integer of {value.bit_length()} bits") from error


def _finite(value: object, place: str) -> object:
    """Refuse 1e999, which JSON libraries read as infinity, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ManifestError(f"{place} must be a finite number, got {value}")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        _finite(item, f"{place}.{str(key)[:60]}")
    return value


_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)
