"""What operators do with builds: rebuild, switch, roll back, drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from perdure.checks import check_count, check_text
from perdure.errors import BuildStateError, InvalidArgumentError, UnknownBuildError
from perdure.errors.formats import shown
from perdure.projections.builds.switch import BuildSwitch, drop_older
from perdure.projections.state.audit_log import AuditedOperations
from perdure.projections.state.builds import Build, BuildRecords, shown_of
from perdure.projections.state.identity import BuildId, is_divisible
from perdure.projections.state.segments import MOST_SEGMENTS
from perdure.projections.state.status import ProjectionStatus, read_status
from perdure.stores.postgres.connections.database import Connection

SwitchMode = Literal["automatic", "manual"]
"""Whether a build is shown as soon as it is complete, or only by `switch`."""


class BuildOperations(AuditedOperations):
    """The part of `ProjectionOperations` that is about builds."""

    async def rebuild(
        self, name: str, *, segments: int | None = None, switch: SwitchMode = "automatic", reason: str | None = None
    ) -> ProjectionStatus:
        """Build a projection again, beside the shown build, from the beginning of the log.

        Every process that runs the projection takes part. When the new build has caught up, its rows are compared with
        those of the shown build. If they are the same, the new build is shown instead.

        Args:
            name: the projection's name.
            segments: how many segments the build is divided into, for processes to share; by default as many as the
                shown build has.
            switch: ``"manual"``: the build isn't shown before `switch`.
            reason: the reason, for the audit log.

        Returns:
            the status of the new build; `status` reports its progress.

        Raises:
            UnknownProjectionError: there is no projection of that name.
            BuildStateError: a build is in progress already.
        """
        if segments is not None:
            check_count("segments", segments, 1, MOST_SEGMENTS)
        if switch not in get_args(SwitchMode):
            raise InvalidArgumentError("switch", f'must be "automatic" or "manual", not {shown(switch)}')
        _check_reason(reason)
        await self._check_may_act(name)
        records = BuildRecords(self._database, name)
        async with self._transaction() as connection:
            await records.lock(connection)
            builds = await records.read(connection)
            current = _shown_build(name, builds)
            _check_rebuildable(current, builds)
            number = 1 + max(each.id.build for each in builds if each.id.version == current.id.version)
            build = current.id._replace(build=number)
            count = await self._segment_count(connection, current, segments)
            await records.add(
                connection,
                build,
                current.schema,
                None,
                switches_automatically=switch == "automatic",
                kind=current.kind,
                mode=current.mode,
                segments=count,
                start=current.start,
            )
            await self._log(connection, build, "rebuild asked", reason, {"segments": count, "switch": switch})
        return await self._status_of(build)

    async def cancel_rebuild(self, name: str, reason: str | None = None) -> list[ProjectionStatus]:
        """Drop the builds that are in progress. The shown build stays as it is.

        Returns:
            the last status of each dropped build: one, unless several versions were being built.

        Raises:
            UnknownProjectionError: there is no projection of that name.
            BuildStateError: no build is in progress.
            SwitchBlockedError: other sessions hold locks on its tables.
        """
        _check_reason(reason)
        builds = await self._builds(name)
        pending = _pending(builds)
        if not pending:
            raise BuildStateError(*_shown_build(name, builds).id, "is shown, and nothing is being built instead")
        statuses = [await self._status_of(each.id) for each in pending]
        for each in pending:
            await BuildSwitch(self._database, name).drop(each.id, self._entry("rebuild cancelled", reason))
        return statuses

    async def switch(
        self, name: str, version: int | None = None, build: int | None = None, reason: str | None = None
    ) -> ProjectionStatus:
        """Show another build that is complete: by default the newest that was never shown.

        This also shows a build whose rows differed in the comparison.

        Args:
            name: the projection's name.
            version: the version of the build.
            build: the number of the build within its version.
            reason: the reason, for the audit log.

        Returns:
            the status of the build that is shown now.

        Raises:
            UnknownProjectionError: there is no projection of that name.
            UnknownBuildError: there is no such build.
            BuildStateError: the build isn't complete, or is behind the one that is shown.
            SwitchBlockedError: other sessions hold locks on the views.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        for argument, number in (("version", version), ("build", build)):
            if number is not None:
                check_count(argument, number)
        _check_reason(reason)
        await self._check_may_act(name)

        def chosen(builds: Sequence[Build]) -> Build:
            found = [each for each in builds if version in (None, each.id.version) and build in (None, each.id.build)]
            if version is None and build is None:
                found = _pending(builds)
            if not found:
                raise UnknownBuildError(name, version, build, _known(builds))
            if found[0].stage == "building":
                raise BuildStateError(*found[0].id, "isn't complete yet: wait until it has caught up")
            return found[0]

        await BuildSwitch(self._database, name).show(chosen, self._entry("switched", reason))
        current = _shown_build(name, await self._builds(name)).id
        await drop_older(self._database, current)
        return await self._status_of(current)

    async def rollback(self, name: str, reason: str | None = None) -> ProjectionStatus:
        """Show the build that was shown before the current one. A second call returns to the current one.

        Returns:
            the status of the build that is shown now: its `lag`, and the state ``"stopped"`` if no process runs it.

        Raises:
            UnknownProjectionError: there is no projection of that name.
            UnknownBuildError: no other build was shown before, or it was dropped.
            SwitchBlockedError: other sessions hold locks on the views.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        _check_reason(reason)
        await self._check_may_act(name)

        def previous(builds: Sequence[Build]) -> Build:
            former = [each for each in builds if each.switch_number and not each.is_shown]
            if not former:
                raise UnknownBuildError(name, None, None, _known(builds))
            return max(former, key=lambda each: each.switch_number)

        await BuildSwitch(self._database, name).show(previous, self._entry("rolled back", reason), may_lag=True)
        return await self._status_of(_shown_build(name, await self._builds(name)).id)

    async def drop(self, name: str, version: int, build: int = 1, reason: str | None = None) -> None:
        """Drop a build that isn't shown, with its tables. Processes that still run it stop running it.

        Raises:
            UnknownProjectionError: there is no projection of that name.
            UnknownBuildError: there is no such build.
            BuildStateError: the build is shown.
            SwitchBlockedError: other sessions hold locks on its tables.
            ViewInUseError: something is built on its tables.
        """
        check_count("version", version)
        check_count("build", build)
        _check_reason(reason)
        builds = await self._builds(name)
        target = BuildId(name, version, build)
        if target not in [each.id for each in builds]:
            raise UnknownBuildError(name, version, build, _known(builds))
        if _shown_build(name, builds).id == target:
            raise BuildStateError(*target, "is shown: switch to another one first")
        await BuildSwitch(self._database, name).drop(target, self._entry("dropped", reason))

    async def _segment_count(self, connection: Connection, current: Build, segments: int | None) -> int:
        if current.tables is not None and not is_divisible(current.tables):
            return 1
        return segments or await BuildRecords(self._database, current.id.name).count_segments(connection, current.id)

    async def _builds(self, name: str) -> list[Build]:
        await self._check_may_act(name)
        async with self._database.connection() as connection:
            return await BuildRecords(self._database, name).read(connection)

    async def _status_of(self, build: BuildId) -> ProjectionStatus:
        found = await read_status(self._database, build.name)
        return next(each for each in found if BuildId(each.name, each.version, each.build) == build)


def _check_rebuildable(current: Build, builds: Sequence[Build]) -> None:
    if current.kind in {"reaction", "relay"}:
        raise BuildStateError(*current.id, f"is a {current.kind}, which is never built again: see replay()")
    for each in _pending(builds):
        raise BuildStateError(*each.id, "is being built already: wait for it, or call cancel_rebuild()")
    if current.mode == "inline":
        raise BuildStateError(*current.id, "is kept by the appends, in one build: give its class a new version")
    if not current.tables:
        raise BuildStateError(*current.id, "has no tables to build again: give its class a new version")


def _pending(builds: Sequence[Build]) -> list[Build]:
    """Return the builds that were never shown and are newer than the shown one, the newest first."""
    current = shown_of(builds)
    return [each for each in builds if each.stage != "retained" and (current is None or current.id < each.id)]


def _shown_build(name: str, builds: Sequence[Build]) -> Build:
    current = shown_of(builds)
    if current is None:
        raise UnknownBuildError(name, None, None, _known(builds))
    return current


def _known(builds: Sequence[Build]) -> list[tuple[int, int]]:
    return [(each.id.version, each.id.build) for each in builds]


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        check_text("reason", reason)
