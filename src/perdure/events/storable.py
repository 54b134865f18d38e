"""Checks of types and values that are to be stored: no NUL, no NaN, and only dict keys that JSON supports."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, cast, get_type_hints

import msgspec
from msgspec import inspect

from perdure.errors import EventDefinitionError, EventEncodingError

_decode_plainly = msgspec.json.Decoder[object]().decode


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


_PERHAPS_NAN = re.compile(rb"null|nan|inf", re.IGNORECASE)


def refuse_nul(event_type: str, data: bytes) -> None:
    """Raise EventEncodingError if the JSON contains a NUL character."""
    if b"\\u0000" in data and _NUL.search(data):
        raise EventEncodingError(event_type, "it contains a NUL character, which PostgreSQL can't store")


def may_stand_for_nan(data: bytes) -> bool:
    """Return whether the JSON may come from a number that isn't finite."""
    return _PERHAPS_NAN.search(data) is not None


def refuse_nan(event_type: str, content: object) -> None:
    """Raise EventEncodingError if a number in the content of an event isn't finite."""
    for value in _values_in(content):
        if (isinstance(value, float) and not math.isfinite(value)) or (
            isinstance(value, Decimal) and not value.is_finite()
        ):
            raise EventEncodingError(event_type, f"{value} is not a finite number")


def refuse_unstorable(cls: type) -> None:
    """Raise EventDefinitionError, with the field and the fix, if the type of a field can't be stored as JSON."""
    stored = fields_of(cls)
    untyped: Any = cls
    for name in [field.name for field in dataclasses.fields(untyped)] if dataclasses.is_dataclass(untyped) else []:
        if name not in {field.name for field in stored}:
            raise EventDefinitionError(cls, f"field {name!r} isn't stored: give it a name without a leading underscore")
    for field in stored:
        for part in parts_of(field.type, set()):
            if isinstance(part, inspect.CustomType | inspect.RawType | inspect.ExtType):
                kind = part.cls.__qualname__ if isinstance(part, inspect.CustomType) else type(part).__name__
                raise EventDefinitionError(
                    cls,
                    f"field {field.name!r} has type {kind}, which can't be stored; "
                    "use a plain type, or make that class a dataclass or a msgspec Struct",
                )
            if isinstance(part, inspect.DictType) and not isinstance(part.key_type, _KEY_TYPES):
                raise EventDefinitionError(
                    cls, f"field {field.name!r} is a dict whose keys can't be stored; use text, numbers or enums"
                )


_KEY_TYPES = (
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BoolType,
    inspect.EnumType,
    inspect.UUIDType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.DecimalType,
    inspect.LiteralType,
    inspect.AnyType,
)


def fields_of(cls: type) -> tuple[inspect.Field, ...]:
    """Return the fields of an event class as msgspec sees them."""
    try:
        info = inspect.type_info(cls)
    except TypeError as error:
        raise EventDefinitionError(cls, _culprit(cls, error)) from error
    if not isinstance(info, inspect.StructType | inspect.DataclassType):
        raise EventDefinitionError(cls, "it isn't a plain class, dataclass, attrs class or msgspec Struct")
    return info.fields


def _culprit(cls: type, error: TypeError) -> str:
    fix = "give it a type whose values differ in JSON"
    for name, annotation in get_type_hints(cls, include_extras=True).items():
        try:
            msgspec.json.Decoder(annotation)
        except TypeError as reason:
            return f"field {name!r} can't be stored: {reason}; {fix}"
    return f"a field can't be stored: {error}; {fix}"


def parts_of(info: inspect.Type, seen: set[int]) -> Iterator[inspect.Type]:
    """Yield the type and all types within it, each once."""
    if id(info) in seen:
        return
    seen.add(id(info))
    yield info
    for name in info.__struct_fields__:
        value = getattr(info, name)
        for inner in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            part = inner.type if isinstance(inner, inspect.Field) else inner
            if isinstance(part, inspect.Type):
                yield from parts_of(part, seen)


def contents_of(data: bytes) -> Counter[object]:
    """Return how often each name and value occurs in the JSON. Ignores the order, because sets have none."""
    return Counter(_values_in(_decode_plainly(data)))


def _values_in(content: object) -> Iterator[object]:
    """Yield the values of a JSON document that are neither objects nor arrays, and the names in its objects."""
    if isinstance(content, dict):
        for key, inner in cast("dict[object, object]", content).items():
            yield key
            yield from _values_in(inner)
    elif isinstance(content, list | tuple | set | frozenset):
        for inner in cast("Iterable[object]", content):
            yield from _values_in(inner)
    else:
        yield content
