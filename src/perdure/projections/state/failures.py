"""Failures: which event a projection can't process, and why."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from traceback import format_exception
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from perdure.errors import (
    DatabaseError,
    EventDecodingError,
    UnknownEventTypeError,
    UnknownEventVersionError,
    UserCodeError,
)
from perdure.errors.formats import shown
from perdure.errors.mask import masked_text
from perdure.events import StoredEvent
from perdure.projections.state.identity import Key
from perdure.tasks import INTERRUPTS

FailureKind = Literal["handler", "decoding", "unknown_type", "database", "timeout", "too_many_parked"]
"""The cause: the user's code, decoding or upcasting, a type without a class here, a value that the database refused, a
handler that took too long, or too many parked events."""


_LONGEST_TEXT: Final = 20_000
"""Characters. An error may quote a value of any size."""


class Failure(NamedTuple):
    """An event that a projection can't process, with the error."""

    stored: StoredEvent
    error: Exception
    keys: tuple[Key, ...] = ()
    """The keys of the rows for which it fails; empty if they aren't known."""


class EventFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded failure of an event, for which a projection is paused or the event parked."""

    global_position: int
    stream_id: str
    stream_version: int
    event_id: UUID
    event_type: str
    kind: FailureKind = "handler"
    error_type: str
    """The class of the error."""
    message: str
    traceback: str
    attempts: int
    """How often it was tried so far."""
    failed_at: datetime
    keys: tuple[str, ...] = ()
    """The keys of the rows for which it failed, as JSON; empty if they aren't known."""

    def __repr__(self) -> str:
        """Return what fits in one line: without the traceback."""
        return (
            f"<EventFailure {self.error_type}: {shown(self.message)}, kind={self.kind!r}, "
            f"global_position={self.global_position}, attempts={self.attempts}>"
        )


class TooManyParkedError(Exception):
    """An event would have to be parked, but the limit of parked events is reached.

    Args:
        limit: how many events may be parked.
        stored: the event.
        key: the key for which it would have to be parked.
        failure: why it failed; None if it would wait behind another event.
    """

    def __init__(self, limit: int, stored: StoredEvent, key: Key, failure: EventFailure | None) -> None:
        why = f"it failed: {failure.error_type}: {failure.message}" if failure else "it waits behind a failed event"
        super().__init__(
            f"{limit} events are parked, which is the limit: retry or skip some, then resume. "
            f"The next event can't be parked; {why}"
        )
        self.stored = stored
        self.key = key
        self.attempts = failure.attempts if failure else 0


_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], FailureKind], ...]] = (
    ((TooManyParkedError,), "too_many_parked"),
    ((UnknownEventTypeError,), "unknown_type"),
    ((EventDecodingError, UnknownEventVersionError), "decoding"),
    ((DatabaseError,), "database"),
    ((TimeoutError,), "timeout"),
)


def event_failure(failure: Failure, attempts: int, keys: Iterable[str] = ()) -> EventFailure:
    """Return the failure in the form that is recorded, with the keys of its rows as JSON."""
    stored, error, _ = failure
    return EventFailure(
        global_position=stored.global_position,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        event_id=stored.event_id,
        event_type=stored.event_type,
        kind=kind_of(error),
        error_type=type_of(error).__qualname__,
        message=_storable(_message(error)),
        traceback=_storable("".join(format_exception(error))),
        attempts=attempts,
        failed_at=datetime.now(UTC),
        keys=tuple(keys),
    )


def failed(error: BaseException) -> Exception:
    """Return what the user's code raised, as an Exception. Raise KeyboardInterrupt and SystemExit."""
    if isinstance(error, INTERRUPTS):
        raise error
    if isinstance(error, Exception):
        return error
    # No `except Exception` would catch it, and a CancelledError would end the task silently.
    failure = UserCodeError(error)
    failure.__cause__ = error
    return failure


def type_of(error: Exception) -> type[BaseException]:
    """Return the class of what the user's code raised."""
    return type(error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error)


def kind_of(error: Exception) -> FailureKind:
    """Return the cause of an error."""
    for classes, kind in _KINDS:
        if isinstance(error, classes):
            return kind
    return "handler"


def _message(error: Exception) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001 - the user's code, which may raise anything
        return f"its message can't be built: {failed(another)!r}"


def _storable(text: str) -> str:
    # Recording an error must never fail: no character may be refused, and a huge text loses its middle.
    text = masked_text(text)
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
