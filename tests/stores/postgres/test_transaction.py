"""The caller's own transaction: his statements and the appends are committed together, or not at all."""

import asyncio

import asyncpg
import pytest
from asyncpg.transaction import Transaction as DriverTransaction

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    DatabaseError,
    DomainError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    StoreUnavailableError,
    TransactionError,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import Noted, end_sessions, notes, other_connection, texts, until_waiting


@pytest.fixture
async def outbox(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A table of the caller's own."""
    await connection.execute("create table outbox (text text unique deferrable initially deferred)")
    return connection


async def in_outbox(connection: asyncpg.Connection) -> list[str]:
    return [row["text"] for row in await connection.fetch("select text from outbox order by text")]


@pytest.mark.parametrize("given", [False, True])
async def test_appends_are_committed_with_the_callers_own_statements(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, given: bool
) -> None:
    called: list[str] = []
    async with store.transaction(outbox if given else None) as tx:
        assert (tx.connection is outbox) is given
        tx.after_commit(lambda: called.append("after"))
        await tx.connection.execute("insert into outbox values ('sent')")
        first = await store.append_to_stream("note-a", NO_STREAM, notes("a1"), tx=tx)
        second = await store.append_to_stream("note-a", first.stream_version, notes("a2"), tx=tx)
        third = await store.append_to_stream("note-b", NO_STREAM, notes("b1"), tx=tx)
        async with other_connection(store.database._url) as other:
            assert await other.fetchval("select count(*) from perdure.events") == 0
        assert called == []

    assert called == ["after"]
    assert await in_outbox(outbox) == ["sent"]
    assert texts(await store.read_all_events()) == ["a1", "a2", "b1"]
    assert (second.stream_version, second.global_positions, third.global_positions) == (2, (2,), (3,))


async def test_an_exception_rolls_all_of_it_back(store: PostgreSQLEventStore, outbox: asyncpg.Connection) -> None:
    count, called = store.changes.count, list[str]()
    with pytest.raises(DomainError):
        async with store.transaction() as tx:
            tx.after_commit(lambda: called.append("after"))
            await tx.connection.execute("insert into outbox values ('sent')")
            await store.append_to_stream("note-a", NO_STREAM, notes("a1"), tx=tx)
            raise DomainError("no")

    assert called == []
    assert store.changes.count == count
    assert await in_outbox(outbox) == []
    assert await store.read_all_events() == []


async def test_followers_are_woken_by_the_commit_only(store: PostgreSQLEventStore) -> None:
    count = store.changes.count
    async with store.transaction() as tx:
        await store.append_to_stream("note-a", NO_STREAM, notes("a"), tx=tx)
        assert store.changes.count == count
    assert store.changes.count == count + 1
    async with store.transaction() as tx:
        await tx.connection.fetchval("select 1")
    assert store.changes.count == count + 1


async def test_a_transaction_in_which_a_statement_failed_is_never_told_as_committed(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    # Regression: PostgreSQL answers COMMIT with a rollback then, without an error, and the append counted as written.
    called: list[str] = []
    with pytest.raises(TransactionError, match="rolled all of it back"):
        async with store.transaction() as tx:
            tx.after_commit(lambda: called.append("after"))
            await store.append_to_stream("note-a", NO_STREAM, notes("a"), tx=tx)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await tx.connection.execute("select 1/0")

    assert called == []
    assert await store.read_all_events() == []
    await store.append_to_stream("note-a", NO_STREAM, notes("b"))


async def test_a_commit_that_fails_is_an_error_of_ours(store: PostgreSQLEventStore, outbox: asyncpg.Connection) -> None:
    for connection in (None, outbox):
        with pytest.raises(DatabaseError) as failed:
            async with store.transaction(connection) as tx:
                await tx.connection.execute("insert into outbox values ('twice'), ('twice')")
                await store.append_to_stream("note-a", NO_STREAM, notes("a"), tx=tx)
        assert failed.value.sqlstate == "23505"

    assert await store.read_all_events() == []


async def test_a_conflict_leaves_the_callers_work_usable(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    events = [NewEvent(one) for one in notes("known")]
    await store.append_to_stream("note-a", NO_STREAM, events)

    async with store.transaction() as tx:
        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await store.append_to_stream("note-a", NO_STREAM, notes("late"), tx=tx)
        with pytest.raises(EventIdReuseError):
            await store.append_to_stream("note-b", ANY, events, tx=tx)
        repeated = await store.append_to_stream("note-a", ANY, events, tx=tx)
        await tx.connection.execute("insert into outbox values ('sent')")

    assert conflict.value.actual_version == 1
    assert repeated.global_positions == (1,)
    assert await in_outbox(outbox) == ["sent"]
    assert texts(await store.read_all_events()) == ["known"]


async def test_a_savepoint_that_is_rolled_back_takes_its_appends_with_it(store: PostgreSQLEventStore) -> None:
    async with store.transaction() as tx:
        await store.append_to_stream("note-a", NO_STREAM, notes("kept"), tx=tx)
        with pytest.raises(DomainError):
            async with tx.connection.transaction():
                await store.append_to_stream("note-a", 1, notes("dropped"), tx=tx)
                raise DomainError("no")
        await store.append_to_stream("note-a", 1, notes("kept too"), tx=tx)

    assert texts(await store.read_all_events()) == ["kept", "kept too"]
    assert texts(await store.read_all_events(event_types=[Noted])) == ["kept", "kept too"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_another_isolation_level_is_refused(store: PostgreSQLEventStore, level: str) -> None:
    async with store.transaction() as tx:
        await tx.connection.execute(f"set transaction isolation level {level}")
        with pytest.raises(TransactionError, match=level.upper()):
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)


async def test_a_connection_that_may_lose_commits_is_refused(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("set synchronous_commit = off")
    async with store.transaction(connection) as tx:
        with pytest.raises(TransactionError, match="synchronous_commit"):
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)


async def test_a_transaction_that_the_store_did_not_begin_is_refused(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with connection.transaction():
        with pytest.raises(TransactionError, match="already"):
            async with store.transaction(connection):
                pass
    async with PostgreSQLEventStore(database_url, schema="other") as other, other.transaction() as tx:
        with pytest.raises(TransactionError, match="no transaction of this store"):
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)


async def test_a_transaction_is_used_once_and_within_its_block(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    for given in (None, connection):
        tx = store.transaction(given)
        with pytest.raises(TransactionError, match="isn't open"):
            await store.append_to_stream("note-a", ANY, notes("too early"), tx=tx)
        async with tx:
            await tx.connection.execute("select 1")
        with pytest.raises(TransactionError, match="isn't open"):
            await store.append_to_stream("note-a", ANY, notes("too late"), tx=tx)
        async with connection.transaction():
            with pytest.raises(TransactionError, match="isn't open"):
                await store.append_to_stream("note-a", ANY, notes("in another"), tx=tx)
        with pytest.raises(TransactionError, match="once"):
            await tx.__aenter__()
    async with store.transaction() as tx:
        await tx.connection.execute("rollback")
        with pytest.raises(TransactionError, match="isn't open"):
            await store.append_to_stream("note-a", ANY, notes("after a rollback by hand"), tx=tx)
    assert await store.read_all_events() == []


async def test_two_transactions_on_one_stream_go_one_after_the_other(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async def append(expected: int) -> None:
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", expected, notes("theirs"), tx=tx)

    async with store.transaction() as tx:
        await store.append_to_stream("note-a", NO_STREAM, notes("ours"), tx=tx)
        waiting = [asyncio.create_task(append(expected)) for expected in (0, 1)]
        await until_waiting(connection, 2)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [OptimisticConcurrencyError, type(None)]
    assert [one.stream_version for one in await store.read_stream("note-a")] == [1, 2]


async def test_a_lost_connection_is_told_and_the_first_error_is_not_hidden(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    with pytest.raises(DomainError):
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)
            await end_sessions(connection)
            raise DomainError("the first error")
    with pytest.raises(StoreUnavailableError):
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)
            await end_sessions(connection)

    assert await store.read_all_events() == []


async def test_a_commit_that_is_never_answered_has_an_unknown_outcome(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(transaction: object) -> None:
        raise ConnectionResetError("cut off")

    events = [NewEvent(one) for one in notes("perhaps")]
    with pytest.raises(OutcomeUnknownError) as unknown:
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", ANY, events, tx=tx)
            monkeypatch.setattr(DriverTransaction, "commit", cut_off)
    with pytest.raises(StoreUnavailableError):
        async with store.transaction() as tx:
            monkeypatch.setattr(DriverTransaction, "commit", cut_off)

    assert unknown.value.event_ids == (events[0].metadata.event_id,)


async def test_a_transaction_that_can_not_begin_gives_its_connection_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(transaction: object) -> None:
        raise ConnectionResetError("cut off")

    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        with monkeypatch.context() as patch:
            patch.setattr(DriverTransaction, "start", cut_off)
            with pytest.raises(StoreUnavailableError, match="cut off"):
                await store.transaction().__aenter__()
        async with store.database.connection() as pooled:
            begun = store.transaction(pooled)
            await pooled.execute("begin")
            with pytest.raises(TransactionError):
                await begun.__aenter__()
            await pooled.execute("rollback")
        tx = store.transaction()
        async with store.database.connection() as pooled:
            waiting = asyncio.create_task(tx.__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        async with store.transaction() as tx:
            assert (await store.append_to_stream("note-a", ANY, notes("fine"), tx=tx)).stream_version == 1
