"""Appends under an expected version."""

from __future__ import annotations

import asyncio

import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion
from perdure.errors import OptimisticConcurrencyError, PerdureError, StoreClosedError
from perdure.store import EventStore
from perdure.testing.conformance.samples import Counted, notes, positions, texts
from perdure.transaction import Transaction


class StreamAppends:
    """The part of the suite on appends to one stream."""

    async def test_an_append_tells_the_version_and_the_position_of_each_event(self, store: EventStore) -> None:
        first = await store.append_to_stream("note-1", NO_STREAM, [*notes("a", "b"), Counted(number=1)])
        second = await store.append_to_stream("note-1", 3, notes("c"))

        assert (first.stream_id, first.stream_version, second.stream_version) == ("note-1", 3, 4)
        assert [*first.global_positions, *second.global_positions] == positions(await store.read_stream("note-1"))
        assert positions(await store.read_all_events()) == sorted(set(positions(await store.read_stream("note-1"))))
        assert first.global_position == first.global_positions[-1]
        assert first.global_positions[0] > 0

    @pytest.mark.parametrize(
        ("there", "expected"), [(0, NO_STREAM), (0, ANY), (1, ANY), (1, 1), (1, STREAM_EXISTS), (3, 3)]
    )
    async def test_an_append_under_an_expected_version_that_holds_is_written(
        self, store: EventStore, there: int, expected: ExpectedVersion
    ) -> None:
        for number in range(there):
            await store.append_to_stream("note-1", number, notes(number))

        result = await store.append_to_stream("note-1", expected, notes("new"))

        assert result.stream_version == there + 1
        assert texts(await store.read_stream("note-1", there)) == ["new"]

    @pytest.mark.parametrize(
        ("there", "expected"), [(0, 1), (0, STREAM_EXISTS), (0, 2**31 - 1), (2, NO_STREAM), (2, 1), (2, 3)]
    )
    async def test_an_append_under_an_expected_version_that_does_not_hold_is_a_conflict(
        self, store: EventStore, there: int, expected: ExpectedVersion
    ) -> None:
        for number in range(there):
            await store.append_to_stream("note-1", number, notes(number))

        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await store.append_to_stream("note-1", expected, notes("not written", "nor this"))

        error = conflict.value
        assert (error.stream_id, error.expected_version, error.actual_version) == ("note-1", expected, there)
        assert len(await store.read_all_events()) == there
        assert (await store.append_to_stream("note-1", there, notes("new"))).stream_version == there + 1

    async def test_each_stream_has_versions_of_its_own(self, store: EventStore) -> None:
        results = [await store.append_to_stream(f"note-{name}", NO_STREAM, notes(name)) for name in "abc"]

        assert [result.stream_version for result in results] == [1, 1, 1]
        assert [texts(await store.read_stream(f"note-{name}")) for name in "abc"] == [["a"], ["b"], ["c"]]

    async def test_a_call_made_after_an_awaited_one_comes_later(self, store: EventStore) -> None:
        results = [await store.append_to_stream(f"note-{n % 3}", ANY, notes(n)) for n in range(9)]

        places = [result.global_position for result in results]
        assert places == sorted(set(places)) == positions(await store.read_all_events())

    async def test_calls_of_one_moment_keep_their_order_within_a_stream(self, store: EventStore) -> None:
        await asyncio.gather(*[store.append_to_stream(f"note-{n % 3}", ANY, notes(n, f"{n} too")) for n in range(90)])

        for start in range(3):
            expected = [text for n in range(start, 90, 3) for text in (f"{n}", f"{n} too")]
            events = await store.read_stream(f"note-{start}")
            assert texts(events) == expected
            assert positions(events) == sorted(positions(events))

    async def test_exact_versions_of_one_moment_follow_one_another(self, store: EventStore) -> None:
        results = await asyncio.gather(*[store.append_to_stream("note-1", n, notes(n)) for n in range(20)])

        assert [result.stream_version for result in results] == list(range(1, 21))

    async def test_a_transaction_of_something_else_is_refused(self, store: EventStore) -> None:
        with pytest.raises(PerdureError):
            await store.append_to_stream("note-1", ANY, notes("not written"), tx=Transaction())

        assert await store.read_all_events() == []

    async def test_a_closed_store_refuses_work(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", ANY, notes("a"))
        await store.close()
        await store.close()

        with pytest.raises(StoreClosedError):
            await store.append_to_stream("note-1", ANY, notes("b"))
        with pytest.raises(StoreClosedError):
            await store.read_stream("note-1")
        with pytest.raises(StoreClosedError):
            await store.read_all_events()
        with pytest.raises(StoreClosedError):
            await store.stream_version("note-1")
        with pytest.raises(StoreClosedError):
            await anext(store.subscribe())
