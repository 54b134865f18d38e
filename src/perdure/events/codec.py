"""From an event to JSON and back. What is written is known to be readable: it is decoded before it is stored."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, cast, get_type_hints

import msgspec
from msgspec import inspect

from perdure.errors import EventDefinitionError, EventEncodingError
from perdure.events.untyped import Look, Untyped

_encode = msgspec.json.Encoder().encode
_decode_plainly = msgspec.json.Decoder[object]().decode
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PERHAPS_NAN = re.compile(rb"null|nan|inf", re.IGNORECASE)


class EventCodec(Protocol):
    """Encodes and decodes the events of one class."""

    def encode(self, event: Any) -> str:
        """The event as JSON text. Raises EventEncodingError when it can't be stored, or couldn't be read back."""
        ...

    def decode(self, data: str | bytes, /) -> Any:
        """The event that this text was made from. Raises msgspec.MsgspecError when it doesn't fit the class."""
        ...

    def fields(self, event: Any) -> Mapping[str, object]:
        """What the event holds, by the names of its fields."""
        ...

    @property
    def has_untyped(self) -> bool:
        """Whether a field, or a part of one, is typed `Any`."""
        ...


def codec_for(event_type: str, cls: type) -> EventCodec:
    """The codec for events of that class. Raises EventDefinitionError when they can't be stored."""
    if is_pydantic(cls):
        from perdure.events.pydantic_models import PydanticCodec

        return PydanticCodec(event_type, cls)
    return Codec(event_type, cls)


def is_pydantic(cls: type) -> bool:
    """Whether it is a pydantic model. Told by what it has, so that pydantic isn't imported where it isn't used."""
    return hasattr(cls, "model_validate_json")


class Codec:
    """Encodes and decodes events that are Structs, dataclasses or attrs classes. See `EventCodec`."""

    def __init__(self, event_type: str, cls: type) -> None:
        refuse_unstorable(cls)
        self._event_type = event_type
        self._fields = tuple(field.name for field in _fields(cls))
        self.decode: Callable[[str | bytes], Any] = msgspec.json.Decoder[Any](cls).decode
        """The decoder itself, with nothing around it: every event that is read passes through it."""
        info = inspect.type_info(cls)
        parts = _parts(info, set())
        self._look_into_untyped = Untyped().look_for(info)
        self._may_hold_infinity = any(isinstance(part, inspect.DecimalType) for part in parts)

    def encode(self, event: object) -> str:
        """The event as JSON text.

        Raises:
            EventEncodingError: a value can't be stored, or couldn't be read back as what the class declares.
        """
        try:
            data = _encode(event)
            returned = self.decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EventEncodingError(self._event_type, str(error)) from error
        text = data.decode()
        if "\\" in text:
            refuse_nul(self._event_type, data)
        if self._may_hold_infinity and may_stand_for_nan(data):
            refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
        if self._look_into_untyped is not None:
            self._refuse_changes(self._look_into_untyped, event, returned)
        if returned != event:
            self._refuse_difference(event, returned, data)
        return text

    @property
    def has_untyped(self) -> bool:
        """Whether a field, or a part of one, is typed `Any`."""
        return self._look_into_untyped is not None

    def _refuse_changes(self, look: Look, event: object, returned: object) -> None:
        if change := next(look(event, returned, ""), None):
            refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
            raise EventEncodingError(self._event_type, str(change))

    def _refuse_difference(self, event: object, returned: object, data: bytes) -> None:
        # Not all that differs is lost: a tuple comes back as the list that was declared, and some classes compare by
        # identity. What is lost shows in the text; but for NaN, which becomes null, and for seconds of an offset.
        content = msgspec.to_builtins(event, builtin_types=(Decimal, datetime))
        refuse_nan(self._event_type, content)
        for value in _leaves(content):
            if isinstance(value, datetime) and (ahead := value.utcoffset()) and ahead.total_seconds() % 60:
                raise EventEncodingError(self._event_type, f"{value} has an offset with seconds: use UTC")
        if _contents(_encode(returned)) != _contents(data):
            raise EventEncodingError(self._event_type, f"it would come back as something else: {returned!r}")

    def fields(self, event: object) -> Mapping[str, object]:
        """What the event holds, by the names of its fields."""
        return {name: getattr(event, name) for name in self._fields}


def refuse_nul(event_type: str, data: bytes) -> None:
    """Raise EventEncodingError when the JSON holds a NUL character."""
    if b"\\u0000" in data and _NUL.search(data):
        raise EventEncodingError(event_type, "it holds a NUL character, which PostgreSQL can't store")


def may_stand_for_nan(data: bytes) -> bool:
    """Whether the JSON holds what a number that isn't finite may have become."""
    return _PERHAPS_NAN.search(data) is not None


def refuse_nan(event_type: str, content: object) -> None:
    """Raise EventEncodingError when a number in the event's content isn't finite."""
    for value in _leaves(content):
        if (isinstance(value, float) and not math.isfinite(value)) or (
            isinstance(value, Decimal) and not value.is_finite()
        ):
            raise EventEncodingError(event_type, f"{value} is not a finite number")


def refuse_unstorable(cls: type) -> None:
    """Raise EventDefinitionError, naming the field and the fix, when a field's type can't be stored as JSON."""
    stored = _fields(cls)
    untyped: Any = cls
    for name in [field.name for field in dataclasses.fields(untyped)] if dataclasses.is_dataclass(untyped) else []:
        if name not in {field.name for field in stored}:
            raise EventDefinitionError(cls, f"field {name!r} isn't stored: give it a name without an underscore before")
    for field in stored:
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


def _contents(data: bytes) -> Counter[object]:
    """All names and values in the JSON, each as often as it stands there: sets have no order to be compared by."""
    return Counter(_leaves(_decode_plainly(data)))


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
