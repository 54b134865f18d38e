"""Parked events: kept beside the rows that don't show them, and each key's later events behind them, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from perdure.events import StoredEvent
from perdure.projections.definition import Definition
from perdure.projections.failing import EventFailure, TooManyParkedError
from perdure.projections.fold import Diverted
from perdure.projections.segments import FencedError
from perdure.projections.tables import Key
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.statements import Statements

_SQL: Final = Path(__file__).parent / "sql"


class Standstill(NamedTuple):
    """What doesn't reach the rows of a build."""

    blocked: frozenset[Key] = frozenset()
    """The keys whose events wait behind one that is parked."""
    skipped: frozenset[int] = frozenset()
    """The positions of events that were skipped as a whole."""
    asked: tuple[tuple[Key, int], ...] = ()
    """The keys to be tried again, with their hashes."""


class Parking:
    """The parked events of one build.

    Args:
        database: the database of the store.
        definition: the projection.
        runner: the name of this process's run of it, for the record.
        limit: how many may be parked at most, those that wait included.
    """

    def __init__(self, database: Database, definition: Definition, runner: str, limit: int) -> None:
        self._database = database
        self._build = definition.build
        self._table = definition.table
        self._runner = runner
        self._limit = limit
        self._sql = Statements(_SQL / "parking", schema=database.quoted_schema)
        self._record = Statements(_SQL / "action", schema=database.quoted_schema)["record"]

    async def standstill(self) -> Standstill:
        """What doesn't reach the rows now."""
        rows = await self._database.fetch(self._sql["standstill"], *self._build)
        keyed = [row for row in rows if row["skipped_position"] is None]
        keys = self._table.decode_keys(row["key"] for row in keyed)
        return Standstill(
            frozenset(keys),
            frozenset(row["skipped_position"] for row in rows if row["skipped_position"] is not None),
            tuple((key, row["hash"]) for key, row in zip(keys, keyed, strict=True) if row["is_asked"]),
        )

    async def park(self, connection: Connection, diverted: Sequence[Diverted]) -> None:
        """Park events, within the caller's transaction.

        Raises:
            TooManyParkedError: there are too many already.
        """
        rows = [
            {
                "key": self._table.encode_key(key),
                "hash": self._table.hash_of(key),
                "global_position": stored.global_position,
                "event_id": stored.event_id,
                "event_type": stored.event_type,
                "stream_id": stored.stream_id,
                "stream_version": stored.stream_version,
                "state": "failed" if failure else "waiting",
                "error": failure,
                "attempts": failure.attempts if failure else 0,
            }
            for stored, key, failure in diverted
        ]
        await connection.execute(self._sql["park"], *self._build, msgspec.json.encode(rows).decode())
        if await connection.fetchval(self._sql["count"], *self._build) > self._limit:
            raise TooManyParkedError(self._limit)
        for stored, key, failure in diverted:
            if failure is not None:
                await self._keep(connection, "parked", failure.message, key, [stored.global_position])

    async def queue(self, key: Key, limit: int) -> dict[int, int]:
        """The positions of the key's events that failed or wait, oldest first, with the number of attempts."""
        rows = await self._database.fetch(self._sql["queue"], *self._build, self._table.encode_key(key), limit)
        return {row["global_position"]: row["attempts"] for row in rows}

    async def unpark(self, connection: Connection, key: Key, positions: Sequence[int]) -> None:
        """Events of a key were taken at last: within the caller's transaction, forget that they were parked.

        Raises:
            FencedError: one of them isn't parked any more; somebody skipped it.
        """
        gone = await connection.fetch(self._sql["unpark"], *self._build, self._table.encode_key(key), positions)
        if len(gone) != len(positions):
            raise FencedError
        await self._keep(connection, "retried", None, key, positions)

    async def fail(self, key: Key, failure: EventFailure) -> None:
        """An event of a key failed once more."""
        error = msgspec.json.encode(failure).decode()
        encoded = self._table.encode_key(key)
        await self._database.fetch(self._sql["fail"], *self._build, encoded, failure.global_position, error)

    async def _keep(
        self, connection: Connection, action: str, reason: str | None, key: Key, positions: Sequence[int]
    ) -> None:
        detail = msgspec.json.encode({"key": self._table.encode_key(key), "positions": positions}).decode()
        await connection.execute(self._record, *self._build, action, self._runner, reason, detail)


def positions_of(events: Sequence[StoredEvent]) -> list[int]:
    """Where they stand."""
    return [stored.global_position for stored in events]
