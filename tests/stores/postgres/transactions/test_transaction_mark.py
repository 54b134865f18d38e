"""The mark of a transaction: it is there as long as the transaction is the same, and not a moment longer."""

import asyncpg
import pytest

from perdure.stores.postgres.transactions.transaction_mark import TransactionMark


@pytest.mark.parametrize(
    "statements",
    [
        "select 1",
        "savepoint a",
        "savepoint a; rollback to a",
        "savepoint a; release a",
        "savepoint a; select set_config('perdure.transaction', 'theirs', true); rollback to a",
        "do $$ begin perform 1 / 0; exception when others then null; end $$",
    ],
)
async def test_a_transaction_keeps_its_mark_whatever_is_done_in_it(
    connection: asyncpg.Connection, statements: str
) -> None:
    mark = TransactionMark()
    async with connection.transaction():
        await mark.put_on(connection)
        await connection.execute(statements)
        assert await mark.is_on(connection)


@pytest.mark.parametrize(
    "statements",
    [
        "rollback",
        "commit",
        "rollback; begin",
        "commit; begin",
        "rollback and chain",
        "commit and chain",
        "prepare transaction 'marked'",
        "prepare transaction 'marked'; begin",
    ],
)
async def test_the_transaction_after_it_bears_no_mark(connection: asyncpg.Connection, statements: str) -> None:
    mark = TransactionMark()
    await connection.execute("begin")
    await mark.put_on(connection)
    for statement in statements.split("; "):  # PREPARE TRANSACTION must be sent alone
        await connection.execute(statement)

    assert not await mark.is_on(connection)
    await connection.execute("rollback")
    if "prepare" in statements:
        await connection.execute("rollback prepared 'marked'")


async def test_each_transaction_has_a_mark_of_its_own(connection: asyncpg.Connection) -> None:
    first, second = TransactionMark(), TransactionMark()
    async with connection.transaction():
        await first.put_on(connection)
    async with connection.transaction():
        await second.put_on(connection)

        assert not await first.is_on(connection)
        assert await second.is_on(connection)
