"""What the views of a projection show: read from the database, and valid at the moment of one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from perdure.errors import EventParkedError, PerdureError, ProjectionPausedError
from perdure.projections.sql import statements
from perdure.projections.state.failures import EventFailure
from perdure.stores.postgres.connections.database import Connection, Database


class _ParkedRow(NamedTuple):
    """One of the events that was asked for: it is parked for a key."""

    global_position: int
    key: str
    failed_position: int
    error: str | None
    parked_at: datetime
    is_retry_due: bool


class ShownRows(NamedTuple):
    """How far the rows are that the views of a projection show, and what is missing of the events asked for."""

    is_known: bool
    """Whether the projection was ever set up."""
    global_position: int
    """All rows include every event up to here, but for parked and skipped ones; 0 if nothing is shown yet."""
    pause: ProjectionPausedError | None
    """A segment is paused before the last of the positions."""
    parked: EventParkedError | None
    """One of the events is parked, or waits behind a parked one."""

    def shows(self, position: int) -> bool:
        """Whether the events are shown, where `position` is the last of them."""
        return self.global_position >= position and self.parked is None

    def obstacle(self, position: int) -> PerdureError | None:
        """What only an operator can end; None if waiting may help."""
        if self.global_position < position:
            return self.pause
        return self.parked if self.parked and not self.parked.is_retry_due else None


async def read_shown_rows(database: Database, name: str, positions: Sequence[int]) -> ShownRows:
    """Read, in one statement, what the views of a projection show of the events at some positions."""
    sql = statements("progress", schema=database.quoted_schema)
    [(is_known, reached, paused_at, pause_error, *parked)] = await database.fetch(sql["shown"], name, positions)
    return ShownRows(
        is_known,
        reached or 0,
        None if paused_at is None else _pause(name, paused_at, pause_error),
        None if parked[0] is None else _parked(name, _ParkedRow(*parked)),
    )


async def read_names(database: Database, connection: Connection | None = None) -> list[str]:
    """Read the names of all projections that were ever set up, on the caller's connection if it has one."""
    rows = await (connection or database).fetch(statements("progress", schema=database.quoted_schema)["names"])
    return [row[0] for row in rows]


async def read_runner_error(database: Database, name: str) -> str | None:
    """Read what holds up the processes that run the shown build, other than an event."""
    rows = await database.fetch(statements("progress", schema=database.quoted_schema)["runner_error"], name)
    return rows[0][0] if rows else None


def _pause(name: str, position: int, document: str | None) -> ProjectionPausedError:
    if document is None:
        return ProjectionPausedError(name, position + 1, "an operator paused it")
    failure = msgspec.json.decode(document, type=EventFailure)
    return ProjectionPausedError(name, failure.global_position, _text(failure))


def _parked(name: str, row: _ParkedRow) -> EventParkedError:
    error = None if row.error is None else _text(msgspec.json.decode(row.error, type=EventFailure))
    return EventParkedError(
        name,
        row.global_position,
        failed_position=row.failed_position,
        key=row.key,
        error=error,
        parked_at=row.parked_at,
        is_retry_due=row.is_retry_due,
    )


def _text(failure: EventFailure) -> str:
    return f"{failure.error_type}: {failure.message}"
