"""Reads of streams and of the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from msgspec import structs, to_builtins

from perdure.commit import ANY, Commit, EncodedEvent
from perdure.context import context
from perdure.errors import UnknownEventTypeError
from perdure.events import NewEvent, StoredEvent
from perdure.log import PAGE_SIZE
from perdure.store import EventStore
from perdure.testing.conformance.samples import Counted, Measured, Noted, notes, positions, texts

MANY = PAGE_SIZE * 2 + 100


class Reads:
    """The part of the suite on reads."""

    async def test_a_stream_is_read_strictly_after_a_version(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abcde"))
        await store.append_to_stream("note-2", 0, notes("other"))

        assert texts(await store.read_stream("note-1")) == ["a", "b", "c", "d", "e"]
        assert texts(await store.read_stream("note-1", 2)) == ["c", "d", "e"]
        assert texts(await store.read_stream("note-1", 2, 2)) == ["c", "d"]
        assert texts(await store.read_stream("note-1", max_count=0)) == []
        assert texts(await store.read_stream("note-1", 5)) == []
        assert texts(await store.read_stream("note-1", 2**40)) == []
        assert texts(await store.read_stream("note-1", 1, 2**40)) == ["b", "c", "d", "e"]
        assert texts(await store.read_stream("note-3")) == []

    async def test_the_log_is_read_strictly_after_a_position(self, store: EventStore) -> None:
        for n in range(5):
            await store.append_to_stream(f"note-{n % 2}", ANY, notes(n))
        places = positions(await store.read_all_events())

        assert places == sorted(set(places))
        for index, place in enumerate(places):
            assert positions(await store.read_all_events(place)) == places[index + 1 :]
            assert positions(await store.read_all_events(place - 1)) == places[index:]
            assert positions(await store.read_all_events(place, 2)) == places[index + 1 :][:2]
        assert await store.read_all_events(max_count=0) == []
        assert await store.read_all_events(places[-1] + 2**40) == []
        assert positions(await store.read_all_events(max_count=2**40)) == places

    async def test_a_stored_event_tells_all_about_itself(self, store: EventStore) -> None:
        before = datetime.now(UTC)
        result = await store.append_to_stream("note-1", 0, [Counted(number=5)])
        [stored] = await store.read_stream("note-1")

        assert (stored.stream_id, stored.stream_version, stored.global_position) == (
            "note-1",
            1,
            result.global_position,
        )
        assert (stored.event_type, stored.event_version) == ("perdure.conformance.counted", 3)
        assert stored.event == Counted(number=5)
        assert stored.event_data == '{"number":5}'
        assert before <= stored.timestamp <= datetime.now(UTC)
        assert stored.recorded_at.tzinfo is not None
        assert [one.event_id for one in await store.read_all_events()] == [stored.event_id]

    async def test_the_payload_comes_back_as_it_was(self, store: EventStore) -> None:
        payload = Measured(
            value=0.1 + 0.2,
            amount=Decimal("12345678901234567890.10"),
            at=datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
            by=UUID(int=2**127),
            details={"ключ": [0, -(2**63)], "": []},
            anything=["\u2028", "\\u0000", 'quote"', "💥", None, True, {"a": 1.5e300}],
        )
        await store.append_to_stream("note-1", 0, [payload])

        assert [stored.event for stored in await store.read_stream("note-1")] == [payload]

    async def test_what_a_reader_does_to_an_event_is_not_seen_by_the_next_reader(self, store: EventStore) -> None:
        payload = Measured(details={"given": [1]})
        await store.append_to_stream("note-1", 0, [payload])
        payload.details["given"].append(2)
        [kind] = await store.stored_types()

        async def read() -> list[StoredEvent]:
            in_stream, in_log = await store.read_stream("note-1"), await store.read_all_events()
            by_id = await store.read_event(in_log[0].event_id)
            assert by_id is not None
            samples = await store.sample_events(kind, 1)
            return [*in_stream, *in_log, by_id, *samples, await anext(store.subscribe())]

        for stored in await read():
            stored.event.details["given"].append(3)
            stored.stream_id = "note-2"

        for stored in await read():
            assert stored.event == Measured(details={"given": [1]})
            assert stored.stream_id == "note-1"

    async def test_an_event_is_the_same_object_whatever_the_store_and_the_call(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a"))
        [stored] = await store.read_stream("note-1")
        fields = {name: getattr(stored, name) for name in StoredEvent.__struct_fields__}
        by_id = await store.read_event(stored.event_id)
        assert by_id is not None

        assert type(stored.recorded_at) is datetime
        for one in (stored, *await store.read_all_events(), by_id):
            assert type(one) is StoredEvent
            assert structs.asdict(one) == fields
            assert to_builtins(one) == to_builtins(StoredEvent(*fields.values()))

    async def test_metadata_comes_back_as_it_was(self, store: EventStore) -> None:
        event_id, when = uuid4(), datetime(2020, 1, 1, 1, 0, 0, 1, tzinfo=timezone(timedelta(hours=5)))
        with context(correlation_id="request", causation_id="cause", user_id="ann", headers={"a": "ä"}):
            given = NewEvent(Noted(), event_id=event_id, timestamp=when, headers={"b": "'\"\\"})
        await store.append_to_stream("note-1", 0, [given])

        [stored] = await store.read_all_events()
        assert stored.metadata == given.metadata
        assert (stored.event_id, stored.timestamp) == (event_id, when)
        assert stored.metadata.headers == {"a": "ä", "b": "'\"\\"}
        assert (stored.metadata.correlation_id, stored.metadata.causation_id) == ("request", "cause")
        assert stored.metadata.user_id == "ann"

    async def test_the_context_of_the_call_is_that_of_plain_events(self, store: EventStore) -> None:
        with context(user_id="ann"):
            await store.append_to_stream("note-1", 0, notes("a"))
        await store.append_to_stream("note-1", 1, notes("b"))

        assert [one.metadata.user_id for one in await store.read_stream("note-1")] == ["ann", None]

    async def test_a_type_without_a_class_stays_readable_as_raw_data(self, store: EventStore) -> None:
        unknown = EncodedEvent(
            uuid4(), "perdure.conformance.unknown", 2, '{"a":1}', '{"timestamp":"2020-01-01T00:00:00Z"}'
        )
        await store.append(Commit("note-1", 0, (unknown,), 50))

        for events in (
            await store.read_stream("note-1"),
            await store.read_all_events(event_types=[unknown.event_type]),
        ):
            [stored] = events
            assert (stored.event_type, stored.event_version, stored.event_data) == (unknown.event_type, 2, '{"a":1}')
            assert stored.timestamp == datetime(2020, 1, 1, tzinfo=UTC)
            with pytest.raises(UnknownEventTypeError):
                _ = stored.event

    async def test_the_version_of_a_stream(self, store: EventStore) -> None:
        assert await store.stream_version("note-1") == 0
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        await store.append_to_stream("note-11", 0, notes("a"))
        assert await store.stream_version("note-1") == 2

    async def test_the_log_can_be_read_by_category_and_type(self, store: EventStore) -> None:
        for n, category in enumerate(["note", "notes", "no", "note"]):
            await store.append_to_stream(f"{category}-1", ANY, [*notes(f"{category} {n}"), Counted(number=n)])
        last = (await store.read_all_events())[-1].global_position

        in_category = await store.read_all_events(category="note")
        of_type = await store.read_all_events(event_types=[Noted])
        of_both = await store.read_all_events(category="note", event_types=["perdure.conformance.noted"])

        assert [one.event for one in in_category] == [
            *notes("note 0"),
            Counted(number=0),
            *notes("note 3"),
            Counted(number=3),
        ]
        assert texts(of_type) == ["note 0", "notes 1", "no 2", "note 3"]
        assert texts(of_both) == ["note 0", "note 3"]
        assert texts(await store.read_all_events(event_types=[Noted], max_count=2)) == ["note 0", "notes 1"]
        assert texts(await store.read_all_events(of_both[0].global_position, category="note", event_types=[Noted])) == [
            "note 3"
        ]
        assert len(await store.read_all_events(event_types=[Noted, "perdure.conformance.counted"])) == 8
        assert await store.read_all_events(category="other") == []
        assert await store.read_all_events(event_types=["perdure.conformance.none"]) == []
        assert await store.read_all_events(last, category="note") == []

    async def test_a_stream_can_be_read_by_type(self, store: EventStore) -> None:
        for n in range(8):
            await store.append_to_stream("note-1", n, [Counted(number=n) if n % 4 == 3 else Noted(text=str(n))])
        await store.append_to_stream("note-2", 0, [Counted(number=100)])

        async def versions(*page: int, event_types: Sequence[str | type]) -> list[int]:
            return [one.stream_version for one in await store.read_stream("note-1", *page, event_types=event_types)]

        async def backwards(*page: int | None, event_types: Sequence[str | type]) -> list[int]:
            found = await store.read_stream_backwards("note-1", *page, event_types=event_types)
            return [one.stream_version for one in found]

        assert await versions(event_types=[Counted]) == [4, 8]
        assert await versions(event_types=["perdure.conformance.noted"]) == [1, 2, 3, 5, 6, 7]
        assert await versions(event_types=[Counted, "perdure.conformance.noted"]) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert await versions(event_types=["perdure.conformance.none"]) == []
        assert await backwards(event_types=[Counted]) == [8, 4]
        assert await backwards(event_types=(Noted, Counted)) == [8, 7, 6, 5, 4, 3, 2, 1]
        assert texts(await store.read_stream("note-3", event_types=[Noted])) == []

        # A page counts the events that match, and the next one begins after its last event.
        assert await versions(0, 1, event_types=[Counted]) == [4]
        assert await versions(4, 1, event_types=[Counted]) == [8]
        assert await versions(8, 1, event_types=[Counted]) == []
        assert await versions(3, 3, event_types=[Noted]) == [5, 6, 7]
        assert await versions(0, 0, event_types=[Noted]) == []
        assert await versions(0, 2**40, event_types=[Counted]) == [4, 8]
        assert await backwards(8, 1, event_types=[Counted]) == [4]
        assert await backwards(None, 1, event_types=[Noted]) == [7]
        assert await backwards(7, 3, event_types=[Noted]) == [6, 5, 3]
        assert await backwards(4, 1, event_types=[Counted]) == []

        for event_types, version in (([Counted], 8), ([Noted], 7), ([Noted, Counted], 8), (["another"], None)):
            last = await store.last_event("note-1", event_types=event_types)
            assert (last.stream_version if last else None) == version

    async def test_a_stream_read_by_class_includes_its_earlier_names(self, store: EventStore) -> None:
        tallied = EncodedEvent(
            uuid4(), "perdure.conformance.tallied", 3, '{"number":1}', '{"timestamp":"2020-01-01T00:00:00Z"}'
        )
        await store.append(Commit("note-1", 0, (tallied,), 50))
        await store.append_to_stream("note-1", 1, [Noted(), Counted(number=2)])

        assert [one.event for one in await store.read_stream("note-1", event_types=[Counted])] == [
            Counted(number=1),
            Counted(number=2),
        ]
        by_name = await store.read_stream("note-1", event_types=["perdure.conformance.counted"])
        assert [one.event for one in by_name] == [Counted(number=2)]

    async def test_iterating_over_some_types_of_a_stream_skips_none(self, store: EventStore) -> None:
        for n in range(0, MANY, 100):
            payloads = [Counted(number=i) if i % 3 == 0 else Noted(text=str(i)) for i in range(n, n + 100)]
            await store.append_to_stream("note-1", n, payloads)
        every_third = list(range(0, MANY, 3))

        async def numbers(from_version: int) -> list[int]:
            found = store.iterate_stream("note-1", from_version, event_types=[Counted])
            return [one.event.number async for one in found]

        assert await numbers(0) == every_third
        assert await numbers(601) == [n for n in every_third if n >= 601]
        assert [one.event.number for one in await store.read_stream("note-1", event_types=[Counted])] == every_third

    async def test_iterating_gives_all_in_pages(self, store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
        limits: list[int | None] = []
        stream_page, log_page = store.reader.stream_page, store.log_page

        async def watched_stream_page(stream_id: str, from_version: int, limit: int | None, types: object) -> object:
            limits.append(limit)
            return await stream_page(stream_id, from_version, limit, types)  # type: ignore[arg-type]  # it is passed on

        async def watched_log_page(from_position: int, limit: int, where: object) -> object:
            limits.append(limit)
            return await log_page(from_position, limit, where)  # type: ignore[arg-type]  # it is passed on

        for n in range(0, MANY, 100):
            await store.append_to_stream("note-1", n, notes(*range(n, n + 100)))
        await store.append_to_stream("other-1", 0, notes("other"))
        monkeypatch.setattr(store.reader, "stream_page", watched_stream_page)
        monkeypatch.setattr(store, "log_page", watched_log_page)
        all_of_them = [str(n) for n in range(MANY)]

        assert texts([one async for one in store.iterate_stream("note-1")]) == all_of_them
        assert texts([one async for one in store.iterate_stream("note-1", 600)]) == all_of_them[600:]
        assert texts([one async for one in store.iterate_all_events()]) == [*all_of_them, "other"]
        assert texts([one async for one in store.iterate_all_events(category="note")]) == all_of_them
        assert texts(await store.read_all_events(max_count=MANY - 1)) == all_of_them[:-1]
        assert texts([one async for one in store.iterate_stream("note-2")]) == []
        assert len(limits) >= 10
        assert all(limit is not None and limit <= PAGE_SIZE for limit in limits)
