"""`ProjectionService`: runs projections beside an application, and tells how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

import msgspec

from perdure.checks import check_count, check_instance, check_seconds
from perdure.commit import AppendResult
from perdure.errors import (
    InvalidArgumentError,
    ReadOnlyStoreError,
    WrongContextError,
)
from perdure.errors.formats import shown
from perdure.events import check_evolution
from perdure.projection import AnyProjection
from perdure.projections.engines.factory import check_names, describe
from perdure.projections.operations import ProjectionOperations, position_of
from perdure.projections.runtime.reporting import tell_standing
from perdure.projections.runtime.supervisor import BuildSupervisor
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.segments import MOST_SEGMENTS
from perdure.projections.state.status import ProjectionStatus, read_status
from perdure.repository import RetryConfig
from perdure.retry import checked_retry
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.sql_files import quoted_schema

MAX_BATCH_SIZE = 1000
MAX_PARKED = 100_000
MIN_LEASE = 0.1
MAX_LEASE = 3600.0


class ProjectionService:
    """Keeps read models up to date: each projection follows the log in a task of its own, for itself.

    Rows and checkpoint are written in one transaction, so that each event counts exactly once, whatever crashes. An
    event that fails is tried again, then its projection is paused, with the error kept in the database; it stays so,
    over restarts too, until `resume`. A database that is down is waited out.

    Whatever a handler raises is such a failure, except KeyboardInterrupt and SystemExit: they stop the service and
    leave `run`. Without `run` they leave the event loop, as from any task.

    Several processes may run the same projection. They share its rows by the hash of the key, and one takes over from
    another that dies, within two leases; each row sees its events once, in order, whoever keeps it.

    Args:
        store: where the events are.
        projections: what to run.
        schema: the schema for tables and views; made if it isn't there.
        batch_size: how many events are taken at once, at most.
        retry: how an event that fails is tried again.
        segments: into how many pieces a new projection is cut at least, to be shared between processes. There are never
            fewer than processes.
        lease: how long a process may be silent before others take over what it works on, in seconds.
        max_parked: how many events of a projection may be parked before it is paused.
        handler_timeout: how long a `Projection` or `SQLProjection` may take to handle an event, in seconds.
        stop_timeout: seconds that stopping waits for a batch that is under way.

    Raises:
        ProjectionDefinitionError: a projection can't work as it is written.
        UnsupportedOperationError: the store has no database to keep tables in, or may only read it.

    Example:
        async with ProjectionService(store, [UserProfiles()]) as service:
            saved = await users.save(user)
            await service.wait_for("user_profiles", saved.global_position, timeout=2)
    """

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[AnyProjection],
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
            raise InvalidArgumentError("handler_timeout", "must be above 0, or nothing is ever handled in time")
        if not isinstance(projections, list | tuple):
            raise InvalidArgumentError("projections", f"must be a list of projections, not {shown(projections)}")
        definitions = [describe(projection) for projection in projections]
        check_names(definitions)
        options = RunnerOptions(
            schema=schema,
            batch_size=batch_size,
            retry=checked_retry(retry),
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
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the tables that are missing, and begin to follow the log. Called by ``async with``.

        Raises:
            ProjectionDefinitionError: a table's name is taken by something else.
            ProjectionShapeError: a row class changed without a new version.
            LogDivergedError: the log isn't the one that the rows were made from.
            EvolutionError: upcasters are missing.
        """
        if self._is_started:
            raise WrongContextError("the service was started already: make another to start again")
        check_evolution()
        self._is_started = True
        await self._builds.start()
        self._telling = self._builds.tasks.keep(partial(tell_standing, self.status), "perdure standing of projections")

    async def stop(self) -> None:
        """Finish the batches under way, at most for `stop_timeout` seconds, and stop. Called by ``async with``."""
        if self._telling is not None:
            await self._builds.tasks.stop(self._telling)
        await self._builds.stop(self._stop_timeout)

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            KeyboardInterrupt, SystemExit: left code that the service runs. What was under way is rolled back.
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

    async def wait_for(self, name: str, saved: AppendResult | int | None, timeout: float = 10.0) -> None:
        """Wait until a projection shows what was saved, to read your own writes.

        Args:
            name: the projection's.
            saved: what a save or an append returned, or a global position; with None there is nothing to wait for.
            timeout: how many seconds to wait at most.

        Raises:
            InvalidArgumentError: `saved` is something else.
            ProjectionTimeoutError: it didn't get there in time; carries the lag.
            ProjectionPausedError: it is paused before that.
            LogDivergedError: the log isn't the one that the rows were made from.
            ServiceInterruptedError: the service was stopped by KeyboardInterrupt or SystemExit.
            UnknownProjectionError: it isn't run here.
        """
        check_seconds("timeout", timeout)
        self._builds.tasks.check_interrupted()
        self._builds.of(name)
        global_position = position_of(saved)
        if global_position is not None:
            await self._builds.wait_for(name, global_position, timeout)

    async def status(self) -> list[ProjectionStatus]:
        """How the builds that are run here are, in the order given. All others: `ProjectionOperations.status`."""
        found = {BuildId(one.name, one.version, one.build): one for one in await read_status(self._database)}
        failure = next((failure.text for failure in self._builds.tasks.failures()), None)
        return [
            msgspec.structs.replace(found[runner.definition.build], error=runner.told_trouble or failure)
            for name in self._names
            for runner in self._builds.of(name)
            if runner.definition.build in found  # else it was dropped a moment ago
        ]

    async def resume(self, name: str) -> None:
        """Let a paused projection go on, with the event that failed; nothing happens when it isn't paused.

        Raises:
            UnknownProjectionError: it isn't run here.
        """
        runners = self._builds.of(name)
        await ProjectionOperations(self._store).resume(name)
        for runner in runners:
            await runner.look()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
