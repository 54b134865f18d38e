"""Processes batches of a custom projection: its handlers and the checkpoint share one transaction.

A batch that fails is rolled back and processed again, each event in a savepoint. That finds the event that fails, and
keeps what comes before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from perdure.errors import ProjectionTransactionError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Engine
from perdure.projections.engines.custom.definition import CustomDefinition
from perdure.projections.engines.custom.lent_transaction import LentTransaction
from perdure.projections.engines.custom.storage import CustomTables
from perdure.projections.engines.custom.transaction import QueueingTransaction
from perdure.projections.sql import statements
from perdure.projections.state.failures import Failure, failed
from perdure.projections.state.parked_events import BlockedKeys
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Checkpoint, FencedError, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.tasks import is_ended_from_outside

_MOST_QUEUED: Final = 5000
"""How many statements may be queued before they are sent, even if the handler hasn't run a query yet."""


class CustomProcessor(Engine):
    """The engine of custom projections, for one build.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its only segment, with the checkpoint.
        tables: its tables.
        lease: how long the transaction may be idle, in seconds; a batch ends early after half of it.
        timeout: how long a handler may take for an event, or for the batch if it takes batches, in seconds.
    """

    def __init__(
        self,
        database: Database,
        definition: CustomDefinition,
        segments: Segments,
        tables: CustomTables,
        *,
        lease: float,
        timeout: float,
    ) -> None:
        self._database = database
        self._definition = definition
        self._segments = segments
        self._tables = tables
        self._lease = lease
        self._timeout = timeout
        self._sql = statements("custom")
        self._suspect = 0
        """Position of the last failed event: it gets a savepoint at once, so that its handler runs once per attempt."""

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Have the handlers process events that follow the checkpoint. See `Engine.process`."""
        if events[0].global_position != self._suspect:
            try:
                return await self._process(group, events, scope, with_savepoints=False)
            except _BatchFailedError:
                pass
        try:
            result = await self._process(group, events, scope, with_savepoints=True)
        except _EventEndedTransactionError as error:
            result = await self._process_before(group, events, scope, error.failure)
        self._suspect = result.failure.stored.global_position if result.failure else 0
        return result

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Do nothing: a custom projection parks no events."""

    async def _process_before(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, failure: Failure
    ) -> BatchResult:
        """Process the events before one whose handler has ended the transaction, and so undone their effects."""
        before = [stored for stored in events if stored.global_position < failure.stored.global_position]
        if not before:
            return BatchResult(group[0].checkpoint, 0, [], failure)
        result = await self._process(group, before, scope, with_savepoints=True)
        return result if result.failure or result.done < len(before) else result._replace(failure=failure)

    async def _process(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, *, with_savepoints: bool
    ) -> BatchResult:
        checkpoint = group[0].checkpoint
        wanted = [
            stored
            for stored in events
            if self._definition.wants(stored) and (stored.global_position, None) not in scope.skipped
        ]
        async with self._database.connection() as connection, connection.transaction():
            # The checkpoint first, so that another runner of the same build waits here.
            transaction_id = await self._segments.advance(connection, group, checkpoint)
            tx = QueueingTransaction(connection, transaction_id, self._tables, self._sql)
            async with tx.kept_alive(self._lease / 4):
                ended = await (self._one_by_one(tx, wanted) if with_savepoints else self._all_at_once(tx, wanted))
            done = [stored for stored in events if ended.before is None or stored.global_position < ended.before]
            if done:
                checkpoint = checkpoint_at(done[-1])
                await self._move(connection, group, checkpoint, tx)
        return BatchResult(checkpoint, len(done), [], ended.failure)

    async def _move(
        self, connection: Connection, group: Sequence[Segment], to: Checkpoint, tx: QueueingTransaction
    ) -> None:
        """Move the checkpoint, unless a handler has ended the transaction that it began in."""
        try:
            await self._segments.advance(connection, group, to, tx.transaction_id)
        except FencedError as error:
            if await tx.is_another():
                raise _BatchFailedError from error
            raise

    async def _all_at_once(self, tx: QueueingTransaction, wanted: Sequence[StoredEvent]) -> _Ended:
        """Process the events without savepoints, until time is up. Raises _BatchFailedError if any handler fails."""
        is_late = self._clock()
        pieces = [wanted] if wanted and self._definition.takes_batches else [[stored] for stored in wanted]
        late: int | None = None
        async with _failing(tx):
            for piece in pieces:
                if is_late():
                    late = piece[0].global_position
                    break
                await self._handle(tx, piece)
                if tx.queued > _MOST_QUEUED:
                    await tx.send()
            await tx.check()
        return _Ended(late, None)

    async def _one_by_one(self, tx: QueueingTransaction, wanted: Sequence[StoredEvent]) -> _Ended:
        """Process each event in a savepoint, until one fails or time is up."""
        is_late = self._clock()
        for stored in wanted:
            if is_late():
                return _Ended(stored.global_position, None)
            try:
                async with tx.savepoint():
                    await self._handle(tx, [stored])
            except Exception as error:
                if tx.is_ended:
                    raise _EventEndedTransactionError(stored) from error
                if tx.external_error is not None:
                    raise tx.external_error from error
                return _Ended(stored.global_position, Failure(stored, error))
        return _Ended(None, None)

    async def _handle(self, tx: QueueingTransaction, events: Sequence[StoredEvent]) -> None:
        limit, task = asyncio.timeout(self._timeout), asyncio.current_task()
        lent = LentTransaction(tx, events[0])
        try:
            async with limit:
                await self._definition.handle(events, lent)
                if lent.take_back():
                    await lent.idle()
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"it took longer than {self._timeout:g} s to be handled") from error
            raise
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            # A failure of the handler must not end the runner's task.
            raise failed(error)  # noqa: B904 - it carries its cause
        finally:
            if lent.take_back():
                await lent.cut_off()

    def _clock(self) -> _Clock:
        return _Clock(asyncio.get_running_loop().time() + self._lease / 2)


class _Ended(NamedTuple):
    """Where the handlers stopped."""

    before: int | None
    """The position of the first event that isn't processed; None if all are."""
    failure: Failure | None
    """The failure of this event, if that is why they stopped."""


class _Clock:
    """Says when a batch has to end, so that its progress is seen; never before its first event."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._is_first = True

    def __call__(self) -> bool:
        if self._is_first:
            self._is_first = False
            return False
        return asyncio.get_running_loop().time() > self._deadline


class _BatchFailedError(Exception):
    """An event of the batch failed; which one isn't known yet."""


class _EventEndedTransactionError(Exception):
    """A statement of a handler has ended the transaction."""

    def __init__(self, stored: StoredEvent) -> None:
        super().__init__(stored)
        error = ProjectionTransactionError(
            "a statement of its handler has ended the transaction, so the batch was rolled back, but for what the "
            "statement committed: leave COMMIT, ROLLBACK and savepoints to the service",
            stored.global_position,
            stored.event_id,
            stored.event_type,
        )
        self.failure = Failure(stored, error)


@asynccontextmanager
async def _failing(tx: QueueingTransaction) -> AsyncGenerator[None]:
    """Raise _BatchFailedError for an error of the handlers; an error of the connection stays as it is."""
    try:
        yield
    except Exception as error:
        if tx.external_error is not None:
            raise tx.external_error from error
        raise _BatchFailedError from error
