"""The events of a batch on their way to a courier: which may go now, and up to where all are settled. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush

from perdure.events import StoredEvent
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.state.failures import Failure
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import DivertedEvent


class DeliveryPage:
    """Consecutive events of the log. Each is settled once it was delivered, or goes to the parked events.

    Of each key, events are taken in the order of the log, and only while nothing of the key is under way. Of all keys,
    the earliest event is taken first, so that little is settled behind an event that isn't.

    Args:
        events: the events.
        busy: the keys of which something is under way.
    """

    def __init__(self, events: Sequence[StoredEvent] = (), busy: AbstractSet[Key] = frozenset()) -> None:
        self._events = events
        self._busy = busy
        self._own: set[int] = set()
        self._open: set[int] = set()
        self._queues: dict[Key, deque[Parcel]] = {}
        self._ready: list[tuple[int, Key]] = []
        """A heap of the keys of which an event may be taken, each with the position of that event."""
        self._limit = math.inf
        self._diverted: dict[int, DivertedEvent] = {}
        self._failures: dict[int, Failure] = {}
        self._failed_end: Failure | None = None
        self._reached = 0

    def own(self, stored: StoredEvent) -> None:
        """Take note that an event is one that the courier wants, of a key that the page is for."""
        self._own.add(stored.global_position)

    def leave(self, stored: StoredEvent) -> None:
        """Let an event stay open: it is under way already, or mustn't begin."""
        self._open.add(stored.global_position)

    def add(self, parcel: Parcel) -> None:
        """Add an event to be delivered, in the order of the log."""
        queue = self._queues.get(parcel.key)
        if queue is None:
            queue = self._queues[parcel.key] = deque()
            if parcel.key not in self._busy:
                heappush(self._ready, (parcel.stored.global_position, parcel.key))
        queue.append(parcel)
        self._open.add(parcel.stored.global_position)

    def divert(self, diverted: DivertedEvent) -> None:
        """Let an event go to the parked events instead."""
        self._open.discard(diverted.stored.global_position)
        self._diverted[diverted.stored.global_position] = diverted

    def end_before(self, failure: Failure) -> None:
        """Leave out an event that can't be delivered, and all that follow it."""
        end = next(index for index, one in enumerate(self._events) if one is failure.stored)
        self._events, self._failed_end = self._events[:end], failure

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self._events[-1].global_position if self._events else 0

    @property
    def is_open(self) -> bool:
        """Whether any event isn't settled."""
        return bool(self._open)

    @property
    def ready(self) -> int:
        """For how many keys an event may be taken now."""
        return len(self._ready) if self._ready and self._ready[0][0] <= self._limit else 0

    def take(self, most: int) -> list[Parcel]:
        """Return events to be delivered now, with nothing else of their keys under way."""
        parcels: list[Parcel] = []
        while self.ready and len(parcels) < most:
            queue = self._queues.get(heappop(self._ready)[1])
            while queue and len(parcels) < most and queue[0].stored.global_position <= self._limit:
                parcels.append(queue.popleft())
        return parcels

    def release(self, key: Key) -> None:
        """Take note that nothing of a key is under way any more."""
        if queue := self._queues.get(key):
            heappush(self._ready, (queue[0].stored.global_position, key))

    def settle(self, stored: StoredEvent) -> None:
        """Settle an event that was delivered."""
        self._open.discard(stored.global_position)

    def park(self, first: DivertedEvent, rest: Sequence[Parcel]) -> None:
        """Let an event that failed go to the parked events, with all that follow it for its key.

        Args:
            first: the event. It may belong to another page.
            rest: the events of its key that were taken with it.
        """
        if first.stored.global_position not in self._own:
            return
        self.divert(first)
        for parcel in (*rest, *self._queues.pop(first.key, ())):
            self.divert(DivertedEvent(parcel.stored, parcel.key, None))

    def stop(self, failure: Failure) -> None:
        """Leave an event that failed open, with all that follow it for its key. It may belong to another page."""
        self._failures[failure.stored.global_position] = failure
        self._queues.pop(failure.keys[0], None)

    def limit(self, position: int) -> None:
        """Let no event after a position be taken from now on; 0: none at all."""
        self._limit = position

    def settled(self) -> tuple[Sequence[StoredEvent], Sequence[DivertedEvent]]:
        """Return the events before the first open one that weren't recorded, and those of them to be parked."""
        start, end = self._reached, self._reached
        while end < len(self._events) and self._events[end].global_position not in self._open:
            end += 1
        settled = self._events[start:end]
        return settled, [self._diverted[p] for one in settled if (p := one.global_position) in self._diverted]

    def recorded(self, settled: Sequence[StoredEvent]) -> list[int]:
        """Take note that settled events were recorded. Return the positions of those that the courier wanted."""
        self._reached += len(settled)
        return [one.global_position for one in settled if one.global_position in self._own]

    @property
    def failure(self) -> Failure | None:
        """The first event that isn't recorded, if it failed and can't be parked."""
        if self._reached < len(self._events):
            return self._failures.get(self._events[self._reached].global_position)
        return self._failed_end
