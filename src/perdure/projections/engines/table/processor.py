"""Processes batches of a table projection: loads rows, folds events in memory, writes rows and progress at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from perdure.errors import DatabaseError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Engine, check_constraints
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import RowChanges, fold, needed, plan
from perdure.projections.engines.table.storage import TableStorage, upserted
from perdure.projections.state.failures import Failure, TooManyParkedError, event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents, positions_of
from perdure.projections.state.scope import DivertedEvent, Scope
from perdure.projections.state.segments import Checkpoint, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Connection, Database

REFUSALS: Final = ("21", "22", "23", "44", "54", "P0")
"""SQLSTATE classes with which the database refuses a value: cardinality, data, constraints, checks of views, limits
(as of an index entry), and exceptions of triggers. Other errors aren't caused by an event."""


class TableProcessor(Engine):
    """The engine of table projections, for one build.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its segments, with their checkpoints.
        storage: its tables.
        parked_events: its parked events.
        batch_size: how many parked events are retried at once.
    """

    def __init__(
        self,
        database: Database,
        definition: TableDefinition,
        segments: Segments,
        storage: TableStorage,
        parked_events: ParkedEvents,
        *,
        batch_size: int,
    ) -> None:
        self._database = database
        self._definition = definition
        self._segments = segments
        self._storage = storage
        self._parked_events = parked_events
        self._batch_size = batch_size
        self._at_once = storage.statements("batch", advance=segments.advance_statement)

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Fold events of the log, and write what comes before the first that fails. See `Engine.process`."""
        return await self._process(_LogProgress(self._segments, self._parked_events, group), events, scope)

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Retry a batch of the parked events of the next key that was asked for. See `Engine.retry_parked`."""
        key, key_hash = blocked.asked[0]
        for segment in segments:
            if segment.holds(key_hash) and not segment.is_paused and await self._retry_key(key, segment, blocked):
                return
        blocked.asked.popleft()

    async def _retry_key(self, key: Key, segment: Segment, blocked: BlockedKeys) -> bool:
        """Return whether to go on with the key: it has more parked events, and none of this batch failed."""
        queue = await self._parked_events.queue(key, self._batch_size)
        if queue:
            progress = _ParkedProgress(self._segments, self._parked_events, segment, key)
            result = await self._process(progress, [parked.stored for parked in queue], Scope(only=key))
            if result.failure is not None:
                attempts = queue[result.done].attempts + 1
                names = self._parked_events.names_of([key])
                await self._parked_events.record_failure(key, event_failure(result.failure, attempts, names))
                return False
            if result.done < len(queue) or len(queue) == self._batch_size:
                return True
        blocked.blocked.discard(key)
        return False

    async def _process(self, progress: _Progress, events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        try:
            return await self._fold_and_write(progress, events, scope)
        except TooManyParkedError as error:
            before = [one for one in events if one.global_position < error.stored.global_position]
            result = await self._process(progress, before, scope) if before else _nothing(progress)
            if len(before) > result.done:
                return result
            return result._replace(failure=Failure(error.stored, error, (error.key,)))
        except DatabaseError as error:
            # The database refuses a value, for example by a constraint that was added to the table: find the event.
            if error.sqlstate[:2] not in REFUSALS:
                raise
            if len(events) == 1:
                return _nothing(progress, Failure(events[0], error, await self._refused_keys(events, scope)))
            return await self._process(progress, events[: len(events) // 2], scope)

    async def _fold_and_write(self, progress: _Progress, events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        batch = plan(self._definition, events, scope)
        async with self._database.connection() as connection:
            rows = await self._storage.load(connection, needed(self._definition, batch.steps))
            changes, failure = fold(self._definition, batch, rows)
            done, diverted = events, batch.diverted
            if failure is not None:
                stop = failure.stored.global_position
                done = [one for one in events if one.global_position < stop]
                diverted = [one for one in diverted if one.stored.global_position < stop]
            if not done:
                return _nothing(progress, failure)
            if diverted or not await self._write_at_once(connection, progress, done, changes):
                async with connection.transaction():
                    # Progress first, so that another runner of the same build waits here.
                    await progress.record(connection, done, diverted)
                    await self._storage.write(connection, changes)
        return BatchResult(checkpoint_at(done[-1]), len(done), diverted, failure)

    async def _write_at_once(
        self, connection: Connection, progress: _Progress, done: Sequence[StoredEvent], changes: RowChanges
    ) -> bool:
        """Write progress and rows by one statement. Return False if that isn't possible, and nothing was written."""
        segment, rows = progress.only_segment, upserted(changes)
        if segment is None or rows is None or len(rows) != 1:
            return False
        [(table, document)] = rows.items()
        statement = self._at_once[table]["advance_and_upsert"]
        with self._storage.refusing_duplicates(table):
            await self._segments.advance_and_write(connection, segment, checkpoint_at(done[-1]), statement, document)
        return True

    async def _refused_keys(self, events: Sequence[StoredEvent], scope: Scope) -> tuple[Key, ...]:
        """The keys whose rows the database refuses; all keys of the events, if it refuses only their combination."""
        keys = tuple(key for step in plan(self._definition, events, scope).steps for key in step.keys)
        if len(keys) == 1:
            return keys
        return tuple([key for key in keys if await self._is_refused(events, key)]) or keys

    async def _is_refused(self, events: Sequence[StoredEvent], key: Key) -> bool:
        batch = plan(self._definition, events, Scope(only=key))
        try:
            async with self._database.connection() as connection:
                rows = await self._storage.load(connection, needed(self._definition, batch.steps))
                changes, _ = fold(self._definition, batch, rows)
                trial = connection.transaction()
                await trial.start()
                try:
                    await self._storage.write(connection, changes)
                    await check_constraints(connection)
                finally:
                    await trial.rollback()
        except DatabaseError as error:
            if error.sqlstate[:2] not in REFUSALS:
                raise
            return True
        return False


class _Progress(Protocol):
    """What the transaction of a batch records before it writes the rows."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the segments are before the batch."""
        ...

    @property
    def only_segment(self) -> Segment | None:
        """The segment whose checkpoint moves, if that is all there is to record."""
        ...

    async def record(
        self, connection: Connection, done: Sequence[StoredEvent], diverted: Sequence[DivertedEvent]
    ) -> None:
        """Record that events were processed. Raises FencedError if the segments are no longer this runner's."""
        ...


class _LogProgress(NamedTuple):
    """Progress in the log: the checkpoint moves, and what doesn't reach a row is parked."""

    segments: Segments
    parked_events: ParkedEvents
    group: Sequence[Segment]

    @property
    def checkpoint(self) -> Checkpoint:
        return self.group[0].checkpoint

    @property
    def only_segment(self) -> Segment | None:
        return self.group[0] if len(self.group) == 1 else None

    async def record(
        self, connection: Connection, done: Sequence[StoredEvent], diverted: Sequence[DivertedEvent]
    ) -> None:
        await self.segments.advance(connection, self.group, checkpoint_at(done[-1]))
        if diverted:
            await self.parked_events.park(connection, diverted)


class _ParkedProgress(NamedTuple):
    """Progress in the parked events of a key: they leave the queue, and the checkpoint stays where it is."""

    segments: Segments
    parked_events: ParkedEvents
    segment: Segment
    key: Key

    @property
    def checkpoint(self) -> Checkpoint:
        return self.segment.checkpoint

    @property
    def only_segment(self) -> None:
        return None

    async def record(
        self,
        connection: Connection,
        done: Sequence[StoredEvent],
        diverted: Sequence[DivertedEvent],  # noqa: ARG002 - nothing is diverted of events that are parked already
    ) -> None:
        await self.segments.advance(connection, [self.segment], self.segment.checkpoint)
        await self.parked_events.unpark(connection, self.key, positions_of(done))


def _nothing(progress: _Progress, failure: Failure | None = None) -> BatchResult:
    return BatchResult(progress.checkpoint, 0, [], failure)
