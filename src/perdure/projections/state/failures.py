"""What is kept of an event that a projection can't take: which it is, and why."""

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
from perdure.errors.mask import masked_text
from perdure.events import StoredEvent
from perdure.projections.state.identity import Key
from perdure.tasks import INTERRUPTS

FailureKind = Literal["handler", "decoding", "unknown_type", "database", "timeout", "too_many_parked"]
"""Where it went wrong: in the user's code, in decoding or upcasting, in a type that has no class here, in the database
that refused a value, in a handler that took too long, or in that there are too many parked events already."""


_LONGEST_TEXT: Final = 20_000
"""Characters: an error may quote the value that it is about, of any size."""


class Failure(NamedTuple):
    """An event that a projection can't take, and why."""

    stored: StoredEvent
    error: Exception
    keys: tuple[Key, ...] = ()
    """The rows for which it fails; none when that can't be told."""


class EventFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a projection is paused, or an event parked: the event that it can't take, and the error."""

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
    """How often it was tried."""
    failed_at: datetime
    keys: tuple[str, ...] = ()
    """The keys of the rows for which it failed, as JSON; none when that can't be told."""


class TooManyParkedError(Exception):
    """An event would have to be parked, but there are as many parked as there may be.

    Args:
        limit: how many there may be.
        stored: the event.
        key: the key for which it would have to be parked.
        failure: why it failed; None when it would wait behind another.
    """

    def __init__(self, limit: int, stored: StoredEvent, key: Key, failure: EventFailure | None) -> None:
        why = f"it failed: {failure.error_type}: {failure.message}" if failure else "it waits behind one that failed"
        super().__init__(
            f"{limit} events are parked, which is as many as there may be: retry or skip some, then resume. "
            f"The next one can't be parked, and {why}"
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
    """A failure as it is kept, with the keys of its rows as JSON."""
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
    """What the user's code raised, as an error that ends no task. Raises what asks the process to end."""
    if isinstance(error, INTERRUPTS):
        raise error
    if isinstance(error, Exception):
        return error
    # As it is, it would pass by all who catch errors; a CancelledError would end the task, without a word.
    failure = UserCodeError(error)
    failure.__cause__ = error
    return failure


def type_of(error: Exception) -> type[BaseException]:
    """The class of what the user's code raised."""
    return type(error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error)


def kind_of(error: Exception) -> FailureKind:
    """Where it went wrong."""
    for classes, kind in _KINDS:
        if isinstance(error, classes):
            return kind
    return "handler"


def _message(error: Exception) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001 - the user's code, which may raise anything
        return f"its message can't be made: {failed(another)!r}"


def _storable(text: str) -> str:
    """The text without what can't be kept: an error must never fail to be. Of a huge one, the middle is left out."""
    text = masked_text(text)
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
