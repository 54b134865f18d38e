"""Encodes events as JSON and decodes them. Each encoded event is decoded once, so only readable events are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import inspect

from perdure.errors import EventEncodingError
from perdure.events.set_order import SETS, with_sorted_sets
from perdure.events.storable import (
    contents_of,
    fields_of,
    is_pydantic,
    leaves_of,
    may_stand_for_nan,
    parts_of,
    refuse_nan,
    refuse_nul,
    refuse_unstorable,
)
from perdure.events.untyped import ChangeFinder, ChangeFinders

_encode = msgspec.json.Encoder().encode


class EventCodec(Protocol):
    """Encodes and decodes the events of one class."""

    def encode(self, event: Any) -> str:
        """Return the event as JSON text. Raise EventEncodingError if it can't be stored, or couldn't be read back."""
        ...

    def decode(self, data: str | bytes, /) -> Any:
        """Return the event encoded as this text. Raise msgspec.MsgspecError if it doesn't fit the class."""
        ...

    def fields(self, event: Any) -> Mapping[str, object]:
        """Return the values of the event by field name."""
        ...

    @property
    def has_untyped(self) -> bool:
        """Whether a field, or a part of one, has the type `Any`."""
        ...


def codec_for(event_type: str, cls: type) -> EventCodec:
    """Return the codec for events of a class. Raise EventDefinitionError if they can't be stored."""
    if is_pydantic(cls):
        from perdure.events.pydantic_models import PydanticCodec

        return PydanticCodec(event_type, cls)
    return Codec(event_type, cls)


class Codec:
    """Encodes and decodes events that are Structs, dataclasses or attrs classes. See `EventCodec`."""

    def __init__(self, event_type: str, cls: type) -> None:
        refuse_unstorable(cls)
        self._event_type = event_type
        self._fields = tuple(field.name for field in fields_of(cls))
        self.decode: Callable[[str | bytes], Any] = msgspec.json.Decoder[Any](cls).decode
        """The bare decoder, because every event that is read passes through it."""
        info = inspect.type_info(cls)
        parts = list(parts_of(info, set()))
        self._find_untyped_changes = ChangeFinders().finder_for(info)
        self._may_hold_infinity = any(isinstance(part, inspect.DecimalType) for part in parts)
        self._holds_sets = any(isinstance(part, SETS) for part in parts)

    def encode(self, event: object) -> str:
        """Return the event as JSON text.

        Raises:
            EventEncodingError: a value can't be stored, or couldn't be read back as the class declares it.
        """
        try:
            data = _encode(event)
            if self._holds_sets:
                data = with_sorted_sets(event, data)
            returned = self.decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EventEncodingError(self._event_type, str(error)) from error
        text = data.decode()
        if "\\" in text:
            refuse_nul(self._event_type, data)
        if self._may_hold_infinity and may_stand_for_nan(data):
            refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
        if self._find_untyped_changes is not None:
            self._refuse_changes(self._find_untyped_changes, event, returned)
        if returned != event:
            self._refuse_difference(event, returned, data)
        return text

    @property
    def has_untyped(self) -> bool:
        """Whether a field, or a part of one, has the type `Any`."""
        return self._find_untyped_changes is not None

    def _refuse_changes(self, find: ChangeFinder, event: object, returned: object) -> None:
        if change := next(find(event, returned, ""), None):
            refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
            raise EventEncodingError(self._event_type, str(change))

    def _refuse_difference(self, event: object, returned: object, data: bytes) -> None:
        # A difference isn't always a loss: a tuple comes back as the declared list, and some classes compare by
        # identity. Losses show in the text, except NaN, which becomes null, and the seconds of an offset.
        content = msgspec.to_builtins(event, builtin_types=(Decimal, datetime))
        refuse_nan(self._event_type, content)
        for value in leaves_of(content):
            if isinstance(value, datetime) and (ahead := value.utcoffset()) and ahead.total_seconds() % 60:
                raise EventEncodingError(self._event_type, f"{value} has an offset with seconds: use UTC")
        if contents_of(_encode(returned)) != contents_of(data):
            raise EventEncodingError(self._event_type, f"it would come back as something else: {returned!r}")

    def fields(self, event: object) -> Mapping[str, object]:
        """Return the values of the event by field name."""
        return {name: getattr(event, name) for name in self._fields}
