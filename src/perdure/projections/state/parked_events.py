"""Parked events: kept beside the rows that don't show them, and each key's later events behind them, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from perdure.errors import LogDivergedError
from perdure.events import StoredEvent
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.state.failures import EventFailure, TooManyParkedError
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import Diverted
from perdure.projections.state.segments import FencedError
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements

_SQL: Final = Path(__file__).parents[1] / "sql"
_LONGEST_KEY: Final = 2000
"""Bytes: parked events are found by their key, and an index takes 2704 for an entry, the projection's name included."""


@dataclass
class Standstill:
    """What doesn't reach the rows of a build."""

    blocked: set[Key] = field(default_factory=set[Key])
    """The keys whose events wait behind one that is parked."""
    skipped: frozenset[tuple[int, Key | None]] = frozenset()
    """The events, by position, that somebody skipped before they were taken, each for a key; None means for all."""
    asked: deque[tuple[Key, int]] = field(default_factory=deque[tuple[Key, int]])
    """The keys to be looked at again, with their hashes."""


class Parked(NamedTuple):
    """An event that failed, or waits."""

    stored: StoredEvent
    attempts: int
    """How often it was tried."""


class Parking:
    """The parked events of one build.

    Args:
        database: the database of the store.
        definition: the projection.
        runner: the name of this process's run of it, for the record.
        limit: how many may be parked at most, those that wait included.
    """

    def __init__(self, database: Database, definition: ProjectionDefinition, runner: str, limit: int) -> None:
        self._database = database
        self._build = definition.build
        self._keys = definition.key_codec
        self._runner = runner
        self._limit = limit
        self._sql = Statements(_SQL / "parked_events", schema=database.quoted_schema)
        self._record = Statements(_SQL / "audit_log", schema=database.quoted_schema)["record"]

    def names_of(self, keys: Sequence[Key]) -> list[str]:
        """The keys as they are kept; none when one of them is too long for that."""
        names = [self._keys.encode_key(key) for key in keys]
        return names if all(len(name.encode()) <= _LONGEST_KEY for name in names) else []

    async def standstill(self) -> Standstill:
        """What doesn't reach the rows now."""
        async with self._database.connection() as connection:
            # In this order: who resumes a projection that he skipped an event of does both at once.
            heads = await connection.fetch(self._sql["heads"], *self._build)
            skipped = await connection.fetch(self._sql["skipped"], *self._build)
        keys = self._keys.decode_keys(row["key"] for row in heads)
        whole = {(row["global_position"], None) for row in skipped if not row["key"]}
        keyed = [row for row in skipped if row["key"]]
        positions = [row["global_position"] for row in keyed]
        return Standstill(
            set(keys),
            frozenset(whole.union(zip(positions, self._keys.decode_keys(row["key"] for row in keyed), strict=True))),
            deque((key, row["hash"]) for key, row in zip(keys, heads, strict=True) if row["is_retry_requested"]),
        )

    async def park(self, connection: Connection, diverted: Sequence[Diverted]) -> None:
        """Park events, within the caller's transaction.

        Raises:
            TooManyParkedError: there isn't room for all; carries the first for which there is none.
        """
        room: int = self._limit - await connection.fetchval(self._sql["count"], *self._build, self._limit)
        if len(diverted) > room:
            raise TooManyParkedError(self._limit, *diverted[room])
        rows = [
            {
                "key": self._keys.encode_key(key),
                "hash": self._keys.hash_of(key),
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
        for stored, key, failure in diverted:
            if failure is not None:
                await self._keep(connection, "parked", failure.message, key, [stored.global_position])

    async def queue(self, key: Key, limit: int) -> list[Parked]:
        """The key's events that failed or wait, oldest first.

        Raises:
            LogDivergedError: the log holds something else where they stood.
        """
        rows = await self._database.fetch(self._sql["queue"], *self._build, self._keys.encode_key(key), limit)
        for row in rows:
            if row["event_id"] != row["parked_id"]:
                name = f"projection {self._build.name!r}"
                raise LogDivergedError(name, row["parked_position"], row["parked_id"], row["event_id"])
        return [Parked(StoredEvent(*stored), attempts) for _, _, attempts, *stored in rows]

    async def unpark(self, connection: Connection, key: Key, positions: Sequence[int]) -> None:
        """Events of a key were taken at last: within the caller's transaction, forget that they were parked.

        Raises:
            FencedError: one of them isn't parked any more; somebody skipped it.
        """
        gone = await connection.fetch(self._sql["unpark"], *self._build, self._keys.encode_key(key), positions)
        if len(gone) != len(positions):
            raise FencedError
        await self._keep(connection, "retried", None, key, positions)

    async def fail(self, key: Key, failure: EventFailure) -> None:
        """An event of a key failed once more."""
        error = msgspec.json.encode(failure).decode()
        arguments = *self._build, self._keys.encode_key(key), failure.global_position, error
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetch(self._sql["fail"], *arguments):
                await self._keep(connection, "retry failed", failure.message, key, [failure.global_position])

    async def _keep(
        self, connection: Connection, action: str, reason: str | None, key: Key, positions: Sequence[int]
    ) -> None:
        detail = msgspec.json.encode({"key": self._keys.encode_key(key), "positions": positions}).decode()
        await connection.execute(self._record, *self._build, action, self._runner, reason, detail)


def positions_of(events: Sequence[StoredEvent]) -> list[int]:
    """Where they stand."""
    return [stored.global_position for stored in events]
