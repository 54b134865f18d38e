"""A transaction that somebody else begins and ends, and whose end is reported to the store."""

import asyncio
import gc
import logging
from contextlib import nullcontext

import asyncpg
import pytest

from perdure import InlineProjections, JoinedTransaction, Repository, save_all
from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    DomainError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    StoreUnavailableError,
    TransactionEndedError,
    TransactionError,
)
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account, Balances, Deposited
from tests.stores.postgres.races import notes, texts


@pytest.fixture
async def outbox(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A connection of the caller's, with a table of the caller's."""
    await connection.execute("create table outbox (text text)")
    return connection


@pytest.fixture
def account() -> Account:
    account = Account("1")
    account.open("ann")
    return account


def joined(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> JoinedTransaction:
    return store.transaction(connection, commit="caller")


async def test_what_is_appended_is_committed_by_the_caller(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    called: list[str] = []
    count = store.changes.count
    async with outbox.transaction():
        await outbox.execute("insert into outbox values ('sent')")
        async with joined(store, outbox) as tx:
            assert tx.connection is outbox
            tx.after_commit(lambda: called.append("after"))
            await store.append_to_stream("note-a", NO_STREAM, notes("a1"), tx=tx)
            await store.append_to_streams([("note-a", 1, notes("a2")), ("note-b", 0, notes("b1"))], tx=tx)
        assert await store.read_all_events() == []
    assert (called, store.changes.count) == ([], count)
    await tx.committed()

    assert (called, store.changes.count) == (["after"], count + 1)
    assert texts(await store.read_all_events()) == ["a1", "a2", "b1"]


async def test_an_aggregate_counts_as_saved_once_the_commit_is_reported(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    async with outbox.transaction(), joined(store, outbox) as tx:
        await accounts.save(account, tx=tx)
    assert account.committed_version == 0
    await tx.committed()

    assert account.committed_version == 1


async def test_a_rollback_that_is_reported_leaves_the_aggregate_as_it_was(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    called: list[str] = []
    with pytest.raises(DomainError):
        async with outbox.transaction():
            async with joined(store, outbox) as tx:
                tx.after_commit(lambda: called.append("after"))
                await save_all(store, [account], tx=tx)
            raise DomainError("no")
    tx.rolled_back()

    assert (account.committed_version, account.uncommitted.pending, called) == (0, [], [])
    assert await store.read_all_events() == []
    await save_all(store, [account])
    assert account.committed_version == 1


async def test_an_end_that_was_never_reported_is_safe_and_logged(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Repository(Account, store)
    async with outbox.transaction(), joined(store, outbox) as tx:
        await accounts.save(account, tx=tx)
    account.deposit(1)
    with caplog.at_level(logging.WARNING, "perdure.postgres"):
        del tx
        gc.collect()

    assert "neither committed() nor rolled_back() was called for a transaction with 1 appends" in caplog.text
    assert account.committed_version == 0
    await accounts.save(account)
    assert (account.committed_version, (await accounts.get("1")).balance) == (2, 1)


async def test_what_was_not_committed_is_never_reported_as_committed(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    called: list[str] = []
    transaction = outbox.transaction()
    await transaction.start()
    async with joined(store, outbox) as tx:
        tx.after_commit(lambda: called.append("after"))
        await Repository(Account, store).save(account, tx=tx)
    with pytest.raises(TransactionError, match="1 of the 1 events of the transaction aren't in the log"):
        await tx.committed()
    assert (account.committed_version, called) == (0, [])
    await transaction.commit()
    await tx.committed()

    assert (account.committed_version, called) == (1, ["after"])


async def test_a_savepoint_that_the_caller_rolls_back_takes_its_appends_with_it(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    async with outbox.transaction():
        async with joined(store, outbox) as tx:
            await accounts.save(account, tx=tx)
            account.deposit(1)
            with pytest.raises(DomainError):
                async with outbox.transaction():
                    await accounts.save(account, tx=tx)
                    raise DomainError("no")
        with pytest.raises(DomainError):
            async with outbox.transaction():
                async with joined(store, outbox) as within:
                    await store.append_to_stream("note-a", ANY, notes("lost"), tx=within)
                raise DomainError("no")
    await tx.committed()
    with pytest.raises(TransactionError, match="aren't in the log"):
        await within.committed()
    within.rolled_back()

    assert (account.committed_version, len(account.uncommitted_events)) == (1, 1)
    await accounts.save(account)
    assert (await accounts.get("1")).balance == 1


async def test_a_block_that_was_left_by_an_error_may_be_committed_nevertheless(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    async with outbox.transaction():
        with pytest.raises(OptimisticConcurrencyError):
            async with joined(store, outbox) as tx:
                await Repository(Account, store).save(account, tx=tx)
                await store.append_to_stream("note-a", 7, notes("late"), tx=tx)
    await tx.committed()

    assert account.committed_version == 1


async def test_a_transaction_that_was_ended_inside_the_block_is_reported_there(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    await outbox.execute("begin")
    with pytest.raises(TransactionEndedError):
        async with joined(store, outbox) as tx:
            await store.append_to_stream("note-a", ANY, notes("lost"), tx=tx)
            await outbox.execute("rollback; begin")
    await outbox.execute("rollback")
    tx.rolled_back()


async def test_a_statement_that_failed_is_reported_at_the_end_of_the_block(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    await outbox.execute("begin")
    with pytest.raises(TransactionError, match="a statement failed"):
        async with joined(store, outbox) as tx:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await outbox.execute("select 1/0")
    await outbox.execute("rollback")
    tx.rolled_back()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_block_within_another_block_leaves_the_other_usable(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, fails: bool
) -> None:
    async with store.transaction(outbox) as outer:
        await store.append_to_stream("note-a", ANY, notes("before"), tx=outer)
        with pytest.raises(DomainError) if fails else nullcontext():
            async with joined(store, outbox) as inner:
                await store.append_to_stream("note-a", ANY, notes("inner"), tx=inner)
                with pytest.raises(TransactionError, match="use that one"):
                    await store.append_to_stream("note-a", ANY, notes("of the outer one"), tx=outer)
                if fails:
                    raise DomainError("no")
        await store.append_to_stream("note-a", ANY, notes("after"), tx=outer)
    await inner.committed()

    assert texts(await store.read_all_events()) == ["before", "inner", "after"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_another_isolation_level_is_refused(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, level: str
) -> None:
    async with outbox.transaction():
        await outbox.execute(f"set transaction isolation level {level}")
        with pytest.raises(TransactionError, match=level.upper()):
            async with joined(store, outbox):
                pass


async def test_a_connection_that_may_lose_commits_is_refused(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    async with outbox.transaction():
        await outbox.execute("set local synchronous_commit = off")
        with pytest.raises(TransactionError, match="synchronous_commit"):
            async with joined(store, outbox):
                pass


async def test_without_a_transaction_there_is_nothing_to_join(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    with pytest.raises(TransactionError, match="in a transaction that could be joined"):
        async with joined(store, outbox):
            pass
    with pytest.raises(InvalidArgumentError, match="must be given"):
        store.transaction(commit="caller")  # type: ignore[call-overload]  # what is refused


async def test_an_end_is_reported_once_and_after_the_block(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection
) -> None:
    tx = joined(store, outbox)
    tx.rolled_back()
    with pytest.raises(TransactionError, match="after its 'async with' block"):
        await tx.committed()
    async with outbox.transaction():
        async with tx:
            with pytest.raises(TransactionError, match="after its 'async with' block"):
                await tx.committed()
            with pytest.raises(TransactionError, match="after its 'async with' block"):
                tx.rolled_back()
        with pytest.raises(TransactionError, match="isn't open"):
            await store.append_to_stream("note-a", ANY, notes("late"), tx=tx)
    await tx.committed()
    with pytest.raises(TransactionError, match="already"):
        await tx.committed()
    with pytest.raises(TransactionError, match="already"):
        tx.rolled_back()
    with pytest.raises(TransactionError, match="once"):
        await tx.__aenter__()


async def test_a_report_that_could_not_be_checked_can_be_repeated(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    async def down(pool: Pool, patience: float) -> None:
        raise ConnectionResetError("down")

    async with outbox.transaction(), joined(store, outbox) as tx:
        await Repository(Account, store).save(account, tx=tx)
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "acquire", down)
        with pytest.raises(StoreUnavailableError):
            await tx.committed()
    assert account.committed_version == 0
    await tx.committed()

    assert account.committed_version == 1


async def test_followers_see_the_events(store: PostgreSQLEventStore, outbox: asyncpg.Connection) -> None:
    following = asyncio.ensure_future(anext(store.subscribe()))
    async with outbox.transaction(), joined(store, outbox) as tx:
        await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)
    await tx.committed()

    assert texts([await following]) == ["a"]


async def test_a_savepoint_works_in_a_transaction_that_a_statement_has_begun(
    store: PostgreSQLEventStore, outbox: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    tx = joined(store, outbox)
    with pytest.raises(TransactionError, match="isn't open"):
        async with tx.savepoint():
            pass
    await outbox.execute("begin")
    async with tx:
        with pytest.raises(DomainError):
            async with tx.savepoint():
                await store.append_to_stream("note-a", ANY, notes("lost"), tx=tx)
                raise DomainError("no")
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with tx.savepoint():
                await outbox.execute("select 1/0")
        async with tx.savepoint(), tx.savepoint():
            await accounts.save(account, tx=tx)
    await outbox.execute("commit")
    await tx.committed()

    assert await store.stream_version("note-a") == 0
    assert account.committed_version == 1


async def test_rows_are_kept_inline_in_it(store: PostgreSQLEventStore, outbox: asyncpg.Connection) -> None:
    async with InlineProjections(store, [Balances()]) as inline:
        await outbox.execute("begin")
        async with inline.transaction(outbox, commit="caller") as tx:
            await inline.append_to_stream("account-1", NO_STREAM, [Deposited(amount=7)], tx=tx)
        await outbox.execute("commit")
        await tx.committed()

    assert await outbox.fetchval("select balance from balances") == 7
