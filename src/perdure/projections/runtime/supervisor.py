"""Runs all builds that there are of a service's projections, and brings those that are being built to an end.

Nothing of this is kept in memory alone: what is being built, and how far it is, stands in the database, so that whoever
is left, or comes back, goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from perdure.errors import PerdureError, ProjectionPausedError, ProjectionTimeoutError, UnknownProjectionError
from perdure.observation import Keys, keys
from perdure.outage import Outage
from perdure.projection import AnyProjection
from perdure.projections.builds.completion import Finishing
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.engines.factory import describe
from perdure.projections.runtime.runner import Runner
from perdure.projections.state.failures import failed
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import RunnerOptions
from perdure.repository import RetryConfig
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.tasks import Tasks, is_ended_from_outside

logger = logging.getLogger("perdure.projections")

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "builds"

_BEAT: Final = 1.0
"""Seconds between two looks at which builds there are."""
_BUILDING_BEAT: Final = 0.1
"""The same while one is being built here."""
_NEAR: Final = 1000
"""How many positions a build may be behind to be compared and shown."""
_TROUBLE: Final = RetryConfig(base_delay=0.2, max_delay=10.0)


class Watched(NamedTuple):
    """A build, as it is watched."""

    id: BuildId
    stage: str
    is_shown: bool
    switches_automatically: bool
    differs: bool
    shown: BuildId | None
    """The one that the views show."""
    lag: int

    @property
    def is_due(self) -> bool:
        """Whether something is to be done with it now."""
        if self.stage == "building":
            return self.lag <= _NEAR
        return self.is_to_be_shown

    @property
    def is_to_be_shown(self) -> bool:
        """Whether it is complete, and newer than what is shown, and nobody is to be asked."""
        is_newer = self.shown is None or self.shown < self.id
        return self.stage == "ready" and self.switches_automatically and not self.differs and is_newer


class BuildSupervisor:
    """The runners of all builds of some projections.

    Args:
        store: where the events are.
        projections: what is run.
        options: how.
        describe: makes of a projection, and of the number of its build, what is run.
    """

    def __init__(
        self,
        store: PostgreSQLEventStore,
        projections: Sequence[AnyProjection],
        options: RunnerOptions,
        describe: Callable[[Any, int], ProjectionDefinition] = describe,
    ) -> None:
        self._store = store
        self._projections = {projection.name: projection for projection in projections}
        self._options = options
        self._describe = describe
        self._sql = Statements(_FOLDER, schema=store.database.quoted_schema)
        self.tasks = Tasks("the service of projections", "rebuild")
        """All that run in the background for these projections."""
        first = [describe(each, 1) for each in projections]
        self._runners = {one.build: Runner(store, one, options, self.tasks) for one in first}
        self._shown: dict[str, BuildId | None] = {}
        self._finishing: dict[BuildId, asyncio.Task[None]] = {}
        self._failures: dict[BuildId, int] = {}
        self._not_before: dict[BuildId, float] = {}
        self._outages: dict[BuildId, Outage] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set up and run what there is, and look for more. Raises as `ProjectionService.start` does."""
        watched = await self._watch()
        self._shown = {one.id.name: one.shown for one in watched}
        for name, first in {build.name: build for build in self._runners}.items():
            builds = [one.id for one in watched if one.id.name == name] or [first]
            if first not in builds:
                del self._runners[first]  # only later builds are left
            for build in builds:
                await self._set_up(build)
        for runner in self._runners.values():
            runner.start()
        self._task = self.tasks.keep(self._run, "perdure projection builds")

    async def stop(self, timeout: float) -> None:
        """Stop all, each within `timeout` where it is amid a batch."""
        tasks = [task for task in (self._task, *self._finishing.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*[runner.stop(timeout) for runner in self._runners.values()])

    async def wait_for(self, name: str, global_position: int, timeout: float) -> None:
        """Wait until the rows that are shown hold everything up to a position.

        Those of the newest build here, when what is shown isn't run here. Raises as `ProjectionService.wait_for` does.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        waited, shown = None, self._shown.get(name)
        while waited is None or waited != shown:
            waited = shown
            runner = await self._looking_at(name, shown)
            failure: PerdureError | None = None
            try:
                await runner.wait_for(global_position, max(0.0, deadline - asyncio.get_running_loop().time()))
            except (ProjectionTimeoutError, ProjectionPausedError) as error:
                failure = error
            # Another one may be shown since then, which needn't be there yet, or may be there although this one isn't.
            shown = self._shown[name] = await self._read_shown(name)
            if failure is not None and shown in (None, waited):
                raise failure
            if shown is None:
                return

    async def _looking_at(self, name: str, shown: BuildId | None) -> Runner:
        runners = self.of(name)
        if shown is None or shown.version != runners[-1].definition.version:
            return runners[-1]
        if shown in self._runners:
            return self._runners[shown]
        # It came so lately that it isn't run here yet, but one can look at it.
        runner = self._make(shown)
        await runner.set_up()
        return runner

    def of(self, name: str) -> list[Runner]:
        """The runners of one projection, the oldest build first. Raises UnknownProjectionError."""
        runners = [runner for build, runner in sorted(self._runners.items()) if build.name == name]
        if not runners:
            raise UnknownProjectionError(name, list(self._projections))
        return runners

    async def _read_shown(self, name: str) -> BuildId | None:
        rows = await self._store.database.fetch(self._sql["shown"], name)
        return BuildId(name, *rows[0]) if rows else None

    async def _watch(self) -> list[Watched]:
        versions = [projection.version for projection in self._projections.values()]
        rows = await self._store.database.fetch(self._sql["watch"], list(self._projections), versions)
        return [
            Watched(
                BuildId(row["name"], row["version"], row["build"]),
                row["stage"],
                row["is_shown"],
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
            beat = _BEAT
            try:
                watched = await self._watch()
                self._shown |= {one.id.name: one.shown for one in watched}
                await self._run_those(watched)
                for one in watched:
                    self._finish_when_due(one)
                if self._finishing or any(one.stage == "building" for one in watched):
                    beat = _BUILDING_BEAT
            except PerdureError as error:
                # The database is down: what follows the log says so, too.
                logger.debug("can't see which builds there are: %s", error, extra=keys(error, operation="rebuild"))
            await asyncio.sleep(beat)

    async def _run_those(self, watched: Sequence[Watched]) -> None:
        """Run what came, and stop what is gone."""
        there = {one.id for one in watched}
        for build in [build for build in self._runners if build not in there]:
            await self._runners.pop(build).stop(0)
        for build in sorted(there - self._runners.keys()):
            if not self._is_resting(build):
                with self._resting(build):
                    if await self._set_up(build):
                        self._runners[build].start()
                        self._go_on(build)

    async def _set_up(self, build: BuildId) -> bool:
        runner = self._runners.get(build) or self._make(build)
        if not await runner.set_up():
            return False
        self._runners[build] = runner
        return True

    def _make(self, build: BuildId) -> Runner:
        return Runner(
            self._store, self._describe(self._projections[build.name], build.build), self._options, self.tasks
        )

    def _finish_when_due(self, watched: Watched) -> None:
        build = watched.id
        # One at a time: each takes connections of its own, and reads whole tables.
        if not watched.is_due or self._finishing or build not in self._runners or self._is_resting(build):
            return
        task = self.tasks.start(partial(self._finish, watched), f"perdure projection {build.name} finishing")
        self._finishing[build] = task
        task.add_done_callback(lambda _: self._finishing.pop(build, None))

    async def _finish(self, watched: Watched) -> None:
        with self._resting(watched.id):
            await Finishing(self._store.database, self._projections[watched.id.name], self._options.schema).finish(
                watched.id, watched.shown, is_to_be_shown=watched.is_to_be_shown
            )
            self._go_on(watched.id)

    def _is_resting(self, build: BuildId) -> bool:
        return asyncio.get_running_loop().time() < self._not_before.get(build, 0)

    @contextmanager
    def _resting(self, build: BuildId) -> Generator[None]:
        """Let a build rest for a while after whatever fails within the block, which may be code of the user's."""
        task = asyncio.current_task()
        try:
            yield
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            self._rest(build, failed(error))

    def _rest(self, build: BuildId, error: Exception) -> None:
        failures = self._failures[build] = self._failures.get(build, 0) + 1
        delay = _TROUBLE.delay(failures)
        self._not_before[build] = asyncio.get_running_loop().time() + delay
        outage = self._outages.setdefault(build, Outage(logger, "projection {!r}, version {} build {}".format(*build)))
        about: Keys = {**_about(build), "pause": delay}
        outage.failed(build, error, **about)

    def _go_on(self, build: BuildId) -> None:
        self._failures.pop(build, None)
        if outage := self._outages.pop(build, None):
            outage.succeeded(build, **_about(build))


def _about(build: BuildId) -> Keys:
    return {
        "operation": "rebuild",
        "projection": build.name,
        "projection_version": build.version,
        "projection_build": build.build,
    }
