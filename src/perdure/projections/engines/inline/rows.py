"""The rows of inline projections, with the stream version up to which each stream is folded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from perdure.events import StoredEvent
from perdure.projections.engines.inline.definition import InlineDefinition
from perdure.projections.engines.table.fold import fold, needed, plan
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.sql import statements
from perdure.projections.state.failures import Failure
from perdure.projections.state.scope import Scope
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.reader import Reader

_PAGE: Final = 500


class EventFailedError(Exception):
    """An event can't be folded."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class InlineRows:
    """The rows of one build, and the version up to which each stream is folded into them.

    Every method runs in the caller's transaction. Its end releases the locks of the streams.

    Args:
        database: the database of the store.
        definition: the projection.
        storage: its tables.
    """

    def __init__(self, database: Database, definition: InlineDefinition, storage: TableStorage) -> None:
        self._definition = definition
        self._storage = storage
        self._reader = Reader(database)
        self._build = definition.build
        self._sql = statements("inline", schema=database.quoted_schema)

    async def behind(self, connection: Connection, versions: Mapping[str, int]) -> list[str]:
        """Return the streams that aren't folded up to these versions."""
        rows = await connection.fetch(self._sql["behind"], *self._build, list(versions), list(versions.values()))
        return [row["stream_id"] for row in rows]

    async def lock(self, connection: Connection, stream_ids: Collection[str]) -> dict[str, int]:
        """Lock streams, so that no other transaction folds them. Return the version up to which each is folded."""
        rows = await connection.fetch(self._sql["lock"], *self._build, list(stream_ids))
        return {row["stream_id"]: row["stream_version"] for row in rows}

    async def catch_up(self, connection: Connection, versions: Mapping[str, int], new: int) -> None:
        """Fold streams up to these versions, from the versions up to which they are folded.

        Args:
            connection: where the transaction is.
            versions: the streams' versions.
            new: how many of the events were appended in this transaction. Only older ones may have been skipped.

        Raises:
            EventFailedError: an event can't be folded.
        """
        locked = await self.lock(connection, versions)
        behind = {stream_id: version for stream_id, version in locked.items() if version < versions[stream_id]}
        missing = sum([versions[stream_id] - version for stream_id, version in behind.items()])
        skipped = await self.skipped(connection) if missing > new else frozenset[int]()
        for stream_id, version in behind.items():
            last = versions[stream_id]
            for start in range(version, last, _PAGE):
                events = await self._reader.stream_page_in(connection, stream_id, start, min(_PAGE, last - start))
                await self._fold(connection, events, skipped)
        await self._advance(connection, {stream_id: versions[stream_id] for stream_id in behind})

    async def take(self, connection: Connection, events: Sequence[StoredEvent]) -> None:
        """Fold events of streams that are locked.

        Raises:
            EventFailedError: an event can't be folded.
        """
        if events:
            await self._fold(connection, events, await self.skipped(connection))
            await self._advance(connection, {stored.stream_id: stored.stream_version for stored in events})

    async def skipped(self, connection: Connection) -> frozenset[int]:
        """Return the positions of the events that were skipped."""
        rows = await connection.fetch(self._sql["skipped"], *self._build)
        return frozenset(row["global_position"] for row in rows)

    async def _fold(self, connection: Connection, events: Sequence[StoredEvent], skipped: Iterable[int]) -> None:
        scope = Scope(skipped=frozenset((position, None) for position in skipped))
        batch = plan(self._definition, events, scope)
        rows = await self._storage.load(connection, needed(self._definition, batch.steps))
        changes, failure = fold(self._definition, batch, rows)
        if failure is not None:
            raise EventFailedError(failure)
        await self._storage.write(connection, changes)

    async def _advance(self, connection: Connection, versions: Mapping[str, int]) -> None:
        if versions:
            await connection.execute(self._sql["advance"], *self._build, list(versions), list(versions.values()))
