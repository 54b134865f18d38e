"""`ProjectionOperations`: what operators do with projections, from any process, with or without their code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec

from perdure.checks import check_count, check_seconds, check_text
from perdure.commit import AppendResult
from perdure.errors import InvalidArgumentError, ProjectionTimeoutError
from perdure.errors.formats import shown
from perdure.projections.builds.operations import BuildOperations
from perdure.projections.state.failures import EventFailure, FailureKind
from perdure.projections.state.segments import raise_if_paused
from perdure.projections.state.status import ProjectionStatus, decoded_failure, read_status

_LOOK: Final = 0.02
"""Seconds between two looks at a projection that is waited for."""

ParkedState = Literal["failed", "waiting", "skipped"]


class ParkedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a projection doesn't show.

    Attributes:
        key: The key of the row that it didn't reach, as JSON; empty for an event that was skipped as a whole.
        state: It failed, or waits behind one of the same key that did, or was skipped.
        failure: Why it failed; None when it waits.
        is_retry_requested: Whether somebody asked for it to be retried, which its owner hasn't done yet.
    """

    name: str
    version: int
    build: int
    key: str
    global_position: int
    event_id: UUID
    event_type: str
    stream_id: str
    stream_version: int
    state: ParkedState
    failure: EventFailure | None
    attempts: int
    is_retry_requested: bool
    parked_at: datetime


class ProjectionAction(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done to a projection: what, by whom, when and why."""

    number: int
    name: str
    version: int
    build: int
    action: str
    actor: str
    reason: str | None
    detail: Any
    done_at: datetime


class ProjectionOperations(BuildOperations):
    """What operators do with projections. Whoever runs them finds out within about a second.

    On a store that was opened with ``read_only=True`` they are looked at; what would change them raises
    ReadOnlyStoreError.

    Args:
        store: where the events are.
        actor: who does it, for the record; unless given, the `user_id` of the context, or the system's user.

    Example:
        operations = ProjectionOperations(store)
        for parked in await operations.parked("user_profiles"):
            print(parked.global_position, parked.failure)
        await operations.retry("user_profiles", event_type="user.registered")
    """

    async def status(self, name: str | None = None) -> list[ProjectionStatus]:
        """How all projections are, build by build, or those of one name.

        Raises:
            UnknownProjectionError: there is none of that name.
        """
        if name is not None:
            await self._check(name)
        return await read_status(self._database, name)

    async def pause(self, name: str, reason: str | None = None) -> None:
        """Let no build of a projection go on; when it returns, nothing more is written. It stays so until `resume`.

        Raises:
            UnknownProjectionError: there is none of that name.
        """
        await self._switch_segments("pause", "paused", name, reason)

    async def resume(self, name: str, reason: str | None = None) -> None:
        """Let a paused projection go on, with the event that failed; nothing happens when it isn't paused.

        Raises:
            UnknownProjectionError: there is none of that name.
        """
        await self._switch_segments("resume", "resumed", name, reason)

    async def _switch_segments(self, statement: str, action: str, name: str, reason: str | None) -> None:
        if reason is not None:
            check_text("reason", reason)
        await self._check_may_act(name)
        async with self._acting() as connection:
            changed = await connection.fetch(self._sql[statement], name)
            for build in sorted({(row["version"], row["build"]) for row in changed}):
                await self._keep(connection, (name, *build), action, reason)

    async def wait_for(self, name: str, saved: AppendResult | int | None, timeout: float = 10.0) -> None:
        """Wait until the rows that a projection shows hold what was saved, whichever process keeps them.

        Args:
            name: the projection's.
            saved: what a save or an append returned, or its global position, as it came over HTTP; None: nothing.
            timeout: how many seconds to wait at most.

        Raises:
            ProjectionTimeoutError: it didn't get there in time; carries the lag.
            ProjectionPausedError: it is paused before that.
            UnknownProjectionError: there is none of that name.
        """
        position = position_of(saved)
        check_seconds("timeout", timeout)
        await self._check(name)
        deadline = asyncio.get_running_loop().time() + timeout
        while position is not None:
            status = _shown(await read_status(self._database, name))
            if status.global_position >= position:
                return
            raise_if_paused(name, status.segments, position)
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                raise ProjectionTimeoutError(name, position, status.global_position, timeout, status.trouble)
            await asyncio.sleep(min(_LOOK, remaining))

    async def parked(
        self,
        name: str | None = None,
        *,
        states: tuple[ParkedState, ...] | None = ("failed",),
        event_type: str | None = None,
        kind: FailureKind | None = None,
        from_position: int = 0,
        limit: int = 100,
    ) -> list[ParkedEvent]:
        """Parked events, oldest first.

        An event that is parked for several keys, or in several builds, comes once for each, and a page never ends
        within an event.

        Args:
            name: of this projection only.
            states: those that failed, unless more or others are named; None means all.
            event_type: of this stored type only.
            kind: that failed in this way only.
            from_position: strictly after this position of the log, to go on.
            limit: how many at most, and the rest of the last event.
        """
        _check_filter(name=name, event_type=event_type)
        _check_kind(kind)
        if states is not None and (not isinstance(states, tuple) or not set(states) <= set(get_args(ParkedState))):
            raise InvalidArgumentError("states", f"must be some of {get_args(ParkedState)}, not {shown(states)}")
        check_count("from_position", from_position)
        check_count("limit", limit)
        rows = await self._database.fetch(
            self._sql["parked"], name, None if states is None else list(states), event_type, kind, from_position, limit
        )
        found = [_parked(dict(row)) for row in rows]
        return sorted(found, key=lambda one: (one.global_position, one.name, one.version, one.build, one.key))

    async def retry(
        self,
        name: str,
        *,
        global_position: int | None = None,
        event_type: str | None = None,
        kind: FailureKind | None = None,
        key: str | None = None,
    ) -> int:
        """Ask for failed events to be taken again, each with what waits behind it: all, or those that match.

        Returns:
            how many were asked for. Whether they succeed is seen in `parked` a moment later.

        Raises:
            UnknownProjectionError: there is none of that name.
        """
        if global_position is not None:
            check_count("global_position", global_position)
        _check_filter(event_type=event_type, key=key)
        _check_kind(kind)
        await self._check_may_act(name)
        async with self._acting() as connection:
            rows = await connection.fetch(self._sql["ask"], name, global_position, event_type, kind, key)
            for row in rows:
                detail = {"key": row["key"], "positions": [row["global_position"]]}
                await self._keep(connection, (name, row["version"], row["build"]), "retry asked", None, detail)
        return len(rows)

    async def skip(self, name: str, global_position: int, reason: str, *, key: str | None = None) -> int:
        """Leave an event out of a projection for good: one that is parked, or that it is paused before.

        It is left out of the rows for which it failed; where that can't be told, as when it can't be decoded, of all
        that haven't had it yet. What waited behind it is taken then, and what is paused before it goes on. The event
        stays in the log, and the record of what was skipped stays, too. A new version, or a rebuild, meets the event
        again.

        Args:
            name: the projection's.
            global_position: where the event stands.
            reason: why, for the record.
            key: only for the row of this key, as `ParkedEvent` shows it.

        Returns:
            for how many keys it was skipped, one that can't be told included; 0 when it is neither parked nor in the
            way.

        Raises:
            InvalidArgumentError: no reason is given.
            UnknownProjectionError: there is none of that name.
        """
        check_text("reason", reason)
        if not reason.strip():
            raise InvalidArgumentError("reason", "say why the event is skipped, for those who look for it later")
        check_count("global_position", global_position)
        _check_filter(key=key)
        await self._check_may_act(name)
        async with self._acting() as connection:
            # In the order in which those who run it take these locks: the segments first.
            rows = await connection.fetch(self._sql["skip_blocking"], name, global_position, key)
            rows += await connection.fetch(self._sql["skip"], name, global_position, key)
            for row in rows:
                detail = {"key": row["key"], "positions": [global_position]}
                await self._keep(connection, (name, row["version"], row["build"]), "skipped", reason, detail)
        return len(rows)

    async def actions(self, name: str | None = None, limit: int = 100) -> list[ProjectionAction]:
        """What was done to projections, newest first: paused, resumed, parked, retried, skipped, rebuilt, switched."""
        _check_filter(name=name)
        check_count("limit", limit)
        rows = await self._database.fetch(self._sql["actions"], name, limit)
        return [
            msgspec.convert({**row, "detail": row["detail"] and msgspec.json.decode(row["detail"])}, ProjectionAction)
            for row in map(dict, rows)
        ]


def position_of(saved: AppendResult | int | None) -> int | None:
    """The position to wait for. Raises InvalidArgumentError unless it is one."""
    position = saved.global_position if isinstance(saved, AppendResult) else saved
    if position is not None:
        check_count("saved", position)
    return position


def _check_filter(**texts: str | None) -> None:
    for argument, text in texts.items():
        if text is not None:
            check_text(argument, text)


def _check_kind(kind: str | None) -> None:
    if kind is not None and kind not in get_args(FailureKind):
        raise InvalidArgumentError("kind", f"must be one of {get_args(FailureKind)}, not {shown(kind)}")


def _shown(builds: Sequence[ProjectionStatus]) -> ProjectionStatus:
    """The build that the views show; the last one, as long as they show none."""
    return next((build for build in builds if build.is_shown), builds[-1])


def _parked(row: dict[str, Any]) -> ParkedEvent:
    return msgspec.convert({**row, "failure": decoded_failure(row["error"])}, ParkedEvent)
