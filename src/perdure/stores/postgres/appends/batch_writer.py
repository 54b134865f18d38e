"""Writes a batch of commits in one transaction, with an outcome for each of them.

What fails as a batch is tried in halves, down to the commit to blame, so that a poison event fails only its own append.
Two more rules keep one commit from holding up the others:

- A batch waits for a lock only briefly, and gives the rest back to the queue after ten waits. A commit that was to
  blame for a wait shares no batch from then on.
- A batch that fails because one of its event ids is stored is sent once more, with a look-up of all its ids. For a
  minute after that, batches look their ids up at once, because repeats come in numbers.

Why these figures: docs/adr/0033.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from perdure.commit import AppendResult, Commit
from perdure.errors import EventIdReuseError, OptimisticConcurrencyError, StoreOverloadedError
from perdure.observation import keys
from perdure.repeat import StoredAppend
from perdure.stores.postgres.appends.queue import QueuedAppend
from perdure.stores.postgres.appends.statements import GUARDS, Answer, Appends
from perdure.stores.postgres.driver_errors import UnconfirmedCommitError, is_connection_lost, is_unconfirmed, translated

logger = logging.getLogger("perdure.append")

LOCK_TIMEOUT = "20ms"
"""How long a commit by itself waits for its stream, or for whatever else is locked."""
BATCH_LOCK_TIMEOUT = "500ms"
"""How long a batch waits for a lock. It never waits for the locks of streams.

It may wait for a session that extends the table on a slow disk, for a migration, or for an open transaction that wrote
the same id or version without the stream's lock. The limit is below the server's deadlock_timeout, so that the batch is
rolled back in a deadlock, not a caller's transaction."""
_ALONE_LOCK_TIMEOUT = "2ms"
"""How long a commit that held up its batch waits. Its lane does nothing else meanwhile."""
_MOST_WAITS = 10
"""How often parts of a batch may fail for a lock before the rest is given back. Down to one of 256 commits, nine do."""
_SHORT_WAITS_FOR = 5.0
"""Seconds in which batches wait as short as single commits, after a wait for a lock was too long."""
_LOOK_UP_FOR = 60.0
"""Seconds for which batches look ids up after one failed for an id that is stored."""


class BatchWriter:
    """Writes batches, each on the connection of its lane.

    Args:
        appends: the statements.
        announce: called after each transaction that appended something.
        timeout: seconds that an append may wait, for the error that says so.
    """

    def __init__(self, appends: Appends, *, announce: Callable[[], None], timeout: float) -> None:
        self._appends = appends
        self._announce = announce
        self._timeout = timeout
        self._now = asyncio.get_running_loop().time
        self._unconfirmed: set[object] = set()
        """Connections whose last commit was not confirmed by a synchronous standby."""
        self._look_up_until = 0.0
        """Until when batches look their ids up first, as the event loop counts time."""
        self._short_waits_until = 0.0
        """Until when batches wait for locks as briefly as single commits."""

    def note_warning(self, connection: object, message: asyncpg.PostgresLogMessage) -> None:
        """Take a warning of the server. Each connection that is written on must pass on its warnings."""
        if is_unconfirmed(message):
            self._unconfirmed.add(connection)

    async def write(self, connection: asyncpg.Connection[Any], batch: list[QueuedAppend]) -> list[QueuedAppend]:
        """Try a batch as a whole; what fails, in halves. Return what must be tried again because it was locked.

        Raises:
            The driver's error if the connection is lost. The outcome of what was sent is unknown then.
        """
        for queued in batch:
            queued.outcome.send()
        again: list[QueuedAppend] = []
        parts = [batch]
        waits = 0
        while parts:
            part, postponed = self._divided(parts.pop(), again, waits)
            if postponed:
                again += self._settle(postponed, [None] * len(postponed))
            if len(part) == 1:
                again += await self._try_one(connection, part[0], is_left=len(batch) > 1)
                waits += part[0].is_alone
            elif part:
                answers = await self._try_together(connection, part, self._lock_timeout(waits))
                if isinstance(answers, asyncpg.PostgresError):
                    waits += isinstance(answers, asyncpg.LockNotAvailableError)
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                else:
                    again += self._settle(part, answers)
        return again

    def _divided(
        self, part: list[QueuedAppend], again: Sequence[QueuedAppend], waits: int
    ) -> tuple[list[QueuedAppend], list[QueuedAppend]]:
        """Return what of a part is tried now, and what is given back.

        Behind a commit that must be tried again, those of the same stream wait: order is promised.
        """
        if not waits and not again:
            return part, []
        locked = {queued.commit.stream_id for queued in again}
        now = self._now()
        may_wait = waits < _MOST_WAITS
        tried = [
            one for one in part if may_wait and one.commit.stream_id not in locked and one.is_worth_trying(waits, now)
        ]
        if len(tried) == len(part):
            return part, []
        worth_trying = set(tried)
        return tried, [one for one in part if one not in worth_trying]

    def _lock_timeout(self, waits: int) -> str:
        return LOCK_TIMEOUT if waits or self._now() < self._short_waits_until else BATCH_LOCK_TIMEOUT

    async def _try_together(
        self, connection: asyncpg.Connection[Any], part: list[QueuedAppend], lock_timeout: str
    ) -> Sequence[Answer | None] | asyncpg.PostgresError:
        """Return the answers to commits that share a transaction, or the error that has rolled it back."""
        try:
            return await self._together(connection, part, lock_timeout)
        except asyncpg.PostgresError as error:
            if is_connection_lost(error):
                raise
            if isinstance(error, asyncpg.LockNotAvailableError):
                self._short_waits_until = self._now() + _SHORT_WAITS_FOR
            # Without the error's text, in which the database may quote data of events.
            extra = keys(error, operation="append", appends=len(part))
            logger.debug("a batch of appends failed and is tried in halves: %s", error.sqlstate, extra=extra)
            return error

    async def _together(
        self, connection: asyncpg.Connection[Any], part: list[QueuedAppend], lock_timeout: str
    ) -> Sequence[Answer | None]:
        look_up = self._now() < self._look_up_until or any(queued.outcome.must_look_up for queued in part)
        commits = [queued.commit for queued in part]
        try:
            answers = await self._appends.append_batch(connection, commits, look_up=look_up, lock_timeout=lock_timeout)
        except asyncpg.UniqueViolationError as error:
            if look_up or error.constraint_name not in GUARDS:
                raise
            self._look_up_until = self._now() + _LOOK_UP_FOR
            answers = await self._appends.append_batch(connection, commits, look_up=True, lock_timeout=lock_timeout)
        self._check_confirmed(connection)
        return answers

    async def _try_one(
        self, connection: asyncpg.Connection[Any], queued: QueuedAppend, *, is_left: bool
    ) -> list[QueuedAppend]:
        """Try a commit by itself: all there is, or what is left of a batch that failed."""
        look_up = is_left or queued.outcome.must_look_up
        timeout = _ALONE_LOCK_TIMEOUT if queued.is_alone else LOCK_TIMEOUT
        answer = await self._one(connection, queued.commit, look_up=look_up, lock_timeout=timeout)
        self._check_confirmed(connection)
        # What holds this one up would hold up each batch that it is in.
        queued.is_alone = answer is None and (is_left or queued.is_alone)
        return self._settle([queued], [answer])

    async def _one(
        self, connection: asyncpg.Connection[Any], commit: Commit, *, look_up: bool, lock_timeout: str
    ) -> Answer | None:
        try:
            return await self._appends.append_commit(connection, commit, look_up=look_up, lock_timeout=lock_timeout)
        except asyncpg.LockNotAvailableError:
            return None
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name in GUARDS:
                if look_up:
                    return None
                return await self._one(connection, commit, look_up=True, lock_timeout=lock_timeout)
            return translated(error)
        except asyncpg.PostgresError as error:
            if is_connection_lost(error):
                raise
            return translated(error)

    def _check_confirmed(self, connection: object) -> None:
        if connection in self._unconfirmed:
            self._unconfirmed.discard(connection)
            raise UnconfirmedCommitError

    def _settle(self, part: list[QueuedAppend], answers: Sequence[Answer | None]) -> list[QueuedAppend]:
        """Wake followers, and answer callers. Return those that wait on, because something was locked."""
        if any(isinstance(answer, AppendResult | StoredAppend) for answer in answers):
            self._announce()
        again: list[QueuedAppend] = []
        now = self._now()
        for queued, answer in zip(part, answers, strict=True):
            if isinstance(answer, AppendResult | StoredAppend):
                queued.outcome.commit()
                queued.succeed(answer)
            elif isinstance(answer, OptimisticConcurrencyError | EventIdReuseError):
                queued.outcome.refuse()
                queued.refuse(answer)
            else:
                queued.outcome.write_nothing()
                if answer is not None:
                    queued.give_up(answer)
                elif now < queued.deadline:
                    again.append(queued)
                else:
                    reason = f"stream {queued.commit.stream_id!r} was locked"
                    queued.give_up(StoreOverloadedError(reason, self._timeout))
        return again
