"""Read models: projections, their tables and rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from perdure.errors.formats import shown
from perdure.errors.mask import masked_text
from perdure.errors.roots import PerdureError
from perdure.errors.stores import DatabaseError

UNIQUE_VIOLATION = "23505"


class ProjectionDefinitionError(PerdureError, TypeError):
    """A projection is invalid. Raised when it is defined, or when the service starts."""

    what: ClassVar[str] = "projection"
    """What is invalid."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{self.what} {shown(name)} can't run: {reason}")
        self.name = name
        self.reason = reason


class ReactionDefinitionError(ProjectionDefinitionError):
    """A reaction is invalid. Raised when it is defined, or when the service starts."""

    what = "reaction"


class ReactionKeyError(PerdureError, ValueError):
    """The key of an event can't be used, so the order in which a reaction or relay takes it isn't known."""

    def __init__(self, name: str, key: object) -> None:
        super().__init__(
            f"{shown(name)} can't take {shown(key)} as the key of an event: give text that isn't empty, an "
            "int or a UUID"
        )
        self.name = name
        self.key = key


class ProjectionShapeError(ProjectionDefinitionError):
    """The tables of a projection changed without a new `version`. `differences` lists the changes."""

    def __init__(self, name: str, differences: Sequence[str]) -> None:
        super().__init__(name, f"its tables in the database differ ({'; '.join(differences)}): give it a new version")
        self.differences = tuple(differences)


class ProjectionRowError(PerdureError, ValueError):
    """A row that a handler returned, or the key of an event, can't be stored."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"{table!r} can't take the row: {reason}")
        self.table, self.reason = table, reason


class UniqueViolationError(DatabaseError):
    """An event would give two rows of a projection the same values in fields that its class declares as `unique`.

    Attributes:
        table: The name under which users query the rows.
        fields: The fields whose values the rows would have in common.
    """

    def __init__(self, table: str, fields: Sequence[str], detail: str) -> None:
        super().__init__(
            f"two rows of {table!r} would have the same {' and '.join(fields)}, which is declared unique: "
            f"{masked_text(detail)} Skip the event, append one that corrects it, or declare a version without unique",
            UNIQUE_VIOLATION,
        )
        self.table = table
        self.fields = tuple(fields)


class ChildNotLoadedError(PerdureError, LookupError):
    """A handler used a child row that wasn't loaded for its event. Name its key in the `keys` of `child_table`."""

    def __init__(self, child: str, key: object) -> None:
        super().__init__(f"{child!r}: row {shown(key)} isn't loaded for this event: name it in child_table(keys=...)")
        self.child, self.key = child, key


class UnknownProjectionError(PerdureError, LookupError):
    """No projection has that name, or its service has never run, so that the database doesn't know it."""

    def __init__(self, name: str, known: Sequence[str], *, in_database: bool = False) -> None:
        new = "; if it is new, is its service running?" if in_database else ""
        names = ", ".join(known) or "none"
        super().__init__(f"there is no projection {shown(name)}; the projections are: {names}{new}")
        self.name = name
        self.known = tuple(known)


class UnknownTimerError(PerdureError, LookupError):
    """An instance of a process has no such timer set: it has fired, or was cancelled, or never existed."""

    def __init__(self, name: str, key: str, timer: str) -> None:
        super().__init__(
            f"process {name!r} has no timer {timer!r} set for {key}: it has fired or was cancelled; "
            "list the timers to see what is set"
        )
        self.name = name
        self.key = key
        self.timer = timer


class WaitError(PerdureError):
    """The rows don't show yet what `wait_for` was given. It says nothing about the write, which is stored.

    The root of `ProjectionTimeoutError`, `ProjectionPausedError` and `EventParkedError`.

    Example:
        saved = await orders.execute("123", lambda order: order.send())
        try:
            await app.wait_for("orders", saved, timeout=2)
            status = 200
        except WaitError:
            status = 202  # written, and visible later
    """


class ProjectionPausedError(WaitError):
    """A projection is paused because an event failed. Fix the cause, then resume it."""

    def __init__(self, name: str, global_position: int, error: str) -> None:
        super().__init__(
            f"projection {name!r} is paused before position {global_position}: {error}; "
            f"fix the cause, then call resume({name!r})"
        )
        self.name = name
        self.global_position = global_position
        self.error = error


class EventParkedError(WaitError):
    """The rows don't show an event that `wait_for` was given: it is parked. Fix the cause, then retry or skip it.

    Attributes:
        name: The name of the projection.
        global_position: The position of the event.
        failed_position: The position of the event that failed: the same, or that of an earlier event of the same row,
            which this one waits behind.
        key: The key of the row, as JSON.
        error: The error of the event that failed; None if it was skipped or processed a moment ago, so that this event
            is tried next.
        parked_at: The time since when later events of the row wait.
        is_retry_due: Whether a retry is due that no process made in time.
    """

    def __init__(
        self,
        name: str,
        global_position: int,
        *,
        failed_position: int,
        key: str,
        error: str | None,
        parked_at: datetime,
        is_retry_due: bool = False,
    ) -> None:
        behind = "" if failed_position == global_position else f", where it waits behind position {failed_position}"
        super().__init__(
            f"projection {name!r} doesn't show the event at position {global_position}: it is parked for the row "
            f"{shown(key)}{behind}, since {parked_at.isoformat(timespec='seconds')}"
            + (f": {error}; " if error else "; ")
            + (
                "a retry is due: is its service running?"
                if is_retry_due
                else f"fix the cause, then call retry({name!r}) or skip({name!r}, {failed_position}, ...)"
            )
        )
        self.name = name
        self.global_position = global_position
        self.failed_position = failed_position
        self.key = key
        self.error = error
        self.parked_at = parked_at
        self.is_retry_due = is_retry_due


class InlineProjectionError(PerdureError):
    """An inline projection failed on an event, so nothing was appended. `__cause__` is the error."""

    def __init__(self, name: str, stream_id: str, stream_version: int, event_type: str, error: Exception) -> None:
        super().__init__(
            f"nothing was appended: projection {name!r} failed on {event_type}, version {stream_version} of "
            f"{stream_id!r}: {shown(error)}"
        )
        self.name = name
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.event_type = event_type


class ProjectionTransactionError(PerdureError):
    """SQL of a handler ended the transaction of its batch, or tried to; or a handler used `tx` after its batch.

    Attributes:
        reason: What happened, and what to do.
        global_position, event_id, event_type: The event that the handler processed; the first, if it got several.
    """

    def __init__(self, reason: str, global_position: int, event_id: UUID, event_type: str) -> None:
        super().__init__(f"handling event {event_id} ({event_type}) at position {global_position}: {reason}")
        self.reason = reason
        self.global_position = global_position
        self.event_id = event_id
        self.event_type = event_type


class UserCodeError(PerdureError):
    """Your code raised something that isn't an `Exception`, such as `CancelledError` or the panic of a Rust extension.

    This error replaces it, so that it isn't mistaken for the cancellation of a task. `__cause__` is the original.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"your code raised {shown(error)}, which isn't an Exception: fix it, or catch it there")


class ProjectionTimeoutError(WaitError, TimeoutError):
    """A projection didn't reach a position in time.

    `lag` is the number of positions still to come. `cause` is what holds the projection up, if that is known.
    """

    is_transient = True

    def __init__(self, name: str, global_position: int, reached: int, timeout: float, cause: str | None = None) -> None:
        short = _positions(global_position - reached)
        why = f"it is held up by: {cause}" if cause else "is its service running?"
        super().__init__(
            f"projection {name!r} was at position {reached} after {timeout:g} s, {short} short of {global_position}: "
            f"{why}"
        )
        self.name = name
        self.global_position = global_position
        self.reached = reached
        self.lag = global_position - reached
        self.timeout = timeout
        self.cause = cause


def _positions(count: int) -> str:
    return "1 position" if count == 1 else f"{count} positions"
