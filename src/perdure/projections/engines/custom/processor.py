"""Batches of events that handlers take within a transaction, and the checkpoint that moves in it.

A batch that fails is rolled back and taken again with care, each event in a savepoint of its own: so the event that
can't be taken is known, and what comes before it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from perdure.errors import ProjectionTransactionError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Following
from perdure.projections.engines.custom.definition import CustomDefinition
from perdure.projections.engines.custom.lent_transaction import LentTransaction
from perdure.projections.engines.custom.storage import CustomTables
from perdure.projections.engines.custom.transaction import QueueingTransaction
from perdure.projections.sql import statements
from perdure.projections.state.failures import Failure, failed
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Checkpoint, FencedError, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.tasks import is_ended_from_outside

_MOST_QUEUED: Final = 5000
"""Statements, before they are sent though nothing was asked yet."""


class HandledBatches:
    """Takes the batches of one build.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its checkpoint.
        tables: its tables.
        lease: how long the transaction may stand still, in seconds; a batch ends early after half of it.
        timeout: how long the handling of an event, or of a batch where one is taken as a whole, may take, in seconds.
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
        """The position of the event that failed last: with care from the start, so that it is tried once, not twice."""

    async def take(
        self,
        group: Sequence[Segment],
        events: Sequence[StoredEvent],
        scope: Scope,
        then: Following | None = None,  # noqa: ARG002 - nothing is made ready ahead
    ) -> BatchResult:
        """Have events handled that follow a checkpoint. See `Engine`."""
        if events[0].global_position != self._suspect:
            try:
                return await self._take(group, events, scope, with_care=False)
            except _BatchFailedError:
                pass
        try:
            taken = await self._take(group, events, scope, with_care=True)
        except _EventEndedTransactionError as error:
            taken = await self._take_before(group, events, scope, error.failure)
        self._suspect = taken.failure.stored.global_position if taken.failure else 0
        return taken

    async def _take_before(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, failure: Failure
    ) -> BatchResult:
        """Take the events before one whose handler has ended the transaction, and with it what was done for them."""
        before = [stored for stored in events if stored.global_position < failure.stored.global_position]
        if not before:
            return BatchResult(group[0].checkpoint, 0, [], failure)
        taken = await self._take(group, before, scope, with_care=True)
        return taken if taken.failure or taken.done < len(before) else taken._replace(failure=failure)

    async def _take(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, *, with_care: bool
    ) -> BatchResult:
        since = group[0].checkpoint
        wanted = [
            stored
            for stored in events
            if self._definition.wants(stored) and (stored.global_position, None) not in scope.skipped
        ]
        async with self._database.connection() as connection, connection.transaction():
            # First of all the checkpoint, so that whoever runs it too waits here.
            transaction_id = await self._segments.advance(connection, group, since)
            tx = QueueingTransaction(connection, transaction_id, self._tables, self._sql)
            async with tx.kept_alive(self._lease / 4):
                ended = await (self._with_care(tx, wanted) if with_care else self._all(tx, wanted))
            done = [stored for stored in events if ended.before is None or stored.global_position < ended.before]
            if done:
                since = checkpoint_at(done[-1])
                await self._move(connection, group, since, tx)
        return BatchResult(since, len(done), [], ended.failure)

    async def _move(
        self, connection: Connection, group: Sequence[Segment], to: Checkpoint, tx: QueueingTransaction
    ) -> None:
        """Move the checkpoint, in the transaction that the handlers wrote in, or not at all."""
        try:
            await self._segments.advance(connection, group, to, tx.transaction_id)
        except FencedError as error:
            if await tx.is_another():
                raise _BatchFailedError from error
            raise

    async def _all(self, tx: QueueingTransaction, wanted: Sequence[StoredEvent]) -> _Ended:
        """Everything at once, or as much as there is time for. Raises _BatchFailedError when anything fails."""
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

    async def _with_care(self, tx: QueueingTransaction, wanted: Sequence[StoredEvent]) -> _Ended:
        """One by one, up to the first that fails, or as much as there is time for."""
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
            # It is the handler's own failure, and must not end the task that runs it.
            raise failed(error)  # noqa: B904 - it has its cause
        finally:
            if lent.take_back():
                await lent.cut_off()

    def _clock(self) -> _Clock:
        return _Clock(asyncio.get_running_loop().time() + self._lease / 2)


class _Ended(NamedTuple):
    """How far the handlers came."""

    before: int | None
    """Before the event at this position; None when all was taken."""
    failure: Failure | None
    """That event, when it failed."""


class _Clock:
    """Tells when a batch has taken long enough: others want to see that it goes on. It takes one event at least."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._is_first = True

    def __call__(self) -> bool:
        if self._is_first:
            self._is_first = False
            return False
        return asyncio.get_running_loop().time() > self._deadline


class _BatchFailedError(Exception):
    """Something in a batch failed. It isn't known yet which event."""


class _EventEndedTransactionError(Exception):
    """A statement of an event's handler has ended the transaction."""

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
    """Raise _BatchFailedError instead of whatever the user's code raises, and what is no fault of it as it is."""
    try:
        yield
    except Exception as error:
        if tx.external_error is not None:
            raise tx.external_error from error
        raise _BatchFailedError from error
