"""Parked events: events that failed for a key, and the later events of that key, which wait behind them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from perdure.errors import LogDivergedError
from perdure.events import StoredEvent
from perdure.projections.sql import statements
from perdure.projections.state.audit_log import AuditEntry, AuditLog
from perdure.projections.state.failures import EventFailure, TooManyParkedError
from perdure.projections.state.identity import BuildId, Key, KeyCodec
from perdure.projections.state.scope import DivertedEvent
from perdure.projections.state.segments import FencedError
from perdure.stores.postgres.connections.database import Connection, Database

_LONGEST_KEY: Final = 2000
"""Bytes. The key is in an index, whose entries have at most 2704 bytes, with the projection's name."""


@dataclass
class BlockedKeys:
    """The keys of a build that have parked events, and the events to skip."""

    blocked: set[Key] = field(default_factory=set[Key])
    """The keys that have a parked event, so that their further events wait behind it."""
    skipped: frozenset[tuple[int, Key | None]] = frozenset()
    """The events that were skipped before they were processed: a position and a key, or None for all keys."""
    asked: deque[tuple[Key, int]] = field(default_factory=deque[tuple[Key, int]])
    """The keys whose parked events are to be retried, with their hashes."""


class Parked(NamedTuple):
    """A parked event, which failed or waits behind one that failed."""

    stored: StoredEvent
    attempts: int
    """How often it was tried so far."""
    seconds: float
    """How long it has been parked."""


class ParkedEvents:
    """The parked events of one build.

    Args:
        database: the database of the store.
        build: the build.
        keys: the codec of its keys.
        runner: the name of the runner, for the audit log.
        limit: how many events may be parked at most, with those that wait.
    """

    def __init__(self, database: Database, build: BuildId, keys: KeyCodec, runner: str, limit: int) -> None:
        self._database = database
        self._build = build
        self._keys = keys
        self._runner = runner
        self._limit = limit
        self._sql = statements("parked_events", schema=database.quoted_schema)
        self._audit_log = AuditLog(database)

    def names_of(self, keys: Sequence[Key]) -> list[str]:
        """Return the keys as JSON, or an empty list if one of them is too long to park an event for it."""
        names = [self._keys.encode_key(key) for key in keys]
        return names if all(len(name.encode()) <= _LONGEST_KEY for name in names) else []

    async def blocked_keys(self) -> BlockedKeys:
        """Read which keys are blocked, which events are skipped, and which keys are to be retried."""
        async with self._database.connection() as connection:
            # Keys before skips: `skip` resumes the segments and skips the event in one transaction.
            heads = await connection.fetch(self._sql["blocked_keys"], *self._build)
            skipped = await connection.fetch(self._sql["skipped"], *self._build)
        keys = self._keys.decode_keys(row["key"] for row in heads)
        whole = {(row["global_position"], None) for row in skipped if not row["key"]}
        keyed = [row for row in skipped if row["key"]]
        positions = [row["global_position"] for row in keyed]
        return BlockedKeys(
            set(keys),
            frozenset(whole.union(zip(positions, self._keys.decode_keys(row["key"] for row in keyed), strict=True))),
            deque((key, row["hash"]) for key, row in zip(keys, heads, strict=True) if row["is_retry_requested"]),
        )

    async def park(self, connection: Connection, diverted: Sequence[DivertedEvent]) -> None:
        """Park events, in the caller's transaction.

        Raises:
            TooManyParkedError: the limit is exceeded. The error carries the first event beyond the limit.
        """
        room: int = self._limit - await connection.fetchval(self._sql["count"], *self._build, self._limit)
        if len(diverted) > room:
            raise TooManyParkedError(self._limit, *diverted[room][:3])
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
                "retry_in": retry_in,
            }
            for stored, key, failure, retry_in in diverted
        ]
        await connection.execute(self._sql["park"], *self._build, msgspec.json.encode(rows).decode())
        for stored, key, failure, retry_in in diverted:
            if failure is not None and retry_in is None:
                await self._log(connection, "parked", failure.message, key, [stored.global_position])

    async def queue(self, key: Key, limit: int) -> list[Parked]:
        """Return the parked events of a key, oldest first, at most `limit`.

        Raises:
            LogDivergedError: the log holds another event at the position of a parked event.
        """
        rows = await self._database.fetch(self._sql["queue"], *self._build, self._keys.encode_key(key), limit)
        for row in rows:
            if row["event_id"] != row["parked_id"]:
                name = f"projection {self._build.name!r}"
                raise LogDivergedError(name, row["parked_position"], row["parked_id"], row["event_id"])
        return [Parked(StoredEvent(*stored), attempts, seconds) for _, _, attempts, seconds, *stored in rows]

    async def unpark(self, connection: Connection, key: Key, positions: Sequence[int]) -> None:
        """Delete parked events of a key that were processed, in the caller's transaction.

        Raises:
            FencedError: one of them isn't parked any more, because it was skipped.
        """
        gone = await connection.fetch(self._sql["unpark"], *self._build, self._keys.encode_key(key), positions)
        if len(gone) != len(positions):
            raise FencedError
        await self._log(connection, "retried", None, key, positions)

    async def is_stuck(self) -> bool:
        """Return whether the limit is reached, and no parked event is going to be retried without a further request."""
        return bool(await self._database.fetch_value(self._sql["is_stuck"], *self._build, self._limit))

    async def record_failure(self, key: Key, failure: EventFailure, retry_in: float | None = None) -> None:
        """Record that a retry of a parked event failed, and after how many seconds it is tried again."""
        error = msgspec.json.encode(failure).decode()
        arguments = *self._build, self._keys.encode_key(key), failure.global_position, error, retry_in
        async with self._database.connection() as connection, connection.transaction():
            is_parked = await connection.fetch(self._sql["record_failure"], *arguments)
            if is_parked and retry_in is None:
                await self._log(connection, "retry failed", failure.message, key, [failure.global_position])

    async def _log(
        self, connection: Connection, action: str, reason: str | None, key: Key, positions: Sequence[int]
    ) -> None:
        entry = AuditEntry(action, self._runner, reason)
        detail = {"key": self._keys.encode_key(key), "positions": positions}
        await self._audit_log.record(connection, self._build, entry, detail)


def positions_of(events: Sequence[StoredEvent]) -> list[int]:
    """Return the positions of events in the log."""
    return [stored.global_position for stored in events]
