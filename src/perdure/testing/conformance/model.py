"""The model that stores are compared with: a list, with the simplest code for each promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from perdure.commit import ANY, STREAM_EXISTS, AppendResult, ExpectedVersion
from perdure.errors import EventIdReuseError, OptimisticConcurrencyError, PerdureError
from perdure.events import NewEvent, StoredEvent


class Call(NamedTuple):
    """An append to one stream or several."""

    appends: Sequence[tuple[str, ExpectedVersion, Sequence[NewEvent]]]
    conditions: Mapping[str, ExpectedVersion]

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of all events of the append."""
        return [one.metadata.event_id for _, _, events in self.appends for one in events]


class Entry(NamedTuple):
    """An event of the log, as a store must return it."""

    stream_id: str
    stream_version: int
    global_position: int
    event_id: UUID
    event: object
    correlation_id: str | None


class Model:
    """A log as a list. Each question is answered by a search through the whole list.

    Args:
        beginning: the last position before the events of the model.
    """

    def __init__(self, beginning: int) -> None:
        self.beginning = beginning
        self.log: list[Entry] = []

    @property
    def last_position(self) -> int:
        """The position of the last event."""
        return self.log[-1].global_position if self.log else self.beginning

    def stream(self, stream_id: str) -> list[Entry]:
        """Return the events of a stream, by version."""
        return [entry for entry in self.log if entry.stream_id == stream_id]

    def expected(self, call: Call) -> list[AppendResult] | PerdureError | None:
        """Return what an append must return: its first results, an error, or None if it must be written."""
        repeated = [self._repeated(stream_id, events) for stream_id, _, events in call.appends]
        if all(repeated):
            return [result for result in repeated if result]
        known = {entry.event_id for entry in self.log}
        if not known.isdisjoint(call.event_ids):
            return EventIdReuseError(call.appends[0][0], call.event_ids)
        expected = [(stream_id, version) for stream_id, version, _ in call.appends] + [*call.conditions.items()]
        for stream_id, version in expected:
            actual = len(self.stream(stream_id))
            if version not in ({ANY, STREAM_EXISTS, actual} if actual else {ANY, actual}):
                return OptimisticConcurrencyError(stream_id, version, actual)
        return None

    def write(self, call: Call, results: Sequence[AppendResult], after: int) -> None:
        """Add what was written, and check that it is in order, after everything that was there before the call."""
        places = [place for result in results for place in result.global_positions]
        assert len(results) == len(call.appends)
        assert all(before < place for before, place in pairwise([after, *places]))
        assert {entry.global_position for entry in self.log}.isdisjoint(places)
        for (stream_id, _, events), result in zip(call.appends, results, strict=True):
            version = len(self.stream(stream_id)) + len(events)
            assert (result.stream_id, result.stream_version) == (stream_id, version)
            for new, number, place in zip(
                events, range(version - len(events) + 1, version + 1), result.global_positions, strict=True
            ):
                metadata = new.metadata
                self.log.append(Entry(stream_id, number, place, metadata.event_id, new.event, metadata.correlation_id))
        self.log.sort(key=attrgetter("global_position"))

    def _repeated(self, stream_id: str, events: Sequence[NewEvent]) -> AppendResult | None:
        """Return the first result, if exactly these events are in the stream, one after the other."""
        stream = self.stream(stream_id)
        contents = [one.event for one in events]
        asked = [one.metadata.event_id for one in events]
        for start in range(len(stream)):
            found = stream[start : start + len(asked)]
            if [entry.event_id for entry in found] == asked and [entry.event for entry in found] == contents:
                return AppendResult(stream_id, found[-1].stream_version, tuple(one.global_position for one in found))
        return None


def entries(events: Iterable[StoredEvent]) -> list[Entry]:
    """Return the events of a store as entries, to compare them with the model."""
    return [
        Entry(
            stored.stream_id,
            stored.stream_version,
            stored.global_position,
            stored.event_id,
            stored.event,
            stored.metadata.correlation_id,
        )
        for stored in events
    ]
