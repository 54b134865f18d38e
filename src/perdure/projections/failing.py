"""What is kept of an event that a projection can't take: which it is, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from traceback import format_exception
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from perdure.errors import DatabaseError, EventDecodingError, UnknownEventTypeError, UnknownEventVersionError
from perdure.events import StoredEvent
from perdure.projections.tables import Key

FailureKind = Literal["handler", "decoding", "unknown_type", "database", "timeout", "too_many_parked"]
"""Where it went wrong: in the user's code, in decoding or upcasting, in a type that has no class here, in the database
that refused a value, in a handler that took too long, or in that there are too many parked events already."""


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


class TooManyParkedError(Exception):
    """An event would have to be parked, but there are as many parked as there may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} events are parked, which is as many as there may be: retry or skip them, then resume"
        )


_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], FailureKind], ...]] = (
    ((TooManyParkedError,), "too_many_parked"),
    ((UnknownEventTypeError,), "unknown_type"),
    ((EventDecodingError, UnknownEventVersionError), "decoding"),
    ((DatabaseError,), "database"),
    ((TimeoutError,), "timeout"),
)


def told(failure: Failure, attempts: int) -> EventFailure:
    """A failure as it is kept."""
    stored, error, _ = failure
    return EventFailure(
        global_position=stored.global_position,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        event_id=stored.event_id,
        event_type=stored.event_type,
        kind=kind_of(error),
        error_type=type(error).__qualname__,
        message=_storable(_message(error)),
        traceback=_storable("".join(format_exception(error))),
        attempts=attempts,
        failed_at=datetime.now(UTC),
    )


def kind_of(error: Exception) -> FailureKind:
    """Where it went wrong."""
    for classes, kind in _KINDS:
        if isinstance(error, classes):
            return kind
    return "handler"


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001 - the user's code, which may raise anything
        return f"its message can't be made: {another!r}"


def _storable(text: str) -> str:
    """The text without what PostgreSQL, or JSON, can't hold: an error must never fail to be kept."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
