"""Processes batches of the log for a courier: calls first, outside any transaction, then one that moves the checkpoint.

Within a batch, events of different keys are delivered at the same time. About once a second, what is settled from its
beginning is recorded, and the leases are renewed: that also finds out whether this runner still owns its segments. What
was delivered beyond the checkpoint is remembered in memory, so only the death of the process repeats it.

An event that fails is parked at once for its key, with a time for the next attempt, so that other keys go on. So is an
event whose call takes long while nothing else is left to do: its call goes on aside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from perdure.errors import PerdureError
from perdure.events import StoredEvent
from perdure.observation import keys
from perdure.projections.engine import BatchResult, Engine, EngineHost
from perdure.projections.engines.reaction.batch import Batch
from perdure.projections.engines.reaction.calls_aside import CallsAside
from perdure.projections.engines.reaction.courier import Courier, Parcel
from perdure.projections.engines.reaction.delivery_page import DeliveryPage
from perdure.projections.state.failures import Failure, TooManyParkedError, event_failure, failed
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents
from perdure.projections.state.scope import DivertedEvent, Scope
from perdure.projections.state.segments import FencedError, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Database

logger = logging.getLogger("perdure.projections")

_LONGEST_TICK: Final = 1.0
"""Seconds after which a batch that isn't over records what is settled."""
_PAUSE_WHEN_FULL: Final = 1.0
"""Seconds to wait if the limit of parked events is reached, and some of them are going to be retried."""


class ReactionProcessor(Engine):
    """The engine of reactions, and of whatever else a courier delivers.

    Args:
        database: the database of the store.
        courier: what is delivered, and how.
        segments: its segments, with their checkpoints.
        parked_events: its parked events.
        host: the runner's.
        lease: how long the runner may be silent, in seconds.
        timeout: how long a call may take, in seconds.
    """

    def __init__(
        self,
        database: Database,
        courier: Courier,
        segments: Segments,
        parked_events: ParkedEvents,
        host: EngineHost,
        *,
        lease: float,
        timeout: float,
    ) -> None:
        self._database = database
        self._courier = courier
        self._segments = segments
        self._parked_events = parked_events
        self._host = host
        self._tick = min(_LONGEST_TICK, lease / 4)
        self._timeout = timeout
        self._slots = asyncio.Semaphore(courier.concurrency)
        self._aside = CallsAside(database, courier, segments, parked_events, host, slots=self._slots, timeout=timeout)
        self._outcomes: dict[int, DivertedEvent | None] = {}
        """What became of events beyond the checkpoint, by position: None for those that were delivered."""
        self._attempts: dict[int, int] = {}
        """How often events beyond the checkpoint were tried."""

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Deliver events that follow the checkpoint, and record them. See `Engine.process`."""
        batch = self._planned(group, events, scope)
        await self._deliver(batch)
        if batch.is_fenced:
            raise FencedError
        await self._record(batch)
        if batch.overflow is not None:
            await self._overflowed(batch, batch.overflow)
        return BatchResult(batch.checkpoint, batch.done, batch.parked, batch.failure)

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Begin to retry the parked events of all keys that were asked for, aside. See `Engine.retry_parked`."""
        while blocked.asked:
            key, key_hash = blocked.asked.popleft()
            if any(segment.holds(key_hash) and not segment.is_paused for segment in segments):
                self._aside.retry(key)

    def is_busy(self, segment: Segment) -> bool:
        """Return whether a call for one of its keys is under way aside."""
        return self._aside.is_busy(segment)

    def stop(self) -> None:
        """Begin no more calls."""
        self._aside.is_stopping = True

    async def leave(self, timeout: float) -> int:
        """Let the calls aside end. Return the last position for which a call wasn't recorded."""
        await self._aside.close(timeout)
        return max(self._attempts, default=0)

    def _planned(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> Batch:
        courier, blocked, repeated = self._courier, set[Key](), CallRepeats(group, self._courier)
        page = DeliveryPage(events)
        failure: Failure | None = None
        for stored in events:
            position = stored.global_position
            if not courier.wants(stored) or (position, None) in scope.skipped:
                continue
            try:
                key = courier.key_of(stored)
            except BaseException as error:  # noqa: BLE001 - it may be raised by the user's code
                failure = Failure(stored, failed(error))
                page.end_before(stored)
                break
            if not scope.holds(courier.key_codec, key) or (position, key) in scope.skipped:
                continue
            diverted = self._outcomes.get(position)
            if diverted is not None:
                page.divert(diverted)
                blocked.add(key)
            elif key in scope.blocked or key in blocked:
                page.divert(DivertedEvent(stored, key, None))
            elif position not in self._outcomes:
                attempt = self._attempts.get(position, 0) + 1
                page.add(Parcel(stored, key, attempt, attempt > 1 or repeated.may_be(position, key)))
        return Batch(page, group, failure)

    async def _deliver(self, batch: Batch) -> None:
        """Have all events of a batch delivered, as far as nothing stops it."""
        count = min(self._courier.concurrency, batch.page.may_begin)
        name = f"perdure reaction {self._courier.name}"
        workers = {self._host.tasks.start(partial(self._work, batch), name) for _ in range(count)}
        batch.workers = workers
        try:
            while not await batch.are_over(self._tick):
                before = batch.page.settled_count
                await self._keep(batch)
                if before == batch.page.settled_count and self._may_set_aside(batch):
                    await self._aside.take(batch, self._record)
        except asyncio.CancelledError:
            await batch.cut_off()
            raise
        except BaseException:
            batch.is_stopped = True
            await batch.end()
            raise
        if batch.error is not None:
            raise batch.error

    async def _work(self, batch: Batch) -> None:
        """Deliver one event after the other, or one chunk, until none is left."""
        try:
            while (parcels := batch.page.take(self._courier.most_at_once)) and await self._call(batch, parcels):
                pass
        except Exception as error:  # noqa: BLE001 - the batch raises it
            batch.error = error
            batch.is_stopped = True

    async def _call(self, batch: Batch, parcels: list[Parcel]) -> bool:
        """Deliver a chunk. Return whether to go on."""
        async with self._slots:
            if batch.is_stopped or self._aside.is_stopping or self._segments.is_lease_over:
                batch.is_stopped = True
                return False
            task = batch.begin(parcels)
            for parcel in parcels:
                self._attempts[parcel.stored.global_position] = parcel.attempt
            outcomes = await self._courier.deliver(parcels, self._timeout)
        is_aside = not batch.end_of(task)
        if is_aside and await self._aside.ended(parcels, outcomes):
            return False
        self._settle(batch, parcels, outcomes)
        return not is_aside

    def _settle(self, batch: Batch, parcels: Sequence[Parcel], outcomes: Sequence[Exception | None]) -> None:
        stopped = set[Key]()
        for index, (parcel, error) in enumerate(zip(parcels, outcomes, strict=True)):
            if parcel.key in stopped:
                continue
            if error is None:
                self._outcomes[parcel.stored.global_position] = None
                batch.page.delivered(parcel)
                continue
            stopped.add(parcel.key)
            rest = [one for one in parcels[index + 1 :] if one.key == parcel.key]
            self._failed(batch, parcel, error, [*rest, *batch.page.following(parcel)])

    def _failed(self, batch: Batch, parcel: Parcel, error: Exception, rest: Sequence[Parcel]) -> None:
        failure = Failure(parcel.stored, error, (parcel.key,))
        names = self._parked_events.names_of([parcel.key])
        if self._courier.on_failure == "pause" or not names:
            batch.page.blocked(parcel)
            batch.failed(failure)
            return
        retry_in = self._aside.report(failure, parcel.attempt, 0.0)
        first = DivertedEvent(parcel.stored, parcel.key, event_failure(failure, parcel.attempt, names), retry_in)
        self._outcomes[parcel.stored.global_position] = first
        batch.page.failed(parcel, [first, *(DivertedEvent(one.stored, one.key, None) for one in rest)])

    async def _keep(self, batch: Batch) -> None:
        """Renew the leases, record what is settled, and stop the batch if the segments have another owner."""
        try:
            async with self._database.connection() as connection:
                await self._segments.keep_alive(connection)
            if not await self._record(batch):
                async with self._database.connection() as connection, connection.transaction():
                    await self._segments.advance(connection, batch.group, batch.checkpoint)
        except FencedError:
            batch.is_stopped = batch.is_fenced = True
        except PerdureError as error:
            if not error.is_transient:
                raise
            # Calls go on until the lease is over: only the database can say that another runner has it.
            logger.debug(
                "reaction %r can't renew its leases: %s", self._courier.name, error, extra=keys(error, operation="keep")
            )

    async def _record(self, batch: Batch) -> bool:
        """Record what is settled from the beginning of a batch. Return whether that was anything."""
        settled, diverted = batch.page.settled()
        try:
            return await self._write(batch, settled, diverted)
        except TooManyParkedError as error:
            batch.overflow, batch.is_stopped = error, True
            limit = error.stored.global_position
            before = [one for one in settled if one.global_position < limit]
            return await self._write(batch, before, [one for one in diverted if one.stored.global_position < limit])

    async def _write(self, batch: Batch, settled: Sequence[StoredEvent], diverted: Sequence[DivertedEvent]) -> bool:
        if not settled:
            return False
        to = checkpoint_at(settled[-1])
        async with self._database.connection() as connection, connection.transaction():
            await self._segments.advance(connection, batch.group, to)
            if diverted:
                await self._parked_events.park(connection, diverted)
        batch.recorded(settled, diverted, to)
        for stored in settled:
            self._outcomes.pop(stored.global_position, None)
            self._attempts.pop(stored.global_position, None)
        return True

    def _may_set_aside(self, batch: Batch) -> bool:
        """Whether the only calls left are those that take long, and there is room for them aside."""
        calls = len(batch.calls)
        return (
            self._courier.on_failure == "park"
            and not (batch.is_stopped or batch.page.may_begin)
            and len(batch.workers) == calls
            and 0 < calls < self._courier.concurrency - len(self._aside)
            and all(self._parked_events.names_of([one.key]) for one in batch.called())
        )

    async def _overflowed(self, batch: Batch, error: TooManyParkedError) -> None:
        """No more events can be parked: wait for those that are going to be retried, or else for an operator."""
        if not await self._parked_events.are_retried():
            batch.failure = Failure(error.stored, error, (error.key,))
        elif not batch.done:
            await asyncio.sleep(_PAUSE_WHEN_FULL)


class CallRepeats:
    """For which events an earlier owner of a segment may have called the courier without recording it.

    Args:
        group: segments.
        courier: the codec of its keys says which segment an event belongs to.
    """

    def __init__(self, group: Sequence[Segment], courier: Courier) -> None:
        self._segments = [segment for segment in group if segment.repeats_up_to > segment.global_position]
        self._hash_of = courier.key_codec.hash_of

    def may_be(self, position: int, key: Key) -> bool:
        """Return whether an event is one of them."""
        if not self._segments:
            return False
        key_hash = self._hash_of(key)
        return any(position <= segment.repeats_up_to and segment.holds(key_hash) for segment in self._segments)
