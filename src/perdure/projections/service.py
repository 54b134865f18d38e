"""`ProjectionService`: runs projections and reactions in the process of an application."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

import msgspec

from perdure.checks import check_count, check_instance, check_seconds
from perdure.errors import (
    InvalidArgumentError,
    ReadOnlyStoreError,
    WrongContextError,
)
from perdure.errors.formats import shown
from perdure.events import check_evolution
from perdure.follower import Follower
from perdure.projections.engines.factory import check_names, describe
from perdure.projections.operations import ProjectionOperations
from perdure.projections.runtime.progress import Saved, wait_until_shown
from perdure.projections.runtime.reporter import report_status
from perdure.projections.runtime.supervisor import BuildSupervisor
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import EVENT_RETRY, RunnerOptions
from perdure.projections.state.segments import MOST_SEGMENTS
from perdure.projections.state.status import ProjectionStatus, read_status
from perdure.retry import RetryConfig, checked_retry
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.sql_files import quoted_schema

MAX_BATCH_SIZE = 1000
MAX_PARKED = 100_000
MIN_LEASE = 0.1
MAX_LEASE = 3600.0


class ProjectionService:
    """Keeps read models up to date: each projection follows the log in its own task.

    Rows and checkpoint are written in one transaction, so each event counts exactly once, whatever crashes. An event
    that fails is tried again. After the last attempt the projection is paused, and the error is recorded in the
    database. It stays paused, even after a restart, until `resume`. While the database is down, the projections wait
    for it.

    Any exception of a handler is such a failure, except KeyboardInterrupt and SystemExit: they stop the service, and
    `run` raises them. Without `run` they leave the event loop, as from any task.

    Several processes may run the same projection. They share its rows by the hash of the key. If a process dies, the
    others take over its share one lease after its last sign of life, or about a second later. In any case, each row
    gets each of its events once, in order.

    Args:
        store: the store.
        projections: the projections and reactions to run, in one list.
        schema: the schema for tables and views; created if it doesn't exist.
        batch_size: how many events are processed at once, at most.
        retry: how often an event that fails is tried, and how long to pause in between; by default 3 times. Its
            `max_seconds` counts, from the first failure, only if its `max_attempts` is None.
        segments: into how many segments a new projection is split at least, for processes to share. There are never
            fewer segments than processes.
        lease: how long a process may be silent before others take over its segments, in seconds.
        max_parked: how many events of a projection may be parked before it is paused.
        handler_timeout: how long a `Projection`, a `SQLProjection` or a `Reaction` may take to handle an event, in
            seconds.
        stop_timeout: how many seconds `stop` waits for batches under way.

    Raises:
        ProjectionDefinitionError: a projection can't work as it is defined.
        UnsupportedOperationError: the store has no database for tables, or was opened to read only.

    Example:
        async with ProjectionService(store, [UserProfiles()]) as service:
            saved = await users.save(user)
            await service.wait_for("user_profiles", saved, timeout=2)
    """

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[Follower],
        *,
        schema: str = "public",
        batch_size: int = 1000,
        retry: RetryConfig | None = None,
        segments: int = 1,
        lease: float = 10.0,
        max_parked: int = 1000,
        handler_timeout: float = 30.0,
        stop_timeout: float = 10.0,
    ) -> None:
        check_instance("store", store, EventStore)
        self._database = database_of(store)
        if store.is_read_only:
            raise ReadOnlyStoreError
        quoted_schema(schema)
        check_count("batch_size", batch_size, 1, MAX_BATCH_SIZE)
        check_count("segments", segments, 1, MOST_SEGMENTS)
        check_count("max_parked", max_parked, 1, MAX_PARKED)
        check_seconds("stop_timeout", stop_timeout)
        check_seconds("lease", lease)
        if not MIN_LEASE <= lease <= MAX_LEASE:
            raise InvalidArgumentError("lease", f"must be seconds from {MIN_LEASE:g} to {MAX_LEASE:g}, not {lease:g}")
        check_seconds("handler_timeout", handler_timeout)
        if not handler_timeout:
            raise InvalidArgumentError("handler_timeout", "must be above 0, or every event fails")
        if not isinstance(projections, list | tuple):
            raise InvalidArgumentError(
                "projections", f"must be a list of projections and reactions, not {shown(projections)}"
            )
        definitions = [describe(projection) for projection in projections]
        check_names(definitions)
        options = RunnerOptions(
            schema=schema,
            batch_size=batch_size,
            retry=checked_retry(retry, EVENT_RETRY),
            segments=segments,
            lease=lease,
            max_parked=max_parked,
            handler_timeout=handler_timeout,
        )
        self._store = store
        self._builds = BuildSupervisor(store, projections, options)
        self._names = [definition.name for definition in definitions]
        self._stop_timeout = stop_timeout
        self._is_started = False
        self._reporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Create missing tables, and begin to follow the log. Called by ``async with``.

        Raises:
            WrongContextError: the service was started before.
            ProjectionDefinitionError: the name of a table is taken by another relation.
            ProjectionShapeError: a row class changed without a new version.
            LogDivergedError: the log isn't the one that the rows were made from.
            EvolutionError: upcasters are missing.
        """
        if self._is_started:
            raise WrongContextError("the service was started already: make another to start again")
        check_evolution()
        self._is_started = True
        await self._builds.start()
        self._reporting = self._builds.tasks.keep(partial(report_status, self.status), "perdure status of projections")

    async def stop(self) -> None:
        """Let batches under way end, for `stop_timeout` seconds at most, and stop. Called by ``async with``."""
        if self._reporting is not None:
            await self._builds.tasks.stop(self._reporting)
        await self._builds.stop(self._stop_timeout)

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            KeyboardInterrupt, SystemExit: raised by code that the service runs. Batches under way are rolled back.
        """
        async with self:
            await self._builds.tasks.interrupted()

    def check_alive(self) -> None:
        """Raise if only a restart of the process can help. It doesn't ask the database.

        Raises:
            BackgroundTaskError: a task of the service has failed for a minute, or won't be started again.
            ServiceInterruptedError: KeyboardInterrupt or SystemExit has stopped the service.
        """
        self._builds.tasks.check_alive()

    def check_running(self) -> None:
        """Raise unless all tasks of the service do their work. It doesn't ask the database.

        Raises:
            BackgroundTaskError: a task has failed, and hasn't recovered yet.
            ServiceInterruptedError: KeyboardInterrupt or SystemExit has stopped the service.
        """
        self._builds.tasks.check_running()

    async def wait_for(self, name: str, saved: Saved, timeout: float = 10.0) -> None:
        """Wait until the views of a projection show what was saved, so that callers read their own writes.

        It doesn't matter which process runs the projection. When this returns, every event that was given is in the
        rows, or was left out by the projection or by an operator.

        Args:
            name: the name of the projection.
            saved: the result of a save, an append or a command, or a global position, as from a request; or a list of
                those, such as the result of `execute_all`. A position is that of one event. None returns at once.
            timeout: how many seconds to wait at most. The rows of a process that has died may need a lease, and a few
                seconds more: by default, that is longer.

        Raises:
            InvalidArgumentError: `saved` is something else.
            EventParkedError: one of the events is parked, or waits behind a parked one. A retry that is due is waited
                for.
            ProjectionTimeoutError: the projection didn't reach the last position in time; carries the lag.
            ProjectionPausedError: the projection is paused before the last position.
            LogDivergedError: the log isn't the one that the rows were made from.
            ServiceInterruptedError: the service was stopped by KeyboardInterrupt or SystemExit.
            UnknownProjectionError: there is no projection of that name.
        """
        self._builds.tasks.check_interrupted()
        await wait_until_shown(self._database, name, saved, timeout, self._names)

    async def status(self) -> list[ProjectionStatus]:
        """Return the status of the builds that run here. `ProjectionOperations.status` returns that of all builds."""
        found = {BuildId(one.name, one.version, one.build): one for one in await read_status(self._database)}
        failure = next((failure.text for failure in self._builds.tasks.failures()), None)
        return [
            msgspec.structs.replace(found[runner.definition.build], error=runner.error_text or failure)
            for name in self._names
            for runner in self._builds.runners_of(name)
            if runner.definition.build in found  # otherwise it was dropped a moment ago
        ]

    async def resume(self, name: str) -> None:
        """Resume a paused projection at the event that failed. Do nothing if it isn't paused.

        Raises:
            UnknownProjectionError: this service doesn't run the projection.
        """
        runners = self._builds.runners_of(name)
        await ProjectionOperations(self._store).resume(name)
        for runner in runners:
            await runner.refresh()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
