"""Appending to several streams at once: one statement, repeated when its outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import asyncpg

from perdure.commit import AppendResult, CommitGroup
from perdure.errors import OutcomeUnknownError, PerdureError, StoreOverloadedError, StoreUnavailableError
from perdure.observation import keys
from perdure.stores.postgres.appends.statements import GUARDS, Appends
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.deadlocks import outlasted
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, confirmed

logger = logging.getLogger("perdure.append")

_PAUSE_BEFORE_REPEAT = 0.05


class Groups:
    """Appends groups of commits.

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
        unknown: OutcomeUnknownError | None = None
        while True:
            try:
                attempt = partial(self._attempt, group, look_up=unknown is not None, deadline=deadline)
                outcome = await outlasted(attempt, deadline - now())
            except OutcomeUnknownError as error:
                unknown = error
            except PerdureError as error:
                # This try wrote nothing, but the doubt about an earlier one is what the caller must know.
                if unknown is None:
                    raise
                if not isinstance(error, StoreUnavailableError):
                    raise unknown from error
            else:
                return self._settled(outcome)
            if now() >= deadline:
                raise unknown
            logger.debug(
                "the connection was lost with a group of appends under way; it is repeated: %s",
                unknown,
                extra=keys(unknown, operation="append_to_streams", appends=len(group.commits)),
            )
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)

    def _settled(self, outcome: list[AppendResult] | PerdureError) -> list[AppendResult]:
        if isinstance(outcome, PerdureError):
            raise outcome
        self._announce()
        return outcome

    async def _attempt(
        self, group: CommitGroup, *, look_up: bool, deadline: float
    ) -> list[AppendResult] | PerdureError:
        patience = deadline - asyncio.get_running_loop().time()
        async with self._database.connection() as connection:
            try:
                with confirmed(connection):
                    return await self._appends.group(
                        connection, group, look_up=look_up, lock_timeout=f"{max(1, round(patience * 1000))}ms"
                    )
            except asyncpg.LockNotAvailableError:
                raise StoreOverloadedError("a stream of the group was locked", self._timeout) from None
            except asyncpg.UniqueViolationError as error:
                # Ids that are stored already, or an insert around the locks: looked up, it finds its outcome. An insert
                # under the number that the store had before may come in between once more.
                if look_up and (patience <= 0 or error.constraint_name not in GUARDS):
                    raise
            except asyncpg.ReadOnlySQLTransactionError:
                raise  # refused, so nothing was written: the server is a standby now
            except CONNECTION_LOST as error:
                raise OutcomeUnknownError(group.event_ids) from error
        if look_up:
            await asyncio.sleep(_PAUSE_BEFORE_REPEAT)
        return await self._attempt(group, look_up=True, deadline=deadline)
