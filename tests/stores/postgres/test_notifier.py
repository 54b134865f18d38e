"""Subscriptions on PostgreSQL: pushed between processes, and healing themselves."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.context import context
from perdure.errors import LogDivergedError, StoreClosedError, StoreUnavailableError
from perdure.head import Head
from perdure.log import Page
from perdure.stores.postgres.notifier import Notifier
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.subscription import Subscription
from tests.pooler import around
from tests.stores.postgres.races import end_sessions, insert, notes, other_connection, until

LISTENING = "query ilike 'listen%'"


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """Another process's store on the same database, as far as the stores can tell."""
    async with PostgreSQLEventStore(database_url, direct_url=around(database_url)) as store:
        yield store


async def until_listening(connection: asyncpg.Connection, count: int = 1) -> None:
    query = f"select count(*) from pg_stat_activity where datname = current_database() and {LISTENING}"
    while await connection.fetchval(query) < count:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


@pytest.fixture
def never_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let followers rely on being told."""
    for name in ("FIRST_INTERVAL", "LONGEST_INTERVAL", "_BUSY_INTERVAL"):
        monkeypatch.setattr(Head, name, 3600)


@pytest.mark.usefixtures("never_look")
async def test_a_follower_is_pushed_what_another_process_appends(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    follower = store.subscribe()
    coming = asyncio.create_task(anext(follower))
    await until_listening(connection)
    await until(lambda: bool(store.head.waiting))

    await other.append_to_stream("note-1", ANY, notes("pushed"))
    assert (await coming).event.text == "pushed"
    coming = asyncio.create_task(anext(follower))
    await until(lambda: bool(store.head.waiting))
    async with other.transaction() as tx:
        await other.append_to_stream("note-1", ANY, notes("pushed by a transaction"), tx=tx)
    assert (await coming).event.text == "pushed by a transaction"


@pytest.mark.usefixtures("never_look")
async def test_what_is_appended_just_before_closing_is_pushed_as_well(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    # Regression: closing cancelled the ring that was due.
    follower = store.subscribe()
    await until_listening(connection)
    for n in range(5):
        coming = asyncio.create_task(anext(follower))
        await until(lambda: bool(store.head.waiting))
        async with PostgreSQLEventStore(database_url) as brief:
            await brief.append_to_stream("note-1", ANY, notes(n))
        assert (await coming).event.text == str(n)


async def test_regression_19_a_listener_that_is_killed_listens_again(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    follower = store.subscribe()
    for n in range(3):
        coming = asyncio.create_task(anext(follower))
        await until_listening(connection)
        await other.append_to_stream("note-1", ANY, notes(n))
        assert (await coming).event.text == str(n)
        assert await end_sessions(connection, LISTENING) == 1
    await until_listening(connection)


async def test_regression_20_all_sessions_may_end_again_and_again(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    followers = [store.subscribe(), store.subscribe(category="note"), other.subscribe()]
    for n in range(3):
        coming = [asyncio.create_task(anext(follower)) for follower in followers]
        await asyncio.sleep(0)
        await end_sessions(connection)
        await other.append_to_stream("note-1", ANY, notes(n))
        assert [stored.event.text for stored in await asyncio.gather(*coming)] == [str(n)] * 3


@pytest.mark.one_session
async def test_a_server_that_is_away_for_a_while_is_waited_for(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Subscription, "_LONGEST_PAUSE", 0.01)
    await store.append_to_stream("note-1", ANY, notes("a"))
    follower = store.subscribe()
    assert (await anext(follower)).event.text == "a"
    fetch, tries = store.database.fetch, 0

    async def away(sql: str, *arguments: object) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 5:
            raise StoreUnavailableError("away")
        return await fetch(sql, *arguments)

    monkeypatch.setattr(store.database, "fetch", away)
    coming = asyncio.create_task(anext(follower))
    await store.append_to_stream("note-1", ANY, notes("b"))

    assert (await coming).event.text == "b"
    assert tries >= 6
    assert sum("following the log" in record.message for record in caplog.records) == 2


async def test_a_log_that_is_another_after_a_reconnect_is_told(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_to_stream("note-1", ANY, notes("a"))
    follower = store.subscribe()
    await anext(follower)
    fetch = store.database.fetch

    async def replaced(sql: str, *arguments: object) -> Any:
        monkeypatch.setattr(store.database, "fetch", fetch)
        await connection.execute("set session_replication_role = replica; delete from perdure.events")
        await connection.execute("select setval('perdure.global_position', 1, false)")
        await insert(connection, "note-1", 1, "another")
        raise StoreUnavailableError("failover")

    monkeypatch.setattr(store.database, "fetch", replaced)
    with pytest.raises(LogDivergedError) as diverged:
        await anext(follower)
    assert (diverged.value.global_position, diverged.value.found is None) == (1, False)


async def test_what_is_never_told_is_found_by_looking(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # A plain INSERT tells nobody.
    filters: list[dict[str, Any]] = [{}, {"category": "note"}]
    for where in filters:
        version = await store.stream_version("note-1")
        follower = store.subscribe(version, **where)
        coming = asyncio.create_task(anext(follower))
        await until(lambda: bool(store.head.waiting))
        await insert(connection, "note-1", version + 1, "untold")
        assert (await coming).event.text == "untold"


async def test_regression_23_a_follower_restarts_exactly_after_its_checkpoint(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", ANY, notes(1, 2))
    await connection.execute("select nextval('perdure.global_position')")  # a dead gap
    await store.append_to_stream("other-1", ANY, notes(4))
    await store.append_to_stream("note-1", ANY, notes(5))
    for where, expected in (({}, [1, 2, 4, 5]), ({"category": "note"}, [1, 2, 5])):
        checkpoint, event_id, seen = 0, None, []
        for _ in expected:
            stored = await anext(store.subscribe(checkpoint, from_event_id=event_id, **where))
            checkpoint, event_id = stored.global_position, stored.event_id
            seen.append(checkpoint)
        assert seen == expected


async def test_regression_18_reading_on_from_any_position_gives_the_same_order(store: PostgreSQLEventStore) -> None:
    for n in range(6):
        await asyncio.gather(*[store.append_to_stream(f"{'ab'[n % 2]}-{m}", ANY, notes(n)) for m in range(3)])
    everything = [one.global_position for one in await store.read_all_events()]

    for position in everything:
        rest = [one for one in everything if one > position]
        assert [one.global_position for one in await store.read_all_events(position)] == rest
        assert [one.global_position async for one in store.iterate_all_events(position)] == rest
        in_category = [one.global_position for one in await store.read_all_events(position, category="a")]
        assert in_category == [one for one in rest if one in in_category]


async def test_regression_09_a_causation_id_is_stored_as_it_was_given(store: PostgreSQLEventStore) -> None:
    cause = uuid4()
    with context(causation_id=cause, correlation_id="request"):
        await store.append_to_stream("note-1", ANY, notes("a"))
        async with store.transaction() as tx:
            await store.append_to_stream("note-1", ANY, notes("b"), tx=tx)
    assert [one.metadata.causation_id for one in await store.read_stream("note-1")] == [str(cause)] * 2


async def test_a_follower_of_a_store_that_is_closed_is_told(database_url: str) -> None:
    store = PostgreSQLEventStore(database_url)
    async with store:
        follower = store.subscribe()
        coming = asyncio.create_task(anext(follower))
        await until(lambda: bool(store.head.waiting))
    with pytest.raises(StoreClosedError):
        await coming


async def test_an_idle_follower_of_a_category_rests(store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("other-1", ANY, notes("a"))
    follower = store.subscribe(category="note")
    coming = asyncio.create_task(anext(follower))
    await until(lambda: follower.position == 1)

    page = await store.log_page(1, 10, follower._where)

    assert not page.held_back
    await store.append_to_stream("note-1", ANY, notes("b"))
    assert (await coming).event.text == "b"


# --- The notifier -----------------------------------------------------------------------------------------------------


@pytest.mark.one_session
async def test_the_bell_survives_a_database_that_is_away(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "perdure.notifier")
    monkeypatch.setattr("perdure.stores.postgres.notifier._PAUSE_AFTER_FAILURE", 0.001)
    notifier = Notifier(store.database, store.changes, store.tasks)
    connect, tries = store.database.connect, 0

    async def away() -> Any:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise StoreUnavailableError("away")
        return await connect()

    monkeypatch.setattr(store.database, "connect", away)
    notifier.listen()  # not before it was started
    notifier.start()
    notifier.notify()
    await until(lambda: "could not notify" in caplog.text)
    notifier.listen()
    notifier.listen()
    await until(lambda: tries >= 3)
    notifier.notify()
    await notifier.close()
    await notifier.close()
    assert tries >= 3


async def test_notifications_of_one_moment_are_one(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    heard = []
    await connection.add_listener("perdure:perdure", lambda *notification: heard.append(notification))
    await asyncio.gather(*[store.append_to_stream(f"note-{n}", ANY, notes(n)) for n in range(100)])
    await until(lambda: bool(heard))
    await connection.reset()

    assert 1 <= len(heard) < 20


@pytest.mark.one_session
async def test_a_process_does_not_look_again_when_it_hears_itself(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    pids: list[int] = []
    await connection.add_listener("perdure:perdure", lambda _, pid, *rest: pids.append(pid))
    await store.append_to_stream("note-1", ANY, notes("a"))
    await until(lambda: len(pids) == 1)
    await other.append_to_stream("note-1", ANY, notes("b"))
    await until(lambda: len(pids) == 2)
    await connection.reset()

    told = []
    for pid in pids:
        before = store.changes.count
        store._notifier._heard(connection, pid, "perdure:perdure", "")
        told.append(store.changes.count > before)
    assert told == [False, True]


# --- Many followers ---------------------------------------------------------------------------------------------------


async def test_an_open_append_is_looked_at_once_for_all_that_wait(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("FIRST_INTERVAL", 3600), ("LONGEST_INTERVAL", 3600), ("_BUSY_INTERVAL", 0)):
        monkeypatch.setattr(Head, name, seconds)  # no look but those that an announcement causes
    await store.append_to_stream("note-1", ANY, notes("a"))
    categories = (None, "note", "other")
    coming = [asyncio.create_task(anext(store.subscribe(1, category=categories[n % 3]))) for n in range(12)]
    await until(lambda: store.head.waiting == 12)
    look, limits = store.log_page, list[int]()

    async def counting(from_position: int, limit: int, *rest: Any) -> Page:
        limits.append(limit)
        return await look(from_position, limit, *rest)

    async with other_connection(database_url) as connection, connection.transaction():
        await insert(connection, "note-2", 1, "slow")
        await store.append_to_stream("note-1", ANY, notes("behind"))
        await until(lambda: store.head.waiting == 12)
        store.changes.announce(is_certain=False)
        await until(lambda: store.head._is_held_back)
        monkeypatch.setattr(store, "log_page", counting)
        for n in range(20):
            await store.append_to_stream("note-1", ANY, notes(n))
        assert store.head.waiting == 12
        assert {*limits} <= {1}
        assert len(limits) <= 20 + 2  # the notifier may announce, too, that it listens now
    store.wake()

    async with asyncio.timeout(30):
        firsts = await asyncio.gather(*coming[0::3], *coming[1::3])
    assert {stored.event.text for stored in firsts} == {"slow"}
    for task in coming[2::3]:
        task.cancel()
