"""A caller's transaction that is ended by a statement inside its block is never reported as committed."""

import asyncpg
import pytest

from perdure import Repository
from perdure.commit import NO_STREAM
from perdure.errors import TransactionEndedError, TransactionError
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account
from tests.stores.postgres.races import notes, texts

LOSING = ["rollback", "rollback; begin", "rollback and chain", "prepare transaction 'ended'"]
KEEPING = ["commit", "commit; begin", "commit and chain"]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("statements", LOSING)
async def test_a_transaction_that_a_statement_has_rolled_back_or_prepared_is_no_success(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, statements: str, given: bool
) -> None:
    called: list[str] = []
    with pytest.raises(TransactionError, match="ended inside its block") as failed:
        async with store.transaction(connection if given else None) as tx:
            tx.after_commit(lambda: called.append("after"))
            await store.append_to_stream("note-a", NO_STREAM, notes("lost"), tx=tx)
            await tx.connection.execute(statements)

    assert "0 of the 1 events appended in it" in str(failed.value)
    assert called == []
    assert await store.read_all_events() == []
    if "prepare" in statements:
        await connection.execute("rollback prepared 'ended'")
    async with store.transaction(connection if given else None) as tx:
        await store.append_to_stream("note-a", NO_STREAM, notes("again"), tx=tx)
    assert texts(await store.read_all_events()) == ["again"]


@pytest.mark.parametrize("statements", KEEPING)
async def test_what_a_hidden_commit_has_written_is_said(store: PostgreSQLEventStore, statements: str) -> None:
    called: list[str] = []
    kept, lost = [NewEvent(one) for one in notes("kept")], [NewEvent(one) for one in notes("lost")]
    count = store.changes.count
    with pytest.raises(TransactionEndedError) as failed:
        async with store.transaction() as tx:
            tx.after_commit(lambda: called.append("after"))
            await store.append_to_stream("note-a", NO_STREAM, kept, tx=tx)
            await tx.connection.execute("savepoint a")
            await store.append_to_stream("note-a", 1, lost, tx=tx)
            await tx.connection.execute("rollback to a")
            await tx.connection.execute(statements)

    assert failed.value.event_ids == (kept[0].metadata.event_id, lost[0].metadata.event_id)
    assert failed.value.written == (kept[0].metadata.event_id,)
    assert "1 of the 2 events appended in it" in str(failed.value)
    assert called == []
    assert store.changes.count == count + 1
    assert texts(await store.read_all_events()) == ["kept"]


async def test_a_hidden_commit_is_logged_where_an_error_of_the_block_leaves_it(
    store: PostgreSQLEventStore, caplog: pytest.LogCaptureFixture
) -> None:
    count = store.changes.count
    with pytest.raises(ValueError, match="of the block"):
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", NO_STREAM, notes("kept"), tx=tx)
            await tx.connection.execute("commit")
            raise ValueError("of the block")

    assert "has committed: 1 of its 1 events are in the log" in caplog.text
    assert store.changes.count == count + 1
    assert texts(await store.read_all_events()) == ["kept"]


@pytest.mark.parametrize("statements", ["rollback", "rollback; begin", "commit; begin"])
async def test_without_an_append_it_is_no_success_either(store: PostgreSQLEventStore, statements: str) -> None:
    called: list[str] = []
    with pytest.raises(TransactionError, match="ended inside its block"):
        async with store.transaction() as tx:
            tx.after_commit(lambda: called.append("after"))
            await tx.connection.execute(statements)
    assert called == []


@pytest.mark.parametrize("statements", ["rollback; begin", "commit and chain"])
async def test_nothing_is_appended_in_the_transaction_that_took_its_place(
    store: PostgreSQLEventStore, statements: str
) -> None:
    with pytest.raises(TransactionError, match="ended inside its block"):
        async with store.transaction() as tx:
            await tx.connection.execute(statements)
            await store.append_to_stream("note-a", NO_STREAM, notes("elsewhere"), tx=tx)

    assert await store.read_all_events() == []


@pytest.mark.parametrize("statements", ["rollback; begin", "rollback and chain", "commit", "commit; begin"])
async def test_an_aggregate_saved_in_it_stays_uncommitted(store: PostgreSQLEventStore, statements: str) -> None:
    account, accounts = Account("1"), Repository(Account, store)
    account.open("ann")
    with pytest.raises(TransactionError):
        async with store.transaction() as tx:
            await accounts.save(account, tx=tx)
            await tx.connection.execute(statements)

    assert len(account.uncommitted_events) == 1
    account.deposit(1)
    await accounts.save(account)
    assert (await accounts.get("1")).balance == 1
