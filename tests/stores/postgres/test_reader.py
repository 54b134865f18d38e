"""Reading backwards, in a range of time and by correlation id: behind the fence, exact, and found by an index."""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.context import context
from perdure.events import NewEvent, StoredEvent
from perdure.log import NOW, LogFilter
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import Noted, insert, notes, other_connection, texts

LONG_AGO, IN_A_YEAR = datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=365)
START = datetime(2024, 1, 1, tzinfo=UTC)

BEHIND_THE_FENCE: list[dict[str, Any]] = [
    {},
    {"category": "note"},
    {"event_types": ["test.races.noted"]},
    {"correlation_id": "request"},
    {"recorded_from": LONG_AGO, "recorded_before": IN_A_YEAR},
    {"category": "note", "recorded_from": LONG_AGO},
    {"category": ["note", "other"]},
]


def hours(number: float) -> datetime:
    return START + timedelta(hours=number)


async def fill(connection: asyncpg.Connection, *times: datetime, step: int = 1) -> None:
    """Events that were recorded at these times, in this order, as many positions apart."""
    await connection.executemany(
        """
        insert into perdure.events (
            global_position, stream_id, stream_version, event_id, event_type, event_version, event_data, metadata,
            recorded_at
        )
        overriding system value
        values ($1, 'note-1', $2::integer, gen_random_uuid(), 'test.races.noted', 1,
            json_build_object('text', $2::integer::text), '{"timestamp":"2024-01-01T00:00:00Z"}', $3)
        """,
        [(number * step, number, time) for number, time in enumerate(times, 1)],
    )
    await connection.execute("select setval('perdure.global_position', $1)", len(times) * step)


@pytest.mark.parametrize("where", BEHIND_THE_FENCE, ids=lambda where: " and ".join(where) or "all")
async def test_neither_way_shows_an_event_before_which_another_may_come(
    store: PostgreSQLEventStore, database_url: str, where: dict[str, Any]
) -> None:
    with context(correlation_id="request"):
        await store.append_to_stream("note-0", ANY, notes("first"))
        async with other_connection(database_url) as late:
            await late.execute("begin")
            await insert(late, "note-1", 1, "late")
            await store.append_to_stream("note-0", ANY, notes("early"))

            assert texts(await store.read_all_events(**where)) == ["first"]
            assert texts(await store.read_all_events_backwards(**where)) == ["first"]
            assert texts(await store.read_all_events_backwards(100, 5, **where)) == ["first"]
            await late.execute("commit")

    seen = ["first", "early"] if "correlation_id" in where else ["first", "late", "early"]
    assert texts(await store.read_all_events(**where)) == seen
    assert texts(await store.read_all_events_backwards(**where)) == seen[::-1]


async def test_the_end_of_a_stream_is_seen_at_once(store: PostgreSQLEventStore, database_url: str) -> None:
    """A stream has no gaps, so that nothing needs to be waited for."""
    async with other_connection(database_url) as late:
        await late.execute("begin")
        await insert(late, "note-1", 1, "late")
        await store.append_to_stream("note-0", ANY, notes("a", "b"))

        assert texts(await store.read_stream_backwards("note-0")) == ["b", "a"]


async def test_what_a_page_of_a_category_passes_over_is_asked_for_only_where_there_may_be_something(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_to_stream("other-1", ANY, notes("a"))
    await store.append_to_stream("note-1", ANY, notes("b"))
    fetch, asked = store.database.fetch, list[str]()

    async def noted(sql: str, *arguments: object) -> list[asyncpg.Record]:
        asked.append(sql)
        return await fetch(sql, *arguments)

    monkeypatch.setattr(store.database, "fetch", noted)
    where, last_event = LogFilter(("note",)), Reader(store.database)._sql["last_event"]

    assert (await store.log_page(0, 10, where)).position == 2
    assert last_event not in asked

    await store.append_to_stream("other-1", ANY, notes("c"))
    assert (await store.log_page(0, 10, where)).position == 3
    assert last_event in asked


@pytest.mark.parametrize("step", [1, 2**40])
async def test_a_range_of_time_is_found_between_any_gaps(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, step: int
) -> None:
    await fill(connection, *[hours(number) for number in range(60)], step=step)

    for start, end in ((0, 60), (-5, 3), (17, 18), (17.5, 40.5), (55, 99), (70, 80), (-9, -2)):
        expected = [str(number + 1) for number in range(60) if start <= number < end]
        where: Any = {"recorded_from": hours(start), "recorded_before": hours(end)}
        assert texts(await store.read_all_events(**where)) == expected
        assert texts(await store.read_all_events_backwards(**where)) == expected[::-1]
        assert texts(await store.read_all_events(category="note", **where)) == expected


async def test_a_clock_that_was_set_back_by_less_than_an_hour_hides_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    times = [hours(number / 10 - 0.9 * (number > 30)) for number in range(60)]
    await fill(connection, *times)

    for start in range(60):
        for length in (0.05, 0.3, 2):
            first, end = times[start], times[start] + timedelta(hours=length)
            expected = [str(number) for number, time in enumerate(times, 1) if first <= time < end]
            assert texts(await store.read_all_events(recorded_from=first, recorded_before=end)) == expected


async def test_a_follower_from_a_time_misses_nothing_where_the_clock_was_set_back(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    times = [hours(number / 10 - 0.9 * (number > 30)) for number in range(60)]
    await fill(connection, *times)

    for start in range(60):
        expected = [str(number) for number, time in enumerate(times, 1) if time >= times[start]]
        follower = store.subscribe(times[start])
        assert texts([await anext(follower) for _ in expected]) == expected
        assert (await follower.next_page(patience=0)).events == []


async def test_now_is_before_what_an_open_append_holds_back(store: PostgreSQLEventStore, database_url: str) -> None:
    await store.append_to_stream("note-0", ANY, notes("first"))
    first = await store.last_event("note-0")
    assert first is not None
    async with other_connection(database_url) as late:
        await late.execute("begin")
        await insert(late, "note-9", 1, "late")
        await store.append_to_stream("note-1", ANY, notes("held back"))
        followers = [store.subscribe(NOW), store.subscribe(NOW, category=["note", "other"])]
        assert texts(await store.read_all_events()) == ["first"]
        for follower in followers:
            assert await follower.begin() == first.global_position
        await late.execute("commit")

    for follower in followers:
        assert texts([await anext(follower), await anext(follower)]) == ["late", "held back"]


async def test_an_event_without_a_correlation_id_takes_no_room_in_the_index(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", ANY, notes(*range(50)))
    with context(correlation_id="request"):
        await store.append_to_stream("note-1", ANY, notes("a"))
    await connection.execute("analyze perdure.events")

    entries = await connection.fetchval("select reltuples from pg_class where relname = 'events_correlation'")
    assert entries == 1


# --- Plans ------------------------------------------------------------------------------------------------------------

Plan = Callable[..., Awaitable[str]]


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def plan(store: PostgreSQLEventStore, connection: asyncpg.Connection, request: pytest.FixtureRequest) -> Plan:
    """How the server runs a statement, on a log that is large enough for it to choose."""
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'cat' || n % 175 || '-' || n % 700, n / 700 + 1, gen_random_uuid(), 'type' || n % 9, 1, '{}',
            case when n % 3 = 0 then
                json_build_object('timestamp', '2026-01-01T00:00:00Z', 'correlation_id', 'request ' || n / 15)
            else '{"timestamp":"2026-01-01T00:00:00Z"}' end
        from generate_series(0, 20999) n;
        analyze perdure.events;
    """)
    await connection.execute(f"set plan_cache_mode = {request.param}")

    async def explained(name: str, *arguments: str) -> str:
        await connection.execute(f"prepare hot as {Reader(store.database)._sql[name]}")
        try:
            rows = await connection.fetch(f"explain (analyze, costs off) execute hot({', '.join(arguments)})")
        finally:
            await connection.execute("deallocate hot")
        return "\n".join(row[0] for row in rows)

    return explained


NO_TIME = ("null", "null")
ONE_STREAM = ("null", "null", "null", *NO_TIME)


@pytest.mark.parametrize(
    ("name", "arguments", "index"),
    [
        ("read_stream_backwards", ("'cat0-140'", "25", "500"), "events_stream_version"),
        ("read_stream_backwards", ("'cat0-140'", "9223372036854775807", "1"), "events_stream_version"),
        ("read_stream_backwards", ("'cat0-140'", "25", "null"), "events_stream_version"),
        ("read_stream_of_types", ("'cat0-140'", "5", "500", "'{type3}'"), "events_stream_version"),
        ("read_stream_of_types", ("'cat0-140'", "0", "1", "'{type3,type4}'"), "events_stream_version"),
        ("read_stream_of_types", ("'cat0-140'", "0", "null", "'{type3}'"), "events_stream_version"),
        ("read_stream_backwards_of_types", ("'cat0-140'", "25", "500", "'{type3}'"), "events_stream_version"),
        ("read_stream_backwards_of_types", ("'cat0-140'", "25", "1", "'{type3}'"), "events_stream_version"),
        ("read_log_between", ("10000", "10500", "500", "null", "now()", "now()"), "events_pkey"),
        ("read_log_between_backwards", ("0", "20990", "500", "null", *NO_TIME), "events_pkey"),
        ("read_log_between_backwards", ("0", "20990", "500", "'{type3}'", *NO_TIME), "events_pkey"),
        ("read_log_of_category_between", ("10", "20990", "500", "'cat3'", "null", *NO_TIME), "events_category"),
        ("read_log_of_category_between_backwards", ("0", "20990", "50", "'cat3'", "null", *NO_TIME), "events_category"),
        (
            "read_log_of_correlation",
            ("0", "20990", "500", "'request 9'", "null", "null", *NO_TIME),
            "events_correlation",
        ),
        (
            "read_log_of_correlation_backwards",
            ("0", "20990", "500", "'request 9'", "'{cat3}'", "'{type3}'", *NO_TIME),
            "events_correlation",
        ),
        (
            "read_log_of_categories_between",
            ("10", "20990", "500", "'{cat3,cat4}'", "null", *NO_TIME),
            "events_category",
        ),
        (
            "read_log_of_categories_between_backwards",
            ("0", "20990", "50", "'{cat3,cat4}'", "'{type3}'", *NO_TIME),
            "events_category",
        ),
        ("read_log_of_stream", ("5", "25", "500", "'cat0-140'", "20990", *ONE_STREAM), "events_stream_version"),
        ("read_log_of_stream_backwards", ("0", "9", "9", "'cat0-140'", "20990", *ONE_STREAM), "events_stream_version"),
        ("stream_versions", ("1000", "20990", "'cat0-140'"), "events_stream_version"),
    ],
)
async def test_every_way_to_look_at_the_log_uses_its_index(
    plan: Plan, name: str, arguments: tuple[str, ...], index: str
) -> None:
    seen = await plan(name, *arguments)

    assert index in seen, seen
    assert "Seq Scan" not in seen
    assert "Sort" not in seen or index != "events_pkey", seen  # a few events are fetched faster as they lie on the disk


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stream_versions", ("29000", "30000", "'long-1'")),
        ("read_log_of_stream", ("8000", "9999", "10", "'long-1'", "30000", *ONE_STREAM)),
        ("read_log_of_stream_backwards", ("1", "2000", "10", "'long-1'", "30000", *ONE_STREAM)),
    ],
)
async def test_a_page_of_a_long_stream_is_found_without_reading_the_rest(
    plan: Plan, connection: asyncpg.Connection, name: str, arguments: tuple[str, ...]
) -> None:
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'long-1', n, gen_random_uuid(), 'type', 1, '{}', '{"timestamp":"2026-01-01T00:00:00Z"}'
        from generate_series(1, 10000) n;
        analyze perdure.events;
        select pg_stat_reset();
    """)

    seen = await plan(name, *arguments)
    await connection.execute("select pg_stat_force_next_flush()")

    read = await connection.fetchrow(
        "select seq_tup_read, idx_tup_fetch from pg_stat_user_tables where relname = 'events'"
    )
    assert read is not None
    assert read["seq_tup_read"] == 0
    assert read["idx_tup_fetch"] < 100, seen


async def test_a_time_is_found_without_a_scan(plan: Plan, connection: asyncpg.Connection) -> None:
    await connection.execute("select pg_stat_reset()")

    await plan("recorded_positions", "now() - interval '1 day'", "now() + interval '1 day'")
    await connection.execute("select pg_stat_force_next_flush()")

    read = await connection.fetchrow(
        "select seq_tup_read, idx_tup_fetch from pg_stat_user_tables where relname = 'events'"
    )
    assert read is not None
    assert read["seq_tup_read"] == 0
    assert read["idx_tup_fetch"] < 100


# --- Large events -----------------------------------------------------------------------------------------------------

MEGABYTE = 1024 * 1024


def size_of(events: Iterable[StoredEvent]) -> int:
    return sum(len(stored.event_data) + len(stored.stored_metadata) for stored in events)


@pytest.mark.parametrize("kind", ["compressible", "random"])
@pytest.mark.parametrize("where", [{}, {"category": "note"}, {"event_types": [Noted]}], ids=str)
async def test_a_follower_holds_two_pages_of_bounded_size(
    store: PostgreSQLEventStore, kind: str, where: dict[str, Any]
) -> None:
    """Small events first, after which a page would hold many; then some whose payload or metadata is large."""
    large = "x" * 900_000 if kind == "compressible" else secrets.token_hex(450_000)
    for _ in range(3):
        await store.append_to_stream("note-1", ANY, notes(*range(100)))
    for _ in range(6):
        headers = {"large": large}
        await store.append_to_stream("note-1", ANY, [NewEvent(note, headers=headers) for note in notes("a", "b")])
        await store.append_to_stream("note-1", ANY, notes(large))
    await store.append_to_stream("note-1", ANY, notes("end"))
    follower = store.subscribe(**where)

    seen, most = list[int](), 0
    async for stored in follower:
        ahead = await follower._prefetch.done() if follower._prefetch is not None else None
        most = max(most, size_of([stored, *follower._ready, *(ahead.events if ahead is not None else [])]))
        seen.append(stored.global_position)
        if stored.event.text == "end":
            break
    assert seen == [*range(1, 320)]
    assert most <= 2 * (4 * MEGABYTE + MEGABYTE)


async def test_a_page_is_cut_short_for_its_size_and_goes_on_from_there(store: PostgreSQLEventStore) -> None:
    for text in ("a", "b"):
        await store.append_to_stream("note-1", ANY, notes(text))
    for _ in range(6):
        await store.append_to_stream("note-1", ANY, notes("x" * 900_000))
    await store.append_to_stream("note-1", ANY, notes("c"))

    for where in (LogFilter(), LogFilter(("note",))):
        position, pages = 0, list[int]()
        while (page := await store.log_page(position, 500, where)).position > position:
            pages.append(len(page.events))
            position = page.position
        assert pages == [2, 5, 2], where
    assert len(await store.read_all_events(max_count=8)) == 8
    assert len(await store.read_all_events(category="note")) == 9
