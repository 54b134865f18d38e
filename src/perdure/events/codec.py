"""Encodes events as JSON and decodes them. Each encoded event is decoded once, so only readable events are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec
from msgspec import inspect

from perdure.errors import EventEncodingError
from perdure.events.leaves import is_pydantic, leaves_of
from perdure.events.naive_times import may_be_naive, refuse_naive
from perdure.events.set_order import SETS, with_sorted_sets
from perdure.events.storable import (
    contents_of,
    fields_of,
    may_stand_for_nan,
    parts_of,
    refuse_nan,
    refuse_nul,
    refuse_unstorable,
)
from perdure.events.untyped import ChangeFinder, ChangeFinders

_encode = msgspec.json.Encoder().encode

_BYTES: Final = (bytes, bytearray, memoryview)
_TEXT, _NUMBER = "str", "a number"


class EventCodec(Protocol):
    """Encodes and decodes the events of one class."""

    def encode(self, event: Any) -> str:
        """Return the event as JSON text. Raise EventEncodingError if it can't be stored, or couldn't be read back."""
        ...

    def checked(self, event: Any) -> tuple[str, Any]:
        """Return what `encode` returns, and the object that was read back from it: one that nothing else holds."""
        ...

    def decode(self, data: str | bytes, /) -> Any:
        """Return the event encoded as this text. Raise msgspec.MsgspecError if it doesn't fit the class."""
        ...

    def fields(self, event: Any) -> Mapping[str, object]:
        """Return the values of the event by field name."""
        ...


def codec_for(event_type: str, cls: type) -> EventCodec:
    """Return the codec for events of a class. Raise EventDefinitionError if they can't be stored."""
    if is_pydantic(cls):
        from perdure.events.pydantic_models import PydanticCodec

        return PydanticCodec(event_type, cls)
    return Codec(event_type, cls)


class Codec:
    """Encodes and decodes events that are Structs, dataclasses or attrs classes. See `EventCodec`.

    Args:
        event_type: the name for errors.
        cls: the class.
        allow_naive: whether datetimes without a time zone are stored, as in snapshots of what old events hold.
    """

    def __init__(self, event_type: str, cls: type, *, allow_naive: bool = False) -> None:
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
        self._allows_naive = allow_naive
        self._may_hold_naive = not allow_naive and any(isinstance(part, inspect.DateTimeType) for part in parts)

    def encode(self, event: object) -> str:
        """Return the event as JSON text. Raises as `checked` does."""
        return self.checked(event)[0]

    def checked(self, event: object) -> tuple[str, Any]:
        """Return the event as JSON text, and as it is read from that text.

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
        if self._may_hold_naive and may_be_naive(data):
            refuse_naive(self._event_type, returned)
        if self._find_untyped_changes is not None:
            self._refuse_changes(self._find_untyped_changes, event, returned)
        if returned != event:
            self._refuse_difference(event, returned, data)
        return text, returned

    def _refuse_changes(self, find: ChangeFinder, event: object, returned: object) -> None:
        if change := next(find(event, returned, ""), None):
            self._refuse_naive(event)
            refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
            raise EventEncodingError(self._event_type, str(change))

    def _refuse_difference(self, event: object, returned: object, data: bytes) -> None:
        # A difference isn't always a loss: a tuple comes back as the declared list, and some classes compare by
        # identity. Losses show in the text, except NaN, which becomes null, the seconds of an offset, and what has the
        # form of another type in JSON, such as a UUID in a field of type `str`.
        refuse_nan(self._event_type, msgspec.to_builtins(event, builtin_types=(Decimal,)))
        for _, value in leaves_of(event):
            if isinstance(value, datetime) and (ahead := value.utcoffset()) and ahead.total_seconds() % 60:
                raise EventEncodingError(self._event_type, f"{value} has an offset with seconds: use UTC")
        if contents_of(_encode(returned)) != contents_of(data):
            raise EventEncodingError(self._event_type, f"it would come back as something else: {returned!r}")
        self._refuse_other_kinds(event, returned)

    def _refuse_other_kinds(self, event: object, returned: object) -> None:
        for name, value in self.fields(event).items():
            read = getattr(returned, name)
            if read != value and (change := _changed_kind(value, read)):
                self._refuse_naive(event)
                was, becomes = change
                reason = f"{name}: {was} would come back as {becomes}; declare it as {was}, or convert it to {becomes}"
                raise EventEncodingError(self._event_type, reason)

    def _refuse_naive(self, event: object) -> None:
        if not self._allows_naive:
            refuse_naive(self._event_type, event)

    def fields(self, event: object) -> Mapping[str, object]:
        """Return the values of the event by field name."""
        return {name: getattr(event, name) for name in self._fields}


def _changed_kind(value: object, read: object) -> tuple[str, str] | None:
    """Return the kind of a part that came back as plain text or a plain number, and which of both; None if none did."""
    before, after = _kinds_in(value), _kinds_in(read)
    lost, gained = before - after, after - before
    plain = next((kind for kind in (_TEXT, _NUMBER) if gained[kind]), None)
    return (min(lost), plain) if lost and plain else None


def _kinds_in(value: object) -> Counter[str]:
    return Counter([_kind_of(leaf.value) for leaf in leaves_of(value)])


def _kind_of(value: object) -> str:
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, int | float):
        return _NUMBER
    return "bytes" if isinstance(value, _BYTES) else type(value).__name__
