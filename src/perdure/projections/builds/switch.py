"""Makes the views show another build, in one short transaction that gives up soon if other sessions hold locks.

A query of a view waits at most for the lock time-out of one attempt. The new build shows at least what the shown one
did: the shown build is kept at its position until the new one has reached it, unless the new one may lag.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from perdure.errors import (
    BuildStateError,
    DatabaseError,
    LockHolder,
    PerdureError,
    SwitchBlockedError,
)
from perdure.observation import keys
from perdure.projections.builds.setup import drop_build
from perdure.projections.builds.views import Views
from perdure.projections.sql import statements
from perdure.projections.state.audit_log import AuditEntry, AuditLog
from perdure.projections.state.builds import Build, BuildRecords, shown_of
from perdure.projections.state.holds import Holds
from perdure.projections.state.identity import BuildId
from perdure.retry import RetryConfig
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.schema.lock_watch import LockWatch

logger = logging.getLogger("perdure.projections")

LOCK_TIMEOUT: Final = 0.1
"""Seconds that an attempt waits for locks, and with it the queries that arrive behind it."""
_RETRY: Final = RetryConfig(max_attempts=8, base_delay=0.1, max_delay=2.0)
_CATCH_UP: Final = 0.5
"""Seconds that the shown build is kept at its position for the other to reach it."""
_LOCK_NOT_AVAILABLE: Final = "55P03"

Choose = Callable[[Sequence[Build]], Build | None]
"""Chooses the build to show."""

P = ParamSpec("P")
R = TypeVar("R")


def _retried(
    attempt: Callable[Concatenate[BuildSwitch, P], Awaitable[R]],
) -> Callable[Concatenate[BuildSwitch, P], Awaitable[R]]:
    """Repeat a method of BuildSwitch while a lock isn't available, or the build is behind the shown one."""

    @wraps(attempt)
    async def retried(self: BuildSwitch, /, *args: P.args, **kwargs: P.kwargs) -> R:
        attempts = 0
        while True:
            attempts += 1
            try:
                return await attempt(self, *args, **kwargs)
            except BuildStateError as error:
                if not error.lag or attempts == _RETRY.max_attempts:
                    raise
            except DatabaseError as error:
                if error.sqlstate != _LOCK_NOT_AVAILABLE:
                    raise
                if attempts == _RETRY.max_attempts:
                    raise SwitchBlockedError(self.name, attempts, self.holders) from None
            await asyncio.sleep(_RETRY.delay(attempts))

    return retried


class BuildSwitch:
    """Shows, and drops, builds of one projection. It doesn't need the projection's code.

    Args:
        database: the database of the store.
        name: the projection's name.

    Attributes:
        holders: The sessions whose locks were in the way, as they were last seen.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.holders: tuple[LockHolder, ...] = ()
        self._database = database
        self._records = BuildRecords(database, name)
        self._views = Views(database, name)
        self._holds = Holds(database, name)
        self._sql = statements("switch")
        self._audit_log = AuditLog(database)

    @_retried
    async def show(self, choose: Choose, entry: AuditEntry, *, may_lag: bool = False) -> bool:
        """Make the views show a build. Return False if there is nothing to do.

        Args:
            choose: chooses the build among all, under the lock and for each attempt, because another process may have
                switched meanwhile. None: nothing is to be done.
            entry: the action, for the audit log.
            may_lag: whether the build may be behind the one that is shown.

        Raises:
            SwitchBlockedError: other sessions hold locks on the views.
            BuildStateError: the build has no tables, or doesn't reach the position of the one that is shown.
            ViewInUseError: something is built on a view that would have to be dropped.
            Whatever `choose` raises.
        """
        async with self._short_transaction() as connection:
            builds = await self._records.read(connection)
            shown, target = shown_of(builds), choose(builds)
            if target is None or target.is_shown:
                return False
            if shown is not None:
                await self._catch_up(connection, target.id, shown.id, may_lag=may_lag)
            await self._replace(connection, shown, target)
            instead_of = None if shown is None else {"version": shown.id.version, "build": shown.id.build}
            await self._audit_log.record(connection, target.id, entry, {"instead_of": instead_of})
            return True

    @_retried
    async def drop(self, build: BuildId, entry: AuditEntry) -> None:
        """Drop a build, unless it is gone or shown. Raises SwitchBlockedError and ViewInUseError, as `show` does."""
        async with self._short_transaction() as connection:
            builds = await self._records.read(connection)
            found = next((each for each in builds if each.id == build), None)
            if found is not None and not found.is_shown:
                await drop_build(connection, self._database, found)
                await self._audit_log.record(connection, build, entry)

    @asynccontextmanager
    async def _short_transaction(self) -> AsyncGenerator[Connection]:
        # A dedicated connection: the build that this waits for may need the last one of the pool.
        async with self._database.session() as connection:
            watch = LockWatch(self._database, LOCK_TIMEOUT)
            try:
                async with connection.transaction(), watch.over(connection):
                    await self._limit_lock_waits(connection, LOCK_TIMEOUT)
                    await self._records.lock(connection)
                    yield connection
            finally:
                self.holders = watch.holders or self.holders

    async def _catch_up(self, connection: Connection, target: BuildId, shown: BuildId, *, may_lag: bool) -> None:
        """Keep the shown build at its position until the transaction ends, and wait for the other to reach it."""
        position = await self._holds.lock(connection, shown)
        timeout = _CATCH_UP if await self._records.has_runner(connection, target) else 0
        if not await self._holds.reached_on(connection, [target], position, timeout) and not may_lag:
            lag = position - (await self._holds.span(connection, [target])).slowest
            if lag > 0:
                reason = f"is {lag} positions behind what is shown: wait until it has caught up"
                raise BuildStateError(*target, reason, lag)

    async def _replace(self, connection: Connection, shown: Build | None, target: Build) -> None:
        if target.tables is None:
            raise BuildStateError(*target.id, "has no tables yet: wait until it has caught up")
        # All views together may wait as long as one.
        await self._limit_lock_waits(connection, LOCK_TIMEOUT / max(1, len(target.tables)))
        is_beside = shown is not None and shown.schema == target.schema
        before = (shown.tables or ()) if shown is not None and is_beside else ()
        await self._views.show(connection, target.schema, target.tables, before)
        await self._records.show(connection, target.id)

    async def _limit_lock_waits(self, connection: Connection, seconds: float) -> None:
        await connection.execute(self._sql["limit_lock_waits"], max(1, round(seconds * 1000)))


async def drop_older(database: Database, build: BuildId) -> None:
    """Drop the builds of a version that are older than a build, except the two that were shown last."""
    async with database.connection() as connection:
        builds = await BuildRecords(database, build.name).read(connection)
    former = sorted((each for each in builds if each.switch_number), key=lambda each: each.switch_number)[-2:]
    for each in builds:
        if each.id.version == build.version and each.id < build and each not in former:
            try:
                await BuildSwitch(database, build.name).drop(each.id, AuditEntry("dropped"))
            except PerdureError as error:
                # The next rebuild tries again.
                logger.warning("projection %r: %s", build.name, error, extra=keys(error, operation="rebuild"))
