"""A follower waits out what may pass, told once at each end, and ends with a typed error at what can't."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from perdure import schema
from perdure.commit import ANY
from perdure.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseError,
    LogDivergedError,
    PerdureError,
    SchemaError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.log import LogFilter, Page, SeenEvent
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.driver_errors import translated
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.subscription import Subscription
from tests.schema.roles import new_role
from tests.stores.postgres.races import end_sessions, notes, other_connection, texts, until, until_waiting

Hindrance = Callable[[PostgreSQLEventStore], AbstractAsyncContextManager[object]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subscription, "_LONGEST_PAUSE", 0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log's own records say, without times."""
    return [
        record.message.split(" since ")[0].split(" after ")[0]
        for record in caplog.records
        if record.name == "perdure.log"
    ]


WAITED = ["following the log has to wait", "following the log goes on"]


def waits(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    return lambda: WAITED[0] in told(caplog)


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Others can't read the log meanwhile."""
    async with other_connection(url) as connection, connection.transaction():
        await connection.execute("lock table perdure.events in access exclusive mode")
        yield connection


@asynccontextmanager
async def exhausted(store: PostgreSQLEventStore) -> AsyncIterator[None]:
    """The connections of the pool are in use, and meanwhile only 0.5 s may be spent waiting for one."""
    hosts = store.database._hosts
    usual, hosts._timeout = hosts._timeout, 0.5
    async with store.database.connection():
        yield
    hosts._timeout = usual


@asynccontextmanager
async def limited(store: PostgreSQLEventStore, url: str, setting: str) -> AsyncIterator[None]:
    """Others can't read the log, and meanwhile the database sets the store's sessions a limit of 0.3 s."""
    async with locked(url), other_connection(url) as connection:
        await connection.execute(f'alter database "{store.database.name}" set {setting} = 300')
        store.database._leave_server()
        yield
        await connection.execute(f'alter database "{store.database.name}" reset {setting}')
        store.database._leave_server()


async def follow_past(
    store: PostgreSQLEventStore, hindered: AbstractAsyncContextManager[object], met: Callable[[], bool]
) -> None:
    """Two followers meet a hindrance, and get what comes once it is gone."""
    await store.append_to_stream("note-1", ANY, notes("a"))
    followers = [store.subscribe(), store.subscribe(category="note")]
    for follower in followers:
        assert (await anext(follower)).event.text == "a"
    async with hindered:
        coming = [asyncio.create_task(anext(follower)) for follower in followers]
        store.changes.announce()
        await until(lambda: met() or any(task.done() for task in coming))
    assert not any(task.done() for task in coming)
    await store.append_to_stream("note-1", ANY, notes("b"))
    assert texts(await asyncio.gather(*coming)) == ["b", "b"]


@pytest.mark.one_session
async def test_a_pool_without_a_free_connection_is_waited_out(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        await follow_past(store, exhausted(store), waits(caplog))

    assert sorted({*told(caplog)}) == sorted(WAITED)
    waiting = next(record for record in caplog.records if "has to wait" in record.message)
    assert "all 1 connections of the pool were in use for 0.5 s and nothing was read or written" in waiting.message
    assert "raise pool_size" in waiting.message


@pytest.mark.one_session
@pytest.mark.parametrize(("setting", "sqlstate"), [("statement_timeout", "57014"), ("lock_timeout", "55P03")])
async def test_a_time_out_of_the_database_is_waited_out(
    database_url: str, caplog: pytest.LogCaptureFixture, setting: str, sqlstate: str
) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        await follow_past(store, limited(store, database_url, setting), waits(caplog))

    assert sorted({*told(caplog)}) == sorted(WAITED)
    assert f"SQLSTATE {sqlstate}" in caplog.text


@pytest.mark.one_session
async def test_a_session_that_is_ended_while_it_reads_is_replaced_without_a_word(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    @asynccontextmanager
    async def ending() -> AsyncIterator[None]:
        async with locked(database_url):
            task = asyncio.create_task(_end_those_that_wait(database_url))
            task.add_done_callback(lambda _: ended.set())
            yield
            await task

    async with PostgreSQLEventStore(database_url) as store:
        await follow_past(store, ending(), ended.is_set)

    assert told(caplog) == []


async def _end_those_that_wait(url: str) -> None:
    async with other_connection(url) as connection:
        await until_waiting(connection)
        await end_sessions(connection, "wait_event_type = 'Lock'")


# --- By class of error ------------------------------------------------------------------------------------------------


class Failing(InMemoryEventStore):
    """Its log can't be read for as long as there are errors left."""

    def __init__(self, *errors: PerdureError) -> None:
        super().__init__()
        self.errors = [*errors]

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        if self.errors:
            raise self.errors.pop()
        return await super().log_page(from_position, limit, where, seen, up_to=up_to)


def ours(error: BaseException) -> PerdureError:
    found = translated(error)
    assert found is not None
    return found


def state(sqlstate: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError("x")
    error.__dict__["sqlstate"] = sqlstate
    return error


def fatal(sqlstate: str) -> asyncpg.PostgresError:
    error = state(sqlstate)
    error.severity_en = "FATAL"
    return error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.SerializationError("canceling statement due to conflict with recovery"),
        asyncpg.DeadlockDetectedError("deadlock with recovery"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.OutOfMemoryError("out of memory"),
        asyncpg.DiskFullError("no space left"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.IdleSessionTimeoutError("idle-session timeout"),
        fatal("57P04"),
        state("PD003"),
        TimeoutError(),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_may_pass_is_waited_out(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    store = Failing(*[ours(error) for _ in range(3)])
    await store.append_to_stream("note-1", ANY, notes("a"))

    assert (await anext(store.subscribe())).event.text == "a"
    assert told(caplog) == WAITED


@pytest.mark.parametrize("error", [StoreOverloadedError("the pool was in use", 1), StoreUnavailableError("away")])
async def test_who_has_no_patience_is_told_of_what_may_pass(
    error: PerdureError, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)):
        await Failing(error).subscribe().next_page(patience=3600)
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.InsufficientPrivilegeError("no"), ConfigurationError),
        (asyncpg.InvalidPasswordError("no"), AuthenticationError),
        (asyncpg.InvalidCatalogNameError("no"), ConfigurationError),
        (asyncpg.UndefinedTableError("no"), SchemaError),
        (asyncpg.InvalidSchemaNameError("no"), SchemaError),
        (asyncpg.DataCorruptedError("no"), DatabaseError),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else type(one).__name__,
)
async def test_what_cannot_pass_ends_it(
    error: Exception, expected: type[PerdureError], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(expected):
        await anext(Failing(ours(error)).subscribe())
    assert told(caplog) == []


async def test_a_right_that_is_taken_away_ends_it(database_url: str) -> None:
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "reader")
        async with PostgreSQLEventStore(url, read_only=True) as store:
            coming = asyncio.create_task(anext(store.subscribe()))
            await until(lambda: bool(store.head.waiting))
            await schema.revoke(database_url, role)
            with pytest.raises(ConfigurationError, match="lacks a right"):
                await coming


async def test_a_schema_that_is_dropped_ends_it(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    coming = asyncio.create_task(anext(store.subscribe()))
    await until(lambda: bool(store.head.waiting))
    await connection.execute("drop schema perdure cascade")
    with pytest.raises(SchemaError):
        await coming


async def test_a_store_that_is_closed_ends_it_while_it_waits(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*_: object) -> Any:
        raise StoreUnavailableError("away")

    async with PostgreSQLEventStore(database_url) as store:
        monkeypatch.setattr(store.database, "fetch", away)
        coming = asyncio.create_task(anext(store.subscribe()))
        await until(lambda: told(caplog) == WAITED[:1])
    with pytest.raises(StoreClosedError):
        await coming


async def test_another_log_ends_it_after_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    await store.append_to_stream("note-1", ANY, notes("a"))
    follower = store.subscribe()
    await anext(follower)
    store.errors = [StoreUnavailableError("failover")]
    store._log.clear()

    with pytest.raises(LogDivergedError):
        await anext(follower)
    assert told(caplog) == WAITED[:1]
