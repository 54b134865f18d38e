"""Bad input: a typed error, nothing written, and no effect on other appends."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest

from perdure.commit import ANY, StreamAppend
from perdure.context import context
from perdure.errors import (
    EventEncodingError,
    InvalidArgumentError,
    InvalidStreamIdError,
    PayloadTooLargeError,
    ReservedCategoryError,
    UnregisteredEventError,
)
from perdure.events import NewEvent
from perdure.store import EventStore
from perdure.testing.conformance.samples import Call, Counted, Measured, Noted, accepted, notes, texts

SURROGATE: Final = "\ud800"
LONGEST: Final = "note-" + "x" * 507

BAD_STREAM_IDS: Final = [
    "",
    "note",
    "-",
    "-1",
    "note-",
    LONGEST + "x",
    "note-\x00",
    "no\x00te-1",
    "note-a\nb",
    "note-\x7f",
    f"note-{SURROGATE}",
    f"{SURROGATE}-1",
    b"note-1",
    17,
    None,
]
UNUSUAL_STREAM_IDS: Final = [
    LONGEST,
    "note-1-2",
    "note--",
    "note- ",
    "ユーザー-太郎",
    "note-💥",
    "no te-1",
    "note-'; drop table events; --",
    'note-"$1%s{schema}\\',
]
BAD_COUNTS: Final = [-1, True, "1", 1.0, 2**70]
UNSTORABLE: Final = [
    Noted(text="a\x00b"),
    Noted(text=SURROGATE),
    Measured(value=float("nan")),
    Measured(value=float("-inf")),
    Measured(amount=Decimal("NaN")),
    Measured(anything={"deep": [float("inf")]}),
    Measured(anything="\x00"),
    Measured(anything=object()),
    Noted(text=5),  # type: ignore[arg-type]  # it couldn't be read back
]


class BadInput:
    """The part of the suite on bad input."""

    async def test_bad_stream_ids_are_refused(self, store: EventStore) -> None:
        async def iterate(stream_id: Any) -> None:
            async for _ in store.iterate_stream(stream_id):
                pass

        async def append(stream_id: Any) -> None:
            await store.append_to_stream(stream_id, ANY, notes("a"))

        calls: list[Call] = [append, store.read_stream, store.stream_version, iterate]
        for call in calls:
            assert await accepted(BAD_STREAM_IDS, call, InvalidStreamIdError) == []
        assert await store.read_all_events() == []

    async def test_streams_of_processes_are_read_and_never_written(self, store: EventStore) -> None:
        stream_id = 'process-trials.{"user_id":"1"}'
        ways = (
            lambda: store.append_to_stream(stream_id, ANY, notes("a")),
            lambda: store.append_to_streams([StreamAppend("note-1", ANY, notes("a")), (stream_id, ANY, notes("a"))]),
        )
        for append in ways:
            with pytest.raises(ReservedCategoryError, match="only Perdure writes") as caught:
                await append()
            assert (caught.value.argument, caught.value.stream_id) == ("stream_id", stream_id)
        assert await store.read_stream(stream_id) == []
        assert await store.read_all_events() == []

    async def test_unusual_stream_ids_are_kept_as_they_are(self, store: EventStore) -> None:
        for stream_id in UNUSUAL_STREAM_IDS:
            result = await store.append_to_stream(stream_id, 0, notes(stream_id))
            category = stream_id.partition("-")[0]

            assert result.stream_id == stream_id
            assert texts(await store.read_stream(stream_id)) == [stream_id]
            assert texts(await store.read_all_events(result.global_position - 1, category=category)) == [stream_id]

    async def test_bad_expected_versions_are_refused(self, store: EventStore) -> None:
        bad = [-1, True, False, None, "0", 1.0, 2**31, "any", object()]

        assert await accepted(bad, lambda one: store.append_to_stream("note-1", one, notes("a"))) == []
        assert await store.read_all_events() == []

    async def test_what_is_no_list_of_events_is_refused(self, store: EventStore) -> None:
        bad: list[Any] = [[], (), "noted", b"noted", Noted(), iter(notes("a")), {*()}, None]

        assert await accepted(bad, lambda one: store.append_to_stream("note-1", ANY, one)) == []
        unregistered: list[Any] = [[object()], [None], [*notes("a"), "b"], [Noted]]
        assert (
            await accepted(unregistered, lambda one: store.append_to_stream("note-1", ANY, one), UnregisteredEventError)
            == []
        )
        assert await store.read_all_events() == []

    async def test_an_event_given_twice_is_refused(self, store: EventStore) -> None:
        once = NewEvent(Noted())

        with pytest.raises(InvalidArgumentError, match="same event id twice"):
            await store.append_to_stream("note-1", ANY, [once, NewEvent(Noted(), event_id=once.metadata.event_id)])

        assert await store.read_all_events() == []

    async def test_what_can_not_be_stored_is_refused_and_the_others_are_unharmed(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *[store.append_to_stream("note-1", ANY, [*notes("not written"), bad]) for bad in UNSTORABLE],
            store.append_to_stream("note-1", 0, notes("fine")),
            store.append_to_stream("note-2", 0, notes("fine")),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes[:-2]] == [EventEncodingError] * len(UNSTORABLE)
        assert texts(await store.read_all_events()) == ["fine", "fine"]

    async def test_bad_metadata_is_refused(self, store: EventStore) -> None:
        async def append_in(surroundings: dict[str, Any]) -> None:
            with context(**surroundings):
                await store.append_to_stream("note-1", ANY, notes("a"))

        async def append(settings: dict[str, Any]) -> None:
            await store.append_to_stream("note-1", ANY, [NewEvent(Noted(), **settings)])

        headers: list[dict[str, Any]] = [{"headers": {"a": text}} for text in ("\x00", SURROGATE, 5)]
        names: list[dict[str, Any]] = [{"headers": {text: "a"}} for text in ("\x00", SURROGATE, 5)]
        others = [{"user_id": "\x00"}, {"correlation_id": SURROGATE}, {"causation_id": ""}]
        assert await accepted([*headers, *names, *others], append_in) == []
        ids = [{"event_id": "5"}, {"event_id": UUID(int=5).bytes}, {"timestamp": "now"}]
        assert await accepted([*headers, *names, *ids], append) == []
        assert await store.read_all_events() == []

    async def test_a_payload_over_the_limit_is_refused_counted_in_bytes(self, store: EventStore) -> None:
        store.payload_limit = 100
        room = 100 - len('{"text":""}')

        for text in ("x" * (room + 1), "é" * (room // 2 + 1)):
            with pytest.raises(PayloadTooLargeError) as refused:
                await store.append_to_stream("note-1", ANY, notes("not written", text))
            assert refused.value.limit == 100
            assert 100 < refused.value.size <= 102

        await store.append_to_stream("note-1", 0, notes("x" * room))
        assert (await store.read_stream("note-1"))[0].event.text == "x" * room

    async def test_bad_counts_are_refused(self, store: EventStore) -> None:
        async def iterate_stream(start: Any) -> None:
            async for _ in store.iterate_stream("note-1", start):
                pass

        async def iterate_all(start: Any) -> None:
            async for _ in store.iterate_all_events(start):
                pass

        async def subscribe(start: Any) -> None:
            store.subscribe(start)

        calls: list[Call] = [
            lambda bad: store.read_stream("note-1", from_version=bad),
            lambda bad: store.read_stream("note-1", max_count=bad),
            store.read_all_events,
            lambda bad: store.read_all_events(max_count=bad),
            iterate_stream,
            iterate_all,
            subscribe,
        ]
        for call in calls:
            assert await accepted(BAD_COUNTS, call) == []

    async def test_bad_filters_are_refused(self, store: EventStore) -> None:
        categories = ["", "a-b", "a\x00", SURROGATE, "x" * 513, 5, b"note", [], [""], ["note", "a-b"], ["note", None]]
        types: list[Any] = ["noted", [], [""], ["a\x00"], [SURROGATE], [5], [None], 5]

        assert await accepted(categories, lambda bad: store.read_all_events(category=bad)) == []
        reads_of_types: list[Call] = [
            lambda bad: store.read_all_events(event_types=bad),
            lambda bad: store.read_stream("note-1", event_types=bad),
            lambda bad: store.read_stream_backwards("note-1", event_types=bad),
            lambda bad: store.last_event("note-1", event_types=bad),
        ]
        for read in reads_of_types:
            assert await accepted(types, read) == []
        for bad in (one for one in BAD_STREAM_IDS if one is not None):
            with pytest.raises(InvalidStreamIdError):
                store.subscribe(stream_id=bad)  # type: ignore[arg-type]  # it is refused
        with pytest.raises(UnregisteredEventError):
            await store.read_all_events(event_types=[Counted, object])
        with pytest.raises(InvalidArgumentError):
            store.subscribe(category="")
