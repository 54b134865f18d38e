"""Processes batches of the log for a courier: calls first, without a transaction, then one that moves the checkpoint.

Calls begin only within `process`. Events of different keys are delivered at the same time. `process` returns once all
events are settled; or after a moment, while nothing but slow calls is under way; or when the leases must be renewed.
The calls then go on. The next batch begins with the same events and may hold further ones, so a slow key doesn't hold
up the others. What is delivered beyond the checkpoint is remembered here, so only the death of the process repeats it:
a batch at most.

An event that fails is parked for its key, with a time for the next attempt, which `ParkedDeliveries` makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from perdure.errors import BrokerUnavailableError, PerdureError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Engine, EngineHost
from perdure.projections.engines.reaction.calls import Calls
from perdure.projections.engines.reaction.courier import Courier, Parcel
from perdure.projections.engines.reaction.delivery_page import DeliveryPage
from perdure.projections.engines.reaction.parked_deliveries import ParkedDeliveries
from perdure.projections.state.failures import Failure, TooManyParkedError, event_failure, failed
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents
from perdure.projections.state.scope import DivertedEvent, Scope
from perdure.projections.state.segments import BEGINNING, FencedError, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Database

_SLOW: Final = 0.1
"""Seconds after which a batch no longer waits for calls if nothing else can begin."""
_LONGEST_BATCH: Final = 1.0
"""Seconds after which a batch ends in any case."""
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
        self._longest = min(_LONGEST_BATCH, lease / 4)
        self._calls = Calls(courier, segments, timeout)
        self._parked = ParkedDeliveries(database, self._calls, segments, parked_events, host)
        self._workers: set[asyncio.Task[None]] = set()
        self._page = DeliveryPage()
        self._group: Sequence[Segment] = ()
        self._reached = 0
        self._outcomes: dict[int, DivertedEvent | None] = {}
        """What became of events beyond the checkpoint, by position: None for those that were delivered."""
        self._attempts: dict[int, int] = {}
        """How often events beyond the checkpoint were tried. Those without an outcome are under way, or failed."""

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Deliver events that follow the checkpoint, and record them. See `Engine.process`."""
        self._group, self._page = group, self._planned(group, events, scope)
        await self._deliver(self._page)
        overflow: TooManyParkedError | None = None
        try:
            result = await self._record()
        except TooManyParkedError as error:
            result, overflow = await self._record(before=error.stored), error
        if overflow is None:
            return result
        if not await self._parked_events.are_retried():
            return result._replace(failure=Failure(overflow.stored, overflow, (overflow.key,)))
        await asyncio.sleep(_PAUSE_WHEN_FULL)
        return result._replace(failure=None)

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Begin to retry the parked events of all keys that were asked for. See `Engine.retry_parked`."""
        while blocked.asked:
            key, key_hash = blocked.asked.popleft()
            if any(segment.holds(key_hash) and not segment.is_paused for segment in segments):
                self._parked.retry(key)

    def vacate(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Begin no more calls for some segments. See `Engine.vacate`."""
        self._calls.vacated = segments
        return [segment for segment in segments if not self._calls.is_busy(segment)]

    @property
    def reached(self) -> int:
        """The last position of the batch, unless more of it can begin. See `Engine.reached`."""
        return self._reached

    def stop(self) -> None:
        """Begin no more calls."""
        self._calls.is_stopping = True

    async def leave(self, timeout: float) -> int:
        """Let the calls under way end, and record them. See `Engine.leave`."""
        self.stop()
        tasks = {*self._workers, *self._parked.tasks}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            self._host.tasks.cancel(*late)
            await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(PerdureError, FencedError, TooManyParkedError):
            await self._record()
        return max(self._attempts, default=0)

    def _planned(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> DeliveryPage:
        courier, blocked, repeats = self._courier, set[Key](), PossibleRepeats(group, self._courier)
        page = DeliveryPage(events, self._calls.busy)
        for stored in events:
            position = stored.global_position
            if not courier.wants(stored) or (position, None) in scope.skipped:
                continue
            try:
                key = courier.key_of(stored)
            except BaseException as error:  # noqa: BLE001 - it may be raised by the user's code
                page.end_before(Failure(stored, failed(error)))
                break
            if not scope.holds(courier.key_codec, key):
                continue
            page.own(stored)
            if (position, key) in scope.skipped:
                continue
            if position in self._outcomes:
                diverted = self._outcomes[position]
                if diverted is not None:
                    page.divert(diverted)
                    blocked.add(key)
            elif self._calls.is_under_way(position) or self._calls.is_vacated(key):
                page.leave(stored)
            elif key in scope.blocked or key in blocked:
                page.divert(DivertedEvent(stored, key, None))
            else:
                attempt = self._attempts.get(position, 0) + 1
                page.add(Parcel(stored, key, attempt, attempt > 1 or repeats.may_be(position, key)))
        return page

    async def _deliver(self, page: DeliveryPage) -> None:
        """Have the events of a page delivered, until all are settled, or the calls under way are slow."""
        now = asyncio.get_running_loop().time
        end = now() + self._longest
        name = f"perdure {self._courier.kind} {self._courier.name}"
        for _ in range(min(page.ready, self._courier.concurrency - len(self._workers))):
            worker = self._host.tasks.start(self._work, name)
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        while page.is_open and (left := end - now()) > 0:
            if self._workers:
                await asyncio.wait(self._workers, timeout=min(left, _SLOW))
            else:  # all that is left is busy with a retry, or may not begin here
                await asyncio.sleep(min(left, _SLOW))
            if not page.ready or not self._calls.may_begin:
                break
        self._reached = 0 if page.ready else page.last
        page.close()

    async def _work(self) -> None:
        """Deliver one chunk after the other, until nothing may begin."""
        while True:
            async with self._calls.slots:
                parcels = self._page.take(self._courier.most_at_once) if self._calls.may_begin else []
                if not parcels:
                    return
                for parcel in parcels:
                    self._attempts[parcel.stored.global_position] = parcel.attempt
                outcomes = await self._calls.deliver(parcels)
            self._settle(parcels, outcomes)
            for key in dict.fromkeys(parcel.key for parcel in parcels):
                self._page.release(key)

    def _settle(self, parcels: Sequence[Parcel], outcomes: Sequence[Exception | None]) -> None:
        stopped = set[Key]()
        for index, (parcel, error) in enumerate(zip(parcels, outcomes, strict=True)):
            if parcel.key in stopped:
                self._attempts.pop(parcel.stored.global_position, None)
            elif error is None:
                self._outcomes[parcel.stored.global_position] = None
                self._page.settle(parcel.stored)
            else:
                stopped.add(parcel.key)
                self._failed(parcel, error, [one for one in parcels[index + 1 :] if one.key == parcel.key])

    def _failed(self, parcel: Parcel, error: Exception, rest: Sequence[Parcel]) -> None:
        failure = Failure(parcel.stored, error, (parcel.key,))
        names = self._parked_events.names_of([parcel.key])
        # Without names, the key is too long to be recorded. If there is no broker, parking would only fill the table.
        # The runner then tries again, with pauses.
        if not names or isinstance(error, BrokerUnavailableError):
            self._page.stop(failure)
            return
        retry_in = self._parked.report(failure, parcel.attempt, 0.0)
        first = DivertedEvent(parcel.stored, parcel.key, event_failure(failure, parcel.attempt, names), retry_in)
        self._outcomes[parcel.stored.global_position] = first
        self._page.park(first, rest)

    async def _record(self, *, before: StoredEvent | None = None) -> BatchResult:
        """Record what is settled from the beginning of the page, or what of it comes before an event."""
        page, group = self._page, self._group
        settled, diverted = page.settled()
        if before is not None:
            settled = [one for one in settled if one.global_position < before.global_position]
            diverted = [one for one in diverted if one.stored.global_position < before.global_position]
        if not settled:
            checkpoint = group[0].checkpoint if group else BEGINNING
            return BatchResult(checkpoint, 0, (), page.failure)
        to = checkpoint_at(settled[-1])
        async with self._database.connection() as connection, connection.transaction():
            await self._segments.advance(connection, group, to)
            if diverted:
                await self._parked_events.park(connection, diverted)
        self._group = [segment._replace(checkpoint=to) for segment in group]
        for position in page.recorded(settled):
            self._outcomes.pop(position, None)
            self._attempts.pop(position, None)
        if any(one.retry_in is not None for one in diverted):
            self._host.refresh()
        return BatchResult(to, len(settled), diverted, page.failure)


class PossibleRepeats:
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
