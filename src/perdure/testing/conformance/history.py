"""Reads the past: backwards, in a range of time, and what one request set in motion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, cast
from uuid import UUID, uuid4

import pytest

from perdure.commit import ANY
from perdure.context import context
from perdure.errors import InvalidArgumentError, InvalidStreamIdError
from perdure.events import StoredEvent
from perdure.log import PAGE_SIZE, Selection
from perdure.store import EventStore
from perdure.testing.conformance.bad_input import BAD_COUNTS, BAD_STREAM_IDS, SURROGATE
from perdure.testing.conformance.samples import Call, Counted, Noted, accepted, notes, positions, texts

BAD_TIMES: Final = [datetime(2024, 1, 1), "2024-01-01", 5, datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))]  # noqa: DTZ001 - naive on purpose
BAD_CORRELATIONS: Final = ["", "a\x00", SURROGATE, 5, b"a"]
LONG: Final = "x" * 5000
STREAMS: Final = ("note-1", "other-1", "third-1", "note-1", "note-11", "other-1")


async def mixed_log(store: EventStore) -> list[StoredEvent]:
    """Append events of alternating streams, types and correlation ids, and return the log."""
    for n in range(24):
        with context(correlation_id="one" if n % 2 else "two"):
            payload = Counted(number=n) if n % 4 < 2 else Noted(text=str(n))
            await store.append_to_stream(STREAMS[n % 6], ANY, [payload])
    return await store.read_all_events()


def selected(log: Sequence[StoredEvent], where: Selection) -> list[int]:
    """Return the positions of the events that match, by checking each event."""
    types = {"perdure.conformance.noted" if one is Noted else one for one in where.get("event_types") or ()}
    category, correlation_id, stream_id = where.get("category"), where.get("correlation_id"), where.get("stream_id")
    categories = [category] if isinstance(category, str) else category
    start, end = where.get("recorded_from"), where.get("recorded_before")
    return [
        stored.global_position
        for stored in log
        if (not categories or stored.stream_id.partition("-")[0] in categories)
        and (not stream_id or stored.stream_id == stream_id)
        and (not types or stored.event_type in types)
        and (not correlation_id or stored.metadata.correlation_id == correlation_id)
        and (not start or stored.recorded_at >= start)
        and (not end or stored.recorded_at < end)
    ]


def selections(log: Sequence[StoredEvent]) -> list[Selection]:
    """Return all combinations of filters."""
    times = {"recorded_from": log[5].recorded_at, "recorded_before": log[-4].recorded_at}
    choices: list[dict[str, Any]] = [{}]
    where = {"category": "note", "event_types": [Noted], "correlation_id": "one", "stream_id": "note-1", **times}
    for name, value in where.items():
        choices += [{**choice, name: value} for choice in choices]
    several = [{**choice, "category": ["other", "note"]} for choice in choices if "category" in choice]
    return cast("list[Selection]", choices + several)


class LogHistory:
    """The part of the suite on reading the past."""

    async def test_a_stream_is_read_backwards(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abcde"))
        await store.append_to_stream("note-2", 0, notes("other"))

        assert texts(await store.read_stream_backwards("note-1")) == ["e", "d", "c", "b", "a"]
        assert texts(await store.read_stream_backwards("note-1", max_count=2)) == ["e", "d"]
        assert texts(await store.read_stream_backwards("note-1", 4, 2)) == ["c", "b"]
        assert texts(await store.read_stream_backwards("note-1", 2**40, 1)) == ["e"]
        for nothing in (
            store.read_stream_backwards("note-1", 0),
            store.read_stream_backwards("note-1", 1),
            store.read_stream_backwards("note-1", max_count=0),
            store.read_stream_backwards("note-3"),
        ):
            assert await nothing == []

    async def test_the_last_event_of_a_stream(self, store: EventStore) -> None:
        assert await store.last_event("note-1") is None
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        await store.append_to_stream("note-11", 0, notes("c"))

        last = await store.last_event("note-1")

        assert last is not None
        assert (last.event, last.stream_version) == (Noted(text="b"), 2)

    async def test_the_log_is_read_backwards(self, store: EventStore) -> None:
        assert await store.read_all_events_backwards() == []
        for n in range(5):
            await store.append_to_stream(f"note-{n % 2}", ANY, notes(n))
        places = positions(await store.read_all_events())

        assert positions(await store.read_all_events_backwards()) == places[::-1]
        for index, place in enumerate(places):
            assert positions(await store.read_all_events_backwards(place)) == places[:index][::-1]
            assert positions(await store.read_all_events_backwards(place + 1, 2)) == places[: index + 1][::-1][:2]
        assert await store.read_all_events_backwards(0) == []
        assert await store.read_all_events_backwards(max_count=0) == []
        assert positions(await store.read_all_events_backwards(2**40, max_count=2**40)) == places[::-1]

    async def test_a_long_log_is_read_backwards_in_pages(self, store: EventStore) -> None:
        count = PAGE_SIZE * 2
        for n in range(0, count, 100):
            await store.append_to_stream("note-1", n, notes(*range(n, n + 100)))

        assert texts(await store.read_all_events_backwards()) == [str(n) for n in reversed(range(count))]
        assert texts(await store.read_all_events_backwards(max_count=PAGE_SIZE + 1))[-1] == str(PAGE_SIZE - 1)

    async def test_every_selection_is_read_both_ways(self, store: EventStore) -> None:
        log = await mixed_log(store)
        middle = log[12].global_position

        for where in selections(log):
            expected = selected(log, where)
            after = [place for place in expected if place > middle]
            before = [place for place in expected if place < middle][::-1]

            assert positions(await store.read_all_events(**where)) == expected, where
            assert positions(await store.read_all_events_backwards(**where)) == expected[::-1], where
            assert positions(await store.read_all_events(middle, 2, **where)) == after[:2], where
            assert positions(await store.read_all_events_backwards(middle, 2, **where)) == before[:2], where
            assert positions([one async for one in store.iterate_all_events(**where)]) == expected, where

    async def test_the_log_is_read_by_several_categories(self, store: EventStore) -> None:
        log = await mixed_log(store)
        expected = [one.global_position for one in log if one.stream_id != "third-1"]
        assert len(expected) < len(log)

        for category in (["note", "other"], ("other", "note", "none"), ["other", "note", "other"], {"note", "other"}):
            where = Selection(category=cast("list[str]", category))
            assert positions(await store.read_all_events(**where)) == expected
            assert positions(await store.read_all_events(expected[3], 5, **where)) == expected[4:9]
            assert positions(await store.read_all_events_backwards(expected[9], 5, **where)) == expected[4:9][::-1]
        one = await store.read_all_events(category=["note"])
        assert positions(one) == positions(await store.read_all_events(category="note"))

    async def test_the_log_is_read_by_stream(self, store: EventStore) -> None:
        log = await mixed_log(store)
        expected = [one.global_position for one in log if one.stream_id == "note-1"]

        assert positions(await store.read_all_events(stream_id="note-1")) == expected
        assert positions(await store.read_stream("note-1")) == expected
        for index, place in enumerate(expected):
            assert positions(await store.read_all_events(place, 2, stream_id="note-1")) == expected[index + 1 :][:2]
            earlier = await store.read_all_events_backwards(place, 2, stream_id="note-1")
            assert positions(earlier) == expected[:index][::-1][:2]
        assert await store.read_all_events(stream_id="note-2") == []
        assert await store.read_all_events(log[-1].global_position, stream_id="note-1") == []
        assert await store.read_all_events_backwards(0, stream_id="note-1") == []
        assert await store.read_all_events(stream_id="note-1", category=["other", "third"]) == []

    async def test_a_page_is_the_same_whenever_it_is_read(self, store: EventStore) -> None:
        log = await mixed_log(store)
        for where in (Selection(), Selection(category="note"), Selection(correlation_id="one", event_types=[Noted])):
            first = await store.read_all_events_backwards(max_count=3, **where)
            second = await store.read_all_events_backwards(first[-1].global_position, 3, **where)

            with context(correlation_id="one"):
                await store.append_to_stream("note-1", ANY, notes("later"))
            again = await store.read_all_events_backwards(first[-1].global_position, 3, **where)

            assert positions(again) == positions(second)
            assert positions([*first, *second]) == selected(log, where)[::-1][:6]
            log = await store.read_all_events()

    async def test_a_range_of_time_holds_its_beginning_and_not_its_end(self, store: EventStore) -> None:
        log = await mixed_log(store)
        start, end = log[3].recorded_at, log[9].recorded_at
        elsewhere = timezone(timedelta(hours=-9))
        inside = [one.global_position for one in log if start <= one.recorded_at < end]

        assert log[3].global_position in inside
        assert log[9].global_position not in inside
        assert positions(await store.read_all_events(recorded_from=start, recorded_before=end)) == inside
        shifted = Selection(recorded_from=start.astimezone(elsewhere), recorded_before=end.astimezone(elsewhere))
        assert positions(await store.read_all_events(**shifted)) == inside
        assert await store.read_all_events(recorded_from=end, recorded_before=start) == []
        assert await store.read_all_events(recorded_from=datetime.max.replace(tzinfo=UTC)) == []
        assert await store.read_all_events_backwards(recorded_before=datetime.min.replace(tzinfo=UTC)) == []
        ever = Selection(
            recorded_from=datetime.min.replace(tzinfo=UTC), recorded_before=datetime.max.replace(tzinfo=UTC)
        )
        assert len(await store.read_all_events(**ever)) == len(log)

    async def test_a_correlation_id_may_be_a_uuid_or_any_text(self, store: EventStore) -> None:
        for correlation_id in (uuid4(), LONG + "a", LONG + "b", "'; drop table events; --", "ключ 💥"):
            with context(correlation_id=correlation_id):
                await store.append_to_stream("note-1", ANY, notes(correlation_id))
        await store.append_to_stream("note-1", ANY, notes("without"))

        for stored in (await store.read_all_events())[:-1]:
            text = stored.event.text
            assert texts(await store.read_all_events(correlation_id=text)) == [text]
            assert texts(await store.read_all_events_backwards(correlation_id=text)) == [text]
        first = (await store.read_all_events())[0].event.text
        assert texts(await store.read_all_events(correlation_id=UUID(first))) == [first]
        assert await store.read_all_events(correlation_id=LONG) == []

    async def test_what_a_request_set_in_motion_is_a_tree(self, store: EventStore) -> None:
        async def add(stream_id: str, text: str, causation_id: object) -> UUID:
            with context(correlation_id="request", causation_id=str(causation_id)):
                await store.append_to_stream(stream_id, ANY, notes(text))
            last = await store.last_event(stream_id)
            assert last is not None
            return last.event_id

        ordered = await add("order-1", "ordered", "command-1")
        await add("note-1", "noted", "command-1")
        paid = await add("payment-1", "paid", ordered)
        await add("stock-1", "reserved", ordered)
        await add("order-1", "confirmed", paid)
        await store.append_to_stream("order-2", 0, notes("of another request"))

        top = await store.causation_tree("request")

        assert [[(depth, stored.event.text) for depth, stored in one.walk()] for one in top] == [
            [(0, "ordered"), (1, "paid"), (2, "confirmed"), (1, "reserved")],
            [(0, "noted")],
        ]
        assert await store.causation_tree("another") == []

    async def test_bad_questions_are_refused(self, store: EventStore) -> None:
        calls: list[tuple[Sequence[Any], Call]] = [
            (BAD_COUNTS, lambda bad: store.read_stream_backwards("note-1", bad)),
            (BAD_COUNTS, lambda bad: store.read_stream_backwards("note-1", max_count=bad)),
            (BAD_COUNTS, store.read_all_events_backwards),
            (BAD_COUNTS, lambda bad: store.read_all_events_backwards(max_count=bad)),
            (BAD_TIMES, lambda bad: store.read_all_events(recorded_from=bad)),
            (BAD_TIMES, lambda bad: store.read_all_events_backwards(recorded_before=bad)),
            (BAD_CORRELATIONS, lambda bad: store.read_all_events(correlation_id=bad)),
            ([*BAD_CORRELATIONS, None], store.causation_tree),
            (["", "a-b", 5], lambda bad: store.read_all_events_backwards(category=bad)),
            (["noted", [], [5]], lambda bad: store.read_all_events_backwards(event_types=bad)),
        ]
        for values, call in calls:
            assert await accepted(values, call) == []
        for ask in (store.read_stream_backwards, store.last_event):
            assert await accepted(BAD_STREAM_IDS, ask, InvalidStreamIdError) == []
        with pytest.raises(InvalidArgumentError, match="with a time zone"):
            await store.read_all_events(recorded_from=BAD_TIMES[0])  # type: ignore[arg-type]  # it is refused
