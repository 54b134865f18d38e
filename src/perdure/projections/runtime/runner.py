"""Runs one build of a projection: follows the log for its share of the segments, and retries what fails.

What fails for good is parked, or pauses the segment, as the projection says.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from typing import Final

from perdure.errors import (
    LogDivergedError,
    PerdureError,
    ProjectionTimeoutError,
)
from perdure.events import StoredEvent
from perdure.log import ChangeSignal, verify_position
from perdure.observation import ProjectionBatch
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engine import Following, ProjectionDefinition
from perdure.projections.engines.factory import equip
from perdure.projections.runtime.feed import Feed
from perdure.projections.runtime.leases import Leases
from perdure.projections.runtime.reporting import Telling
from perdure.projections.runtime.retries import Retries
from perdure.projections.state.failures import EventFailure, Failure, TooManyParkedError, event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import (
    LAST_HASH,
    MOST_SEGMENTS,
    Checkpoint,
    FencedError,
    Segment,
    Segments,
    raise_if_paused,
)
from perdure.repository import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.tasks import Tasks

_BEAT: Final = 1.0
"""Seconds between two looks at who else is there, and at what is asked."""
_LOOK: Final = 0.02
"""Seconds between two looks at how far others are, while somebody waits for them."""
_TROUBLE: Final = RetryConfig(base_delay=0.1, max_delay=5.0)


class _Stopped(BaseException):
    """The way out of the loop when nothing is under way. No error, so that nothing catches it as one."""


class Runner:
    """One build of a projection at work in this process.

    Args:
        store: where the events are.
        definition: the projection.
        options: how it is run.
        tasks: the background tasks, of which its own is one.
    """

    def __init__(
        self, store: EventStore, definition: ProjectionDefinition, options: RunnerOptions, tasks: Tasks
    ) -> None:
        self.definition = definition
        self._tasks = tasks
        self.trouble: Exception | None = None
        """What keeps it from going on, other than an event: a database that is down."""
        self._diverged: LogDivergedError | None = None
        """That its checkpoint isn't in the log. What it has read since may be gone, and the checkpoint with it."""
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._store = store
        self._options = options
        self._beat_every = min(_BEAT, options.lease / 4)
        database = database_of(store)
        self._segments = Segments(database, definition.build, self.name, options.lease)
        most = MOST_SEGMENTS if definition.is_divisible else 1
        self._leases = Leases(self._segments, self.name, options.segments, most)
        self._parking = ParkedEvents(database, definition.build, definition.key_codec, self.name, options.max_parked)
        equipment = equip(database, definition, self._segments, self._parking, options)
        self._builds = BuildSetup(database, definition, equipment.tables, options.schema)
        self._batches, self._unparking = equipment.batches, equipment.unparking
        self._preparing = equipment.preparing
        self._telling = Telling(definition.build)
        self._feed, self._late_feed = Feed(store), Feed(store)
        self._all: list[Segment] = []
        self._mine: list[Segment] = []
        self._standstill = BlockedKeys()
        self._to_park: dict[tuple[int, Key], EventFailure] = {}
        self._retries = Retries(options.retry)
        self._changes = ChangeSignal()
        self._refreshing = asyncio.Lock()
        self._beat_due = -math.inf
        self._taken = 0
        self._beaten_at = -math.inf
        self._is_late_next = True
        self._troubles = 0
        self._stopping = False
        self._idle = False
        self._task: asyncio.Task[None] | None = None

    @property
    def told_trouble(self) -> str | None:
        """The trouble in words; None when there is none."""
        return None if self.trouble is None else str(self.trouble) or type(self.trouble).__name__

    @property
    def reached(self) -> int:
        """Up to where all segments are, those of others as they were last seen."""
        return min([segment.global_position for segment in self._all], default=0)

    async def set_up(self) -> bool:
        """Make the tables, and see that the checkpoints fit the log. Returns whether there is such a build.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the tables aren't those of this projection.
            LogDivergedError: the log isn't the one that the rows were made from.
        """
        if not await self._builds.set_up(self._options.segments if self.definition.is_divisible else 1):
            return False
        self._all = await self._segments.read()
        await self._verify(self._all)
        return True

    def start(self) -> None:
        """Begin to follow the log."""
        self._task = self._tasks.keep(self._run, f"perdure projection {self.definition.name}")

    async def stop(self, timeout: float) -> None:
        """Finish the batch under way, if that takes no longer than `timeout`; else it is rolled back."""
        if self._task is None:
            return
        self._stopping = True
        if self._idle or self._tasks.is_resting(self._task):
            self._tasks.cancel(self._task)
        try:
            await asyncio.wait((self._task,), timeout=timeout)
        finally:
            # Also when whoever stops it is told not to wait any longer.
            self._tasks.cancel(self._task)
            self._forget_ready()
        await asyncio.gather(self._task, return_exceptions=True)
        for reading in (self._feed, self._late_feed, self._preparing):
            if reading is not None:
                await reading.close(max(timeout, 1.0))
        # Whoever waits for a share finds it free; should this fail, when the lease ends.
        with suppress(PerdureError, TimeoutError):
            await asyncio.wait_for(self._segments.leave(self._mine), max(timeout, 1.0))

    async def wait_for(self, global_position: int, timeout: float) -> None:
        """Return once the rows show everything up to this position. Raises as `ProjectionService.wait_for` does."""
        name, loop = self.definition.name, asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            seen = self._changes.count
            if not self._is_all_mine() or any(segment.is_paused for segment in self._all):
                await self._look_around()
            if (reached := self.reached) >= global_position:
                return
            raise_if_paused(name, self._all, global_position)
            if self._diverged is not None:
                raise self._diverged
            remaining = deadline - loop.time()
            if remaining <= 0:
                raise ProjectionTimeoutError(name, global_position, reached, timeout, self.told_trouble)
            await self._changes.wait(seen, remaining if self._is_all_mine() else min(remaining, _LOOK))

    def _is_all_mine(self) -> bool:
        return len(self._mine) == len(self._all)

    async def look(self) -> None:
        """See at once what somebody changed: what was paused, and what is to be retried."""
        await self._look_around()
        self._beat_due = -math.inf
        self._changes.announce()

    async def _look_around(self) -> None:
        """Take in how the segments are; those at work here are known better here."""
        # What was read before a projection was resumed must not come after it.
        async with self._refreshing:
            segments = await self._segments.read()
            known = {segment.first_hash: segment for segment in self._mine if not segment.is_paused}
            self._all = [known.get(segment.first_hash, segment) for segment in segments]
            mine = self._leases.mine(self._all)
            if mine != self._mine:
                # Whoever resumed it may have skipped an event.
                self._beat_due = -math.inf
                self._changes.announce()
            self._mine = mine

    async def _run(self) -> None:
        self._begin_anew()
        with suppress(_Stopped):
            while True:
                try:
                    await self._step()
                except FencedError:
                    self._telling.fenced()
                    self._begin_anew()
                except Exception as error:  # noqa: BLE001 - it must survive whatever the database does
                    await self._wait_out(error)

    async def _step(self) -> None:
        if self._preparing is not None and self._preparing.interrupt is not None:
            raise self._preparing.interrupt
        now = asyncio.get_running_loop().time()
        if now >= self._beat_due:
            await self._beat(now)
            if self._beat_due == -math.inf:
                return  # somebody changed something meanwhile
        groups, patience = self._ready(now)
        if self._unparking and self._standstill.asked:
            await self._unparking.retry_next(self._standstill, self._mine)
            self._changes.announce()
        if not groups:
            self._is_well()
            self._forget_ready()
            with self._interruptible():
                await self._changes.wait(self._changes.count, patience)
            return
        # Those who are behind catch up in turn with those at the head, who keep to the pace of the log meanwhile.
        self._is_late_next = len(groups) > 1 and not self._is_late_next
        group = groups[0] if self._is_late_next else groups[-1]
        feed = self._late_feed if self._is_late_next else self._feed
        upto = groups[1][0].global_position if self._is_late_next else group[0].hold_at
        with self._interruptible():
            patience = patience if len(groups) == 1 else 0
            events = await feed.after(group[0].checkpoint, self._options.batch_size, upto, patience)
        if events:
            limit = self._options.batch_size
            # Those who take turns don't go on where the one before has ended.
            goes_on = len(groups) == 1 and len(events) == limit
            await self._take(group, events, partial(feed.following, events[-1], limit) if goes_on else None)
        else:
            self._forget_ready()
        self._is_well()

    def _ready(self, now: float) -> tuple[list[list[Segment]], float]:
        """The groups of segments that may go on, and for how long there is nothing else to do."""
        until, ready = self._beat_due, list[Segment]()
        for segment in self._mine:
            if segment.may_move:
                due = self._retries.due(segment)
                if due <= now:
                    ready.append(segment)
                else:
                    until = min(until, due)
        return _grouped(ready), 0.0 if self._standstill.asked else max(0.0, until - now)

    def _is_well(self) -> None:
        self.trouble, self._diverged, self._troubles = None, None, 0
        self._telling.well()

    def _forget_ready(self) -> None:
        """Make nothing ready for later: while nothing is taken, somebody may mend the rows."""
        if self._preparing is not None:
            self._preparing.forget()

    async def _take(self, group: list[Segment], events: Sequence[StoredEvent], then: Following | None) -> None:
        scope = Scope(
            segments=None if sum(segment.width for segment in group) > LAST_HASH else group,
            skipped=self._standstill.skipped,
            blocked=self._standstill.blocked,
            parked=self._to_park,
        )
        with ProjectionBatch(*self.definition.build, events) as observed:
            taken = await self._batches.take(group, events, scope, then)
            observed.done = taken.done
        self._telling.parked(taken.parked)
        if taken.done:
            self._moved(group, taken.checkpoint, taken.done)
        for stored, key, _ in taken.parked:
            self._to_park.pop((stored.global_position, key), None)
            self._standstill.blocked.add(key)
        if taken.failure is not None:
            await self._after_failure(group, taken.failure)

    async def _after_failure(self, group: list[Segment], failure: Failure) -> None:
        segments = self._concerned(group, failure.keys)
        if isinstance(failure.error, TooManyParkedError):
            await self._pause(segments, failure, failure.error.attempts)
            return
        stored, _, keys = failure
        retry = self._options.retry
        attempts = self._retries.failed(segments, stored.global_position, asyncio.get_running_loop().time())
        self._telling.failed(failure, attempts, retry.max_attempts)
        if attempts < retry.max_attempts:
            return
        if self.definition.on_failure == "park" and (names := self._parking.names_of(keys)):
            kept = event_failure(failure, attempts, names)
            self._to_park.update({(stored.global_position, key): kept for key in keys})
            self._retries.forget(segments)
            self._telling.parks(failure, attempts)
            return
        await self._pause(segments, failure, attempts)

    def _concerned(self, group: list[Segment], keys: Sequence[Key]) -> list[Segment]:
        """Those of a group for whose rows an event failed, as they stand now: before it, for the rest was written."""
        firsts = {segment.first_hash for segment in group}
        hashes = [self.definition.key_codec.hash_of(key) for key in keys]
        segments = [segment for segment in self._mine if segment.first_hash in firsts]
        segments = [segment for segment in segments if not keys or any(map(segment.holds, hashes))]
        if not segments:
            raise FencedError  # they were given away meanwhile
        return segments

    async def _pause(self, segments: Sequence[Segment], failure: Failure, attempts: int) -> None:
        await self._segments.pause(segments, event_failure(failure, attempts, self._parking.names_of(failure.keys)))
        self._retries.forget(segments)
        for key in failure.keys:
            # Whoever resumes it wants it tried.
            self._to_park.pop((failure.stored.global_position, key), None)
        self._beat_due = -math.inf
        self._telling.paused(failure, attempts)

    async def _beat(self, now: float) -> None:
        """Keep the lease, see what is to do, and do what isn't the log's."""
        rate = self._taken / (now - self._beaten_at)
        self._taken, self._beaten_at = 0, now
        self._beat_due = now + self._beat_every
        async with self._refreshing:
            self._all = await self._leases.beat(rate, self.told_trouble)
            # After trouble, none is: the server may be another one, with another log.
            known = set[tuple[int, int]]() if self._troubles else {(one.first_hash, one.epoch) for one in self._mine}
            mine = self._leases.mine(self._all)
            await self._verify([segment for segment in mine if (segment.first_hash, segment.epoch) not in known])
            self._mine = mine
        self._standstill = await self._parking.blocked_keys()
        if any(segment.hold_at is not None for segment in mine):
            self._beat_due = min(self._beat_due, now + _LOOK)
        self._changes.announce()

    async def _verify(self, segments: Sequence[Segment]) -> None:
        for checkpoint in {segment.checkpoint for segment in segments}:
            if checkpoint.event_id is not None:
                name = f"projection {self.definition.name!r}"
                try:
                    await verify_position(self._store, name, checkpoint.global_position, checkpoint.event_id)
                except LogDivergedError as error:
                    self._diverged = error
                    raise

    def _moved(self, group: Sequence[Segment], to: Checkpoint, count: int) -> None:
        firsts = {segment.first_hash for segment in group}
        self._all = [
            segment._replace(checkpoint=to) if segment.first_hash in firsts else segment for segment in self._all
        ]
        self._mine = self._leases.mine(self._all)
        self._taken += count
        self._changes.announce()

    async def _wait_out(self, error: Exception) -> None:
        self.trouble = error
        self._troubles += 1
        self._begin_anew()
        self._changes.announce()
        delay = _TROUBLE.delay(self._troubles)
        self._telling.troubled(error, delay)
        await self._rest(delay)

    def _begin_anew(self) -> None:
        """Look at everything again, at the log too: the server may be another one, with another log."""
        self._beat_due = -math.inf
        self._feed.forget()
        self._late_feed.forget()
        self._forget_ready()

    async def _rest(self, seconds: float) -> None:
        with self._interruptible():
            await asyncio.sleep(seconds)

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        """Around each wait with nothing under way: there, and only there, `stop` cuts in."""
        if self._stopping:
            raise _Stopped
        self._idle = True
        try:
            yield
        finally:
            self._idle = False


def _grouped(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments that stand at the same position, each group for itself, the hindmost first."""
    ordered = sorted(segments, key=lambda segment: segment.global_position)
    return [list(group) for _, group in groupby(ordered, key=lambda segment: segment.checkpoint)]
