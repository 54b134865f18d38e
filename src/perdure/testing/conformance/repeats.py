"""Repeated appends: event ids are looked up before versions are compared."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, AppendResult, Commit, EncodedEvent, ExpectedVersion
from perdure.errors import EventIdReuseError, InvalidArgumentError
from perdure.events import NewEvent
from perdure.store import EventStore
from perdure.testing.conformance.samples import Counted, Noted, Tagged, notes, positions, texts

NOTED = "perdure.conformance.noted"
COUNTED = "perdure.conformance.counted"


async def append_raw(store: EventStore, name: str, version: int, data: str) -> UUID:
    """Append an event to the stream count-1, as other code would have, and return its id."""
    raw = EncodedEvent(uuid4(), name, version, data, '{"timestamp":"2020-01-01T00:00:00Z"}')
    await store.append(Commit("count-1", ANY, (raw,), len(data)))
    return raw.event_id


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

    async def test_a_result_says_whether_it_is_a_repeat(self, store: EventStore) -> None:
        a, b, c = new("a", "b", "c")
        for is_repeat in (False, True):
            alone = await store.append_to_stream("note-1", ANY, [a])
            group = await store.append_to_streams([("note-2", ANY, [b]), ("note-3", ANY, [c])])
            named = await store.append_to_stream("note-4", ANY, notes("d", "e"), append_id="upload-7")

            assert [one.is_repeat for one in (alone, *group, named)] == [is_repeat] * 4

    @pytest.mark.parametrize("other", [Noted(text="private"), Counted(number=1)], ids=["content", "type"])
    async def test_another_event_under_a_known_id_is_refused(self, store: EventStore, other: object) -> None:
        a, b, c = new("a", "b", "c")
        await store.append_to_stream("note-1", NO_STREAM, [a, b, c])
        events = [a, NewEvent(other, event_id=b.event_id), c]

        for expected in (NO_STREAM, ANY, STREAM_EXISTS, 3, 7):
            for part in (events, events[:2], events[1:], events[1:2]):
                with pytest.raises(EventIdReuseError) as refused:
                    await store.append_to_stream("note-1", expected, part)
                assert refused.value.stream_id == "note-1"
                assert refused.value.event_ids == tuple(one.event_id for one in part)
                assert refused.value.difference is not None
                assert refused.value.difference.event_id == b.event_id
                assert refused.value.difference.stored_type == NOTED
                assert "private" not in str(refused.value)

        assert texts(await store.read_all_events()) == ["a", "b", "c"]

    async def test_another_event_in_one_stream_of_a_group_is_refused(self, store: EventStore) -> None:
        a, b = new("a", "b")
        await store.append_to_streams([("note-1", NO_STREAM, [a]), ("note-2", NO_STREAM, [b])])
        other = NewEvent(Noted(text="other"), event_id=b.event_id)

        for expected in (NO_STREAM, ANY, 1):
            with pytest.raises(EventIdReuseError) as refused:
                await store.append_to_streams([("note-1", expected, [a]), ("note-2", expected, [other])])
            assert refused.value.difference is not None
            assert refused.value.difference.event_id == b.event_id

        assert texts(await store.read_all_events()) == ["a", "b"]

    async def test_of_many_contents_under_one_id_at_once_one_is_written(self, store: EventStore) -> None:
        event_id = uuid4()
        outcomes = await asyncio.gather(
            *[store.append_to_stream("note-1", ANY, [NewEvent(one, event_id=event_id)]) for one in notes(*"abcde")],
            return_exceptions=True,
        )

        assert sorted(type(one).__name__ for one in outcomes) == ["AppendResult"] + ["EventIdReuseError"] * 4
        [written] = texts(await store.read_all_events())
        assert isinstance(outcomes["abcde".index(written)], AppendResult)

    async def test_a_repeat_may_have_other_metadata(self, store: EventStore) -> None:
        [a] = new("a")
        first = await store.append_to_stream("note-1", NO_STREAM, [a])
        later = NewEvent(a.event, event_id=a.event_id, timestamp=datetime(2020, 1, 1, tzinfo=UTC), headers={"n": "2"})

        assert await store.append_to_stream("note-1", NO_STREAM, [later]) == first

    async def test_a_run_of_events_is_a_repeat_however_it_is_cut(self, store: EventStore) -> None:
        a, b, c, d = events = new("a", "b", "c", "d")
        await store.append_to_stream("note-1", NO_STREAM, [a, b])
        await store.append_to_stream("note-1", 2, [c, d])
        places = positions(await store.read_stream("note-1"))

        for start, end in ((0, 1), (1, 2), (0, 3), (1, 3), (1, 4), (0, 4)):
            for expected in (ANY, start, 4):
                result = await store.append_to_stream("note-1", expected, events[start:end])
                assert result == AppendResult("note-1", end, tuple(places[start:end]))

    @pytest.mark.parametrize(
        ("name", "version", "data"),
        [
            (COUNTED, 1, '{"count":"1"}'),
            (COUNTED, 2, '{"number":"1"}'),
            (COUNTED, 3, '{ "number": 1 }'),
            (COUNTED, 4, '{"something":"of a later version"}'),
            ("perdure.conformance.tallied", 1, '{"count":"1"}'),
        ],
    )
    async def test_the_same_event_written_by_other_code_is_a_repeat(
        self, store: EventStore, name: str, version: int, data: str
    ) -> None:
        stored = await append_raw(store, name, version, data)
        again = NewEvent(Counted(number=1), event_id=stored)

        for expected in (NO_STREAM, ANY, 1):
            result = await store.append_to_stream("count-1", expected, [again])
            assert (result.stream_version, len(result.global_positions)) == (1, 1)
        assert len(await store.read_all_events()) == 1

    @pytest.mark.parametrize(
        ("name", "version", "data"),
        [
            (COUNTED, 1, '{"count":"2"}'),
            (COUNTED, 2, '{"number":"1, perhaps"}'),
            (COUNTED, 3, '{"number":"secret"}'),
            ("perdure.conformance.of_other_code", 1, '{"number":1}'),
        ],
    )
    async def test_what_cant_be_read_as_the_same_event_is_none(
        self, store: EventStore, name: str, version: int, data: str
    ) -> None:
        stored = await append_raw(store, name, version, data)
        again = NewEvent(Counted(number=1), event_id=stored)

        for expected in (NO_STREAM, ANY, 1):
            with pytest.raises(EventIdReuseError) as refused:
                await store.append_to_stream("count-1", expected, [again])
            assert refused.value.difference is not None
            assert refused.value.difference.stored_type == name
            assert name in str(refused.value)
            assert data not in str(refused.value)
            assert "secret" not in str(refused.value)
        assert len(await store.read_all_events()) == 1

    async def test_sets_are_the_same_in_any_order(self, store: EventStore) -> None:
        event_id = await append_raw(store, "perdure.conformance.tagged", 1, '{"tags":["b","a","c"]}')

        again = NewEvent(Tagged(tags=frozenset("abc")), event_id=event_id)
        assert (await store.append_to_stream("count-1", NO_STREAM, [again])).stream_version == 1
        with pytest.raises(EventIdReuseError):
            await store.append_to_stream("count-1", ANY, [NewEvent(Tagged(tags=frozenset("ab")), event_id=event_id)])

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

    @pytest.mark.parametrize("append_id", ["request 7", UUID(int=7)], ids=["text", "uuid"])
    async def test_an_append_with_an_id_is_written_once(self, store: EventStore, append_id: str | UUID) -> None:
        first = await store.append_to_stream("note-1", NO_STREAM, notes("a", "b"), append_id=append_id)
        await store.append_to_stream("note-1", 2, notes("later"))
        await store.append_to_stream("note-2", NO_STREAM, notes("elsewhere"), append_id=append_id)

        for expected in (NO_STREAM, ANY, STREAM_EXISTS, 3, 7):
            for again in ("ab", "xy", "x", "abc", "abcdefgh"):
                repeated = await store.append_to_stream("note-1", expected, notes(*again), append_id=append_id)
                assert repeated == first
        assert texts(await store.read_all_events()) == ["a", "b", "later", "elsewhere"]
        assert (await store.append_to_stream("note-1", 3, notes("c"), append_id="another")).stream_version == 4

    async def test_the_id_of_an_append_of_one_event_is_known_in_a_longer_one(self, store: EventStore) -> None:
        first = await store.append_to_stream("note-1", NO_STREAM, notes("a"), append_id="7")

        assert await store.append_to_stream("note-1", ANY, notes("a", "b"), append_id="7") == first
        assert texts(await store.read_all_events()) == ["a"]

    async def test_an_append_with_an_id_may_have_any_payload(self, store: EventStore) -> None:
        first = await store.append_to_stream(
            "note-1", NO_STREAM, [NewEvent(Noted(text="a"), headers={"n": "1"})], append_id="7"
        )

        for other in (Counted(number=1), NewEvent(Noted(text="b")), Noted(text="a")):
            assert await store.append_to_stream("note-1", ANY, [other], append_id="7") == first
        with pytest.raises(InvalidArgumentError, match="append_id"):
            await store.append_to_stream("note-1", ANY, [NewEvent(Noted(), event_id=uuid4())], append_id="7")
        assert texts(await store.read_all_events()) == ["a"]

    async def test_of_appends_with_one_id_at_once_one_is_written(self, store: EventStore) -> None:
        names = ["a", "bc", "def", "g", "hi"]
        results = await asyncio.gather(
            *[store.append_to_stream("note-1", ANY, notes(*name), append_id="7") for name in names]
        )

        assert results == [results[0]] * 5
        written = "".join(texts(await store.read_all_events()))
        assert written in names
        assert len(results[0].global_positions) == len(written)

    async def test_a_group_with_an_id_is_written_once(self, store: EventStore) -> None:
        async def append(*appends: tuple[str, str], expected: ExpectedVersion = ANY) -> list[AppendResult]:
            return await store.append_to_streams(
                [(stream_id, expected, notes(*name)) for stream_id, name in appends], append_id="7"
            )

        first = await append(("note-1", "ab"), ("note-2", "c"), expected=NO_STREAM)
        await store.append_to_stream("note-1", 2, notes("later"))

        for expected in (NO_STREAM, ANY, 7):
            for one, two in (("ab", "c"), ("a", "xyz"), ("xyz", "c")):
                assert await append(("note-1", one), ("note-2", two), expected=expected) == first
        assert await append(("note-2", "c"), ("note-1", "ab")) == first[::-1]
        with pytest.raises(EventIdReuseError):
            await append(("note-1", "ab"), ("note-3", "c"))
        assert texts(await store.read_all_events()) == ["a", "b", "c", "later"]

    async def test_the_same_append_many_times_at_once_is_written_once(self, store: EventStore) -> None:
        for expected in (NO_STREAM, ANY):
            events = new("a", "b")
            results = await asyncio.gather(
                *[store.append_to_stream(f"note-{expected}", expected, events) for _ in range(5)]
            )

            assert results == [results[0]] * 5
            assert texts(await store.read_stream(f"note-{expected}")) == ["a", "b"]
