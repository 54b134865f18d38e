"""What operators do with builds: rebuild, switch, go back, drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from perdure.checks import check_count, check_text
from perdure.errors import BuildStateError, InvalidArgumentError, UnknownBuildError
from perdure.errors.formats import shown
from perdure.projections.builds.switch import Switching, drop_older
from perdure.projections.state.audit_log import Acting, Deed
from perdure.projections.state.builds import Build, read_builds, shown_of
from perdure.projections.state.identity import BuildId
from perdure.projections.state.segments import MOST_SEGMENTS
from perdure.projections.state.status import ProjectionStatus, read_status
from perdure.stores.postgres.sql_files import Statements

_SQL: Final = Path(__file__).parents[1] / "sql"

SwitchMode = Literal["automatic", "manual"]
"""Whether a build is shown as soon as it is complete, or when somebody says so."""


class BuildOperations(Acting):
    """The part of `ProjectionOperations` that is about builds."""

    async def rebuild(
        self, name: str, *, segments: int | None = None, switch: SwitchMode = "automatic", reason: str | None = None
    ) -> ProjectionStatus:
        """Build what is shown anew, beside it, from the beginning of the log. Any process that runs it takes part.

        When it has caught up, it is compared with what is shown; if they hold the same rows, it is shown instead.

        Args:
            name: the projection's.
            segments: into how many pieces it is cut, for processes to share; unless given, as many as what is shown.
            switch: ``"manual"``: it isn't shown before `switch`.
            reason: why, for the record.

        Returns:
            how the new build is; `status` tells how it goes on.

        Raises:
            UnknownProjectionError: there is none of that name.
            BuildStateError: it is being rebuilt already.
        """
        if segments is not None:
            check_count("segments", segments, 1, MOST_SEGMENTS)
        if switch not in get_args(SwitchMode):
            raise InvalidArgumentError("switch", f'must be "automatic" or "manual", not {shown(switch)}')
        _check_reason(reason)
        await self._check_may_act(name)
        sql = self._build_sql()
        async with self._acting() as connection:
            await connection.execute(sql["lock"], name)
            builds = await read_builds(connection, self._database, name)
            for one in _coming(builds):
                raise BuildStateError(*one.id, "is being built already: wait for it, or call cancel_rebuild()")
            now = _the_shown(name, builds)
            if now.mode == "inline":
                raise BuildStateError(*now.id, "is kept by the appends, in one build: give its class a new version")
            if not now.tables:
                raise BuildStateError(*now.id, "has no tables to be built anew: give its class a new version")
            number = 1 + max(one.id.build for one in builds if one.id.version == now.id.version)
            build = now.id._replace(build=number)
            count = segments or await connection.fetchval(sql["segments"], *now.id)
            if not all(table.key for table in now.tables):
                count = 1  # no keys are known by which it could be cut
            await connection.execute(sql["add"], *build, now.schema, None, switch == "automatic", now.mode)
            await connection.execute(self._segment_sql()["add"], *build, count)
            await self._keep(connection, build, "rebuild asked", reason, {"segments": count, "switch": switch})
        return await self._status_of(build)

    async def cancel_rebuild(self, name: str, reason: str | None = None) -> list[ProjectionStatus]:
        """Give up what is being built, and drop it. What is shown stays as it is.

        Returns:
            how far the builds were that were given up: one, unless several versions were being built.

        Raises:
            UnknownProjectionError: there is none of that name.
            BuildStateError: nothing is being built.
            SwitchBlockedError: others hold locks on its tables.
        """
        _check_reason(reason)
        builds = await self._builds(name)
        coming = _coming(builds)
        if not coming:
            raise BuildStateError(*_the_shown(name, builds).id, "is shown, and nothing is being built instead")
        given_up = [await self._status_of(one.id) for one in coming]
        for one in coming:
            await Switching(self._database, name).drop(one.id, self._deed("rebuild cancelled", reason))
        return given_up

    async def switch(
        self, name: str, version: int | None = None, build: int | None = None, reason: str | None = None
    ) -> ProjectionStatus:
        """Show another build that is complete: the newest that was never shown, or the one that is named.

        This is also how to show a build in spite of what the comparison found.

        Raises:
            UnknownProjectionError: there is none of that name.
            UnknownBuildError: there is no such build.
            BuildStateError: it isn't complete, or shows less than what is shown now.
            SwitchBlockedError: others hold locks on the views.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        for argument, number in (("version", version), ("build", build)):
            if number is not None:
                check_count(argument, number)
        _check_reason(reason)

        def named(builds: Sequence[Build]) -> Build | None:
            found = [one for one in builds if version in (None, one.id.version) and build in (None, one.id.build)]
            if version is None and build is None:
                found = _coming(builds)
            if not found:
                raise UnknownBuildError(name, version, build, [one.id[1:] for one in builds])
            if found[0].stage == "building":
                raise BuildStateError(*found[0].id, "isn't complete yet: wait until it has caught up")
            return found[0]

        return await self._show(name, named, self._deed("switched", reason), may_lag=False)

    async def rollback(self, name: str, reason: str | None = None) -> ProjectionStatus:
        """Show again what was shown before. Doing it twice comes back.

        Returns:
            how the build is that is shown now: its `lag`, and, unless somebody still keeps it, ``"stopped"`` as state.

        Raises:
            UnknownProjectionError: there is none of that name.
            UnknownBuildError: none was shown before, or it was dropped.
            SwitchBlockedError: others hold locks on the views.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        _check_reason(reason)

        def former(builds: Sequence[Build]) -> Build | None:
            found = [one for one in builds if one.switch_number and not one.is_shown]
            if not found:
                raise UnknownBuildError(name, None, None, [one.id[1:] for one in builds])
            return max(found, key=lambda one: one.switch_number)

        return await self._show(name, former, self._deed("rolled back", reason), may_lag=True)

    async def drop(self, name: str, version: int, build: int = 1, reason: str | None = None) -> None:
        """Drop a build that isn't shown, with its tables. Old code that still runs it stops doing so.

        Raises:
            UnknownProjectionError: there is none of that name.
            UnknownBuildError: there is no such build.
            BuildStateError: it is shown.
            SwitchBlockedError: others hold locks on its tables.
            ViewInUseError: something is built on its tables.
        """
        check_count("version", version)
        check_count("build", build)
        _check_reason(reason)
        builds = await self._builds(name)
        asked = BuildId(name, version, build)
        if asked not in [one.id for one in builds]:
            raise UnknownBuildError(name, version, build, [one.id[1:] for one in builds])
        if _the_shown(name, builds).id == asked:
            raise BuildStateError(*asked, "is shown: switch to another one first")
        await Switching(self._database, name).drop(asked, self._deed("dropped", reason))

    async def _show(
        self, name: str, pick: Callable[[Sequence[Build]], Build | None], deed: Deed, *, may_lag: bool
    ) -> ProjectionStatus:
        await self._check_may_act(name)
        await Switching(self._database, name).show(pick, deed, may_lag=may_lag)
        now = _the_shown(name, await self._builds(name)).id
        if deed.action == "switched":
            await drop_older(self._database, now)
        return await self._status_of(now)

    async def _builds(self, name: str) -> list[Build]:
        await self._check_may_act(name)
        async with self._database.connection() as connection:
            return await read_builds(connection, self._database, name)

    async def _status_of(self, build: BuildId) -> ProjectionStatus:
        found = await read_status(self._database, build.name)
        return next(one for one in found if BuildId(one.name, one.version, one.build) == build)

    def _build_sql(self) -> Statements:
        return Statements(_SQL / "builds", schema=self._database.quoted_schema)

    def _segment_sql(self) -> Statements:
        return Statements(_SQL / "segments", schema=self._database.quoted_schema)


def _coming(builds: Sequence[Build]) -> list[Build]:
    """Those that were never shown, and are newer than what is shown; the newest first."""
    now = shown_of(builds)
    return [one for one in builds if one.stage != "retained" and (now is None or now.id < one.id)]


def _the_shown(name: str, builds: Sequence[Build]) -> Build:
    now = shown_of(builds)
    if now is None:
        raise UnknownBuildError(name, None, None, [one.id[1:] for one in builds])
    return now


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        check_text("reason", reason)
