"""A batch of events: what it needs is loaded, folded in memory, and written in one transaction with the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from perdure.errors import DatabaseError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Following
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import fold, needed, plan
from perdure.projections.engines.table.prefetch import Preparing, Ready
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.state.failures import Failure, TooManyParkedError
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import ParkedEvents, positions_of
from perdure.projections.state.scope import Diverted, Scope
from perdure.projections.state.segments import Checkpoint, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Connection, Database

REFUSALS: Final = ("21", "22", "23", "44", "54", "P0")
"""Classes of SQLSTATE by which the database refuses what is written: cardinality, data, constraints, checks of views,
limits (as of an index entry), and what a trigger raises. Other errors are no fault of an event."""


End = Callable[[Connection, Sequence[StoredEvent], Sequence[Diverted]], Coroutine[Any, Any, None]]
"""What a transaction begins with, beside the rows: the events that are done, and those that are parked."""


class _Order(NamedTuple):
    """What is to be done with some events."""

    since: Checkpoint
    """They follow this one."""
    scope: Scope
    end: End
    prepare: Callable[[Ready], None] | None = None
    """Begins to make ready what comes after them all; told what is written of them."""


class Batches:
    """Takes the batches of one build.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its checkpoints.
        storage: its tables.
        parking: its parked events.

    Attributes:
        preparing: Makes the next batch ready.
    """

    def __init__(
        self,
        database: Database,
        definition: TableDefinition,
        segments: Segments,
        storage: TableStorage,
        parking: ParkedEvents,
    ) -> None:
        self.preparing = Preparing(database, definition, segments, storage)
        self._database = database
        self._definition = definition
        self._segments = segments
        self._storage = storage
        self._parking = parking

    async def take(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, then: Following | None = None
    ) -> BatchResult:
        """Fold events that follow a checkpoint, and write what comes before the first that fails. See `Engine`."""
        ready = await self.preparing.take(group, events, scope)

        def prepare(written: Ready) -> None:
            if then is not None and not scope.may_divert:
                self.preparing.begin(group, events, scope, written, then)

        async def end(connection: Connection, done: Sequence[StoredEvent], diverted: Sequence[Diverted]) -> None:
            await self._segments.advance(connection, group, checkpoint_at(done[-1]))
            if diverted:
                await self._parking.park(connection, diverted)

        return await self._take(_Order(group[0].checkpoint, scope, end, prepare), events, ready)

    async def take_parked(self, segment: Segment, key: Key, events: Sequence[StoredEvent]) -> BatchResult:
        """Take events of a key that are parked; the checkpoint of its segment stays. Raises as `take` does."""
        self.preparing.forget()

        async def end(connection: Connection, done: Sequence[StoredEvent], _: Sequence[Diverted]) -> None:
            await self._segments.advance(connection, [segment], segment.checkpoint)
            await self._parking.unpark(connection, key, positions_of(done))

        return await self._take(_Order(segment.checkpoint, Scope(only=key), end), events)

    async def _take(self, order: _Order, events: Sequence[StoredEvent], ready: Ready | None = None) -> BatchResult:
        part = order._replace(prepare=None)
        try:
            return await self._fold(order, events, ready)
        except TooManyParkedError as error:
            before = [one for one in events if one.global_position < error.stored.global_position]
            taken = await self._take(part, before) if before else BatchResult(order.since, 0, [], None)
            if len(before) > taken.done:
                return taken
            return taken._replace(failure=Failure(error.stored, error, (error.key,)))
        except DatabaseError as error:
            # The database refuses a value, as by a constraint that was added to the table: find out whose.
            if error.sqlstate[:2] not in REFUSALS:
                raise
            if len(events) == 1:
                return BatchResult(
                    order.since, 0, [], Failure(events[0], error, await self._refused(events, order.scope))
                )
            return await self._take(part, events[: len(events) // 2])

    async def _fold(self, order: _Order, events: Sequence[StoredEvent], ready: Ready | None) -> BatchResult:
        since = order.since
        batch = plan(self._definition, events, order.scope) if ready is None else ready.plan
        async with self._database.connection() as connection:
            if ready is None:
                keys = needed(self._definition, batch.steps)
                ready = Ready(batch, keys, await self._storage.load(connection, keys))
            changes, failure = fold(self._definition, batch, ready.rows)
            stop = None if failure is None else failure.stored.global_position
            done = [one for one in events if stop is None or one.global_position < stop]
            diverted = [one for one in batch.diverted if stop is None or one.stored.global_position < stop]
            if done:
                try:
                    async with connection.transaction():
                        # First of all the checkpoint, so that whoever runs it too waits here.
                        await order.end(connection, done, diverted)
                        # Which children a deleted parent had, the database alone knows, once they are deleted.
                        if order.prepare is not None and failure is None and not changes.orphaned:
                            order.prepare(ready)
                        await self._storage.write(connection, changes)
                except BaseException:
                    self.preparing.forget()
                    raise
                since = checkpoint_at(done[-1])
        return BatchResult(since, len(done), diverted, failure)

    async def _refused(self, events: Sequence[StoredEvent], scope: Scope) -> tuple[Key, ...]:
        """The keys for which the database refuses an event; all of them, when it refuses them only together."""
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
                finally:
                    await trial.rollback()
        except DatabaseError as error:
            if error.sqlstate[:2] not in REFUSALS:
                raise
            return True
        return False
