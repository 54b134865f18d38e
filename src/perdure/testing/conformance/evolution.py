"""Old versions of events, and the summary of stored types."""

from __future__ import annotations

from uuid import uuid4

import pytest

from perdure.commit import ANY, Commit, EncodedEvent
from perdure.errors import EventDecodingError, InvalidArgumentError, StoreClosedError, UnknownEventVersionError
from perdure.page_reader import StoredType
from perdure.store import EventStore
from perdure.testing.conformance.samples import Counted, notes, positions, texts

COUNTED = "perdure.conformance.counted"
NOTED = "perdure.conformance.noted"


async def append_old(store: EventStore, version: int, data: str) -> None:
    """Append an event as older code would have."""
    old = EncodedEvent(uuid4(), COUNTED, version, data, '{"timestamp":"2020-01-01T00:00:00Z"}')
    await store.append(Commit("count-1", ANY, (old,), len(data)))


class Evolution:
    """The part of the suite on events that were written by another version of the code."""

    async def test_older_versions_are_read_as_the_class_of_today(self, store: EventStore) -> None:
        await append_old(store, 1, '{"count":"1"}')
        await append_old(store, 2, '{"number":"2"}')
        await store.append_to_stream("count-1", 2, [Counted(number=3)])

        for events in (await store.read_stream("count-1"), await store.read_all_events(event_types=[Counted])):
            assert [one.event for one in events] == [Counted(number=1), Counted(number=2), Counted(number=3)]
            assert [one.event_data for one in events] == ['{"count":"1"}', '{"number":"2"}', '{"number":3}']
            assert [one.upcast_data for one in events] == [{"number": 1}, {"number": 2}, {"number": 3}]

    async def test_what_cant_be_made_out_stays_readable_as_raw_data(self, store: EventStore) -> None:
        await append_old(store, 1, '{"kount":1}')
        await append_old(store, 4, '{"number":1}')

        old, newer = await store.read_stream("count-1")

        assert (old.event_data, newer.event_data) == ('{"kount":1}', '{"number":1}')
        with pytest.raises(EventDecodingError):
            _ = old.event
        with pytest.raises(UnknownEventVersionError):
            _ = newer.event

    async def test_types_are_counted_by_version(self, store: EventStore) -> None:
        assert await store.stored_types() == []
        await store.append_to_stream("note-1", 0, notes(*"ab"))
        await append_old(store, 2, '{"number":"1"}')
        await store.append_to_stream("count-1", 1, [Counted(number=2)])
        await append_old(store, 2, '{"number":"3"}')
        first, second, third, fourth, fifth = positions(await store.read_all_events())

        assert await store.stored_types() == [
            StoredType(COUNTED, 2, 2, third, fifth),
            StoredType(COUNTED, 3, 1, fourth, fourth),
            StoredType(NOTED, 1, 2, first, second),
        ]

    async def test_samples_are_of_the_oldest_and_the_newest(self, store: EventStore) -> None:
        for n in range(10):
            await store.append_to_stream("note-1", n, notes(n))
            await append_old(store, 1 + n % 2, '{"count":"1"}')
        old, older, noted = await store.stored_types()

        assert texts(await store.sample_events(noted, 1)) == ["0", "9"]
        assert texts(await store.sample_events(noted, 3)) == ["0", "1", "2", "7", "8", "9"]
        assert texts(await store.sample_events(noted, 7)) == [str(n) for n in range(10)]
        assert await store.sample_events(noted, 0) == []
        for kind in (old, older):
            events = await store.sample_events(kind, 100)
            assert {(one.event_type, one.event_version) for one in events} == {(COUNTED, kind.event_version)}
            assert len(events) == 5
        with pytest.raises(InvalidArgumentError):
            await store.sample_events(noted, -1)

    async def test_a_closed_store_tells_nothing_of_its_types(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a"))
        [noted] = await store.stored_types()
        await store.close()

        with pytest.raises(StoreClosedError):
            await store.stored_types()
        with pytest.raises(StoreClosedError):
            await store.sample_events(noted, 1)
