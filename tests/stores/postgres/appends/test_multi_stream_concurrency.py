"""Appends to several streams beside other appends, and beside followers."""

import asyncio

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    OptimisticConcurrencyError,
)
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import locked_stream
from tests.stores.postgres.races import (
    add_gate,
    close_gate,
    group,
    notes,
    open_gate,
    texts,
    until_waiting,
)


async def test_single_appends_to_a_stream_of_a_group_wait_for_it_and_keep_their_order(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    appending = asyncio.create_task(store.append_to_streams(group("note-a", "note-b", text="gated")))
    await until_waiting(connection)
    singles = [asyncio.create_task(store.append_to_stream("note-b", ANY, notes(n))) for n in range(5)]
    other = await store.append_to_stream("note-c", NO_STREAM, notes("not held up"))
    assert not any(single.done() for single in singles)
    await open_gate(connection)

    assert [one.stream_version for one in await appending] == [1, 1]
    assert [(await single).stream_version for single in singles] == [2, 3, 4, 5, 6]
    assert texts(await store.read_stream("note-b")) == ["gated", *"01234"]
    assert other.stream_version == 1


async def test_regression_01_of_two_groups_that_rely_on_what_the_other_changes_one_is_told(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    first = asyncio.create_task(
        store.append_to_streams(group("note-a", text="gated"), conditions={"note-b": NO_STREAM})
    )  # has checked, can't write yet
    await until_waiting(connection)
    second = asyncio.create_task(store.append_to_streams(group("note-b"), conditions={"note-a": NO_STREAM}))
    await until_waiting(connection, 2, second)
    await open_gate(connection)

    await first
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await second
    assert (conflict.value.stream_id, conflict.value.actual_version) == ("note-a", 1)
    assert texts(await store.read_all_events()) == ["gated"]


async def test_a_condition_holds_up_appends_to_its_stream_until_the_group_is_committed(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    appending = asyncio.create_task(
        store.append_to_streams(group("note-a", text="gated"), conditions={"note-limit": NO_STREAM})
    )
    await until_waiting(connection)
    single = asyncio.create_task(store.append_to_stream("note-limit", ANY, notes("later")))
    other_group = asyncio.create_task(store.append_to_streams(group("note-limit", "note-z", text="later")))
    await until_waiting(connection, 2)
    assert not single.done()
    await open_gate(connection)
    await asyncio.gather(appending, single, other_group)

    assert texts(await store.read_all_events())[0] == "gated"
    assert await store.stream_version("note-limit") == 2


async def test_groups_with_the_same_condition_do_not_hold_each_other_up(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    conditions = {"note-limit": NO_STREAM}
    held = asyncio.create_task(store.append_to_streams(group("note-a", text="gated"), conditions=conditions))
    await until_waiting(connection)

    await store.append_to_streams(group("note-b", "note-c"), conditions=conditions)

    assert not held.done()
    await open_gate(connection)
    await held


async def test_followers_miss_nothing_of_a_group_that_commits_late(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    seen: list[str] = []

    async def follow() -> None:
        async for stored in store.subscribe():
            seen.append(f"{stored.stream_id} {stored.event.text}")
            if len(seen) == 3:
                return

    following = asyncio.create_task(follow())
    late = asyncio.create_task(store.append_to_streams(group("note-b", "note-a", text="gated")))
    await until_waiting(connection)
    early = await store.append_to_stream("note-c", ANY, notes("early"))
    assert await store.read_all_events() == []  # the group may still fill the gap before it
    await open_gate(connection)
    results = await late
    await following

    assert [one.global_position for one in (results[0], early, results[1])] == [1, 2, 3]
    assert sorted(seen) == ["note-a gated", "note-b gated", "note-c early"]
    assert [one.stream_id for one in await store.read_all_events()] == [one.partition(" ")[0] for one in seen]


async def test_followers_are_woken_by_a_group(store: PostgreSQLEventStore) -> None:
    count = store.changes.count
    await store.append_to_streams(group("note-a", "note-b"))

    assert store.changes.count == count + 1


async def test_a_group_that_is_cancelled_while_it_waits_writes_nothing_and_gives_its_locks_back(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with locked_stream(database_url, "note-b"):
        appending = asyncio.create_task(store.append_to_streams(group("note-a", "note-b", "note-c")))
        await until_waiting(connection)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert (await store.append_to_stream("note-a", NO_STREAM, notes("free"))).stream_version == 1
        assert (await store.append_to_stream("note-c", NO_STREAM, notes("free"))).stream_version == 1

    assert sorted(texts(await store.read_all_events())) == ["free", "free", "theirs"]


async def test_groups_that_overlap_the_wrong_way_round_never_deadlock(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    streams = [f"note-{n}" for n in range(8)]
    orders = [streams, streams[::-1], streams[4:] + streams[:4], streams[1::2] + streams[::2]]

    await asyncio.gather(*[store.append_to_streams(group(*orders[n % 4])) for n in range(40)])

    assert [await store.stream_version(stream) for stream in streams] == [40] * 8
    assert await connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0


async def test_streams_that_share_a_lock_by_their_hash_can_be_in_one_group(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    one, other = await connection.fetchval("""
        select array_agg('note-' || n) from generate_series(1, 300000) n
        group by hashtext('note-' || n) having count(*) = 2 limit 1
    """)
    # A lock in share mode that is raised to an exclusive one is what groups could deadlock by.
    await asyncio.gather(
        *[store.append_to_streams(group(one), conditions={other: ANY}) for _ in range(10)],
        *[store.append_to_streams(group(other), conditions={one: ANY}) for _ in range(10)],
        *[store.append_to_streams(group(other, one)) for _ in range(10)],
    )

    assert [await store.stream_version(stream) for stream in (one, other)] == [20, 20]
