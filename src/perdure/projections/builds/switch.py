"""Lets the views show another build: in one short transaction, that gives up soon where others hold locks.

Whoever queries a view waits at most for the lock time-out of one try. What the new build shows isn't older than what
was shown before: the old one is kept where it is until the new one has come there, unless the new one may lag.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from perdure.errors import BuildStateError, DatabaseError, LockHolder, PerdureError, SwitchBlockedError
from perdure.observation import keys
from perdure.projections.builds.setup import drop_build
from perdure.projections.builds.views import Views
from perdure.projections.state.audit_log import AuditEntry, AuditLog
from perdure.projections.state.builds import Build, read_builds, shown_of
from perdure.projections.state.holds import Holds
from perdure.projections.state.identity import BuildId
from perdure.retry import RetryConfig
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.schema.lock_watch import LockWatch
from perdure.stores.postgres.sql_files import Statements

logger = logging.getLogger("perdure.projections")

_SQL: Final = Path(__file__).parents[1] / "sql"

LOCK_TIMEOUT: Final = 0.1
"""Seconds that a try waits for locks, and those who query behind it."""
_RETRY: Final = RetryConfig(max_attempts=8, base_delay=0.1, max_delay=2.0)
_CATCH_UP: Final = 0.5
"""Seconds that a build is kept where it is for another to come there."""
_LOCK_NOT_AVAILABLE: Final = "55P03"

Pick = Callable[[Sequence[Build]], Build | None]
"""Chooses the build to be shown among all of a projection; None for none."""


class _BehindError(Exception):
    """The build would show less than what is shown now."""

    def __init__(self, build: BuildId, lag: int) -> None:
        super().__init__(build, lag)
        self.build, self.lag = build, lag


class BuildSwitch:
    """Shows, and drops, builds of one projection. Needs no code of it.

    Args:
        database: the database of the store.
        name: the projection's.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._views = Views(database, name)
        self._holds = Holds(database, name)
        self._sql = Statements(_SQL / "builds", schema=database.quoted_schema)
        self._audit_log = AuditLog(database)
        self._holders: tuple[LockHolder, ...] = ()

    async def show(self, pick: Pick, entry: AuditEntry, *, may_lag: bool = False) -> BuildId | None:
        """Let the views show the build that `pick` chooses. Returns it, or None if it was shown already.

        Args:
            pick: chooses the build.
            entry: what this is, for the record.
            may_lag: whether it may show less than what is shown now.

        Raises:
            SwitchBlockedError: others hold locks on the views.
            BuildStateError: it doesn't come to where the shown one is.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        return await self._tried(lambda connection: self._show(connection, pick, entry, may_lag=may_lag))

    async def drop(self, build: BuildId, entry: AuditEntry) -> None:
        """Drop a build that isn't shown. Raises as `show` does."""

        async def drop(connection: Connection) -> BuildId | None:
            builds = await read_builds(connection, self._database, self._name)
            found = next((one for one in builds if one.id == build and not one.is_shown), None)
            if found is None:
                return None
            await drop_build(connection, self._database, found)
            await self._audit_log.record(connection, build, entry)
            return build

        await self._tried(drop)

    async def _tried(self, work: Callable[[Connection], Awaitable[BuildId | None]]) -> BuildId | None:
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._in_short(work)
            except _BehindError as behind:
                if attempts == _RETRY.max_attempts:
                    reason = f"is {behind.lag} positions behind what is shown: wait until it has caught up"
                    raise BuildStateError(*behind.build, reason, behind.lag) from None
            except DatabaseError as error:
                if error.sqlstate != _LOCK_NOT_AVAILABLE:
                    raise
                if attempts == _RETRY.max_attempts:
                    raise SwitchBlockedError(self._name, attempts, self._holders) from None
            await asyncio.sleep(_RETRY.delay(attempts))

    async def _in_short(self, work: Callable[[Connection], Awaitable[BuildId | None]]) -> BuildId | None:
        # Not of the pool, of which the build that is waited for needs one.
        async with self._database.session() as connection:
            watch = LockWatch(self._database, LOCK_TIMEOUT)
            try:
                async with connection.transaction(), watch.over(connection):
                    await connection.execute(self._sql["limit_lock_waits"], round(LOCK_TIMEOUT * 1000))
                    await connection.execute(self._sql["lock"], self._name)
                    return await work(connection)
            finally:
                self._holders = watch.holders or self._holders

    async def _show(self, connection: Connection, pick: Pick, entry: AuditEntry, *, may_lag: bool) -> BuildId | None:
        builds = await read_builds(connection, self._database, self._name)
        shown, target = shown_of(builds), pick(builds)
        if target is None or target.is_shown:
            return None
        if shown is not None:
            await self._catch_up(connection, target.id, shown.id, may_lag=may_lag)
        if target.tables is None:
            raise BuildStateError(*target.id, "has no tables yet: wait until it has caught up")
        # All views together may take as long as one.
        limit = round(LOCK_TIMEOUT * 1000 / max(1, len(target.tables)))
        await connection.execute(self._sql["limit_lock_waits"], max(1, limit))
        is_beside = shown is not None and shown.schema == target.schema
        before = (shown.tables or ()) if shown is not None and is_beside else ()
        await self._views.show(connection, target.schema, target.tables, before)
        await connection.execute(self._sql["show"], *target.id)
        instead_of = None if shown is None else {"version": shown.id.version, "build": shown.id.build}
        await self._audit_log.record(connection, target.id, entry, {"instead_of": instead_of})
        return target.id

    async def _catch_up(self, connection: Connection, target: BuildId, shown: BuildId, *, may_lag: bool) -> None:
        """Keep the shown build where it is until the transaction ends, and wait for the other to come there."""
        position = await self._holds.lock(connection, shown)
        patience = _CATCH_UP if await connection.fetchval(self._sql["is_run"], *target) else 0
        if not await self._holds.reached_on(connection, [target], position, patience) and not may_lag:
            span = await self._holds.span(connection, [target])
            raise _BehindError(target, position - span.slowest)


async def drop_older(database: Database, build: BuildId) -> None:
    """Drop the builds of a version that were shown before the one that was shown before this one."""
    async with database.connection() as connection:
        builds = await read_builds(connection, database, build.name)
    former = sorted((one for one in builds if one.switch_number), key=lambda one: one.switch_number)[-2:]
    for one in builds:
        if one.id.version == build.version and one.id < build and one not in former:
            try:
                await BuildSwitch(database, build.name).drop(one.id, AuditEntry("dropped"))
            except PerdureError as error:
                # The next rebuild tries again.
                logger.warning("projection %r: %s", build.name, error, extra=keys(error, operation="rebuild"))
