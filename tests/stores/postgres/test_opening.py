"""Opening a store: settings that can't be used, servers that can't be reached, and where a store may be used."""

import asyncio
import logging
import multiprocessing
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
    WrongContextError,
)
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import add_gate, close_gate, notes, open_gate, other_connection, texts, until_waiting

SECRET = "hunter2secret"


@asynccontextmanager
async def setting(url: str, name: str, value: str) -> AsyncIterator[None]:
    """A setting of the test's database, for new sessions."""
    database = urlsplit(url).path.lstrip("/")
    async with other_connection(url) as connection:
        await connection.execute(f'alter database "{database}" set {name} = {value}')
    yield


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        f"mysql://user:{SECRET}@localhost/db",
        f"postgresql://user:{SECRET}@localhost:port/db",
        f"postgresql://user:a/{SECRET}@localhost/db",
        f"postgresql://user:1/{SECRET}@localhost/db",
        f"postgresql://user:1#{SECRET}@localhost/db",
        f"postgresql://user:1?{SECRET}@localhost/db",
        f"postgresql://user:{SECRET}@[::1/db",
        f"postgresql://user:{SECRET}@one:5432,two:port/db",
        f"postgresql://user:{SECRET}@localhost/db?sslmode=perhaps",
        f"postgresql://user:{SECRET}@localhost/db?target_session_attrs=perhaps",
        5,
        None,
    ],
)
async def test_a_url_that_can_not_be_used_is_a_configuration_error_without_the_password(url: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await PostgreSQLEventStore(url).open()
    assert_no_secret(refused.value)


def assert_no_secret(error: BaseException) -> None:
    chain: BaseException | None = error
    while chain is not None:
        assert SECRET not in f"{chain!s} {chain!r}"
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


async def test_a_server_that_is_down_can_not_be_reached(tmp_path: Any) -> None:
    for place in ("127.0.0.1:1", f":1?host={quote(str(tmp_path))}", "no-such-host.invalid"):
        separator = "" if "?" in place else "/db"
        with pytest.raises(StoreUnavailableError, match="is the server running") as refused:
            await PostgreSQLEventStore(f"postgresql://user:{SECRET}@{place}{separator}").open()
        assert_no_secret(refused.value)


@pytest.mark.server
async def test_a_wrong_password_user_or_database_is_told(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = {"fsync": "off", "shared_buffers": "16MB"}
    async with EmbeddedPostgreSQL(tmp_path / "server", tcp=True, settings=settings) as server:
        url = server.tcp_url_for("postgres")
        right = urlsplit(url).password or ""
        with pytest.raises(AuthenticationError, match="check the URL") as refused:
            await PostgreSQLEventStore(url.replace(right, SECRET)).open()
        assert_no_secret(refused.value)
        with pytest.raises(AuthenticationError):
            await PostgreSQLEventStore(url.replace("postgres:", "nobody:")).open()
        with pytest.raises(ConfigurationError, match="create the database"):
            await PostgreSQLEventStore(server.tcp_url_for("missing")).open()
        store = PostgreSQLEventStore(url)
        async with store:
            await store.append_to_stream("note-1", ANY, notes("a"))
            follower = store.subscribe()
            await anext(follower)
    assert right not in repr(store) + repr(store.database)
    assert right not in caplog.text
    assert SECRET not in caplog.text


async def test_a_user_without_rights_is_told(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("create role opening_stranger login")
    try:
        parts = urlsplit(database_url)
        host = parts.netloc.rpartition("@")[2]
        url = parts._replace(netloc=f"opening_stranger@{host}").geturl()
        with pytest.raises(PerdureError) as refused:
            await PostgreSQLEventStore(url).open()
        assert isinstance(refused.value, ConfigurationError | AuthenticationError)
    finally:
        await connection.execute("drop role opening_stranger")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("synchronous_commit", "off", "loses acknowledged events"),
        ("default_transaction_isolation", "'repeatable read'", "READ COMMITTED"),
        ("extra_float_digits", "0", "rounds the floats"),
    ],
)
async def test_a_setting_that_breaks_a_promise_is_refused(database_url: str, name: str, value: str, told: str) -> None:
    async with setting(database_url, name, value):
        with pytest.raises(ConfigurationError, match=told):
            await PostgreSQLEventStore(database_url).open()


@pytest.mark.parametrize(("answer", "told"), [({"version": 140005}, "too old"), ({"in_recovery": True}, "standby")])
async def test_a_server_that_does_not_do_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], told: str
) -> None:
    settings = {"version": 180000, "in_recovery": False, "synchronous_commit": "on", "isolation": "read committed"}

    async def fetchrow(connection: object, sql: str) -> dict[str, Any]:
        return {**settings, **answer}

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fetchrow)
    with pytest.raises(ConfigurationError, match=told):
        await PostgreSQLEventStore(database_url).open()


async def test_a_store_is_opened_once_closed_for_good_and_may_be_opened_again(database_url: str) -> None:
    store = PostgreSQLEventStore(database_url)
    with pytest.raises(StoreClosedError):
        await store.read_all_events()
    with pytest.raises(StoreClosedError):
        store.transaction()
    with pytest.raises(StoreClosedError):
        store.subscribe()
    await store.close()
    for version in range(2):
        async with store:
            with pytest.raises(WrongContextError, match="open already"):
                await store.open()
            await store.append_to_stream("note-1", version, notes("a"))
    with pytest.raises(StoreClosedError):
        async with store.database.connection():
            pass


async def test_opening_that_fails_leaves_nothing_open(empty_database_url: str, connection: asyncpg.Connection) -> None:
    for _ in range(3):
        with pytest.raises(PerdureError):
            await PostgreSQLEventStore(empty_database_url, migrate=False).open()
    async with other_connection(empty_database_url) as own:
        left = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        while await own.fetchval(left):  # noqa: ASYNC110 - the server takes a moment to see that they are gone
            await asyncio.sleep(0.001)


def test_a_store_whose_event_loop_has_ended_may_be_opened_again(server_url: str, template: str) -> None:
    name = f"{template}_loops"
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    store = PostgreSQLEventStore(url)

    async def leave_it_open() -> None:
        async with other_connection(server_url) as connection:
            await connection.execute(f"create database {name} template {template}")
        await store.open()
        await store.append_to_stream("note-1", NO_STREAM, notes("a"))

    async def use_it_again() -> list[str]:
        async with store:
            await store.append_to_stream("note-1", 1, notes("b"))
            found = texts(await store.read_stream("note-1"))
        async with other_connection(server_url) as connection:
            await connection.execute(f"drop database {name} with (force)")
        return found

    asyncio.run(leave_it_open())
    assert asyncio.run(use_it_again()) == ["a", "b"]


async def until_alone(connection: asyncpg.Connection) -> None:
    """Until the server has seen that all other sessions of this database are gone."""
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    while await connection.fetchval(others):  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("steps", [*range(12)])
async def test_closing_that_is_cancelled_leaves_no_session(
    database_url: str, connection: asyncpg.Connection, steps: int
) -> None:
    store = PostgreSQLEventStore(database_url)
    await store.open()
    await store.append_to_stream("note-1", ANY, notes("a"))
    await store.read_all_events()
    await anext(store.subscribe())
    closing = asyncio.create_task(store.close())
    for _ in range(steps):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])

    await store.close()
    await until_alone(connection)
    with pytest.raises(StoreClosedError):
        await store.read_all_events()


async def test_closing_that_is_cancelled_while_an_append_waits_leaves_no_session(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    store = PostgreSQLEventStore(database_url, close_timeout=60)
    await store.open()
    appending = asyncio.create_task(store.append_to_stream("note-1", ANY, notes("gated")))
    await until_waiting(connection)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing, appending])

    assert isinstance(appending.exception(), OutcomeUnknownError)
    await store.close()
    await open_gate(connection)
    await until_alone(connection)


async def test_another_event_loop_is_refused(store: PostgreSQLEventStore) -> None:
    async def use() -> None:
        for call in (
            lambda: store.append_to_stream("note-1", ANY, notes("a")),
            store.read_all_events,
            lambda: store.read_stream("note-1"),
            lambda: store.stream_version("note-1"),
            store.close,
        ):
            with pytest.raises(WrongContextError, match="another event loop"):
                await call()
        with pytest.raises(WrongContextError):
            store.subscribe()
        with pytest.raises(WrongContextError):
            store.transaction()

    await asyncio.to_thread(asyncio.run, use())


def _use_after_fork(store: PostgreSQLEventStore) -> None:
    async def use() -> int:
        for call in (store.read_all_events, lambda: store.append_to_stream("note-1", ANY, notes("a")), store.close):
            try:
                await call()
            except WrongContextError as error:
                if "forked" not in str(error):
                    return 1
            else:
                return 2
        return 0

    asyncio.events._set_running_loop(None)  # the child's thread was forked within the parent's loop
    os._exit(asyncio.run(use()))


async def test_use_after_a_fork_is_refused_and_the_parent_goes_on(store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("note-1", ANY, notes("before"))
    child = multiprocessing.get_context("fork").Process(target=_use_after_fork, args=(store,))
    child.start()
    await asyncio.to_thread(child.join)

    assert child.exitcode == 0
    assert (await store.append_to_stream("note-1", ANY, notes("after"))).stream_version == 2


# --- The database below the store -------------------------------------------------------------------------------------


async def test_a_server_that_is_revived_is_tried_again(database_url: str) -> None:
    revived = []

    async def revive() -> str:
        revived.append(True)
        return database_url

    database = Database("postgresql://user@127.0.0.1:1/db", revive=revive)
    connection = await database.connect()
    await connection.close()
    assert revived == [True]

    database = Database("postgresql://user@127.0.0.1:1/db", revive=revive, pool_size=1)
    await database.open()
    assert await database.fetch_value("select 1") == 1  # the pool follows to the new address
    assert revived == [True, True]
    await database.close()
    await database.close()


@pytest.mark.one_session
async def test_a_full_pool_is_waited_for_and_a_cancelled_caller_leaves_nothing_behind(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    await database.open()
    hosts = database._hosts
    usual = hosts._timeout
    async with database.connection():
        hosts._timeout = 0.2
        with pytest.raises(StoreOverloadedError, match="all 1 connections"):
            await database.fetch_value("select 1")
    hosts._timeout = usual  # to open a connection, or to cancel a query, can take longer than that
    async with database.connection() as connection:
        pid = connection.get_server_pid()
    for _ in range(5):
        task = asyncio.create_task(database.fetch_value("select pg_sleep(60)"))
        async with other_connection(database_url) as other:
            running = "select count(*) from pg_stat_activity where pid = $1 and state = 'active'"
            while not await other.fetchval(running, pid):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert await database.fetch_value("select pg_backend_pid()") == pid
    await database.close()


async def test_closing_cuts_off_what_is_still_in_use(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.stores.postgres.connections.database._CLOSE_WITHIN", 0.0)
    database = Database(database_url)
    await database.open()
    async with database.connection() as connection:
        await database.close()
        with pytest.raises(asyncpg.InterfaceError):
            await connection.fetchval("select 1")
    # Regression: giving the connection back then was told as a database that can't be reached.
