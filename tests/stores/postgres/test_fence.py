"""The fence: followers miss nothing, whatever commits late or rolls back, and strangers don't hold them up.

Two connections and the order of statements make each race happen; nothing waits for a while and hopes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import ConfigurationError, PerdureError
from perdure.log import LogFilter, Page
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import Noted, insert, notes, other_connection, positions, texts

TYPE = "test.races.noted"
FILTERS: list[dict[str, Any]] = [
    {},
    {"category": "note"},
    {"event_types": [Noted]},
    {"category": "note", "event_types": [TYPE]},
]
EVERY_PATH = pytest.mark.parametrize("where", FILTERS, ids=["all", "category", "types", "both"])


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    """Three connections, each in a transaction of its own."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(other_connection(database_url)) for _ in range(3)]
        for connection in found:
            await connection.execute("begin")
        yield found


@EVERY_PATH
async def test_regression_10_an_event_that_commits_late_is_not_skipped(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection], where: dict[str, Any]
) -> None:
    late, early, _ = writers
    await store.append_to_stream("note-0", ANY, notes("first"))
    assert await insert(late, "note-1", 1, "late") == 2
    assert await insert(early, "note-2", 1, "early") == 3
    await early.execute("commit")

    assert await positions(store, **where) == [1]
    follower = store.subscribe(1, **where)
    coming = asyncio.create_task(anext(follower))
    await late.execute("commit")

    assert (await coming).event.text == "late"
    assert (await anext(follower)).event.text == "early"
    assert await positions(store, **where) == [1, 2, 3]


async def test_regression_05_the_order_of_the_log_is_that_of_positions_on_every_path(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection]
) -> None:
    for number, writer in enumerate(writers):
        await insert(writer, f"note-{number}", 1, str(number))
    for writer in reversed(writers):
        await writer.execute("commit")

    for where in FILTERS:
        assert texts(await store.read_all_events(**where)) == ["0", "1", "2"]


@EVERY_PATH
@pytest.mark.parametrize("question", [1, 2, 3])
async def test_regression_11_what_commits_between_the_questions_of_the_fence_is_seen_or_waited_for(
    store: PostgreSQLEventStore,
    writers: list[asyncpg.Connection],
    monkeypatch: pytest.MonkeyPatch,
    where: dict[str, Any],
    question: int,
) -> None:
    late, early, later = writers
    fetch, asked, asking = store.database.fetch, 0, asyncio.current_task()
    await insert(late, "note-1", 1, "late")
    await insert(early, "note-2", 1, "early")
    await early.execute("commit")

    async def fetch_after_more_commits(sql: str, *arguments: object) -> list[asyncpg.Record]:
        nonlocal asked
        answer = await fetch(sql, *arguments)
        if asyncio.current_task() is not asking:
            return answer  # the store asks on its own, too
        asked += 1
        if asked == question:
            # After one of the log, the mark and the rows: what was held commits, and a newer one draws and commits.
            await late.execute("commit")
            await insert(later, "note-3", 1, "later")
            await later.execute("commit")
        return answer

    monkeypatch.setattr(store.database, "fetch", fetch_after_more_commits)
    seen: list[int] = []
    follower = store.subscribe(**where)
    for _ in range(4):
        page = await follower.next_page(patience=0)
        seen += [one.global_position for one in page.events]
        if asked < question:
            assert seen == []

    assert seen == [1, 2, 3]


async def test_regression_12_a_page_ends_before_an_event_that_can_not_be_seen_yet(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection]
) -> None:
    late = writers[0]
    await store.append_to_stream("note-0", ANY, notes(1, 2))
    await insert(late, "note-1", 1, "3")
    await store.append_to_stream("note-0", ANY, notes(4, 5))

    page = await store.log_page(0, 10, LogFilter())
    assert ([one.global_position for one in page.events], page.position) == ([1, 2], 2)
    behind = await store.log_page(2, 10, LogFilter())
    assert (behind.events, behind.position, behind.held_back) == ([], 2, True)
    assert await store.log_page(1, 0, LogFilter()) == Page([], 1)
    filtered = await store.log_page(0, 10, LogFilter(("note",)))
    assert ([one.global_position for one in filtered.events], filtered.held_back) == ([1, 2], True)

    await late.execute("commit")
    assert await positions(store) == [1, 2, 3, 4, 5]


@EVERY_PATH
async def test_regression_13_reading_following_and_paging_obey_one_rule(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection], where: dict[str, Any]
) -> None:
    await store.append_to_stream("note-0", ANY, notes(1))
    await insert(writers[0], "note-1", 1, "2")
    await store.append_to_stream("note-0", ANY, notes(3))

    assert await positions(store, **where) == [1]
    assert await positions(store, max_count=10, **where) == [1]
    assert [one.global_position async for one in store.iterate_all_events(**where)] == [1]
    assert [one.global_position for one in (await store.subscribe(**where).next_page()).events] == [1]


@EVERY_PATH
async def test_regression_14_and_16_a_gap_is_neither_jumped_in_time_nor_a_stall_once_it_is_dead(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection], where: dict[str, Any]
) -> None:
    rolled_back = writers[0]
    await store.append_to_stream("note-0", ANY, notes(1))
    await insert(rolled_back, "note-1", 1, "2")
    await store.append_to_stream("note-0", ANY, notes(3))
    for _ in range(20):
        assert await positions(store, **where) == [1]

    await rolled_back.execute("rollback")

    assert await positions(store, **where) == [1, 3]
    follower = store.subscribe(**where)
    assert [(await anext(follower)).global_position for _ in range(2)] == [1, 3]


async def test_regression_15_and_17_strangers_hold_nobody_up(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection], connection: asyncpg.Connection, server_url: str
) -> None:
    dump, analyst, leader = writers
    await dump.execute("rollback; begin isolation level repeatable read; select count(*) from perdure.events")
    await analyst.execute("create temp table scratch as select 1; select txid_current()")
    await leader.execute("select pg_advisory_lock(0), pg_advisory_lock_shared(1), pg_advisory_lock(736, 1)")
    await leader.execute("select pg_advisory_lock(perdure.store_namespace(), 1)")  # another stream's lock
    async with other_connection(server_url) as elsewhere, other_connection(server_url) as same_key:
        await elsewhere.execute("begin; select txid_current()")
        namespace = await connection.fetchval("select perdure.store_namespace()::bigint << 48")
        await same_key.execute(f"select pg_advisory_lock_shared({namespace})")  # in another database
        for n in range(3):
            await store.append_to_stream(f"note-{n}", ANY, notes(n))

        for where in FILTERS:
            assert await positions(store, **where) == [1, 2, 3]


@pytest.mark.parametrize("after", ["", "insert again"])
async def test_a_savepoint_that_is_rolled_back_leaves_no_hole_and_no_leak(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection], after: str
) -> None:
    writer, other, _ = writers
    await writer.execute("savepoint s")
    assert await insert(writer, "note-1", 1, "dropped") == 1
    await writer.execute("rollback to savepoint s")
    assert await insert(other, "note-2", 1, "other") == 2
    if after:
        assert await insert(writer, "note-1", 1, "kept") == 3
    await store.append_to_stream("note-3", ANY, notes("last"))
    await other.execute("commit")

    assert texts(await store.read_all_events()) == (["other"] if after else ["other", "last"])
    await writer.execute("commit")
    assert texts(await store.read_all_events()) == (["other", "kept", "last"] if after else ["other", "last"])


async def test_a_released_savepoint_keeps_its_events_fenced(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection]
) -> None:
    writer = writers[0]
    await writer.execute("savepoint s")
    await insert(writer, "note-1", 1, "inner")
    await writer.execute("release savepoint s")
    await insert(writer, "note-1", 2, "outer")
    await store.append_to_stream("note-2", ANY, notes("other"))

    assert await positions(store) == []
    await writer.execute("commit")
    assert texts(await store.read_all_events()) == ["inner", "outer", "other"]


async def test_copy_and_inserts_of_many_rows_are_fenced_too(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection]
) -> None:
    copier, inserter, _ = writers
    columns = ["stream_id", "stream_version", "event_id", "event_type", "event_version", "event_data", "metadata"]
    data = ['{"text":"copied"}', '{"timestamp":"2024-01-01T00:00:00Z"}']
    ids = await copier.fetch("select gen_random_uuid() from generate_series(1, 2)")
    records = [("note-1", version, one[0], TYPE, 1, *data) for version, one in enumerate(ids, 1)]
    await copier.copy_records_to_table("events", schema_name="perdure", records=records, columns=columns)
    await inserter.execute(
        f"insert into perdure.events ({', '.join(columns)}) "
        f"select 'note-2', n, gen_random_uuid(), '{TYPE}', 1, '{{}}', $1::json from generate_series(1, 3) n",
        data[1],
    )
    await inserter.execute("commit")

    assert await positions(store) == []
    await copier.execute("commit")
    assert await positions(store) == [1, 2, 3, 4, 5]


async def test_a_prepared_transaction_is_waited_for(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    if await connection.fetchval("show max_prepared_transactions") == "0":
        pytest.skip("the server has max_prepared_transactions = 0")
    async with other_connection(store.database._url) as writer:
        await writer.execute("begin")
        await insert(writer, "note-1", 1, "prepared")
        await writer.execute("prepare transaction 'perdure_fence'")
    try:
        await store.append_to_stream("note-2", ANY, notes("later"))
        assert await positions(store) == []
    finally:
        await connection.execute("commit prepared 'perdure_fence'")
    assert await positions(store) == [1, 2]


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_the_fence_refuses_snapshots_that_stand_still(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, level: Any
) -> None:
    for statement in ("select * from perdure.safe_position()", None):
        with pytest.raises(asyncpg.PostgresError) as refused:
            async with connection.transaction(isolation=level):
                await (connection.execute(statement) if statement else insert(connection, "note-1", 1))
        assert refused.value.sqlstate == "PD002"


async def test_the_order_outlives_a_jump_of_the_sequence(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # After a crash, PostgreSQL goes on up to 32 values further on. Nobody holds what lies between.
    await store.append_to_stream("note-1", ANY, notes(1))
    await connection.execute("select setval('perdure.global_position', 33)")
    await store.append_to_stream("note-1", ANY, notes(34))

    assert await positions(store) == [1, 34]
    assert await positions(store, category="note") == [1, 34]
    follower = store.subscribe(1)
    assert (await anext(follower)).global_position == 34


async def test_two_stores_in_one_database_have_a_fence_each(
    store: PostgreSQLEventStore, writers: list[asyncpg.Connection]
) -> None:
    await insert(writers[0], "note-1", 1, "open")
    async with PostgreSQLEventStore(store.database._url, schema="other") as other:
        await other.append_to_stream("note-1", ANY, notes("other"))
        assert await positions(other) == [1]
        assert await positions(other, category="note") == [1]
    assert await positions(store) == []


async def test_a_role_that_may_not_look_at_the_sequence_is_refused_rather_than_shown_a_part(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", ANY, notes(1))
    await connection.execute("select setval('perdure.global_position', 33)")
    await store.append_to_stream("note-1", ANY, notes(34))
    await connection.execute("create role fence_stranger login")
    try:
        await connection.execute("grant usage on schema perdure to fence_stranger")
        await connection.execute("grant select on all tables in schema perdure to fence_stranger")
        await connection.execute("grant execute on all functions in schema perdure to fence_stranger")
        parts = urlsplit(store.database._url)
        url = parts._replace(netloc=f"fence_stranger@{parts.netloc.rpartition('@')[2]}").geturl()
        async with PostgreSQLEventStore(url, migrate=False) as strangers:
            for call in (
                strangers.read_all_events(),
                positions(strangers, category="note"),
                anext(strangers.subscribe(1)),
            ):
                with pytest.raises(ConfigurationError, match="permission denied"):
                    await call

            await connection.execute("grant select on sequence perdure.global_position to fence_stranger")
            assert await positions(strangers) == [1, 34]
    finally:
        await connection.execute("drop owned by fence_stranger; drop role fence_stranger")


async def test_a_standby_goes_by_what_was_published(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # There is no standby here: a function of that name, found first, says that this is one.
    await store.append_to_stream("note-1", ANY, notes(1, 2, 3))
    await connection.execute("update perdure.published set global_position = 2")
    await connection.execute("create function perdure.pg_is_in_recovery() returns boolean return true")
    name = await connection.fetchval("select current_database()")
    await connection.execute(f'alter database "{name}" set search_path = perdure, pg_catalog')
    async with other_connection(store.database._url) as standby:
        [position] = await standby.fetch("select * from perdure.safe_position()")
        assert tuple(position) == (2, 3)
        assert await standby.fetchval("select perdure.check_position(2)")
        with pytest.raises(asyncpg.PostgresError) as refused:
            await standby.execute("select perdure.check_position(3)")
        assert refused.value.sqlstate == "PD003"


async def test_nothing_is_published_where_nobody_receives_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", ANY, notes(1))

    [published] = await connection.fetch("select * from perdure.publish_position()")
    assert tuple(published) == (None, None)


@pytest.mark.one_session
async def test_the_refusal_of_the_fence_is_an_error_of_ours(database_url: str, connection: asyncpg.Connection) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_isolation = serializable')
        for call in (store.append_to_stream("note-1", ANY, notes(1)), store.read_all_events(category="note")):
            with pytest.raises(PerdureError, match="READ COMMITTED"):
                await call
