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
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Final, NamedTuple

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


class _Vacated(NamedTuple):
    """A segment that is to be released, once this is recorded."""

    segment: Segment
    highest: int
    """The last position for which a call was made. What precedes it is delivered, too, so that it can be recorded."""


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
        self._begun: dict[int, Parcel] = {}
        """The events beyond the checkpoint for which calls were made. Those without an outcome are under way, or failed
        without being parked."""
        self._vacated: Sequence[_Vacated] = ()
        self._epochs: AbstractSet[tuple[int, int]] = frozenset()
        """By which segments are known to be other ones."""
        self._is_stopping = False

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
        if await self._parked_events.is_stuck():
            return result._replace(failure=Failure(overflow.stored, overflow, (overflow.key,)))
        await asyncio.sleep(_PAUSE_WHEN_FULL)
        return result._replace(failure=None)

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Begin to retry the parked events of all keys that were asked for. See `Engine.retry_parked`."""
        while blocked.asked:
            key, key_hash = blocked.asked.popleft()
            if any(segment.holds(key_hash) and not segment.is_paused for segment in segments):
                self._parked.retry(key)

    def assign(self, segments: Sequence[Segment], surplus: Sequence[Segment]) -> Sequence[Segment]:
        """Of the surplus, begin no more than what precedes the calls that were made already. See `Engine.assign`."""
        epochs = {(segment.first_hash, segment.epoch) for segment in segments}
        if epochs != self._epochs:
            self._epochs = epochs
            self._forget_but(segments)
        self._parked.vacated = surplus
        self._vacated = [_Vacated(segment, self._highest(segment)) for segment in surplus]
        return [segment for segment, highest in self._vacated if not highest and not self._calls.is_busy(segment)]

    @property
    def reached(self) -> int:
        """The last position of the batch, unless more of it can begin. See `Engine.reached`."""
        return self._reached

    def stop(self) -> None:
        """Begin no more than what precedes the calls that were made already."""
        self._parked.is_stopping = self._is_stopping = True
        self._page.limit(max(self._begun, default=0))

    async def leave(self, timeout: float) -> int:
        """End what is under way, and what precedes it, and record it. See `Engine.leave`."""
        self.stop()
        self._employ()
        if tasks := {*self._workers, *self._parked.tasks}:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            self._host.tasks.cancel(*late)
            await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(PerdureError, FencedError, TooManyParkedError):
            await self._record()
        return max(self._begun, default=0)

    def _forget_but(self, segments: Sequence[Segment]) -> None:
        """Forget what was begun for segments that this runner doesn't have any more."""
        hash_of = self._courier.key_codec.hash_of
        for position, parcel in list(self._begun.items()):
            key_hash = hash_of(parcel.key)
            if not any(one.holds(key_hash) and one.global_position < position for one in segments):
                del self._begun[position]
        self._outcomes = {position: one for position, one in self._outcomes.items() if position in self._begun}

    def _highest(self, segment: Segment) -> int:
        """The last position of a segment for which a call was made that isn't recorded; 0 if there is none."""
        hash_of = self._courier.key_codec.hash_of
        return max([position for position, one in self._begun.items() if segment.holds(hash_of(one.key))], default=0)

    def _planned(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> DeliveryPage:
        courier, blocked, repeats = self._courier, set(scope.blocked), PossibleRepeats(group, self._courier)
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
            if (position, key) not in scope.skipped:
                self._place(page, stored, key, blocked, repeats)
        if self._is_stopping:
            page.limit(max(self._begun, default=0))
        return page

    def _place(
        self, page: DeliveryPage, stored: StoredEvent, key: Key, blocked: set[Key], repeats: PossibleRepeats
    ) -> None:
        position = stored.global_position
        if position in self._outcomes:
            if (diverted := self._outcomes[position]) is not None:
                page.divert(diverted)
                blocked.add(key)
        elif self._calls.is_under_way(position) or self._is_left(position, key):
            page.leave(stored)
        elif key in blocked:
            page.divert(DivertedEvent(stored, key, None))
        else:
            former = self._begun.get(position)
            attempt = 1 if former is None else former.attempt + 1
            page.add(Parcel(stored, key, attempt, attempt > 1 or repeats.may_be(position, key)))

    def _is_left(self, position: int, key: Key) -> bool:
        """Whether an event is left to the next owner of its segment."""
        if not self._vacated:
            return False
        key_hash = self._courier.key_codec.hash_of(key)
        return any(position > highest and segment.holds(key_hash) for segment, highest in self._vacated)

    async def _deliver(self, page: DeliveryPage) -> None:
        """Have the events of a page delivered, until all are settled, or the calls under way are slow."""
        now = asyncio.get_running_loop().time
        end = now() + self._longest
        self._employ()
        while page.is_open and (left := end - now()) > 0:
            if self._workers:
                await asyncio.wait(self._workers, timeout=min(left, _SLOW))
            else:  # all that is left is busy with a retry, or may not begin here
                await asyncio.sleep(min(left, _SLOW))
            if not page.ready or not self._calls.may_begin:
                break
        self._reached = 0 if page.ready else page.last
        page.limit(0)

    def _employ(self) -> None:
        """Begin as many workers as the page has keys for, if there aren't as many already."""
        name = f"perdure {self._courier.kind} {self._courier.name}, calls"
        for _ in range(min(self._page.ready, self._courier.concurrency - len(self._workers))):
            worker = self._host.tasks.start(self._work, name)
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Deliver one chunk after the other, until nothing may begin."""
        while True:
            async with self._calls.slots:
                parcels = self._page.take(self._courier.most_at_once) if self._calls.may_begin else []
                if not parcels:
                    return
                self._begun.update((parcel.stored.global_position, parcel) for parcel in parcels)
                outcomes = await self._calls.deliver(parcels)
            self._settle(parcels, outcomes)
            for key in dict.fromkeys(parcel.key for parcel in parcels):
                self._page.release(key)

    def _settle(self, parcels: Sequence[Parcel], outcomes: Sequence[Exception | None]) -> None:
        stopped = set[Key]()
        for index, (parcel, error) in enumerate(zip(parcels, outcomes, strict=True)):
            if parcel.key in stopped:
                self._begun.pop(parcel.stored.global_position, None)
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
            self._begun.pop(position, None)
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
