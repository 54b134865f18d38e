"""Repeated appends: event ids are looked up before versions are compared."""

from __future__ import annotations

import asyncio

import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion
from perdure.errors import EventIdReuseError
from perdure.events import NewEvent
from perdure.store import EventStore
from perdure.testing.conformance.samples import Noted, notes, texts


def new(*names: str) -> list[NewEvent]:
    """Return events that can be appended again with the same ids."""
    return [NewEvent(one) for one in notes(*names)]


class Repeats:
    """The part of the suite on event ids."""

    @pytest.mark.parametrize("expected", [NO_STREAM, ANY, STREAM_EXISTS, 2, 7])
    async def test_repeating_an_append_gives_the_first_result_and_writes_nothing(
        self, store: EventStore, expected: ExpectedVersion
    ) -> None:
        events = new("a", "b")
        first = await store.append_to_stream("note-1", NO_STREAM, events)
        assert await store.append_to_stream("note-1", expected, events) == first

        await store.append_to_stream("note-1", 2, notes("later"))
        await store.append_to_stream("note-2", ANY, notes("elsewhere"))

        assert await store.append_to_stream("note-1", expected, events) == first
        assert texts(await store.read_all_events()) == ["a", "b", "later", "elsewhere"]

    async def test_what_was_written_first_stands(self, store: EventStore) -> None:
        events = new("first")
        await store.append_to_stream("note-1", ANY, events)

        await store.append_to_stream(
            "note-1", ANY, [NewEvent(Noted(text="second"), event_id=events[0].metadata.event_id)]
        )

        assert texts(await store.read_stream("note-1")) == ["first"]

    @pytest.mark.parametrize(
        "reused", ["partial", "partial last", "other order", "not contiguous", "other stream", "both streams"]
    )
    async def test_ids_of_another_append_are_refused(self, store: EventStore, reused: str) -> None:
        a, b, c, elsewhere, fresh = new("a", "b", "c", "elsewhere", "fresh")
        await store.append_to_stream("note-1", NO_STREAM, [a, b])
        await store.append_to_stream("note-1", 2, [c])
        await store.append_to_stream("note-2", NO_STREAM, [elsewhere])
        stream_id, events = {
            "partial": ("note-1", [a, fresh]),
            "partial last": ("note-1", [fresh, c]),
            "other order": ("note-1", [b, a]),
            "not contiguous": ("note-1", [a, c]),
            "other stream": ("note-3", [a, b]),
            "both streams": ("note-1", [c, elsewhere]),
        }[reused]

        for expected in (NO_STREAM, ANY, STREAM_EXISTS, 3, 7):
            with pytest.raises(EventIdReuseError) as refused:
                await store.append_to_stream(stream_id, expected, events)
            assert refused.value.stream_id == stream_id
            assert set(refused.value.event_ids) >= {one.metadata.event_id for one in events if one is not fresh}

        assert texts(await store.read_all_events()) == ["a", "b", "c", "elsewhere"]
        assert (await store.append_to_stream("note-1", 3, [fresh])).stream_version == 4

    async def test_the_same_append_many_times_at_once_is_written_once(self, store: EventStore) -> None:
        for expected in (NO_STREAM, ANY):
            events = new("a", "b")
            results = await asyncio.gather(
                *[store.append_to_stream(f"note-{expected}", expected, events) for _ in range(5)]
            )

            assert results == [results[0]] * 5
            assert texts(await store.read_stream(f"note-{expected}")) == ["a", "b"]
