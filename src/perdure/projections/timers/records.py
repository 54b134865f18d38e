"""The timers that the database holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from perdure.projections.sql import statements
from perdure.stores.postgres.connections.database import Connection, Database


class Firing(NamedTuple):
    """What became of the timers that were due."""

    fired: int
    """How many have become events."""
    busy: int
    """How many stay, because their streams were locked."""
    due_since: datetime | None
    """When the first of them was due."""
    looked_at: datetime
    """The time for which it was looked, by the clock of the database."""
    next_due: datetime | None
    """When the next of those that remain is due."""


class TimerRecords:
    """Fires timers, and reads which are due.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = statements("timers", schema=database.quoted_schema)

    async def fire(self, limit: int) -> Firing:
        """Fire timers that are due, at most `limit`, in one transaction."""
        [row] = await self._database.fetch(self._sql["fire"], limit)
        return Firing(*row)

    async def due(self, limit: int) -> tuple[int, float]:
        """Return how many timers are due, counted up to `limit`, and for how many seconds the longest of them."""
        [row] = await self._database.fetch(self._sql["due"], limit)
        return row["due"], row["due_seconds"]

    async def advance(self, by: timedelta, name: str | None) -> None:
        """Move due times into the past, of all processes or of one. For tests."""
        await self._database.fetch(self._sql["advance"], by, name)

    async def cancel(
        self, connection: Connection, name: str, key: str, timer: str, *, actor: str, reason: str | None
    ) -> datetime | None:
        """Cancel a timer in the caller's transaction. Return when it was due; None if it isn't set."""
        due_at: datetime | None = await connection.fetchval(self._sql["cancel"], name, key, timer, actor, reason)
        return due_at
