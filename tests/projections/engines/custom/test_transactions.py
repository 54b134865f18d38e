"""The transaction that handlers write in: their SQL can't end it unseen, and it is dead after its batch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import ProjectionPausedError, ProjectionTransactionError
from perdure.events import StoredEvent, handles
from perdure.projection import Projection, ProjectionTransaction, SQLProjection
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Visited

ONCE = RetryConfig(max_attempts=1)


def visits(*pages: str) -> list[Visited]:
    return [Visited(page=page, visitor="x") for page in pages]


Act = Callable[[ProjectionTransaction], Awaitable[object] | None]


class Meddling(SQLProjection, name="meddling"):
    """Does something with its transaction when it comes to the page "bad"."""

    tables = {"meddling": "create table {meddling} (page text)"}

    def __init__(self, act: Act | None = None) -> None:
        self.act: Act | None = act

    @handles
    async def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
        tx.execute("insert into {meddling} values ($1)", event.page)
        if event.page == "bad" and self.act is not None and (done := self.act(tx)) is not None:
            await done


class MeddlingSink(Projection, name="meddling"):
    """The same for whole batches."""

    tables = Meddling.tables

    def __init__(self, act: Act) -> None:
        self.act: Act | None = act

    async def handle_batch(self, events: Any, tx: ProjectionTransaction) -> None:
        for event in events:
            await Meddling.visited(self, event.event, tx)  # type: ignore[arg-type]  # it has what is needed

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        raise AssertionError


async def pages_in(connection: asyncpg.Connection) -> list[str]:
    return [row["page"] for row in await connection.fetch("select page from meddling order by page")]


ENDINGS = [
    "rollback",
    "ROLLBACK;",
    "abort",
    "commit",
    "end",
    "/* a -- b /* nested */ */ commit",
    "-- a comment\ncommit and chain",
    "rollback; begin",
    "select 1; rollback; begin; select 1",
    "select ';' as \"a;b\", $$;$$, $x$ ; $x$, e'\\';'; commit; begin",
    "start transaction",
    "begin",
    "prepare transaction 'handed_over'",
    "savepoint own",
    "release savepoint perdure_event",
    "release perdure_event",
    "rollback to savepoint perdure_event",
    "rollback work to perdure_event",
]

HARMLESS = [
    "select case when true then 1 end",
    "select 1 as commit",
    "select 'rollback; begin'",
    "select $$;commit;$$",
    "select $tag$; rollback; $$ ; $tag$",
    "select e'\\'; rollback; --'",
    'select 1 as "; commit; "',
    "-- ; commit\nselect 1",
    "/* ; commit; */ select 1;",
    "do $$ begin perform 1; end $$",
]


def by_execute(sql: str) -> Act:
    return lambda tx: tx.execute(sql)


def by_fetch(sql: str) -> Act:
    return lambda tx: tx.fetch(sql)


async def check_that_it_fails(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, projection: Any, *, kept: list[str] | None
) -> ProjectionPausedError:
    """It pauses before the event, with the checkpoint there and `kept` as rows; without the fault, it goes on."""
    saved = await store.append_to_stream("x-1", ANY, visits("a", "b", "bad", "c"))
    async with ProjectionService(store, [projection], retry=ONCE) as service:
        with pytest.raises(ProjectionPausedError) as caught:
            await service.wait_for("meddling", saved, timeout=30)
        (status,) = await service.status()
        assert (status.global_position, status.error) == (2, None)
        assert kept is None or await pages_in(connection) == kept
        projection.act = None
        await service.resume("meddling")
        await service.wait_for("meddling", saved, timeout=30)

    assert status.failure is not None
    assert (status.failure.global_position, status.failure.error_type) == (3, "ProjectionTransactionError")
    return caught.value


@pytest.mark.parametrize("sql", ENDINGS)
@pytest.mark.parametrize("by", [by_execute, by_fetch])
async def test_what_would_end_the_transaction_is_refused_before_it_is_sent(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, sql: str, by: Callable[[str], Act]
) -> None:
    error = await check_that_it_fails(store, connection, Meddling(by(sql)), kept=["a", "b"])

    assert "event" in error.error
    assert await pages_in(connection) == ["a", "b", "bad", "c"]
    assert await connection.fetch("select from pg_prepared_xacts where database = current_database()") == []


async def test_it_is_refused_in_batches_and_where_the_handler_catches_the_error(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async def act(tx: ProjectionTransaction) -> None:
        with pytest.raises(ProjectionTransactionError):
            tx.execute("rollback")
        with pytest.raises(ProjectionTransactionError):
            await tx.fetchval("commit")

    await check_that_it_fails(store, connection, MeddlingSink(act), kept=["a", "b"])

    assert await pages_in(connection) == ["a", "b", "bad", "c"]


@pytest.mark.parametrize("sql", HARMLESS)
async def test_other_statements_are_let_through(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, sql: str
) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits("bad"))
    async with ProjectionService(store, [Meddling(by_execute(sql))], retry=ONCE) as service:
        await service.wait_for("meddling", saved, timeout=30)


UNSEEN: list[tuple[str, list[str] | None]] = [
    ("rollback", ["a", "b"]),
    ("rollback; begin", ["a", "b"]),
    ("rollback; begin; savepoint perdure_event", ["a", "b"]),
    ("rollback and chain", ["a", "b"]),
    ("release savepoint perdure_event", ["a", "b"]),
    # Nothing takes back what a COMMIT has committed, so each try adds it. But the checkpoint stays, and all see it.
    ("commit", None),
    ("commit and chain", None),
    ("commit; begin", None),
]


@pytest.mark.parametrize(
    ("by", "sql", "kept"),
    # A query is one statement.
    [(by, *one) for one in UNSEEN for by in (by_execute, by_fetch) if by is by_execute or ";" not in one[0]],
)
async def test_what_isnt_recognised_is_noticed_before_the_checkpoint_moves(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    sql: str,
    kept: list[str] | None,
    by: Callable[[str], Act],
) -> None:
    monkeypatch.setattr("perdure.projections.engines.custom.lent_transaction.transaction_command", lambda sql: None)
    await check_that_it_fails(store, connection, Meddling(by(sql)), kept=kept)

    assert set(await pages_in(connection)) == {"a", "b", "bad", "c"}


# --- After the batch --------------------------------------------------------------------------------------------------


async def test_a_transaction_is_dead_after_its_batch(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    kept: list[ProjectionTransaction] = []
    saved = await store.append_to_stream("x-1", ANY, visits("bad", "a"))
    async with ProjectionService(store, [Meddling(kept.append)], retry=ONCE) as service:
        await service.wait_for("meddling", saved, timeout=30)
        (tx,) = kept
        with pytest.raises(ProjectionTransactionError, match="has ended"):
            tx.execute("insert into {meddling} values ('late')")
        for ask in (tx.fetch, tx.fetchrow, tx.fetchval):
            with pytest.raises(ProjectionTransactionError, match="has ended"):
                await ask("insert into {meddling} values ('late') returning page")
        later = await store.append_to_stream("x-1", ANY, visits("b"))
        await service.wait_for("meddling", later, timeout=30)

    assert await pages_in(connection) == ["a", "b", "bad"]


async def test_a_task_that_a_handler_leaves_behind_can_not_use_the_connection_of_others(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """With one connection in the pool, the next who takes it has the very one."""
    go = asyncio.Event()
    left: list[asyncio.Task[object]] = []

    async def late(tx: ProjectionTransaction) -> None:
        await go.wait()
        await tx.fetch("insert into {meddling} values ('late') returning page")

    def leave_behind(tx: ProjectionTransaction) -> None:
        left.append(asyncio.create_task(late(tx)))

    async with PostgreSQLEventStore(database_url, pool_size=2) as store:
        saved = await store.append_to_stream("x-1", ANY, visits("bad"))
        async with ProjectionService(store, [Meddling(leave_behind)], retry=ONCE) as service:
            await service.wait_for("meddling", saved, timeout=30)
            async with store.transaction() as one, store.transaction() as other:
                await one.connection.execute("select 1")
                await other.connection.execute("select 1")
                go.set()
                with pytest.raises(ProjectionTransactionError, match="has ended"):
                    await left[0]

    assert await pages_in(connection) == ["bad"]


class Blocked:
    """A statement that waits for a lock that the test holds."""

    sql = "select 1 from (select pg_advisory_xact_lock(77)) as waited"

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        self.connection = await asyncpg.connect(self._url)
        await self.connection.execute("select pg_advisory_lock(77)")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def leave_behind(self, tx: ProjectionTransaction) -> None:
        self.task = asyncio.create_task(tx.fetch(self.sql))
        while not await self.connection.fetchval(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted "
            "and database = (select oid from pg_database where datname = current_database()))"
        ):
            pass

    async def release(self) -> None:
        await self.connection.execute("select pg_advisory_unlock(77)")


async def test_a_statement_left_behind_is_waited_for_within_the_time_of_its_handler(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    """It belongs to the event; nothing else is sent meanwhile."""
    saved = await store.append_to_stream("x-1", ANY, visits("bad", "a"))
    async with Blocked(database_url) as blocked:

        async def act(tx: ProjectionTransaction) -> None:
            await blocked.leave_behind(tx)
            await blocked.release()

        async with ProjectionService(store, [Meddling(act)], retry=ONCE) as service:
            await service.wait_for("meddling", saved, timeout=30)
        assert blocked.task is not None
        assert await blocked.task

    assert await pages_in(connection) == ["a", "bad"]


async def test_a_statement_left_behind_that_takes_too_long_is_cut_and_its_event_fails(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    before = await store.append_to_stream("x-1", ANY, visits("a"))
    async with ProjectionService(store, [Meddling()]) as service:
        await service.wait_for("meddling", before, timeout=30)
    saved = await store.append_to_stream("x-1", ANY, visits("bad", "b"))
    async with Blocked(database_url) as blocked:
        hurried = ProjectionService(store, [Meddling(blocked.leave_behind)], retry=ONCE, handler_timeout=0.2)
        async with hurried:
            with pytest.raises(ProjectionPausedError, match=r"longer than 0\.2 s"):
                await hurried.wait_for("meddling", saved, timeout=30)
            (status,) = await hurried.status()
            assert (status.global_position, status.error) == (1, None)
            assert blocked.task is not None
            with pytest.raises(ProjectionTransactionError, match="has ended"):
                await blocked.task
    async with ProjectionService(store, [Meddling()]) as service:
        await service.resume("meddling")
        await service.wait_for("meddling", saved, timeout=30)

    assert await pages_in(connection) == ["a", "b", "bad"]


async def test_a_statement_left_behind_doesnt_hold_up_a_service_that_stops(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    is_left = asyncio.Event()
    async with Blocked(database_url) as blocked:

        async def act(tx: ProjectionTransaction) -> None:
            await blocked.leave_behind(tx)
            is_left.set()

        await store.append_to_stream("x-1", ANY, visits("bad"))
        async with asyncio.timeout(20):
            async with ProjectionService(store, [Meddling(act)], stop_timeout=0):
                await is_left.wait()
        assert blocked.task is not None
        with pytest.raises(ProjectionTransactionError, match="has ended"):
            await blocked.task

    assert await pages_in(connection) == []
