"""`ProjectionOperations`: operators watch and control projections from any process, even without their code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

import asyncpg
import msgspec

from perdure.checks import check_count, check_seconds, check_text
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.projections.builds.operations import BuildOperations
from perdure.projections.runtime.progress import Saved, wait_until_shown
from perdure.projections.state.failures import EventFailure, FailureKind
from perdure.projections.state.options import Kind
from perdure.projections.state.status import ProjectionStatus, decoded_failure, read_status

ParkedState = Literal["failed", "waiting", "skipped"]

_A_KEY: Final = '{"order_id":"5"}'
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks at what came of a retry, at first and at most."""


class ParkedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a row of a projection doesn't show.

    Attributes:
        key: The key of the row, as a JSON object; empty if the event was skipped for all rows.
        state: The event failed, or waits behind a failed event of the same key, or was skipped.
        failure: Why it failed; None if it waits.
        is_retry_requested: Whether a retry was asked for and is still to be made by the process that owns the segment.
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


class RetryOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a retry.

    Attributes:
        asked: How many failed events were to be retried; 0 if none matched.
        handled: How many of them the projection shows now.
        withdrawn: How many were skipped meanwhile, or their build was deleted.
        pending: How many weren't retried in time, or events behind them weren't.
        failed: The events that are parked now: each failed again, or failed after it had waited behind a retried one.
    """

    asked: int
    handled: int = 0
    withdrawn: int = 0
    pending: int = 0
    failed: tuple[ParkedEvent, ...] = ()

    @property
    def is_success(self) -> bool:
        """Whether no event failed, and none is left to be retried. True if none was to be retried."""
        return not self.failed and not self.pending


class ProjectionAction(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log: what was done to a projection, by which actor, when and why."""

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
    """Watches and controls projections. The processes that run them follow within about a second.

    With a store that was opened with ``read_only=True``, methods that change something raise ReadOnlyStoreError.

    Args:
        store: the store.
        actor: the name for the audit log. By default the `user_id` of the context, or else the user of the system.

    Example:
        operations = ProjectionOperations(store)
        for parked in await operations.parked("user_profiles"):
            print(parked.global_position, parked.failure)
        await operations.retry("user_profiles", event_type="user.registered")
    """

    async def status(self, name: str | None = None, *, kinds: Sequence[Kind] | None = None) -> list[ProjectionStatus]:
        """Return the status of all builds of all projections, reactions and so on, or of the one of that name.

        Args:
            name: the name.
            kinds: without a name, only what is of these kinds; None means all.

        Raises:
            UnknownProjectionError: nothing has this name.
        """
        if kinds is not None and (not isinstance(kinds, list | tuple) or not set(kinds) <= set(get_args(Kind))):
            raise InvalidArgumentError("kinds", f"must be some of {get_args(Kind)}, not {shown(kinds)}")
        if name is not None:
            await self._check(name)
            return await read_status(self._database, name)
        return [one for one in await read_status(self._database) if kinds is None or one.kind in kinds]

    async def pause(self, name: str, reason: str | None = None) -> None:
        """Pause all builds of a projection until `resume`. Once this returns, they write nothing more.

        Raises:
            UnknownProjectionError: no projection has this name.
        """
        await self._set_status("running", "paused", "paused", name, reason)

    async def resume(self, name: str, reason: str | None = None) -> None:
        """Resume a paused projection at the event that failed. Do nothing if it isn't paused.

        Raises:
            UnknownProjectionError: no projection has this name.
        """
        await self._set_status("paused", "running", "resumed", name, reason)

    async def _set_status(self, status: str, to: str, action: str, name: str, reason: str | None) -> None:
        if reason is not None:
            check_text("reason", reason)
        await self._check_may_act(name)
        async with self._transaction() as connection:
            changed = await connection.fetch(self._sql["set_status"], name, status, to)
            for build in sorted({(row["version"], row["build"]) for row in changed}):
                await self._log(connection, (name, *build), action, reason)

    async def wait_for(self, name: str, saved: Saved, timeout: float = 10.0) -> None:
        """Wait until a projection shows what was saved, whichever process runs it. See `ProjectionService.wait_for`."""
        await wait_until_shown(self._database, name, saved, timeout)

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
        """Return a page of parked events, oldest first.

        An event that is parked for several keys, or in several builds, is in the page once for each. A page doesn't end
        in the middle of an event.

        Args:
            name: only those of this projection.
            states: only those in one of these states; None means all states.
            event_type: only those of this stored type.
            kind: only those that failed in this way.
            from_position: only those after this position of the log, for the next page.
            limit: how many at most. The page may be longer by the rest of its last event.
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
        return sorted(found, key=_order)

    async def retry(
        self,
        name: str,
        *,
        global_position: int | None = None,
        event_type: str | None = None,
        kind: FailureKind | None = None,
        key: str | None = None,
    ) -> int:
        """Ask for a retry of failed events, and of what waits behind them: all, or those that match all arguments.

        Returns:
            How many failed events will be retried. To wait for what comes of it, use `retry_and_wait`.

        Raises:
            UnknownProjectionError: no projection has this name.
        """
        return len(await self._request_retry(name, global_position, event_type, kind, key))

    async def retry_and_wait(
        self,
        name: str,
        *,
        global_position: int | None = None,
        event_type: str | None = None,
        kind: FailureKind | None = None,
        key: str | None = None,
        timeout: float = 60.0,
    ) -> RetryOutcome:
        """Ask for a retry as `retry` does, and wait until each event is handled, or has failed again.

        Args:
            name: the name of the projection.
            global_position: only the event at this position.
            event_type: only events of this stored type.
            kind: only those that failed in this way.
            key: only for the row of this key, written as in `ParkedEvent`: a JSON object, as ``{"user_id":"5"}``.
            timeout: how many seconds to wait at most. Events that nothing has retried by then are `pending`; the
                request stays.

        Raises:
            UnknownProjectionError: no projection has this name.

        Example:
            outcome = await operations.retry_and_wait("user_profiles", event_type="user.registered")
            print(outcome.handled, [parked.failure for parked in outcome.failed])
        """
        check_seconds("timeout", timeout)
        retried = await self._request_retry(name, global_position, event_type, kind, key)
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + timeout, _FIRST_PAUSE
        while True:
            outcome = await self._retry_outcome(name, retried)
            remaining = deadline - clock()
            if not outcome.pending or remaining <= 0:
                return outcome
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _retry_outcome(self, name: str, retried: list[asyncpg.Record]) -> RetryOutcome:
        columns = [[row[name] for row in retried] for name in ("version", "build", "key", "global_position")]
        rows = await self._database.fetch(self._sql["retried"], name, *columns)
        left = [row for row in rows if not row["is_withdrawn"]]
        settled = [row for row in left if not row["is_retry_requested"] and row["state"] != "waiting"]
        failed = {_parked(dict(row)) for row in settled if row["state"] == "failed"}
        return RetryOutcome(
            asked=len(rows),
            handled=len([row for row in settled if row["is_gone"]]),
            withdrawn=len(rows) - len(left),
            pending=len(left) - len(settled),
            failed=tuple(sorted(failed, key=_order)),
        )

    async def _request_retry(
        self, name: str, global_position: int | None, event_type: str | None, kind: str | None, key: str | None
    ) -> list[asyncpg.Record]:
        """Request a retry of failed events, and return the version, build, key and position of each."""
        if global_position is not None:
            check_count("global_position", global_position)
        _check_filter(event_type=event_type)
        _check_kind(kind)
        written = _written_key(key)
        await self._check_may_act(name)
        async with self._transaction() as connection:
            rows = await connection.fetch(self._sql["request_retry"], name, global_position, event_type, kind, written)
            for row in rows:
                detail = {"key": row["key"], "positions": [row["global_position"]]}
                await self._log(connection, (name, row["version"], row["build"]), "retry asked", None, detail)
        return rows

    async def skip(self, name: str, global_position: int, reason: str, *, key: str | None = None) -> int:
        """Leave an event out of a projection for good: a parked one, or the one that the projection is paused before.

        The event is left out of the rows for which it failed. If they aren't known, as for an event that can't be
        decoded, it is left out of all rows that don't show it yet. Events that waited behind it are processed, and
        segments that were paused before it go on. The event stays in the log, and the audit log records the skip. A new
        version or a rebuild processes the event again.

        Args:
            name: the name of the projection.
            global_position: the position of the event.
            reason: the reason, for the audit log.
            key: only for the row of this key, written as in `ParkedEvent`.

        Returns:
            For how many keys it was skipped, where all rows count as one; 0 if it is neither parked nor the event that
            the projection is paused before.

        Raises:
            InvalidArgumentError: the reason is empty.
            UnknownProjectionError: no projection has this name.
        """
        check_text("reason", reason)
        if not reason.strip():
            raise InvalidArgumentError("reason", "say why the event is skipped, for the audit log")
        check_count("global_position", global_position)
        written = _written_key(key)
        await self._check_may_act(name)
        async with self._transaction() as connection:
            # Segments first: runners take these locks in the same order.
            rows = await connection.fetch(self._sql["skip_blocking"], name, global_position, written)
            rows += await connection.fetch(self._sql["skip"], name, global_position, written)
            for row in rows:
                detail = {"key": row["key"], "positions": [global_position]}
                await self._log(connection, (name, row["version"], row["build"]), "skipped", reason, detail)
        return len(rows)

    async def actions(self, name: str | None = None, limit: int = 100) -> list[ProjectionAction]:
        """Return the audit log, newest entries first: paused, resumed, parked, retried, skipped, rebuilt, switched."""
        _check_filter(name=name)
        check_count("limit", limit)
        rows = await self._database.fetch(self._sql["actions"], name, limit)
        return [
            msgspec.convert({**row, "detail": row["detail"] and msgspec.json.decode(row["detail"])}, ProjectionAction)
            for row in map(dict, rows)
        ]


def _check_filter(**texts: str | None) -> None:
    for argument, text in texts.items():
        if text is not None:
            check_text(argument, text)


def _written_key(key: str | None) -> str | None:
    """Return a key as the database has it. Raise InvalidArgumentError if no key is written like this."""
    _check_filter(key=key)
    if not key:
        return key
    try:
        return msgspec.json.encode(msgspec.json.decode(key, type=dict[str, Any])).decode()
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidArgumentError(
            "key", f"is {shown(key)}, but is written as in ParkedEvent.key: a JSON object, such as {_A_KEY}"
        ) from None


def _check_kind(kind: str | None) -> None:
    if kind is not None and kind not in get_args(FailureKind):
        raise InvalidArgumentError("kind", f"must be one of {get_args(FailureKind)}, not {shown(kind)}")


def _order(one: ParkedEvent) -> tuple[int, str, int, int, str]:
    return one.global_position, one.name, one.version, one.build, one.key


def _parked(row: dict[str, Any]) -> ParkedEvent:
    return msgspec.convert({**row, "failure": decoded_failure(row["error"])}, ParkedEvent)
