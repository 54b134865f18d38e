"""From an event to JSON and back. What is written is known to be readable: it is decoded before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import inspect

from perdure.errors import EventEncodingError
from perdure.events.storable import (
    contents_of,
    fields_of,
    leaves_of,
    may_stand_for_nan,
    parts_of,
    refuse_nan,
    refuse_nul,
    refuse_unstorable,
)
from perdure.events.untyped import Look, Untyped

_encode = msgspec.json.Encoder().encode


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
        self._fields = tuple(field.name for field in fields_of(cls))
        self.decode: Callable[[str | bytes], Any] = msgspec.json.Decoder[Any](cls).decode
        """The decoder itself, with nothing around it: every event that is read passes through it."""
        info = inspect.type_info(cls)
        parts = parts_of(info, set())
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
        for value in leaves_of(content):
            if isinstance(value, datetime) and (ahead := value.utcoffset()) and ahead.total_seconds() % 60:
                raise EventEncodingError(self._event_type, f"{value} has an offset with seconds: use UTC")
        if contents_of(_encode(returned)) != contents_of(data):
            raise EventEncodingError(self._event_type, f"it would come back as something else: {returned!r}")

    def fields(self, event: object) -> Mapping[str, object]:
        """What the event holds, by the names of its fields."""
        return {name: getattr(event, name) for name in self._fields}
