"""Completes a build: compares it with the shown one, lets the views show it, and drops builds that are too old."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perdure.errors import BuildStateError
from perdure.follower import Follower
from perdure.observation import keys
from perdure.projections.builds.comparison import BuildComparison, NotComparableError
from perdure.projections.builds.switch import BuildSwitch, drop_older
from perdure.projections.engines.factory import describe
from perdure.projections.state.audit_log import AuditEntry, AuditLog
from perdure.projections.state.builds import Build, BuildRecords, TableDifference, shown_of
from perdure.projections.state.holds import Holds
from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.connections.database import Database

logger = logging.getLogger("perdure.projections")


class BuildCompletion:
    """Completes the builds of one projection that have caught up.

    Args:
        database: the database of the store.
        projection: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, database: Database, projection: Follower, schema: str) -> None:
        self._database = database
        self._projection = projection
        self._schema = schema
        self._switch = BuildSwitch(database, projection.name)
        self._holds = Holds(database, projection.name)
        self._records = BuildRecords(database, projection.name)
        self._audit_log = AuditLog(database)

    async def complete(self, build: BuildId, shown: BuildId | None, *, is_to_be_shown: bool) -> None:
        """Take the next step of a build: compare it, or let the views show it. Do nothing if another process does so.

        Args:
            build: the build.
            shown: the build that the views show; None if they show none.
            is_to_be_shown: whether it is to be shown, because it is compared already.

        Raises:
            SwitchBlockedError, ViewInUseError, BuildStateError: the views can't show it now.
        """
        # A separate connection: the pool may have none left, and the runners that this waits for need one.
        async with self._database.session() as connection, connection.transaction():
            if not await self._records.claim(connection):
                return
            if is_to_be_shown:
                await self._show(build)
            else:
                await self._compare(build, shown)

    async def _compare(self, build: BuildId, shown: BuildId | None) -> None:
        found: list[TableDifference] = []
        outcome = "not comparable"
        if shown is not None and shown.version == build.version and shown < build:
            one, other = (describe(self._projection, each.build) for each in (build, shown))
            try:
                found = await BuildComparison(self._database, one, other, self._schema).differences()
                outcome = "different" if found else "equal"
            except NotComparableError:
                if not await self._is_stopped(shown):
                    reason = "doesn't reach the position of the shown build, so they can't be compared"
                    raise BuildStateError(*build, reason) from None
                text = "projection %r: not compared with the shown build, which doesn't go on"
                logger.info(text, build.name, extra=keys(operation="rebuild", projection=build.name))
        async with self._database.connection() as connection, connection.transaction():
            if await self._records.complete(connection, build, found):
                detail = {"outcome": outcome, "differences": found}
                await self._audit_log.record(connection, build, AuditEntry("compared"), detail)
        for difference in found:
            logger.warning(
                "projection %r, version %d build %d waits for switch(): %d rows of %r differ from what is shown, as %s",
                *build,
                difference.differing,
                difference.table,
                ", ".join(difference.keys),
                extra=keys(operation="rebuild", projection=build.name),
            )

    async def _is_stopped(self, shown: BuildId) -> bool:
        """Whether a build is paused, or no process runs it."""
        async with self._database.connection() as connection:
            span = await self._holds.span(connection, [shown])
            return span.is_paused or not await self._records.has_runner(connection, shown)

    async def _show(self, build: BuildId) -> None:
        def unless_newer(builds: Sequence[Build]) -> Build | None:
            shown = shown_of(builds)
            return next((each for each in builds if each.id == build and (shown is None or shown.id < build)), None)

        if await self._switch.show(unless_newer, AuditEntry("switched")):
            logger.info(
                "projection %r shows version %d build %d",
                *build,
                extra=keys(operation="rebuild", projection=build.name),
            )
            await drop_older(self._database, build)
