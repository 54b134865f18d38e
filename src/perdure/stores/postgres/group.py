"""Group append: the concurrent appends of a process share statements and commits, each with its own outcome.

Lanes, each with its own connection, take batches from the queue: while one waits for the disk, the next is encoded.
What fails as a batch is tried commit by commit, so that a poison event fails only its own. A lost connection leaves the
outcome unknown: the batch is repeated with the same event ids, which are looked up first, until the deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from copy import copy
from typing import Any

import asyncpg

from perdure.errors import OutcomeUnknownError, PerdureError, StoreClosedError, StoreOverloadedError
from perdure.store import AppendResult, Commit
from perdure.stores.postgres.appends import Appends, Outcome
from perdure.stores.postgres.database import Database
from perdure.stores.postgres.failures import CONNECTION_LOST, translated
from perdure.stores.postgres.queue import AppendQueue, Pending

logger = logging.getLogger("perdure.append")

LOCK_TIMEOUT = "20ms"
_PAUSE_BEFORE_REPEAT = 0.05


class GroupAppender:
    """Appends commits in batches.

    Args:
        database: where to.
        queue: the commits that wait.
        lanes: how many batches may be under way at once.
        announce: called after each batch that appended something.
        timeout: seconds after which a commit that could not be written is given up.
    """

    def __init__(
        self, database: Database, queue: AppendQueue, *, lanes: int, announce: Callable[[], None], timeout: float
    ) -> None:
        self._database = database
        self._appends = Appends(database.quoted_schema)
        self._queue = queue
        self._lanes = lanes
        self._announce = announce
        self._timeout = timeout
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: set[Pending] = set()
        self._drained: asyncio.Event | None = None

    def start(self) -> None:
        """Start the lanes. They connect when there is something to append."""
        self._tasks = [asyncio.create_task(self._lane(), name=f"perdure append lane {i}") for i in range(self._lanes)]

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit together with those of other callers. Raises as `EventStore.append_to_stream` does.

        When the caller is cancelled, a commit that still waits is taken out; one that was sent may be written.
        """
        if self._drained is not None:
            raise StoreClosedError
        pending = await self._queue.enter(commit)
        if not self._tasks:
            raise StoreClosedError
        self._wake()
        return await pending.future

    async def close(self, timeout: float) -> None:
        """Append what is queued, for at most `timeout` seconds; tell the callers of what is left."""
        if not self._tasks:
            return
        self._drained = asyncio.Event()
        self._note_drained()
        try:
            await asyncio.wait_for(self._drained.wait(), timeout)
        except TimeoutError:
            logger.warning("closing with appends under way after %.1f s", timeout)
        finally:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for pending in [*self._under_way, *self._queue.give_up()]:
                _settle(pending, _given_up(pending, StoreClosedError()))

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _note_drained(self) -> None:
        if self._drained is not None and self._queue.is_empty:
            self._drained.set()

    async def _lane(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                batch = self._queue.take(len(self._idle) + 1)
                if not batch:
                    self._note_drained()
                    waiter = asyncio.get_running_loop().create_future()
                    self._idle.append(waiter)
                    await waiter
                    continue
                if self._queue.ready:
                    self._wake()
                connection = await self._write(connection, batch)
        finally:
            if connection is not None:
                connection.terminate()

    async def _write(
        self, connection: asyncpg.Connection[Any] | None, batch: list[Pending]
    ) -> asyncpg.Connection[Any] | None:
        """Write a batch and settle it. Returns the connection to go on with, if it is still good."""
        self._under_way.update(batch)
        again: list[Pending] = []
        try:
            if connection is None or connection.is_closed():
                connection = await self._database.connect()
            again = await self._attempt(connection, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            if connection is not None and isinstance(error, CONNECTION_LOST):
                connection.terminate()
                connection = None
            again = await self._after_failure(batch, error)
        finally:
            # When the lane is cancelled, close() settles what is under way.
            if not (task := asyncio.current_task()) or not task.cancelling():
                self._under_way.difference_update(batch)
                self._queue.done(batch, again)
        return connection

    async def _attempt(self, connection: asyncpg.Connection[Any], batch: list[Pending]) -> list[Pending]:
        """Try a batch as a whole, then commit by commit. Returns what must be tried again."""
        look_up = any(pending.was_sent for pending in batch)
        for pending in batch:
            pending.was_sent = True
        if len(batch) > 1:
            try:
                outcomes = await self._appends.many(
                    connection, [pending.commit for pending in batch], look_up=look_up, lock_timeout=LOCK_TIMEOUT
                )
            except asyncpg.PostgresError as error:
                if isinstance(error, CONNECTION_LOST):
                    raise
                logger.debug("a batch of %d commits failed and is tried one by one: %s", len(batch), error)
            else:
                return self._settle_all(batch, outcomes)
        again: list[Pending] = []
        for pending in batch:
            outcome = await self._alone(connection, pending, look_up=look_up or len(batch) > 1)
            again += self._settle_all([pending], [outcome])
        return again

    async def _alone(self, connection: asyncpg.Connection[Any], pending: Pending, *, look_up: bool) -> Outcome:
        try:
            return await self._appends.one(connection, pending.commit, look_up=look_up, lock_timeout=LOCK_TIMEOUT)
        except asyncpg.UniqueViolationError:
            # Ids that are known already, or an insert around the stream's lock: looked up, it finds its outcome.
            return None
        except asyncpg.PostgresError as error:
            if isinstance(error, CONNECTION_LOST):
                raise
            pending.was_sent = False
            return translated(error)

    def _settle_all(self, batch: list[Pending], outcomes: list[Outcome]) -> list[Pending]:
        again: list[Pending] = []
        appended = False
        now = asyncio.get_running_loop().time()
        for pending, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                appended = appended or isinstance(outcome, AppendResult)
                _settle(pending, outcome)
            elif now < pending.deadline:
                again.append(pending)
            else:
                _settle(pending, StoreOverloadedError(f"stream {pending.commit.stream_id!r} was locked", self._timeout))
        if appended:
            self._announce()
        return again

    async def _after_failure(self, batch: list[Pending], error: Exception) -> list[Pending]:
        """Pause, and say what of the batch is worth another try."""
        ours = error if isinstance(error, PerdureError) else translated(error)
        left = [pending for pending in batch if not pending.future.done()]
        if ours is None:
            logger.error("an append failed in an unforeseen way", exc_info=error)
            for pending in left:
                _settle(pending, _given_up(pending, error))
            return []
        loop = asyncio.get_running_loop()
        again: list[Pending] = []
        for pending in left:
            # A first try that never reached the server is told at once; an unknown outcome is worth the wait.
            if pending.was_sent and loop.time() < pending.deadline:
                again.append(pending)
            else:
                _settle(pending, _given_up(pending, ours))
        if again:
            logger.warning("the connection was lost with %d appends under way; they are repeated: %s", len(again), ours)
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)
        return again


def _settle(pending: Pending, outcome: AppendResult | BaseException) -> None:
    if pending.future.done():
        return
    if isinstance(outcome, AppendResult):
        pending.future.set_result(outcome)
    else:
        pending.future.set_exception(outcome)


def _given_up(pending: Pending, error: Exception) -> Exception:
    """The error for a caller whose commit isn't tried any more: a copy each, for each will have its own traceback."""
    if not pending.was_sent:
        return copy(error)
    unknown = OutcomeUnknownError([event.event_id for event in pending.commit.events])
    unknown.__cause__ = error
    return unknown
