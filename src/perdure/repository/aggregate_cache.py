"""`AggregateCache`: the states of the aggregates that a repository has loaded last."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.events import StoredEvent

A = TypeVar("A", bound=AggregateRoot)


class LastEvent(NamedTuple):
    """The last event that a state includes. It tells the stream's history from another one."""

    event_id: UUID
    recorded_at: datetime | None
    """When the store recorded it; None where that isn't known, because a snapshot names the event by its id only."""

    def is_same(self, stored: StoredEvent) -> bool:
        """Return whether an event is this one. An event that was appended again after its loss is another one."""
        return stored.event_id == self.event_id and self.recorded_at in {None, stored.recorded_at}


class CachedState(NamedTuple, Generic[A]):
    """An aggregate as stored events made it. It is never given out, and never changed: each load copies it."""

    aggregate: A
    last_event: LastEvent


class AggregateCache(Generic[A]):
    """The states of aggregates, those that were used last. No method awaits, so that loads can't meet within one.

    Args:
        size: how many states it holds at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._states: OrderedDict[str, CachedState[A]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, stream_id: str) -> CachedState[A] | None:
        """Return the state of a stream, which counts as used now; None if there is none."""
        state = self._states.get(stream_id)
        if state is not None:
            self._states.move_to_end(stream_id)
        return state

    def put(self, state: CachedState[A]) -> None:
        """Hold a state instead of an earlier one of its stream, and forget the one whose last use is longest ago."""
        stream_id = state.aggregate.stream_id
        self._states[stream_id] = state
        self._states.move_to_end(stream_id)
        if len(self._states) > self._size:
            self._states.popitem(last=False)

    def discard(self, stream_id: str) -> None:
        """Forget the state of a stream, if there is one."""
        self._states.pop(stream_id, None)

    def note_snapshot(self, stream_id: str, version: int) -> None:
        """Record the version of the latest snapshot, so that copies of the state don't take another one too early."""
        if (state := self._states.get(stream_id)) is not None:
            state.aggregate.snapshot_version = version
