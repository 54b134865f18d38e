"""The caller's own transaction: his statements and the appends are committed together, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

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
    TransactionEndedError,
    TransactionError,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction
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


async def test_regression_03_what_a_transaction_relies_on_twice_does_not_conflict_with_itself(
    store: PostgreSQLEventStore,
) -> None:
    await store.append_to_stream("limit-1", NO_STREAM, notes("limit"))
    async with store.transaction() as tx:
        for n in range(2):
            appends = [(f"note-{n}", NO_STREAM, notes(n)), ("note-both", n, notes(n))]
            await store.append_to_streams(appends, conditions={"limit-1": 1}, tx=tx)
        await store.append_to_stream("limit-1", 1, notes("raised"), tx=tx)
        await store.append_to_streams([("note-both", 2, notes("last"))], conditions={"limit-1": 2}, tx=tx)

    assert texts(await store.read_stream("note-both")) == ["0", "1", "last"]


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
    with pytest.raises(TransactionEndedError):
        async with store.transaction() as tx:
            await tx.connection.execute("rollback")
            with pytest.raises(TransactionEndedError):
                await store.append_to_stream("note-a", ANY, notes("after a rollback by hand"), tx=tx)
    assert await store.read_all_events() == []


async def test_a_connection_that_was_lent_is_of_no_use_after_the_block(store: PostgreSQLEventStore) -> None:
    async with store.transaction() as tx:
        kept = tx.connection

    for connection in (kept, tx.connection):
        with pytest.raises(TransactionError, match="is the pool's again"):
            await connection.execute("select 1")


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

    assert unknown.value.event_ids == (events[0].metadata.event_id,)


async def test_a_commit_without_appends_that_is_never_answered_has_an_unknown_outcome_too(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = DriverTransaction.commit

    async def cut_off(transaction: DriverTransaction) -> None:
        await commit(transaction)
        raise ConnectionResetError("cut off")

    with pytest.raises(OutcomeUnknownError, match="was committed: check whether its writes are there") as unknown:
        async with store.transaction() as tx:
            await tx.connection.execute("insert into outbox values ('sent')")
            monkeypatch.setattr(DriverTransaction, "commit", cut_off)

    assert unknown.value.event_ids == ()
    assert await in_outbox(outbox) == ["sent"]


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


@pytest.fixture
async def tenant(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """A role without rights on the store."""
    await connection.execute("create role transaction_tenant")
    yield "transaction_tenant"
    await connection.execute("drop role transaction_tenant")


LOCK = 4712


async def set_up_session(tx: PostgreSQLTransaction, role: str) -> None:
    await tx.connection.execute(f"set statement_timeout = '12345ms'; select pg_advisory_lock({LOCK}); set role {role}")


async def check_session(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    [session] = await store.database.fetch(
        "select current_user = session_user as same_user, current_setting('statement_timeout') as statement_timeout"
    )
    assert dict(session) == {"same_user": True, "statement_timeout": "0"}
    assert await connection.fetchval(f"select pg_try_advisory_lock({LOCK})")
    await connection.execute(f"select pg_advisory_unlock({LOCK})")


async def test_what_a_caller_sets_in_the_session_does_not_meet_the_next_user_of_the_pool(
    database_url: str, connection: asyncpg.Connection, tenant: str
) -> None:
    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        pid = await store.database.fetch_value("select pg_backend_pid()")
        async with store.transaction() as tx:
            await set_up_session(tx, tenant)
        assert await store.database.fetch_value("select pg_backend_pid()") == pid
        await check_session(store, connection)

        with pytest.raises(DomainError):
            async with store.transaction() as tx:
                await set_up_session(tx, tenant)
                raise DomainError("no")
        await check_session(store, connection)

        with pytest.raises(TransactionEndedError):
            async with store.transaction() as tx:
                await set_up_session(tx, tenant)
                await tx.connection.execute("commit; begin")
        await check_session(store, connection)


@pytest.mark.one_session
@pytest.mark.parametrize("error", [asyncio.CancelledError(), ConnectionResetError(), asyncpg.QueryCanceledError()])
async def test_a_session_that_can_not_be_reset_is_given_up(
    database_url: str,
    connection: asyncpg.Connection,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    async def fail(connection: object) -> None:
        raise error

    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        pid = await store.database.fetch_value("select pg_backend_pid()")
        with monkeypatch.context() as patch, suppress(asyncio.CancelledError):
            patch.setattr(asyncpg.Connection, "reset", fail)
            async with store.transaction() as tx:
                await set_up_session(tx, tenant)
        assert await store.database.fetch_value("select pg_backend_pid()") != pid
        while await connection.fetchval("select count(*) from pg_stat_activity where pid = $1", pid):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        await check_session(store, connection)


async def test_of_two_transactions_that_wait_for_each_other_one_is_told_what_to_do(
    store: PostgreSQLEventStore,
) -> None:
    both = asyncio.Barrier(2)

    async def append(first: str, second: str) -> None:
        async with store.transaction() as tx:
            await tx.connection.execute("set local deadlock_timeout = '10ms'")
            await store.append_to_stream(first, NO_STREAM, notes(first), tx=tx)
            await both.wait()
            await store.append_to_stream(second, NO_STREAM, notes(second), tx=tx)

    outcomes = await asyncio.gather(append("note-a", "note-b"), append("note-b", "note-a"), return_exceptions=True)

    [told] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(told, TransactionError)
    assert "run it again" in str(told)
    assert "append_to_streams()" in str(told)
    assert sorted(texts(await store.read_all_events())) == ["note-a", "note-b"]
