"""From an event to JSON and back. What is written is known to be readable: it is decoded before it is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, cast, get_type_hints

import msgspec
from msgspec import inspect

from perdure.errors import EventDefinitionError, EventEncodingError

_encode = msgspec.json.Encoder().encode
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PERHAPS_NAN = re.compile(rb"null|nan|inf", re.IGNORECASE)


class Codec:
    """Encodes and decodes the events of one class."""

    def __init__(self, event_type: str, cls: type) -> None:
        refuse_unstorable(cls)
        self._event_type = event_type
        self._decode = msgspec.json.Decoder[Any](cls).decode
        self._may_hold_nan = any(
            isinstance(part, inspect.FloatType | inspect.DecimalType | inspect.AnyType)
            for part in _parts(inspect.type_info(cls), set())
        )

    def encode(self, event: object) -> str:
        """The event as JSON text.

        Raises:
            EventEncodingError: a value can't be stored, or couldn't be read back as what the class declares.
        """
        try:
            data = _encode(event)
            self._decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EventEncodingError(self._event_type, str(error)) from error
        if b"\\u0000" in data and _NUL.search(data):
            raise EventEncodingError(self._event_type, "it holds a NUL character, which PostgreSQL can't store")
        if self._may_hold_nan and _PERHAPS_NAN.search(data):
            self._refuse_nan(event)
        return data.decode()

    def decode(self, data: str | bytes) -> Any:
        """The event that `encode` made this text from. Raises msgspec.MsgspecError when it doesn't fit the class."""
        return self._decode(data)

    def _refuse_nan(self, event: object) -> None:
        # JSON has no NaN: msgspec writes null for it, which a nullable field would quietly read back as None.
        for value in _leaves(msgspec.to_builtins(event, builtin_types=(Decimal,))):
            if (isinstance(value, float) and not math.isfinite(value)) or (
                isinstance(value, Decimal) and not value.is_finite()
            ):
                raise EventEncodingError(self._event_type, f"{value} is not a finite number")


def refuse_unstorable(cls: type) -> None:
    """Raise EventDefinitionError, naming the field and the fix, when a field's type can't be stored as JSON."""
    for field in _fields(cls):
        for part in _parts(field.type, set()):
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


def _fields(cls: type) -> tuple[inspect.Field, ...]:
    try:
        info = inspect.type_info(cls)
    except TypeError as error:
        raise EventDefinitionError(cls, _culprit(cls, error)) from error
    if not isinstance(info, inspect.StructType | inspect.DataclassType):
        raise EventDefinitionError(cls, "it is no plain class, dataclass, attrs class or msgspec Struct")
    return info.fields


def _culprit(cls: type, error: TypeError) -> str:
    """Which field it is that msgspec means, why, and what to do."""
    fix = "give it a type whose values can be told apart in JSON"
    for name, annotation in get_type_hints(cls, include_extras=True).items():
        try:
            msgspec.json.Decoder(annotation)
        except TypeError as reason:
            return f"field {name!r} can't be stored: {reason}; {fix}"
    return f"a field can't be stored: {error}; {fix}"


def _parts(info: inspect.Type, seen: set[int]) -> Iterator[inspect.Type]:
    """The type and all types within it, each once."""
    if id(info) in seen:
        return
    seen.add(id(info))
    yield info
    for name in info.__struct_fields__:
        value = getattr(info, name)
        for inner in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            part = inner.type if isinstance(inner, inspect.Field) else inner
            if isinstance(part, inspect.Type):
                yield from _parts(part, seen)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, inner in cast("dict[object, object]", value).items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in cast("Iterable[object]", value):
            yield from _leaves(inner)
    else:
        yield value
