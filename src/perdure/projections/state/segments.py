"""The segments of a build: ranges of the hash of a row's key, each with a checkpoint, an owner and an epoch.

A checkpoint is moved in the transaction that writes the rows, by the owner alone, and only from where it is known to
stand. Who owns a segment has it for as long as its lease; each new owner counts the epoch up, so that a process that
stood still past its lease finds its epoch gone, and writes nothing. Only the database's clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import msgspec

from perdure.errors import ProjectionPausedError
from perdure.events import StoredEvent
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "segments"

LAST_HASH: Final = 65535
MOST_SEGMENTS: Final = 256


class FencedError(Exception):
    """A segment isn't where it was, is paused, or has another owner; or it was to go to an event that isn't in the log.

    Nothing was written.
    """


class Checkpoint(NamedTuple):
    """Up to where the log is taken: a position, and the event that stands there."""

    global_position: int
    event_id: UUID | None


class Segment(NamedTuple):
    """A piece of a build."""

    first_hash: int
    last_hash: int
    checkpoint: Checkpoint
    is_paused: bool
    failure: EventFailure | None
    """The event that failed, and why, when that is the reason for the pause."""
    owner: str | None
    epoch: int
    is_leased: bool
    hold_at: int | None
    """Beyond which position it may not go now."""

    @property
    def global_position(self) -> int:
        """Up to where it is."""
        return self.checkpoint.global_position

    @property
    def may_move(self) -> bool:
        """Whether it is neither paused nor where it is held."""
        return not self.is_paused and (self.hold_at is None or self.global_position < self.hold_at)

    def holds(self, key_hash: int) -> bool:
        """Whether the rows of that hash are in it."""
        return self.first_hash <= key_hash <= self.last_hash

    @property
    def width(self) -> int:
        """How many hashes it holds."""
        return self.last_hash - self.first_hash + 1


class Segments:
    """The segments of one build in the database.

    Args:
        database: the database of the store.
        build: which build.
        runner: the name of this process's run of it, by which it owns segments.
        lease: how long it may be silent before others take its segments, in seconds.
    """

    def __init__(self, database: Database, build: BuildId, runner: str, lease: float) -> None:
        self._database = database
        self._build = build
        self._runner = runner
        self._lease = lease
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)

    async def heartbeat(self, rate: float, trouble: str | None) -> tuple[list[str], list[Segment]]:
        """Say that this process is there, and keep what it owns. Returns all runners, and all segments."""
        async with self._database.connection() as connection:
            await connection.execute(self._sql["seen"], *self._build, self._runner, self._lease, rate, trouble)
            runners = await connection.fetch(self._sql["runners"], *self._build)
            await connection.execute(self._sql["renew"], *self._build, self._runner, self._lease)
            return [row["runner"] for row in runners], await self._read(connection)

    async def read(self) -> list[Segment]:
        """All segments, in the order of their hashes."""
        async with self._database.connection() as connection:
            return await self._read(connection)

    async def _read(self, connection: Connection) -> list[Segment]:
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
            )
            for row in await connection.fetch(self._sql["read"], *self._build)
        ]

    async def position(self) -> int:
        """Up to where all segments are; 0 when there are none."""
        position: int | None = await self._database.fetch_value(self._sql["position"], *self._build)
        return position or 0

    async def acquire(self, count: int) -> None:
        """Take up to so many segments that nobody has."""
        await self._database.fetch(self._sql["acquire"], *self._build, self._runner, self._lease, count)

    async def release(self, segments: Sequence[Segment]) -> None:
        """Give segments back, for others to take."""
        firsts = [segment.first_hash for segment in segments]
        await self._database.fetch(self._sql["release"], *self._build, self._runner, firsts)

    async def split(self, segment: Segment) -> None:
        """Cut a segment that one owns in two."""
        first, last = segment.first_hash, segment.last_hash
        middle = (first + last) // 2
        await self._database.fetch(self._sql["split"], *self._build, self._runner, segment.epoch, first, last, middle)

    async def leave(self, segments: Sequence[Segment]) -> None:
        """Give everything back, and say that this process doesn't run the build any more."""
        await self.release(segments)
        await self._database.fetch(self._sql["forget_runner"], *self._build, self._runner)

    async def advance(
        self, connection: Connection, segments: Sequence[Segment], to: Checkpoint, transaction_id: str | None = None
    ) -> str:
        """Move the checkpoint of segments that stand at one position, within the caller's transaction.

        Args:
            connection: where the transaction is.
            segments: the segments.
            to: where they go.
            transaction_id: the transaction that it must be, if that isn't certain.

        Returns:
            The id of the transaction.

        Raises:
            FencedError: one of them isn't where it was, is paused, or has another owner; or the event isn't in the log;
                or it is another transaction.
        """
        moved = await connection.fetch(
            self._sql["advance"],
            *self._build,
            self._runner,
            [segment.first_hash for segment in segments],
            [segment.epoch for segment in segments],
            segments[0].global_position,
            *to,
            self._lease,
            transaction_id,
        )
        if len(moved) != len(segments):
            raise FencedError
        found: str = moved[0][0]
        return found

    async def are_owned(self, connection: Connection, segments: Sequence[Segment]) -> bool:
        """Whether one still owns segments that stood at one position, and they stand there or beyond, as seen here."""
        count: int = await connection.fetchval(
            self._sql["standing"],
            *self._build,
            self._runner,
            [segment.first_hash for segment in segments],
            [segment.epoch for segment in segments],
            segments[0].global_position,
        )
        return count == len(segments)

    async def pause(self, segments: Sequence[Segment], failure: EventFailure) -> None:
        """Pause segments that stand at one position, with the reason, unless they aren't where they were."""
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


def checkpoint_at(stored: StoredEvent) -> Checkpoint:
    """The checkpoint of one who has taken everything up to this event."""
    return Checkpoint(stored.global_position, stored.event_id)


class SegmentProgress(Protocol):
    """A segment, as one who waits for it sees it."""

    @property
    def global_position(self) -> int:
        """Up to where it is."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether it waits for somebody to resume it."""
        ...

    @property
    def failure(self) -> EventFailure | None:
        """The event that it is paused before, and why."""
        ...


def raise_if_paused(name: str, segments: Sequence[SegmentProgress], position: int) -> None:
    """Raise ProjectionPausedError when a segment is paused, and will not reach a position."""
    for segment in segments:
        if segment.is_paused and segment.global_position < position:
            failure = segment.failure
            where = failure.global_position if failure else segment.global_position + 1
            reason = f"{failure.error_type}: {failure.message}" if failure else "somebody paused it"
            raise ProjectionPausedError(name, where, reason)
