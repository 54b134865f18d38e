"""Runs all builds of a service's projections, and completes the builds that rebuilds have begun.

Only the database records what is being built, and how far it is. So any process that runs the projections goes on from
there, also after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

from perdure.errors import PerdureError, UnknownProjectionError
from perdure.follower import Follower
from perdure.observation import Keys, keys
from perdure.outage import Outage
from perdure.projections.builds.completion import BuildCompletion
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.engines.factory import describe
from perdure.projections.runtime.runner import Runner
from perdure.projections.sql import statements
from perdure.projections.state.failures import failed
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import RunnerOptions
from perdure.retry import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.tasks import Tasks, is_ended_from_outside

logger = logging.getLogger("perdure.projections")

_POLL_INTERVAL: Final = 1.0
"""Seconds between two readings of the list of builds."""
_REBUILD_POLL_INTERVAL: Final = 0.1
"""The same while a build is in progress."""
_NEAR: Final = 1000
"""How many positions a build may be behind to be compared with the shown one."""
_BACK_OFF: Final = RetryConfig(base_delay=0.2, max_delay=10.0)


class ListedBuild(NamedTuple):
    """A build, as the database lists it."""

    id: BuildId
    stage: str
    switches_automatically: bool
    differs: bool
    shown: BuildId | None
    """The build that the views show."""
    lag: int

    @property
    def is_to_be_completed(self) -> bool:
        """Whether it is to be compared or shown now."""
        if self.stage == "building":
            return self.lag <= _NEAR
        return self.is_to_be_shown

    @property
    def is_to_be_shown(self) -> bool:
        """Whether the views are to show it, without `switch` by an operator."""
        is_newer = self.shown is None or self.shown < self.id
        return self.stage == "ready" and self.switches_automatically and not self.differs and is_newer


class BuildSupervisor:
    """The runners of all builds of some projections.

    Args:
        store: the store.
        projections: what to run.
        options: how.
        describe: makes a definition of a projection and the number of its build.

    Attributes:
        tasks: The owner of all background tasks of these projections.
    """

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[Follower],
        options: RunnerOptions,
        describe: Callable[[Any, int], ProjectionDefinition] = describe,
    ) -> None:
        self.tasks = Tasks("the service of projections", "rebuild")
        self._store = store
        self._database = database_of(store)
        self._projections = {projection.name: projection for projection in projections}
        self._options = options
        self._describe = describe
        self._sql = statements("supervisor", schema=self._database.quoted_schema)
        first = [describe(each, 1) for each in projections]
        self._versions = {one.name: one.version for one in first}
        self._unbuilt = {one.name for one in first if one.kind in {"reaction", "relay"}}
        self._runners = {one.build: Runner(store, one, options, self.tasks) for one in first}
        self._back_offs: dict[BuildId, _BackOff] = {}
        self._task: asyncio.Task[None] | None = None
        self._completion: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set up and run all builds that exist, and follow the list of builds. Raises as `ProjectionService.start`."""
        listed = await self._list()
        for name, first in {build.name: build for build in self._runners}.items():
            builds = [one.id for one in listed if one.id.name == name] or [first]
            if first not in builds:
                del self._runners[first]  # it was dropped, later builds weren't
            for build in builds:
                await self._set_up(build)
        for runner in self._runners.values():
            runner.start()
        self._task = self.tasks.keep(self._run, "perdure projection builds")

    async def stop(self, timeout: float) -> None:
        """Stop all runners. Batches under way may end within `timeout` seconds; otherwise they are rolled back."""
        await self.tasks.stop(*[task for task in (self._task, self._completion) if task is not None])
        await asyncio.gather(*[runner.stop(timeout) for runner in self._runners.values()])

    def runners_of(self, name: str) -> list[Runner]:
        """Return the runners of a projection, the oldest build first. Raises UnknownProjectionError."""
        runners = [runner for build, runner in sorted(self._runners.items()) if build.name == name]
        if not runners:
            raise UnknownProjectionError(name, list(self._projections))
        return runners

    def _make_runner(self, build: BuildId) -> Runner:
        definition = self._describe(self._projections[build.name], build.build)
        return Runner(self._store, definition, self._options, self.tasks)

    async def _list(self) -> list[ListedBuild]:
        rows = await self._database.fetch(self._sql["watch"], list(self._versions), list(self._versions.values()))
        return [
            ListedBuild(
                BuildId(row["name"], row["version"], row["build"]),
                row["stage"],
                row["switches_automatically"],
                row["differs"],
                None
                if row["shown_version"] is None
                else BuildId(row["name"], row["shown_version"], row["shown_build"]),
                row["lag"],
            )
            for row in rows
        ]

    async def _run(self) -> None:
        while True:
            interval = _POLL_INTERVAL
            try:
                listed = await self._list()
                await self._start_and_stop_runners({one.id for one in listed})
                for one in listed:
                    self._begin_completion(one)
                if self._completion is not None or any(one.stage == "building" for one in listed):
                    interval = _REBUILD_POLL_INTERVAL
            except PerdureError as error:
                # The store logs that its database is down, once.
                logger.debug("can't read the list of builds: %s", error, extra=keys(error, operation="rebuild"))
            await asyncio.sleep(interval)

    async def _start_and_stop_runners(self, listed: set[BuildId]) -> None:
        for build in [build for build in self._runners if build not in listed]:
            runner = self._runners.pop(build)
            self._back_offs.pop(build, None)
            await runner.stop(0)
        for build in sorted(listed - self._runners.keys()):
            back_off = self._back_off(build)
            if back_off.is_over:
                with back_off.after_errors():
                    if await self._set_up(build):
                        self._runners[build].start()

    async def _set_up(self, build: BuildId) -> bool:
        runner = self._runners.get(build) or self._make_runner(build)
        if not await runner.set_up():
            return False
        self._runners[build] = runner
        return True

    def _begin_completion(self, listed: ListedBuild) -> None:
        build = listed.id
        if not listed.is_to_be_completed or build not in self._runners or not self._back_off(build).is_over:
            return
        if self._completion is not None:
            return  # one at a time: each opens connections, and reads whole tables
        name = f"perdure projection {build.name} completion"
        self._completion = self.tasks.start(partial(self._complete, listed), name)
        self._completion.add_done_callback(self._end_completion)

    def _end_completion(self, _: asyncio.Task[None]) -> None:
        self._completion = None

    async def _complete(self, listed: ListedBuild) -> None:
        build = listed.id
        if build.name in self._unbuilt:
            return  # it has one build, which nothing replaces
        completion = BuildCompletion(self._database, self._projections[build.name], self._options.schema)
        with self._back_off(build).after_errors():
            await completion.complete(build, listed.shown, is_to_be_shown=listed.is_to_be_shown)

    def _back_off(self, build: BuildId) -> _BackOff:
        return self._back_offs.setdefault(build, _BackOff(build))


class _BackOff:
    """The pauses after errors of one build, which may be those of the user's code."""

    def __init__(self, build: BuildId) -> None:
        self._build = build
        self._errors = 0
        self._until = 0.0
        self._outage = Outage(logger, "projection {!r}, version {} build {}".format(*build))

    @property
    def is_over(self) -> bool:
        """Whether the build may be tried again."""
        return asyncio.get_running_loop().time() >= self._until

    @contextmanager
    def after_errors(self) -> Generator[None]:
        """Begin a pause, instead of raising, if the block ends by an error; forget earlier errors if it doesn't."""
        task = asyncio.current_task()
        try:
            yield
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            self._begin(failed(error))
        else:
            self._errors = 0
            self._outage.succeeded(self._build, **self._identity())

    def _begin(self, error: Exception) -> None:
        self._errors += 1
        pause = _BACK_OFF.delay(self._errors)
        self._until = asyncio.get_running_loop().time() + pause
        details: Keys = {**self._identity(), "pause": pause}
        self._outage.failed(self._build, error, **details)

    def _identity(self) -> Keys:
        return {
            "operation": "rebuild",
            "projection": self._build.name,
            "projection_version": self._build.version,
            "projection_build": self._build.build,
        }
