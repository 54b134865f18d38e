"""The segments of a build: ranges of the hash of a row's key, each with a checkpoint, an owner and an epoch.

Only the owner moves a checkpoint, in the transaction that writes the rows, and only from its last known position. An
ownership ends with its lease unless the owner renews it. Each new owner increments the epoch, so that a runner whose
lease has expired finds another epoch and writes nothing. Leases are measured by the database's clock.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from perdure.events import StoredEvent
from perdure.projections.sql import statements
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.connections.database import Connection, Database

LAST_HASH: Final = 65535
MOST_SEGMENTS: Final = 256


class FencedError(Exception):
    """A checkpoint could not be moved, and nothing was written.

    The segment was moved or paused, has another owner, or the event of the new checkpoint isn't in the log.
    """


class Checkpoint(NamedTuple):
    """A position up to which the log is processed, and the event at that position."""

    global_position: int
    event_id: UUID | None


BEGINNING: Final = Checkpoint(0, None)
"""Where nothing of the log is processed."""


class Segment(NamedTuple):
    """A range of key hashes of a build, with its own checkpoint."""

    first_hash: int
    last_hash: int
    checkpoint: Checkpoint
    is_paused: bool
    failure: EventFailure | None
    """The event that failed, if that is the reason for the pause."""
    owner: str | None
    epoch: int
    is_leased: bool
    hold_at: int | None
    """The position at which the segment is held; None if it isn't."""
    repeats_up_to: int = 0
    """Up to here, an owner may have called a reaction without recording it."""

    @property
    def global_position(self) -> int:
        """The position of the checkpoint."""
        return self.checkpoint.global_position

    @property
    def may_move(self) -> bool:
        """Whether it is neither paused nor at the position where it is held."""
        return not self.is_paused and (self.hold_at is None or self.global_position < self.hold_at)

    def holds(self, key_hash: int) -> bool:
        """Return whether the hash is in the segment."""
        return self.first_hash <= key_hash <= self.last_hash

    @property
    def width(self) -> int:
        """The number of hashes in the segment."""
        return self.last_hash - self.first_hash + 1


class Segments:
    """The segments of one build, as one runner leases them.

    Args:
        database: the database of the store.
        build: the build.
        runner: the name of the runner, as the owner of segments.
        lease: seconds after the last heartbeat until other runners may acquire its segments.
    """

    def __init__(self, database: Database, build: BuildId, runner: str, lease: float) -> None:
        self._database = database
        self._build = build
        self._runner = runner
        self._lease = lease
        self._renewed_at = -math.inf
        self._sql = statements("segments", schema=database.quoted_schema)

    @property
    def is_lease_over(self) -> bool:
        """Whether others may have acquired the segments by now, as this process knows its last heartbeat.

        A process that was suspended finds this out without asking the database.
        """
        return asyncio.get_running_loop().time() >= self._renewed_at + self._lease

    async def heartbeat(self, rate: float, error: str | None) -> tuple[list[str], list[Segment]]:
        """Record that this runner is alive, and renew its leases.

        Args:
            rate: the events that it processes per second.
            error: what prevents progress, other than an event; None if nothing does.

        Returns:
            The names of all live runners of the build, and all its segments.
        """
        async with self._database.connection() as connection:
            began = asyncio.get_running_loop().time()
            await connection.execute(self._sql["heartbeat"], *self._build, self._runner, self._lease, rate, error)
            runners = await connection.fetch(self._sql["runners"], *self._build)
            await connection.execute(self._sql["renew"], *self._build, self._runner, self._lease)
            self._renewed_at = began
            return [row["runner"] for row in runners], await read_segments(connection, self._sql, self._build)

    async def owned(self) -> list[Segment]:
        """Return the segments that this runner leases and that aren't paused, as the database has them now."""
        return [
            segment
            for segment in await self.read()
            if segment.owner == self._runner and segment.is_leased and not segment.is_paused
        ]

    async def read(self) -> list[Segment]:
        """Return all segments, in the order of their hashes."""
        async with self._database.connection() as connection:
            return await read_segments(connection, self._sql, self._build)

    async def acquire(self, count: int) -> None:
        """Acquire at most `count` segments that have no lease."""
        await self._database.fetch(self._sql["acquire"], *self._build, self._runner, self._lease, count)

    async def release(self, segments: Sequence[Segment], repeats_up_to: int = 0) -> None:
        """Release segments, so that other runners can acquire them.

        Args:
            segments: the segments.
            repeats_up_to: the last position for which this runner may have called a reaction without recording it.
        """
        firsts = [segment.first_hash for segment in segments]
        await self._database.fetch(self._sql["release"], *self._build, self._runner, firsts, repeats_up_to)

    async def split(self, segment: Segment) -> None:
        """Split a leased segment in two."""
        first, last = segment.first_hash, segment.last_hash
        middle = (first + last) // 2
        await self._database.fetch(self._sql["split"], *self._build, self._runner, segment.epoch, first, last, middle)

    async def leave(self, segments: Sequence[Segment], repeats_up_to: int = 0) -> None:
        """Release segments, and record that this runner has stopped. Arguments as for `release`."""
        await self.release(segments, repeats_up_to)
        await self._database.fetch(self._sql["forget_runner"], *self._build, self._runner)

    async def advance(
        self, connection: Connection, segments: Sequence[Segment], to: Checkpoint, transaction_id: str | None = None
    ) -> str:
        """Move the checkpoint of segments that are at the same position, in the caller's transaction.

        Args:
            connection: where the transaction is.
            segments: the segments, as they were last read.
            to: the new checkpoint.
            transaction_id: the id that the transaction must have, if user code could have ended it.

        Returns:
            The id of the transaction.

        Raises:
            FencedError: a segment was moved or paused, or has another owner; the event isn't in the log; or the
                transaction has another id.
        """
        moved = await connection.fetch(self._sql["advance"], *self._asked(segments, to, transaction_id))
        if len(moved) != len(segments):
            raise FencedError
        found: str = moved[0][0]
        return found

    @property
    def advance_statement(self) -> str:
        """The statement that moves checkpoints, to be part of another one."""
        return self._sql["advance"]

    async def advance_and_write(
        self, connection: Connection, segment: Segment, to: Checkpoint, statement: str, rows: str
    ) -> None:
        """Move the checkpoint of one segment by a statement that also writes rows, as a transaction of its own.

        Args:
            connection: outside a transaction.
            segment: the segment, as it was last read.
            to: the new checkpoint.
            statement: contains `advance_statement`, returns a row if that has moved the checkpoint, and writes nothing
                otherwise.
            rows: its last argument.

        Raises:
            FencedError: as for `advance`; nothing was written.
        """
        if not await connection.fetch(statement, *self._asked([segment], to), rows):
            raise FencedError

    def _asked(
        self, segments: Sequence[Segment], to: Checkpoint, transaction_id: str | None = None
    ) -> tuple[object, ...]:
        return (
            *self._build,
            self._runner,
            [segment.first_hash for segment in segments],
            [segment.epoch for segment in segments],
            segments[0].global_position,
            *to,
            self._lease,
            transaction_id,
        )

    async def pause(self, segments: Sequence[Segment], failure: EventFailure) -> None:
        """Pause segments that are at the same position, with the reason, unless they have moved since."""
        await self._database.fetch(
            self._sql["pause"],
            *self._build,
            self._runner,
            [segment.first_hash for segment in segments],
            [segment.epoch for segment in segments],
            segments[0].global_position,
            msgspec.json.encode(failure).decode(),
            f"{failure.error_type}: {failure.message}",
            msgspec.json.encode({"positions": [failure.global_position], "keys": failure.keys}).decode(),
        )


async def read_segments(connection: Connection, sql: Mapping[str, str], build: BuildId) -> list[Segment]:
    """Return all segments of a build, in the order of their hashes, by the statements on segments."""
    return [
        Segment(
            first_hash=row["first_hash"],
            last_hash=row["last_hash"],
            checkpoint=Checkpoint(row["global_position"], row["event_id"]),
            is_paused=row["status"] == "paused",
            failure=None if row["error"] is None else msgspec.json.decode(row["error"], type=EventFailure),
            owner=row["owner"],
            epoch=row["epoch"],
            is_leased=row["is_leased"],
            hold_at=row["hold_at"],
            repeats_up_to=row["repeats_up_to"],
        )
        for row in await connection.fetch(sql["read"], *build)
    ]


def checkpoint_at(stored: StoredEvent) -> Checkpoint:
    """Return the checkpoint at an event: it and everything before it is processed."""
    return Checkpoint(stored.global_position, stored.event_id)
