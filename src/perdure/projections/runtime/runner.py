"""Runs one build of a projection in this process: follows the log for its share of the segments.

A runner is one task that repeats one step. What the task awaits is the state of the runner::

                     start()
                        |
                        v                news, or time is up
      +------------> WORKING <--------------------------------+
      |                 |                                     |
      |                 |  1. renew the leases, if due        |
      |                 |  2. retry parked events, if asked   |
      |                 |  3. no segment may go on:  -----> WAITING
      |                 |     wait for news                   ^
      |                 |  4. read the events that follow: ---+
      |                 |     wait for them, if there are none
      |                 |  5. process the batch, then repeat; after FencedError, read the segments again first
      |                 |
      |                 |  any error but FencedError, such as that of a database that is down
      |                 v
      +----------- BACKING_OFF

      stop() in WAITING or BACKING_OFF: the task is cancelled at once, as nothing is under way.
      stop() in WORKING: the state becomes STOPPING. The step may end within the time-out; else the task is cancelled,
      and the batch is rolled back.

A runner may be cancelled, cut off or frozen anywhere. Each batch writes its rows and moves the checkpoint in one
transaction. That transaction fails with FencedError, and writes nothing, unless the segments are leased by this
runner and are at the position that it knows. So no batch is lost or written twice, and what a runner keeps in memory
only saves queries. After any error, the runner trusts none of it: it reads its segments again, and verifies that
the log still holds the events of their checkpoints. After a failover, the server may be another one with a shorter
log.

Segments at the same position form a group, and share batches. If there are several groups, the runner alternates
between two of them: the slowest, which catches up with the next, and the one at the head of the log, which must not
fall behind.

`LeaseKeeper` decides which segments are this runner's, `FailurePolicy` what happens to an event that fails, and the
engine how a batch is processed. `Feed` reads the log.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from itertools import groupby
from typing import Final

from perdure.errors import LogDivergedError, PerdureError
from perdure.events import StoredEvent
from perdure.log import ChangeSignal
from perdure.observation import ProjectionBatch
from perdure.projections.builds.first_checkpoint import find_first
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engine import EngineHost, ProjectionDefinition
from perdure.projections.engines.factory import create_engine
from perdure.projections.runtime.failure_policy import FailurePolicy
from perdure.projections.runtime.feed import Feed
from perdure.projections.runtime.leases import LeaseKeeper
from perdure.projections.runtime.progress import local_runners
from perdure.projections.runtime.reporter import Reporter
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.segments import FencedError, Segment, Segments
from perdure.retry import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.tasks import Tasks

_BACK_OFF: Final = RetryConfig(base_delay=0.1, max_delay=5.0)


class RunnerState(Enum):
    """What a runner does. The top of this module shows how the states follow each other."""

    WORKING = "working"
    WAITING = "waiting"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"


class Runner:
    """One build of a projection at work in this process.

    Args:
        store: the store.
        definition: the projection.
        options: how it is run.
        tasks: the owner of its task.

    Attributes:
        definition: The projection.
        name: The name by which it leases segments: host, process id, and a random number.
        changes: Announces progress, errors, and changes of its segments.
        error: Why it backs off, other than an event; None if nothing is wrong.
    """

    def __init__(
        self, store: EventStore, definition: ProjectionDefinition, options: RunnerOptions, tasks: Tasks
    ) -> None:
        self.definition = definition
        self._store = store
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.changes = ChangeSignal()
        self.error: Exception | None = None
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._options = options
        build, database = definition.build, database_of(store)
        segments = Segments(database, build, self.name, options.lease)
        parked_events = ParkedEvents(database, build, definition.key_codec, self.name, options.max_parked)
        self._reporter = Reporter(build, definition.kind)
        host = EngineHost(tasks, self._reporter, self._refresh_soon)
        tables, self._engine = create_engine(database, definition, segments, parked_events, options, host=host)
        self._setup = BuildSetup(database, definition, tables, options.schema)
        self._local_runners = local_runners(database, build.name)
        self._leases = LeaseKeeper(
            store,
            definition,
            segments,
            self.name,
            options=options,
            changes=self.changes,
            assign=self._engine.assign,
        )
        retry = definition.retry or options.retry
        self._failures = FailurePolicy(definition, segments, parked_events, retry, self._reporter)
        self._feed, self._catch_up_feed = Feed(store), Feed(store)
        self._is_catching_up = False
        self._errors = 0
        self._state = RunnerState.WORKING

    @property
    def error_text(self) -> str | None:
        """The error in words; None if nothing is wrong."""
        return None if self.error is None else str(self.error) or type(self.error).__name__

    async def set_up(self) -> bool:
        """Create the tables, and verify that the checkpoints fit the log. Return whether the build exists.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the tables aren't those of this projection.
            LogDivergedError: the log isn't the one that the rows were made from.
        """
        segments = self._options.segments if self.definition.is_divisible else 1
        first = None if await self._setup.is_recorded() else await find_first(self._store, self.definition)
        if not await self._setup.set_up(segments, first):
            return False
        await self._leases.verify_all()
        return True

    def start(self) -> None:
        """Begin to follow the log."""
        self._local_runners.add(self)
        self._task = self._tasks.keep(self._run, f"perdure {self.definition.kind} {self.definition.name}")

    async def stop(self, timeout: float) -> None:
        """Stop. A batch under way may end within `timeout` seconds; otherwise it is rolled back."""
        if self._task is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        is_interruptible = self._state in {RunnerState.WAITING, RunnerState.BACKING_OFF}
        self._state = RunnerState.STOPPING
        self._engine.stop()
        if is_interruptible or self._tasks.is_resting(self._task):
            self._tasks.cancel(self._task)
        try:
            await asyncio.wait((self._task,), timeout=timeout)
        finally:
            self._local_runners.remove(self)
            self._tasks.cancel(self._task)  # also if the caller is cancelled
        await asyncio.gather(self._task, return_exceptions=True)
        for feed in (self._feed, self._catch_up_feed):
            await feed.close(max(timeout, 1.0))
        repeats_up_to = await self._engine.leave(max(0.0, deadline - loop.time()))
        with suppress(PerdureError, TimeoutError):  # otherwise the leases expire
            await asyncio.wait_for(self._leases.release(repeats_up_to), max(timeout, 1.0))

    @property
    def diverged(self) -> LogDivergedError | None:
        """Set while the log lacks the event of a checkpoint: the rows may show events that are gone."""
        # At first, it may be only this process that remembers another log, as after a failover: it reads again.
        return self.error if isinstance(self.error, LogDivergedError) and self._errors > 1 else None

    def is_behind(self, position: int) -> bool:
        """Return whether it leases rows that haven't reached the position, and goes on with them."""
        late = [segment for segment in self._leases.mine if segment.global_position < position]
        return bool(late) and not any(segment.is_paused for segment in late) and self.diverged is None

    async def refresh(self) -> None:
        """Read at once what an operator has changed: segments that go on, and events to be retried."""
        await self._leases.read()
        self._leases.renew_soon()
        self.changes.announce()

    def _refresh_soon(self) -> None:
        self._leases.renew_soon()
        self.changes.announce()

    async def _run(self) -> None:
        self._start_over()
        while self._state is not RunnerState.STOPPING:
            try:
                await self._step()
            except FencedError:
                self._reporter.fenced()
                self._start_over()
            except Exception as error:  # noqa: BLE001 - a runner survives any error of the database
                await self._back_off(error)

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._leases.is_due(now):
            await self._leases.renew(now, self.error_text)
            await self._failures.read()
            self.changes.announce()
            if self._leases.is_due(now):
                return  # something changed meanwhile
        groups, idle_seconds = self._ready_groups(now)
        if self._failures.blocked.asked:
            await self._engine.retry_parked(self._failures.blocked, self._leases.mine)
            self.changes.announce()
        if self._state is RunnerState.STOPPING:
            return
        if groups:
            await self._follow(groups, idle_seconds)
            self._recovered()
        else:
            self._recovered()
            with self._interruptible(RunnerState.WAITING):
                await self.changes.wait(self.changes.count, idle_seconds)

    def _ready_groups(self, now: float) -> tuple[list[list[Segment]], float]:
        """The groups of segments that may go on, the slowest first, and for how long there is nothing else to do."""
        idle_seconds, ready = self._leases.seconds_until_due(now), list[Segment]()
        for segment in self._leases.mine:
            if segment.may_move:
                due = self._failures.retry_due(segment)
                if due <= now:
                    ready.append(segment)
                else:
                    idle_seconds = min(idle_seconds, due - now)
        ready.sort(key=lambda segment: segment.global_position)
        groups = [list(group) for _, group in groupby(ready, key=lambda segment: segment.checkpoint)]
        return groups, 0.0 if self._failures.blocked.asked else idle_seconds

    async def _follow(self, groups: Sequence[list[Segment]], idle_seconds: float) -> None:
        """Process the next batch of one group, or wait for events if all segments are in it."""
        self._is_catching_up = len(groups) > 1 and not self._is_catching_up
        group = groups[0] if self._is_catching_up else groups[-1]
        feed = self._catch_up_feed if self._is_catching_up else self._feed
        last = groups[1][0].global_position if self._is_catching_up else group[0].hold_at
        with self._interruptible(RunnerState.WAITING):
            patience = idle_seconds if len(groups) == 1 else 0
            events = await feed.after(
                group[0].checkpoint, self._options.batch_size, last, patience, self._engine.reached
            )
        if events:
            await self._process(group, events)

    async def _process(self, group: list[Segment], events: Sequence[StoredEvent]) -> None:
        with ProjectionBatch(*self.definition.build, events) as observed:
            result = await self._engine.process(group, events, self._failures.scope(group))
            observed.done = result.done
        self._failures.parked(result.parked)
        if result.done:
            self._leases.advanced(group, result.checkpoint, result.done)
        if result.failure is not None and await self._failures.failed(result.failure, self._leases.current(group)):
            self._leases.renew_soon()

    async def _back_off(self, error: Exception) -> None:
        self.error = error
        self._errors += 1
        self._start_over()
        self.changes.announce()
        pause = _BACK_OFF.delay(self._errors)
        self._reporter.backs_off(error, pause)
        if self._state is not RunnerState.STOPPING:
            with self._interruptible(RunnerState.BACKING_OFF):
                await asyncio.sleep(pause)

    def _recovered(self) -> None:
        self.error, self._errors = None, 0
        self._reporter.recovered()

    def _start_over(self) -> None:
        """Trust nothing in memory, neither segments nor events: the server may be another one, with another log."""
        self._leases.renew_soon()
        self._feed.forget()
        self._catch_up_feed.forget()

    @contextmanager
    def _interruptible(self, state: RunnerState) -> Generator[None]:
        """Around each wait in which nothing is under way, so that `stop` may cancel it."""
        self._state = state
        try:
            yield
        finally:
            if self._state is state:
                self._state = RunnerState.WORKING
