"""Appends to several streams at once: all of them, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion, StreamAppend
from perdure.errors import (
    EventEncodingError,
    EventIdReuseError,
    InvalidArgumentError,
    InvalidStreamIdError,
    OptimisticConcurrencyError,
    PerdureError,
)
from perdure.events import NewEvent
from perdure.store import EventStore
from perdure.testing.conformance.bad_input import BAD_STREAM_IDS
from perdure.testing.conformance.repeats import new
from perdure.testing.conformance.samples import Call, Noted, accepted, notes, positions, texts
from perdure.transaction import Transaction

Appends = list[tuple[str, ExpectedVersion, Sequence[object]]]


async def fill(store: EventStore, **versions: int) -> None:
    """Append a number of events to streams: ``fill(store, a=2)`` appends two to note-a."""
    for name, version in versions.items():
        if version:
            await store.append_to_stream(f"note-{name}", NO_STREAM, notes(*[f"old {name}"] * version))


class MultiStreamAppends:
    """The part of the suite on appends to several streams."""

    async def test_a_group_tells_each_streams_version_and_stands_in_the_order_given(self, store: EventStore) -> None:
        await fill(store, b=2)
        results = await store.append_to_streams(
            [
                ("note-c", NO_STREAM, notes("c1", "c2")),
                StreamAppend("note-a", ANY, notes("a")),
                ("note-b", 2, notes("b")),
            ]
        )

        written = (await store.read_all_events())[2:]
        assert [(one.stream_id, one.stream_version) for one in results] == [("note-c", 2), ("note-a", 1), ("note-b", 3)]
        assert texts(written) == ["c1", "c2", "a", "b"]
        assert [one.stream_version for one in written] == [1, 2, 1, 3]
        assert [place for one in results for place in one.global_positions] == positions(written)
        assert texts(await store.read_stream("note-b", 2)) == ["b"]

    async def test_a_group_may_be_one_stream(self, store: EventStore) -> None:
        [result] = await store.append_to_streams([("note-a", NO_STREAM, notes("a", "b"))])

        assert (result.stream_id, result.stream_version) == ("note-a", 2)
        assert list(result.global_positions) == positions(await store.read_all_events())

    @pytest.mark.parametrize(
        ("there", "expected"), [(0, NO_STREAM), (0, ANY), (1, ANY), (1, STREAM_EXISTS), (1, 1), (3, 3)]
    )
    @pytest.mark.parametrize("place", ["append", "condition"])
    async def test_a_group_whose_expected_versions_hold_is_written(
        self, store: EventStore, there: int, expected: ExpectedVersion, place: str
    ) -> None:
        await fill(store, a=there)
        appends: Appends = [("note-b", NO_STREAM, notes("b"))]
        if place == "condition":
            await store.append_to_streams(appends, conditions={"note-a": expected})
        else:
            await store.append_to_streams([*appends, ("note-a", expected, notes("a"))])

        assert await store.stream_version("note-a") == there + (place == "append")
        assert await store.stream_version("note-b") == 1

    @pytest.mark.parametrize(
        ("there", "expected"), [(0, 1), (0, STREAM_EXISTS), (2, NO_STREAM), (2, 1), (2, 3), (0, 2**31 - 1)]
    )
    @pytest.mark.parametrize("place", ["first", "last", "condition"])
    async def test_a_group_with_an_expected_version_that_does_not_hold_writes_nothing(
        self, store: EventStore, there: int, expected: ExpectedVersion, place: str
    ) -> None:
        await fill(store, a=there)
        bad: Appends = [("note-a", expected, notes("not written"))]
        good: Appends = [("note-b", NO_STREAM, notes("not written")), ("note-c", ANY, notes("nor this"))]
        appends = {"first": bad + good, "last": good + bad, "condition": good}[place]

        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await store.append_to_streams(appends, conditions={"note-a": expected} if place == "condition" else {})

        error = conflict.value
        assert (error.stream_id, error.expected_version, error.actual_version) == ("note-a", expected, there)
        assert len(await store.read_all_events()) == there
        await store.append_to_streams([("note-a", there, notes("new")), *good])

    async def test_a_conflict_names_the_first_stream_that_has_one(self, store: EventStore) -> None:
        await fill(store, a=1, b=2, x=3)

        cases: list[tuple[Appends, dict[str, ExpectedVersion], tuple[str, int, int]]] = [
            ([("note-b", 7, notes("b")), ("note-a", 7, notes("a"))], {}, ("note-b", 7, 2)),
            ([("note-c", 0, notes("c")), ("note-a", 7, notes("a"))], {"note-b": 9}, ("note-a", 7, 1)),
            ([("note-c", 0, notes("c"))], {"note-a": 1, "note-x": 8, "note-b": 9}, ("note-x", 8, 3)),
        ]
        for appends, conditions, named in cases:
            with pytest.raises(OptimisticConcurrencyError) as conflict:
                await store.append_to_streams(appends, conditions=conditions)
            error = conflict.value
            assert (error.stream_id, error.expected_version, error.actual_version) == named

    async def test_a_condition_writes_nothing_to_its_stream(self, store: EventStore) -> None:
        await fill(store, a=1)
        await store.append_to_streams(
            [("note-b", NO_STREAM, notes("b"))], conditions={"note-a": 1, "note-none": NO_STREAM}
        )

        assert [await store.stream_version(f"note-{name}") for name in ("a", "none", "b")] == [1, 0, 1]

    @pytest.mark.parametrize("expected", [NO_STREAM, ANY, STREAM_EXISTS, 1, 7])
    async def test_repeating_a_group_gives_the_first_results_whatever_came_since(
        self, store: EventStore, expected: ExpectedVersion
    ) -> None:
        a, b = new("a1", "a2"), new("b")
        first = await store.append_to_streams([("note-b", NO_STREAM, b), ("note-a", NO_STREAM, a)])
        await store.append_to_streams([("note-a", 2, notes("later")), ("note-c", ANY, notes("later"))])
        await store.append_to_stream("note-b", 1, notes("later"))

        # Ids are checked before versions, including the versions of conditions.
        repeat: Appends = [("note-b", expected, b), ("note-a", expected, a)]
        assert await store.append_to_streams(repeat) == first
        assert await store.append_to_streams(repeat, conditions={"note-c": 7}) == first
        assert await store.append_to_streams(repeat[::-1]) == first[::-1]
        assert texts(await store.read_all_events()) == ["b", "a1", "a2", "later", "later", "later"]

    async def test_the_same_group_many_times_at_once_is_written_once(self, store: EventStore) -> None:
        appends: Appends = [("note-b", NO_STREAM, new("b")), ("note-a", ANY, new("a1", "a2"))]

        results = await asyncio.gather(*[store.append_to_streams(appends) for _ in range(5)])

        assert results == [results[0]] * 5
        assert texts(await store.read_all_events()) == ["b", "a1", "a2"]

    @pytest.mark.parametrize(
        "reused", ["part", "one of two", "with another", "moved", "swapped", "other order", "not contiguous"]
    )
    async def test_ids_of_another_group_are_refused(self, store: EventStore, reused: str) -> None:
        a1, a2, a3, b, fresh = new("a1", "a2", "a3", "b", "fresh")
        await store.append_to_streams([("note-a", NO_STREAM, [a1, a2]), ("note-b", NO_STREAM, [b])])
        await store.append_to_stream("note-a", 2, [a3])
        streams: list[tuple[str, list[NewEvent]]] = {
            "part": [("note-a", [a1, fresh]), ("note-b", [b])],
            "one of two": [("note-a", [fresh]), ("note-b", [b])],
            "with another": [("note-a", [a1, a2]), ("note-b", [b]), ("note-c", [fresh])],
            "moved": [("note-a", [a1, a2]), ("note-c", [b])],
            "swapped": [("note-a", [b]), ("note-b", [a1, a2])],
            "other order": [("note-a", [a2, a1]), ("note-b", [b])],
            "not contiguous": [("note-a", [a1, a3]), ("note-b", [b])],
        }[reused]

        for expected in (NO_STREAM, ANY, STREAM_EXISTS, 1, 7):
            with pytest.raises(EventIdReuseError) as refused:
                await store.append_to_streams([(stream_id, expected, events) for stream_id, events in streams])
            assert refused.value.stream_id == streams[0][0]
            assert set(refused.value.event_ids) == {one.metadata.event_id for _, events in streams for one in events}

        assert texts(await store.read_all_events()) == ["a1", "a2", "b", "a3"]
        await store.append_to_streams([("note-a", 3, [fresh]), ("note-b", 1, notes("fine"))])

    async def test_of_overlapping_groups_of_one_moment_one_wins(self, store: EventStore) -> None:
        names = ["ab", "bc", "ca", "abc", "cb"]
        outcomes = await asyncio.gather(
            *[store.append_to_streams([(f"note-{one}", NO_STREAM, notes(name)) for one in name]) for name in names],
            return_exceptions=True,
        )

        winners = [name for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, list)]
        assert len(winners) == 1
        assert all(isinstance(one, list | OptimisticConcurrencyError) for one in outcomes)
        assert texts(await store.read_all_events()) == winners * len(winners[0])

    async def test_no_two_groups_rely_on_what_the_other_changes(self, store: EventStore) -> None:
        """Write skew: each may go off duty only while the other is on duty."""
        for number in range(5):
            one, other = f"note-a{number}", f"note-b{number}"
            outcomes = await asyncio.gather(
                store.append_to_streams([(one, NO_STREAM, notes("off"))], conditions={other: NO_STREAM}),
                store.append_to_streams([(other, NO_STREAM, notes("off"))], conditions={one: NO_STREAM}),
                return_exceptions=True,
            )

            assert sorted(type(each).__name__ for each in outcomes) == ["OptimisticConcurrencyError", "list"]

    async def test_bad_groups_are_refused(self, store: EventStore) -> None:
        once = NewEvent(Noted())
        twin = NewEvent(Noted(), event_id=once.metadata.event_id)
        good = ("note-a", ANY, notes("a"))
        bad: list[Any] = [
            [],
            (),
            None,
            "note-a",
            {"note-a": good},
            iter([good]),
            [good, None],
            [good, "abc"],
            [good, ("note-b", ANY)],
            [good, ("note-b", -1, notes("b"))],
            [good, ("note-b", ANY, [])],
            [good, ("note-b", ANY, "text")],
            [good, ("note-a", 1, notes("again"))],
            [("note-a", ANY, [once]), ("note-b", ANY, [twin])],
        ]
        conditions: list[Any] = [{"note-a": ANY}, {"note-b": -1}, {"note-b": None}, [("note-b", 1)], "note-b", 0]

        assert await accepted(bad, store.append_to_streams) == []
        assert await accepted(conditions, lambda one: store.append_to_streams([good], conditions=one)) == []
        calls: list[Call] = [
            lambda one: store.append_to_streams([good, (one, ANY, notes("b"))]),
            lambda one: store.append_to_streams([good], conditions={one: ANY}),
        ]
        for call in calls:
            assert await accepted(BAD_STREAM_IDS, call, InvalidStreamIdError) == []
        with pytest.raises(EventEncodingError):
            await store.append_to_streams([good, ("note-b", ANY, notes("a\x00b"))])
        with pytest.raises(InvalidArgumentError, match="names a stream twice"):
            await store.append_to_streams([good, good])
        assert await store.read_all_events() == []

    async def test_a_group_in_a_transaction_of_something_else_is_refused(self, store: EventStore) -> None:
        with pytest.raises(PerdureError):
            await store.append_to_streams([("note-a", ANY, notes("not written"))], tx=Transaction())

        assert await store.read_all_events() == []
