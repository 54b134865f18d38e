"""Group commit: the concurrent appends of a process share statements and commits, each with its own outcome.

A commit costs a flush of the server's log, however many events it holds. So appends wait in a queue while a flush is
under way, and go together with the next one:

    append() ─▶ AppendQueue ─▶ lane 0 ─▶ BatchWriter ─▶ connection 0 ─▶ one transaction for each batch
    append() ─▶             ─▶ lane 1 ─▶             ─▶ connection 1
    append() ─▶

A *lane* is a task with a connection. It takes a batch, writes it, answers the callers, and takes the next one. With two
lanes one batch is encoded while the other waits for the disk. A lane that finds nothing to take sleeps until the queue
wakes it. Lanes share what is ready, so that none of them takes everything while another sleeps. How many lanes there
are, how much a batch takes (`batch_commits`) and the time-outs are options of `PostgreSQLEventStore`.

What may happen to an append, and what its caller gets:

- *Written, or refused by the database*: the answer to its own commit, whatever happens to the others in its batch. See
  `BatchWriter`.
- *Its stream is locked*: it goes back to the front of its stream, and is tried again after a pause until its deadline.
- *The connection is lost before it was sent*: the caller gets StoreUnavailableError at once. Nothing was written.
- *The connection is lost after it was sent*: it may be written. The batch is sent again with the same event ids, which
  are looked up first. At its deadline the caller gets OutcomeUnknownError. See `perdure.outcome`.
- *Its caller is cancelled*: while it waits it is taken out; once it was sent it may be written.
- *The store closes*: what is queued is written for `close_timeout`. Then what was sent gets OutcomeUnknownError, and
  what wasn't sent StoreClosedError (docs/adr/0007).
- *A lane ends by an error that it doesn't catch*: its batch gets OutcomeUnknownError, or StoreUnavailableError if it
  wasn't sent. The owner of the tasks logs the error with its traceback, and starts the lane again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import asyncpg

from perdure.commit import AppendResult, Commit
from perdure.errors import PerdureError, StoreClosedError, StoreUnavailableError
from perdure.errors.formats import shown
from perdure.observation import AppendBatch, keys, report_fact
from perdure.repeat import first_result
from perdure.stores.postgres.appends.batch_writer import BatchWriter
from perdure.stores.postgres.appends.queue import AppendQueue, QueuedAppend
from perdure.stores.postgres.appends.statements import Appends
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.driver_errors import is_connection_lost, translated
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.append")

_PAUSE_WHILE_LOCKED = 0.005
_PAUSE_ALONE = 0.05
"""A commit that held up its batch is tried less often, for meanwhile its lane does nothing else."""
_PAUSE_BEFORE_REPEAT = 0.05


class _Lane:
    """What a lane has.

    Attributes:
        name: the name of its task.
        connection: where it writes; None until it has something to write, and after a failure.
        batch: what it writes now.
        task: runs it.
    """

    __slots__ = ("batch", "connection", "name", "task")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connection: asyncpg.Connection[Any] | None = None
        self.batch: list[QueuedAppend] = []
        self.task: asyncio.Task[None] | None = None

    def disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()


class GroupAppender:
    """Appends commits in batches.

    Args:
        database: where to.
        queue: the commits that wait.
        lanes: how many batches may be under way at once.
        announce: called after each transaction that appended something.
        timeout: seconds after which a commit that could not be written is given up.
        tasks: owns the lanes.
    """

    def __init__(
        self,
        database: Database,
        queue: AppendQueue,
        *,
        lanes: int,
        announce: Callable[[], None],
        timeout: float,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._writer = BatchWriter(Appends(database.quoted_schema), announce=announce, timeout=timeout)
        self._queue = queue
        self._queue.on_ready = self._wake_one
        self._tasks = tasks
        self._lanes = [_Lane(f"perdure append lane {number}") for number in range(lanes)]
        self._idle: list[asyncio.Future[None]] = []
        self._drained: asyncio.Event | None = None
        """Set once nothing is left to write. None until the store closes."""
        self._has_stopped = False
        """Whether no lane is left, and the store isn't closing."""
        database.reachability.appends["alone"] = self._count_waiting

    def start(self) -> None:
        """Start the lanes. They connect when there is something to append."""
        for lane in self._lanes:
            lane.task = self._tasks.keep(partial(self._run, lane), lane.name, operation="append")
            lane.task.add_done_callback(self._check_stopped)

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit together with those of other callers. Raises as `EventStore.append_to_stream` does.

        When the caller is cancelled, a commit that still waits is taken out; one that was sent may be written.
        """
        if self._drained is not None or self._has_stopped:
            raise StoreClosedError
        queued = self._queue.put(commit)
        try:
            # Compared in the caller's task, because upcasters are the caller's code, and a lane serves all callers.
            return first_result(commit, await queued.future)
        except asyncio.CancelledError:
            self._queue.admit()  # it may have held up others that wait for room
            raise

    async def close(self, timeout: float) -> None:
        """Append what is queued, for at most `timeout` seconds; report the outcome of the rest to its callers."""
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        if not tasks:
            return
        self._drained = asyncio.Event()
        self._note_drained()
        try:
            await asyncio.wait_for(self._drained.wait(), timeout)
        except TimeoutError:
            logger.warning("closing with appends under way after %.1f s", timeout, extra=keys(operation="close"))
        finally:
            await self._tasks.stop(*tasks)
            for queued in [*self._under_way(), *self._queue.clear()]:
                queued.give_up(StoreClosedError())

    def _under_way(self) -> Iterator[QueuedAppend]:
        for lane in self._lanes:
            yield from lane.batch

    def _count_waiting(self) -> int:
        return self._queue.waiting + sum([not queued.future.done() for queued in self._under_way()])

    def _note_drained(self) -> None:
        if self._drained is not None and self._queue.is_empty:
            self._drained.set()

    def _check_stopped(self, _: asyncio.Task[None]) -> None:
        """Refuse what is queued if the last lane was ended from outside: nothing would ever write it."""
        if self._drained is None and all(lane.task is None or lane.task.done() for lane in self._lanes):
            self._has_stopped = True
            for queued in self._queue.clear():
                queued.give_up(StoreClosedError("the append lanes have ended"))

    # --- Lanes --------------------------------------------------------------------------------------------------------

    async def _run(self, lane: _Lane) -> None:
        try:
            while True:
                # A lane that was woken but hasn't taken anything yet doesn't sleep, and still wants its share.
                lane.batch = self._queue.take(sum([not one.batch for one in self._lanes]))
                if lane.batch:
                    if self._queue.ready:
                        self._wake_one()
                    await self._write(lane)
                else:
                    self._note_drained()
                    await self._sleep()
        except BaseException as error:
            self._abandon(lane, error)
            raise
        finally:
            lane.disconnect()

    async def _sleep(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        await woken

    def _wake_one(self) -> None:
        while self._idle:
            woken = self._idle.pop()
            if not woken.done():
                woken.set_result(None)
                return

    async def _write(self, lane: _Lane) -> None:
        """Write the batch of a lane and finish it."""
        batch = lane.batch
        now = asyncio.get_running_loop().time
        began = now()
        pause = 0.0
        try:
            connection = await self._connected(lane)
            again = await self._writer.write(connection, batch)
            pause = _PAUSE_ALONE if batch[0].is_alone else _PAUSE_WHILE_LOCKED
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers get it
            if is_connection_lost(error):
                lane.disconnect()
            again = await self._after_failure(batch, error)
        self._queue.finish(batch, again, pause=pause)
        lane.batch = []
        events = sum([len(queued.commit.events) for queued in batch])
        report_fact(AppendBatch(len(batch), events, len(again), self._queue.events, now() - began))

    async def _connected(self, lane: _Lane) -> asyncpg.Connection[Any]:
        connection = lane.connection
        if connection is None or connection.is_closed():
            connection = lane.connection = await self._database.connect()
            connection.add_log_listener(self._writer.note_warning)
        return connection

    async def _after_failure(self, batch: list[QueuedAppend], error: Exception) -> list[QueuedAppend]:
        """Answer the callers for whom a repeat can't help. Return the others, after a pause."""
        known = error if isinstance(error, PerdureError) else translated(error)
        if known is None:
            extra = keys(error, operation="append", appends=len(batch))
            logger.error("an append failed in an unforeseen way", exc_info=error, extra=extra)
        is_refused = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        now = asyncio.get_running_loop().time()
        again: list[QueuedAppend] = []
        for queued in batch:
            if queued.future.done():
                continue
            if is_refused:
                queued.outcome.write_nothing()
            else:
                queued.outcome.lose(queued.event_ids)
            # What never reached the server is reported at once; an unknown outcome is worth the wait.
            if known is not None and queued.outcome.must_repeat and now < queued.deadline:
                again.append(queued)
            else:
                queued.give_up(known or error)
        if again:
            extra = keys(known, operation="append", appends=len(again))
            logger.debug("the connection was lost with appends under way; they are repeated: %s", known, extra=extra)
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)
        return again

    def _abandon(self, lane: _Lane, error: BaseException) -> None:
        """Answer the callers of a batch whose lane ends, and release its streams."""
        batch, lane.batch = lane.batch, []
        if not batch:
            return
        reason = StoreClosedError() if self._drained is not None else _ended(lane, error)
        for queued in batch:
            queued.give_up(reason)
        self._queue.finish(batch)


def _ended(lane: _Lane, error: BaseException) -> StoreUnavailableError:
    unavailable = StoreUnavailableError(f"{lane.name!r} ended by {shown(error)}, and is started again")
    unavailable.__cause__ = error
    return unavailable
