"""Group append: the concurrent appends of a process share statements and commits, each with its own outcome.

Lanes, each with its own connection, take batches from the queue: while one waits for the disk, the next is encoded.
What fails as a batch is tried in halves, down to the commit to blame, so that a poison event fails only its own. A lost
connection leaves the outcome unknown: the batch is repeated with the same event ids, which are looked up first, until
the deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import asyncpg

from perdure.commit import AppendResult, Commit
from perdure.errors import (
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
)
from perdure.errors.roots import copied
from perdure.observation import AppendBatch, keys, tell
from perdure.stores.postgres.appends.queue import AppendQueue, Pending
from perdure.stores.postgres.appends.statements import GUARDS, Appends, Outcome
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.driver_errors import UnconfirmedCommitError, is_connection_lost, is_unconfirmed, translated
from perdure.stores.postgres.notifier import Notifier

logger = logging.getLogger("perdure.append")

LOCK_TIMEOUT = "20ms"
"""How long a commit by itself waits for its stream, or for whatever else is locked."""
BATCH_LOCK_TIMEOUT = "500ms"
"""How long a batch waits for a lock. It only tries those of streams.

What it does wait for is another session that extends the table on a slow disk, a migration, or an open transaction that
wrote the same id or version around the stream's lock. Less than the server's deadlock_timeout, so that the batch gives
way, and no caller's transaction."""
PAUSE_WHILE_LOCKED = 0.005
_LONE_LOCK_TIMEOUT = "2ms"
_LONE_PAUSE = 0.05
"""What held up its batch is tried less often and for a shorter time, for meanwhile its lane does nothing else."""
_WAITS = 10
"""How often parts of a batch may fail for a lock before the rest is given back. Down to one of 256 commits, nine do."""
_IMPATIENT_FOR = 5.0
"""Seconds in which batches wait as short as single commits, after a wait for a lock was too long."""
_LOOK_UP_FOR = 60.0
"""Seconds for which batches look ids up after one failed for an id that is stored: repeats come in numbers."""
_PAUSE_BEFORE_REPEAT = 0.05


class GroupAppender:
    """Appends commits in batches.

    Args:
        database: where to.
        queue: the commits that wait.
        lanes: how many batches may be under way at once.
        notifier: notified after each batch that appended something.
        timeout: seconds after which a commit that could not be written is given up.
    """

    def __init__(
        self, database: Database, queue: AppendQueue, *, lanes: int, notifier: Notifier, timeout: float
    ) -> None:
        self._database = database
        self._appends = Appends(database.quoted_schema)
        self._queue = queue
        self._queue.on_ready = self._wake
        self._lanes = lanes
        self._notifier = notifier
        self._timeout = timeout
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: list[list[Pending]] = []
        self._drained: asyncio.Event | None = None
        self._unconfirmed: set[object] = set()
        """Connections whose last commit was not confirmed by a synchronous standby."""
        self._look_up_until = 0.0
        """Until when batches look their ids up first, as the event loop counts time."""
        self._impatient_until = 0.0
        """Until when batches wait for locks as briefly as single commits."""
        database.reachability.appends["alone"] = self._count_waiting

    def start(self) -> None:
        """Start the lanes. They connect when there is something to append."""
        self._tasks = [asyncio.create_task(self._lane(), name=f"perdure append lane {i}") for i in range(self._lanes)]

    def check_alive(self) -> None:
        """Raise StoreClosedError if a lane has ended, as by a fault of ours: what is queued might wait for ever."""
        for task in self._tasks:
            if task.done():
                raise StoreClosedError(f"{task.get_name()!r} has ended")

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit together with those of other callers. Raises as `EventStore.append_to_stream` does.

        When the caller is cancelled, a commit that still waits is taken out; one that was sent may be written.
        """
        if self._drained is not None:
            raise StoreClosedError
        pending = self._queue.enter(commit)
        try:
            return await pending.future
        except asyncio.CancelledError:
            self._queue.let_in()  # it may have stood before others
            raise

    async def close(self, timeout: float) -> None:
        """Append what is queued, for at most `timeout` seconds; tell the callers of what is left."""
        if not self._tasks:
            return
        self._drained = asyncio.Event()
        self._note_drained()
        try:
            await asyncio.wait_for(self._drained.wait(), timeout)
        except TimeoutError:
            logger.warning("closing with appends under way after %.1f s", timeout, extra=keys(operation="close"))
        finally:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for pending in chain(*self._under_way, self._queue.give_up()):
                _refuse(pending, _given_up(pending, StoreClosedError()))

    def _count_waiting(self) -> int:
        return self._queue.waiting + sum([not pending.future.done() for pending in chain(*self._under_way)])

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
                # A lane that was woken but hasn't taken anything yet is no longer idle, and still wants its share.
                batch = self._queue.take(self._lanes - len(self._under_way))
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
        self._under_way.append(batch)
        again: list[Pending] = []
        pause = 0.0
        now = asyncio.get_running_loop().time
        began = now()
        try:
            if connection is None or connection.is_closed():
                connection = await self._database.connect()
                connection.add_log_listener(self._note_warning)
            again = await self._attempt(connection, batch)
            pause = _LONE_PAUSE if batch[0].is_lone else PAUSE_WHILE_LOCKED
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            if connection is not None and is_connection_lost(error):
                connection.terminate()
                connection = None
            again = await self._after_failure(batch, error)
        except BaseException:
            # The lane is cancelled: close() settles what is under way.
            if connection is not None:
                connection.terminate()
            raise
        self._under_way.remove(batch)
        self._queue.done(batch, again, pause=pause)
        events = sum([len(pending.commit.events) for pending in batch])
        tell(AppendBatch(len(batch), events, len(again), self._queue.events, now() - began))
        return connection

    async def _attempt(self, connection: asyncpg.Connection[Any], batch: list[Pending]) -> list[Pending]:
        """Try a batch as a whole; what fails, in halves. Returns those to be tried again, for something was locked."""
        for pending in batch:
            pending.is_sent = True
        again: list[Pending] = []
        parts = [batch]
        now = asyncio.get_running_loop().time
        waits = 0
        while parts:
            part = parts.pop()
            # Behind a commit that must be tried again, those of the same stream wait: order is promised.
            held = {pending.commit.stream_id for pending in again}
            may_wait = waits < _WAITS
            free = [one for one in part if may_wait and one.commit.stream_id not in held and one.is_worth(waits, now())]
            if len(free) < len(part):
                late = [one for one in part if one not in set(free)]
                again += self._settle_all(late, [None] * len(late))
            if len(free) == 1:
                again += await self._attempt_one(connection, free[0], is_left=len(batch) > 1)
                waits += free[0].is_lone
            elif free:
                try:
                    outcomes = await self._together(connection, free, self._lock_timeout(waits))
                except asyncpg.PostgresError as error:
                    if is_connection_lost(error):
                        raise
                    if isinstance(error, asyncpg.LockNotAvailableError):
                        waits += 1
                        self._impatient_until = now() + _IMPATIENT_FOR
                    # Without the error's text, in which the database may quote data of events.
                    told = keys(error, operation="append", appends=len(free))
                    logger.debug("a batch of appends failed and is tried in halves: %s", error.sqlstate, extra=told)
                    middle = len(free) // 2
                    parts += [free[middle:], free[:middle]]
                else:
                    again += self._settle_all(free, outcomes)
        return again

    def _lock_timeout(self, waits: int) -> str:
        is_impatient = waits or asyncio.get_running_loop().time() < self._impatient_until
        return LOCK_TIMEOUT if is_impatient else BATCH_LOCK_TIMEOUT

    async def _together(
        self, connection: asyncpg.Connection[Any], part: list[Pending], lock_timeout: str
    ) -> Sequence[Outcome]:
        """The outcomes of commits that share a transaction. When one of their ids is stored, all are looked up."""
        now = asyncio.get_running_loop().time()
        look_up = now < self._look_up_until or any(pending.is_unknown for pending in part)
        commits = [pending.commit for pending in part]
        try:
            outcomes = await self._appends.many(connection, commits, look_up=look_up, lock_timeout=lock_timeout)
        except asyncpg.UniqueViolationError as error:
            if look_up or error.constraint_name not in GUARDS:
                raise
            self._look_up_until = now + _LOOK_UP_FOR
            outcomes = await self._appends.many(connection, commits, look_up=True, lock_timeout=lock_timeout)
        self._check_confirmed(connection)
        return outcomes

    async def _attempt_one(
        self, connection: asyncpg.Connection[Any], pending: Pending, *, is_left: bool
    ) -> list[Pending]:
        """Try a commit by itself: all there is, or what is left of a batch that failed."""
        look_up = is_left or pending.is_unknown
        timeout = _LONE_LOCK_TIMEOUT if pending.is_lone else LOCK_TIMEOUT
        outcome = await self._alone(connection, pending.commit, look_up=look_up, lock_timeout=timeout)
        self._check_confirmed(connection)
        # What holds this one up would hold up each batch that it is in.
        pending.is_lone = outcome is None and (is_left or pending.is_lone)
        return self._settle_all([pending], [outcome])

    def _note_warning(self, connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if is_unconfirmed(message):
            self._unconfirmed.add(connection)

    def _check_confirmed(self, connection: object) -> None:
        if connection in self._unconfirmed:
            self._unconfirmed.discard(connection)
            raise UnconfirmedCommitError

    async def _alone(
        self, connection: asyncpg.Connection[Any], commit: Commit, *, look_up: bool, lock_timeout: str
    ) -> Outcome:
        try:
            return await self._appends.one(connection, commit, look_up=look_up, lock_timeout=lock_timeout)
        except asyncpg.LockNotAvailableError:
            return None
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name in GUARDS:
                if look_up:
                    return None
                return await self._alone(connection, commit, look_up=True, lock_timeout=lock_timeout)
            return translated(error)
        except asyncpg.PostgresError as error:
            if is_connection_lost(error):
                raise
            return translated(error)

    def _settle_all(self, batch: list[Pending], outcomes: Sequence[Outcome]) -> list[Pending]:
        """Tell followers and callers. Returns those who must wait on, because their stream was locked."""
        if any(isinstance(outcome, AppendResult) for outcome in outcomes):
            self._notifier.notify()
        again: list[Pending] = []
        now = asyncio.get_running_loop().time()
        for pending, outcome in zip(batch, outcomes, strict=True):
            pending.is_sent = False
            if isinstance(outcome, AppendResult):
                if not pending.future.done():
                    pending.future.set_result(outcome)
            elif isinstance(outcome, OptimisticConcurrencyError | EventIdReuseError):
                _refuse(pending, outcome)
            elif outcome is not None:
                _refuse(pending, _given_up(pending, outcome))
            elif now < pending.deadline:
                again.append(pending)
            else:
                reason = f"stream {pending.commit.stream_id!r} was locked"
                _refuse(pending, _given_up(pending, StoreOverloadedError(reason, self._timeout)))
        return again

    async def _after_failure(self, batch: list[Pending], error: Exception) -> list[Pending]:
        """Pause, and say what of the batch is worth another try."""
        ours = error if isinstance(error, PerdureError) else translated(error)
        if ours is None:
            told = keys(error, operation="append", appends=len(batch))
            logger.error("an append failed in an unforeseen way", exc_info=error, extra=told)
        is_refused = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        now = asyncio.get_running_loop().time()
        again: list[Pending] = []
        for pending in batch:
            if pending.future.done():
                continue
            pending.is_unknown = pending.is_unknown or (pending.is_sent and not is_refused)
            pending.is_sent = False
            # What never reached the server is told at once; an unknown outcome is worth the wait.
            if ours is not None and pending.is_unknown and now < pending.deadline:
                again.append(pending)
            else:
                _refuse(pending, _given_up(pending, ours or error))
        if again:
            told = keys(ours, operation="append", appends=len(again))
            logger.debug("the connection was lost with appends under way; they are repeated: %s", ours, extra=told)
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)
        return again


def _refuse(pending: Pending, error: BaseException) -> None:
    if not pending.future.done():
        pending.future.set_exception(error)


def _given_up(pending: Pending, error: Exception) -> Exception:
    """The error for a caller whose commit isn't tried any more: a copy each, for each will have its own traceback."""
    if not (pending.is_unknown or pending.is_sent):
        return copied(error)
    unknown = OutcomeUnknownError([event.event_id for event in pending.commit.events])
    unknown.__cause__ = error
    return unknown
