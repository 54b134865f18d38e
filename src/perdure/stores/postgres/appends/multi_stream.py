"""Appends to several streams at once, all or nothing: one statement, repeated while its outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import asyncpg

from perdure.commit import AppendResult, CommitGroup
from perdure.errors import OutcomeUnknownError, PerdureError, StoreOverloadedError, StoreUnavailableError
from perdure.observation import keys
from perdure.outcome import AppendOutcome
from perdure.stores.postgres.appends.statements import GUARDS, Appends
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.deadlocks import outlasted
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, confirmed

logger = logging.getLogger("perdure.append")

_PAUSE_BEFORE_REPEAT = 0.05


class MultiStreamAppender:
    """Appends groups of commits, each group in its own transaction.

    Args:
        database: where to.
        announce: called after each group that was appended.
        timeout: seconds that a group may wait for its streams, or to learn of an unknown outcome.
    """

    def __init__(self, database: Database, *, announce: Callable[[], None], timeout: float) -> None:
        self._database = database
        self._appends = Appends(database.quoted_schema)
        self._announce = announce
        self._timeout = timeout
        self._waiting = 0
        database.reachability.appends["groups"] = lambda: self._waiting

    async def append(self, group: CommitGroup) -> list[AppendResult]:
        """Append a group. Raises as `EventStore.append_to_streams` does."""
        self._waiting += 1
        try:
            return await self._append(group)
        finally:
            self._waiting -= 1

    async def _append(self, group: CommitGroup) -> list[AppendResult]:
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout
        outcome = AppendOutcome()
        while True:
            outcome.send()
            attempt = partial(self._attempt, group, look_up=outcome.must_look_up, deadline=deadline)
            try:
                answer = await outlasted(attempt, deadline - now())
            except PerdureError as error:
                outcome.fail(error)
                # To learn an unknown outcome, wait for the server, but don't repeat after other errors.
                is_server_away = isinstance(error, OutcomeUnknownError | StoreUnavailableError)
                if not (outcome.must_repeat and is_server_away and now() < deadline):
                    if (reported := outcome.reported(error)) is error:
                        raise
                    raise reported from error
                logger.debug(
                    "the connection was lost with a group of appends under way; it is repeated: %s",
                    error,
                    extra=keys(error, operation="append_to_streams", appends=len(group.commits)),
                )
            else:
                return self._settled(answer)
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)

    def _settled(self, answer: list[AppendResult] | PerdureError) -> list[AppendResult]:
        if isinstance(answer, PerdureError):
            raise answer
        self._announce()
        return answer

    async def _attempt(
        self, group: CommitGroup, *, look_up: bool, deadline: float
    ) -> list[AppendResult] | PerdureError:
        while True:
            patience = deadline - asyncio.get_running_loop().time()
            async with self._database.connection() as connection:
                try:
                    with confirmed(connection):
                        return await self._appends.append_group(
                            connection, group, look_up=look_up, lock_timeout=f"{max(1, round(patience * 1000))}ms"
                        )
                except asyncpg.LockNotAvailableError:
                    raise StoreOverloadedError("a stream of the group was locked", self._timeout) from None
                except asyncpg.UniqueViolationError as error:
                    # The ids are stored already, or another client has inserted without the locks: repeat, and look the
                    # ids up. A session that uses the store's former number may insert in between once more.
                    if look_up and error.constraint_name not in GUARDS:
                        raise
                    if look_up and patience <= 0:
                        raise StoreOverloadedError("a stream of the group was locked", self._timeout) from None
                except asyncpg.ReadOnlySQLTransactionError:
                    raise  # refused, so nothing was written: the server is a standby now
                except CONNECTION_LOST as error:
                    raise OutcomeUnknownError(group.event_ids) from error
            if look_up:
                await asyncio.sleep(_PAUSE_BEFORE_REPEAT)
            look_up = True
