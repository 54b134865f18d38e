"""The events of a batch on their way to a courier: which may go now, and up to where all are settled. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from perdure.events import StoredEvent
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import DivertedEvent


class DeliveryPage:
    """Consecutive events of the log. Each is settled once it was delivered, or goes to the parked events.

    Of each key, events are taken in the order of the log, and only while no other event of the key is under way.

    Args:
        events: the events.

    Attributes:
        settled_count: How many of those that were added are settled.
    """

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.settled_count = 0
        self._events = events
        self._open: set[int] = set()
        self._queues: dict[Key, deque[Parcel]] = {}
        self._ready: deque[Key] = deque()
        self._taken: dict[Key, int] = {}
        """How many events of the key are under way."""
        self._diverted: dict[int, DivertedEvent] = {}
        self._reached = 0

    def add(self, parcel: Parcel) -> None:
        """Add an event to be delivered, in the order of the log."""
        queue = self._queues.get(parcel.key)
        if queue is None:
            queue = self._queues[parcel.key] = deque()
            self._ready.append(parcel.key)
        queue.append(parcel)
        self._open.add(parcel.stored.global_position)

    def divert(self, diverted: DivertedEvent) -> None:
        """Let an event go to the parked events instead."""
        self._diverted[diverted.stored.global_position] = diverted

    def end_before(self, stored: StoredEvent) -> None:
        """Leave out an event and all that follow it."""
        end = next(index for index, one in enumerate(self._events) if one is stored)
        self._events = self._events[:end]

    @property
    def is_open(self) -> bool:
        """Whether any event isn't settled."""
        return bool(self._open)

    @property
    def may_begin(self) -> int:
        """For how many keys an event may be taken now."""
        return len(self._ready)

    def take(self, most: int) -> list[Parcel]:
        """Return events to be delivered now; none if there are none, or others of their keys are under way."""
        parcels: list[Parcel] = []
        while self._ready and len(parcels) < most:
            key = self._ready.popleft()
            queue = self._queues[key]
            count = min(len(queue), most - len(parcels))
            parcels += [queue.popleft() for _ in range(count)]
            self._taken[key] = count
        return parcels

    def delivered(self, parcel: Parcel) -> None:
        """Settle an event that was delivered."""
        self._diverted.pop(parcel.stored.global_position, None)
        self._settle(parcel.stored.global_position)
        self._returned(parcel.key)

    def failed(self, parcel: Parcel, diverted: Sequence[DivertedEvent]) -> None:
        """Settle an event that failed, and goes to the parked events with all that follow it for its key."""
        for one in diverted:
            self.divert(one)
            self._settle(one.stored.global_position)
        self._drop(parcel.key)

    def blocked(self, parcel: Parcel) -> None:
        """Leave an event that failed open, with all that follow it for its key."""
        self._drop(parcel.key)

    def following(self, parcel: Parcel) -> list[Parcel]:
        """Return the events of the same key that haven't been taken yet."""
        return list(self._queues[parcel.key])

    def settled(self) -> tuple[Sequence[StoredEvent], Sequence[DivertedEvent]]:
        """Return the events before the first open one that weren't recorded, and those of them to be parked."""
        start, end = self._reached, self._reached
        while end < len(self._events) and self._events[end].global_position not in self._open:
            end += 1
        settled = self._events[start:end]
        diverted = self._diverted
        return settled, [diverted[p] for one in settled if (p := one.global_position) in diverted]

    def recorded(self, count: int) -> None:
        """Take note that so many of the settled events were recorded."""
        self._reached += count

    def _settle(self, position: int) -> None:
        if position in self._open:
            self._open.discard(position)
            self.settled_count += 1

    def _returned(self, key: Key) -> None:
        left = self._taken.get(key, 1) - 1
        if left > 0:
            self._taken[key] = left
            return
        self._taken.pop(key, None)
        if self._queues[key]:
            self._ready.append(key)

    def _drop(self, key: Key) -> None:
        self._queues[key].clear()
        self._taken.pop(key, None)
