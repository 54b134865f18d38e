"""What the functions of the database do with timers: each fires once, never early, whatever else happens to it."""

import asyncio
import json
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

import perdure
from perdure.commit import ANY
from perdure.store import EventStore
from tests.projections.timers.timing import (
    CANCEL,
    LATER,
    Timer,
    fire,
    fired_payloads,
    fired_twice,
    open_transaction,
    remaining,
    set_many,
    set_timer,
)
from tests.stores.postgres.races import notes, other_connection, until_waiting


async def test_a_timer_that_is_due_becomes_an_event_of_its_instance(
    store: EventStore, connection: asyncpg.Connection
) -> None:
    with perdure.context(correlation_id='a "quoted" request'):
        await store.append_to_stream("note-1", ANY, notes("sets it"))
    [cause] = await store.read_stream("note-1")
    timer = await set_timer(connection, "ann", set_by=cause.event_id, data='{"days": [7]}')

    answer = await fire(connection)

    [fired] = await store.read_stream('process-trials.{"user_id":"ann"}')
    assert (answer["fired"], answer["busy"], answer["due_since"], answer["next_due"]) == (1, 0, timer.due_at, None)
    assert (fired.event_type, fired.event_id, fired.stream_version) == ("perdure.timer_fired", timer.firing_id, 1)
    assert json.loads(fired.event_data) == {
        "process": "trials",
        "key": '{"user_id":"ann"}',
        "timer": "end",
        "due_at": timer.due_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "set_by": str(cause.event_id),
        "data": {"days": [7]},
    }
    assert fired.metadata.causation_id == str(cause.event_id)
    assert fired.metadata.correlation_id == 'a "quoted" request'
    assert fired.metadata.timestamp == answer["looked_at"]
    assert await remaining(connection) == []
    tree = await store.causation_tree('a "quoted" request')
    assert [(depth, one.event_type) for root in tree for depth, one in root.walk()] == [
        (0, "test.races.noted"),
        (1, "perdure.timer_fired"),
    ]


async def test_a_timer_does_not_fire_before_it_is_due(store: EventStore, connection: asyncpg.Connection) -> None:
    later = await set_timer(connection, "ann", due_in=LATER)
    await set_timer(connection, "bob", due_in=2 * LATER)

    answer = await fire(connection)

    assert (answer["fired"], answer["due_since"], answer["next_due"]) == (0, None, later.due_at)
    assert await store.read_all_events() == []
    assert len(await remaining(connection)) == 2


async def test_the_longest_due_fire_first_and_no_more_than_the_limit(
    store: EventStore, connection: asyncpg.Connection
) -> None:
    await set_many(connection, 10, due_in=timedelta(seconds=-10))

    assert (await fire(connection, 4))["fired"] == 4

    fired = [json.loads(one.event_data)["key"] for one in await store.read_all_events()]
    assert sorted(fired) == [f'{{"user_id":{n}}}' for n in (1, 2, 3, 4)]
    assert (await fire(connection, 100))["fired"] == 6
    assert (await fire(connection, 100))["fired"] == 0


async def test_timers_of_one_instance_fire_in_the_order_in_which_they_were_due(
    store: EventStore, connection: asyncpg.Connection
) -> None:
    for timer, seconds in (("a", -1), ("b", -3), ("c", -2)):
        await set_timer(connection, "ann", timer, due_in=timedelta(seconds=seconds))

    assert (await fire(connection))["fired"] == 3
    assert [one["timer"] for one in await fired_payloads(store, Timer("ann").stream_id)] == ["b", "c", "a"]


async def test_a_timer_that_a_rebuild_sets_again_does_not_fire_again(
    store: EventStore, connection: asyncpg.Connection
) -> None:
    first = await set_timer(connection, "ann")
    other = await set_timer(connection, "bob")
    await fire(connection)

    again = await set_timer(connection, "ann", set_by=first.set_by, due_in=timedelta(hours=-1), data='"new"')
    fresh = await set_timer(connection, "bob", set_by=UUID(int=7))
    answer = await fire(connection)

    assert (answer["fired"], answer["busy"], await remaining(connection)) == (1, 0, [])
    assert [one["due_at"] for one in await fired_payloads(store, again.stream_id)] != [again.due_at]
    assert len(await fired_payloads(store, again.stream_id)) == 1
    assert [one.event_id for one in await store.read_stream(other.stream_id)] == [other.firing_id, fresh.firing_id]


async def test_a_timer_whose_stream_is_locked_stays_for_a_later_call(
    store: EventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    locked, free = await set_timer(connection, "ann"), await set_timer(connection, "bob")
    async with other_connection(database_url) as holder, open_transaction(holder):
        lock = "select pg_advisory_xact_lock(perdure.store_namespace(), hashtext($1))"
        await holder.execute(lock, locked.stream_id)
        answer = await fire(connection)
        assert (answer["fired"], answer["busy"], answer["next_due"]) == (1, 1, locked.due_at)
        assert len(await fired_payloads(store, free.stream_id)) == 1
        assert await remaining(connection) == [("ann", "end")]

    assert (await fire(connection))["fired"] == 1
    assert len(await fired_payloads(store, locked.stream_id)) == 1


async def test_a_timer_that_another_transaction_replaces_is_left_to_it(
    store: EventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    await set_timer(connection, "ann")
    async with other_connection(database_url) as process:
        async with process.transaction():
            replaced = await set_timer(process, "ann", due_in=LATER)
            assert (await fire(connection))["fired"] == 0
        answer = await fire(connection)

    assert (answer["fired"], answer["next_due"]) == (0, replaced.due_at)
    assert await store.read_all_events() == []


async def test_a_timer_that_is_replaced_while_it_fires_fires_and_is_set(
    store: EventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    first = await set_timer(connection, "ann")
    async with other_connection(database_url) as process, open_transaction(connection):
        assert (await fire(connection))["fired"] == 1
        replacing = asyncio.create_task(set_timer(process, "ann", due_in=LATER))
        async with other_connection(database_url) as observer:
            await until_waiting(observer, 1, replacing)
        await connection.execute("commit")
        await replacing

    assert [one.event_id for one in await store.read_stream(first.stream_id)] == [first.firing_id]
    assert await remaining(connection) == [("ann", "end")]


async def test_a_cancellation_that_commits_first_leaves_nothing_to_fire(
    store: EventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    timer = await set_timer(connection, "ann")
    async with other_connection(database_url) as process, process.transaction():
        await process.execute(CANCEL, "trials", timer.key, "end")
        assert (await fire(connection))["fired"] == 0
    assert (await fire(connection))["fired"] == 0
    assert await store.read_all_events() == []


async def test_a_cancellation_that_comes_second_finds_nothing_and_the_event_stays(
    store: EventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    timer = await set_timer(connection, "ann")
    async with other_connection(database_url) as process, open_transaction(connection):
        await fire(connection)
        cancelling = asyncio.create_task(process.execute(CANCEL, "trials", timer.key, "end"))
        async with other_connection(database_url) as observer:
            await until_waiting(observer, 1, cancelling)
        await connection.execute("commit")
        assert await cancelling == "DELETE 0"

    assert len(await fired_payloads(store, timer.stream_id)) == 1


async def test_nothing_is_fired_by_a_transaction_that_is_rolled_back(
    store: EventStore, connection: asyncpg.Connection
) -> None:
    await set_timer(connection, "ann")
    async with open_transaction(connection):
        assert (await fire(connection))["fired"] == 1

    assert await store.read_all_events() == []
    assert await remaining(connection) == [("ann", "end")]
    assert (await fire(connection))["fired"] == 1


async def test_two_that_fire_at_once_share_the_timers(connection: asyncpg.Connection, database_url: str) -> None:
    await set_many(connection, 100)
    async with other_connection(database_url) as other, open_transaction(connection):
        assert (await fire(connection, 60))["fired"] == 60
        assert (await fire(other, 60))["fired"] == 40
        await connection.execute("commit")

    assert await remaining(connection) == []
    assert await fired_twice(connection) == []


async def test_a_key_of_any_length_and_content_fires(store: EventStore, connection: asyncpg.Connection) -> None:
    timers = [
        await set_timer(connection, user, "t" * 200) for user in ("\x7f", "x" * 1900, "\u2028ö\U0001f600", 'a"b\\')
    ]

    assert (await fire(connection))["fired"] == 4

    for timer in timers:
        [payload] = await fired_payloads(store, timer.stream_id)
        assert json.loads(payload["key"]) == {"user_id": timer.user}


@pytest.mark.parametrize(("due_at", "fires"), [("0001-01-01T00:00:00", True), ("9999-12-31T23:59:59.999999", False)])
async def test_every_time_of_python_can_be_due(
    store: EventStore, connection: asyncpg.Connection, due_at: str, fires: bool
) -> None:
    timer = await set_timer(connection, "ann")
    # As text: the driver makes infinities of these.
    await connection.execute("update perdure.timers set due_at = $1::text::timestamptz", f"{due_at}Z")

    assert (await fire(connection))["fired"] == fires

    for payload in await fired_payloads(store, timer.stream_id):
        assert datetime.fromisoformat(payload["due_at"]) == datetime.fromisoformat(f"{due_at}Z")


@pytest.mark.parametrize(
    "change", ["due_at = 'infinity'", "due_at = '10000-01-01'", "timer = ''", "key = repeat('x', 2001)"]
)
async def test_a_timer_that_can_not_fire_can_not_be_set(connection: asyncpg.Connection, change: str) -> None:
    await set_timer(connection, "ann")
    with pytest.raises(asyncpg.CheckViolationError, match="timers_storable"):
        await connection.execute(f"update perdure.timers set {change}")


async def test_an_id_that_another_event_has_is_an_error_and_loses_no_timer(connection: asyncpg.Connection) -> None:
    timer = await set_timer(connection, "ann")
    insert = """
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        values ('note-1', 1, $1, 'type', 1, '{}', '{"timestamp":"2026-01-01T00:00:00.000000Z"}')
    """
    await connection.execute(insert, timer.firing_id)

    with pytest.raises(asyncpg.PostgresError, match="belongs to an event of another stream"):
        await fire(connection)
    assert await remaining(connection) == [("ann", "end")]
