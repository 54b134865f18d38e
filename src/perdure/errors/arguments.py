"""Bad input: refused before anything is written."""

from __future__ import annotations

from perdure.errors.formats import path_of, shown
from perdure.errors.roots import PerdureError


class InvalidArgumentError(PerdureError, ValueError):
    """An argument can't be used. `argument` names it, `reason` says why."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument} {reason}")
        self.argument = argument
        self.reason = reason


class InvalidStreamIdError(InvalidArgumentError):
    """A stream id is not of the form ``category-id``, or holds what PostgreSQL can't store."""

    def __init__(self, stream_id: object, reason: str) -> None:
        super().__init__("stream_id", f"{shown(stream_id)} {reason}; a stream id is 'category-id', as in 'user-123'")
        self.stream_id = stream_id


class ReservedCategoryError(InvalidArgumentError):
    """A stream is in a category in which only Perdure writes. Give your streams another category."""

    def __init__(self, argument: str, category: str, stream_id: str | None = None) -> None:
        subject = "is" if stream_id is None else f"{shown(stream_id)} is in"
        super().__init__(
            argument, f"{subject} the category {category!r}, in which only Perdure writes: choose another category"
        )
        self.category = category
        self.stream_id = stream_id


class EventDefinitionError(PerdureError, TypeError):
    """A class can't be an event. Raised when the class is defined."""

    def __init__(self, cls: type, reason: str) -> None:
        super().__init__(f"{cls.__qualname__} can't be an event: {reason}")
        self.cls = cls
        self.reason = reason


class DuplicateEventTypeError(PerdureError):
    """Two classes have the same event type. Give one of them another name."""

    def __init__(self, event_type: str, existing: type, cls: type) -> None:
        super().__init__(
            f"event type {event_type!r} already belongs to {path_of(existing)}: give {path_of(cls)} another name"
        )
        self.event_type = event_type
        self.existing = existing
        self.cls = cls


class UpcasterDefinitionError(PerdureError, TypeError):
    """A function can't be an upcaster. Raised when it is defined."""

    def __init__(self, event_type: str, from_version: int, reason: str) -> None:
        super().__init__(f"invalid upcaster of {event_type!r} from version {from_version}: {reason}")
        self.event_type = event_type
        self.from_version = from_version
        self.reason = reason


class UnregisteredEventError(PerdureError, TypeError):
    """An object was passed as an event, but its class isn't decorated with ``@event``."""

    def __init__(self, cls: type) -> None:
        if _is_metaclass(cls):
            reason = "a class was given as an event: give an instance of a class with @event"
        elif cls.__module__ == "builtins":
            reason = f"a {cls.__name__} is not an event: define a class with @event('category.what_happened') for it"
        else:
            reason = f"{path_of(cls)} is not an event: decorate it with @event('category.what_happened')"
        super().__init__(reason)
        self.cls = cls


def _is_metaclass(cls: type) -> bool:
    return issubclass(cls, type)


class EventEncodingError(PerdureError, ValueError):
    """An event has a value that can't be stored, or that couldn't be read back. Nothing was written."""

    def __init__(self, event_type: str, reason: str) -> None:
        super().__init__(f"event {event_type!r} can't be stored: {reason}")
        self.event_type = event_type
        self.reason = reason


class PayloadTooLargeError(PerdureError, ValueError):
    """An event is over the store's limit (`payload_limit` bytes). Nothing was written."""

    def __init__(self, event_type: str, size: int, limit: int) -> None:
        super().__init__(
            f"event {event_type!r} has {size:,} bytes, over the limit of {limit:,}: "
            "store large content elsewhere and only its address in the event, or raise payload_limit"
        )
        self.event_type = event_type
        self.size = size
        self.limit = limit
