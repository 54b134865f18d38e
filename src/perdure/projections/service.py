"""`ProjectionService`: runs projections beside an application, and tells how they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Self

import msgspec

from perdure.commit import AppendResult
from perdure.errors import (
    InvalidArgumentError,
    ProjectionDefinitionError,
    UnknownProjectionError,
    UnsupportedOperationError,
    WrongContextError,
)
from perdure.events import check_evolution
from perdure.log import check_count
from perdure.projection import TableProjection
from perdure.projections.checkpoints import EventFailure
from perdure.projections.definition import Definition
from perdure.projections.runner import Runner
from perdure.repository import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.store import PostgreSQLEventStore

MAX_BATCH_SIZE = 1000


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a projection is: where it stands, and what keeps it from going on.

    Attributes:
        global_position: Its rows show everything up to here.
        lag: How many positions of the log are still to come.
        failure: The event that it can't take, and why, when it is paused.
        trouble: What else keeps it from going on, as a database that is down. It goes on by itself.
    """

    name: str
    version: int
    state: Literal["running", "paused"]
    global_position: int
    lag: int
    failure: EventFailure | None
    trouble: str | None


class ProjectionService:
    """Keeps read models up to date: each projection follows the log in a task of its own, for itself.

    Rows and checkpoint are written in one transaction, so that each event counts exactly once, whatever crashes. An
    event that fails is tried again, then its projection is paused, with the error kept in the database; it stays so,
    over restarts too, until `resume`. A database that is down is waited out.

    Several processes may run the same projection: it goes on as long as one of them does.

    Args:
        store: where the events are.
        projections: what to run.
        schema: the schema for tables and views; made if it isn't there.
        batch_size: how many events are taken at once, at most.
        retry: how an event that fails is tried again.
        stop_timeout: seconds that stopping waits for a batch that is under way.

    Raises:
        ProjectionDefinitionError: a projection can't work as it is written.
        UnsupportedOperationError: the store has no database to keep tables in.

    Example:
        async with ProjectionService(store, [UserProfiles()]) as service:
            saved = await users.save(user)
            await service.wait_for("user_profiles", saved.global_position, timeout=2)
    """

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[TableProjection[Any]],
        *,
        schema: str = "public",
        batch_size: int = 500,
        retry: RetryConfig | None = None,
        stop_timeout: float = 10.0,
    ) -> None:
        if not isinstance(store, PostgreSQLEventStore):
            raise UnsupportedOperationError(
                f"{type(store).__name__} has no database to keep tables in: use a PostgreSQLEventStore, "
                "or perdure.testing.fold to see what rows some events make"
            )
        if not isinstance(batch_size, int) or not 1 <= batch_size <= MAX_BATCH_SIZE:
            raise InvalidArgumentError("batch_size", f"must be a whole number from 1 to {MAX_BATCH_SIZE}")
        definitions = [Definition(projection) for projection in projections]
        _check_names(definitions)
        self._runners = {
            definition.name: Runner(
                store, definition, schema=schema, batch_size=batch_size, retry=retry or RetryConfig()
            )
            for definition in definitions
        }
        self._stop_timeout = stop_timeout
        self._is_started = False

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
        for runner in self._runners.values():
            await runner.set_up()
        for runner in self._runners.values():
            runner.start()

    async def stop(self) -> None:
        """Finish the batches under way, at most for `stop_timeout` seconds, and stop. Called by ``async with``."""
        await asyncio.gather(*[runner.stop(self._stop_timeout) for runner in self._runners.values()])

    async def run(self) -> None:
        """Run until cancelled."""
        async with self:
            await asyncio.get_running_loop().create_future()

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
            UnknownProjectionError: it isn't run here.
        """
        runner = self._runner(name)
        global_position = saved.global_position if isinstance(saved, AppendResult) else saved
        if global_position is not None:
            check_count("saved", global_position)
            await runner.wait_for(global_position, timeout)

    async def status(self) -> list[ProjectionStatus]:
        """How the projections are, in the order given."""
        return [await _status(runner) for runner in self._runners.values()]

    async def resume(self, name: str) -> None:
        """Let a paused projection go on, with the event that failed; nothing happens when it isn't paused.

        Raises:
            UnknownProjectionError: it isn't run here.
        """
        await self._runner(name).resume()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            raise UnknownProjectionError(name, list(self._runners))
        return self._runners[name]


async def _status(runner: Runner) -> ProjectionStatus:
    checkpoint, end = await runner.read()
    return ProjectionStatus(
        name=runner.definition.name,
        version=runner.definition.version,
        state="paused" if checkpoint.failure else "running",
        global_position=checkpoint.global_position,
        lag=max(0, end - checkpoint.global_position),
        failure=checkpoint.failure,
        trouble=runner.told_trouble,
    )


def _check_names(definitions: Sequence[Definition]) -> None:
    names = Counter(
        name for definition in definitions for table in definition.tables for name in (table.name, table.view)
    )
    for definition in definitions:
        for table in definition.tables:
            for name in (table.view, table.name):
                if names[name] > 1:
                    raise ProjectionDefinitionError(definition.name, f"more than one table would be called {name!r}")
