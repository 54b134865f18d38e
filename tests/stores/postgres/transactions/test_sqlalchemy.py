"""Appends beside a session of SQLAlchemy: both are committed, or neither."""

from collections.abc import AsyncIterator
from typing import cast

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from perdure import Repository
from perdure.commit import ANY
from perdure.errors import DomainError, TransactionError
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account
from tests.stores.postgres.races import notes, texts

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
async def sessions(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[Sessions]:
    """Sessions on the test's database, in which there is a table `orders`."""
    await connection.execute("create table orders (id text)")

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(database_url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    yield async_sessionmaker(engine)
    await engine.dispose()


async def raw(session: AsyncSession) -> asyncpg.Connection:
    """The driver's connection of the session."""
    connection = await (await session.connection()).get_raw_connection()
    return cast("asyncpg.Connection", connection.driver_connection)


async def order(session: AsyncSession, order_id: str = "7") -> None:
    await session.execute(text("insert into orders values (:id)"), {"id": order_id})


async def orders(connection: asyncpg.Connection) -> list[str]:
    return [row["id"] for row in await connection.fetch("select id from orders order by id")]


@pytest.fixture
def account() -> Account:
    account = Account("1")
    account.open("ann")
    return account


async def test_a_session_that_began_first_commits_the_appends(
    store: PostgreSQLEventStore, sessions: Sessions, connection: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    async with sessions() as session:
        async with session.begin():
            await order(session)
            async with store.transaction(await raw(session), commit="caller") as tx:
                await accounts.save(account, tx=tx)
            await order(session, "8")
        await tx.committed()

    assert await orders(connection) == ["7", "8"]
    assert (await accounts.get("1")).owner == "ann"
    assert account.committed_version == 1


async def test_a_session_that_is_rolled_back_takes_the_appends_with_it(
    store: PostgreSQLEventStore, sessions: Sessions, connection: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    async with sessions() as session:
        with pytest.raises(DomainError):
            async with session.begin():
                await order(session)
                async with store.transaction(await raw(session), commit="caller") as tx:
                    await accounts.save(account, tx=tx)
                raise DomainError("no")
        tx.rolled_back()

    assert await orders(connection) == []
    assert await accounts.load("1") is None
    assert account.committed_version == 0


async def test_a_savepoint_of_the_session_takes_its_appends_with_it(
    store: PostgreSQLEventStore, sessions: Sessions, connection: asyncpg.Connection, account: Account
) -> None:
    accounts = Repository(Account, store)
    async with sessions() as session:
        async with session.begin():
            await order(session)
            async with store.transaction(await raw(session), commit="caller") as tx:
                await store.append_to_stream("note-a", ANY, notes("kept"), tx=tx)
                nested = await session.begin_nested()
                await raw(session)  # only now the savepoint is sent
                await accounts.save(account, tx=tx)
                await nested.rollback()
        await tx.committed()

    assert await orders(connection) == ["7"]
    assert [one.event for one in await store.read_all_events()] == notes("kept")
    assert account.committed_version == 0


async def test_a_session_that_has_not_begun_yet_is_refused(store: PostgreSQLEventStore, sessions: Sessions) -> None:
    async with sessions() as session:
        with pytest.raises(TransactionError, match="execute a statement in it"):
            async with store.transaction(await raw(session), commit="caller"):
                pass


async def test_a_session_that_began_first_is_refused_where_the_store_is_to_commit(
    store: PostgreSQLEventStore, sessions: Sessions, connection: asyncpg.Connection
) -> None:
    async with sessions() as session, session.begin():
        await order(session)
        with pytest.raises(TransactionError, match='commit="caller"'):
            async with store.transaction(await raw(session)):
                pass

    assert await orders(connection) == ["7"]


@pytest.mark.parametrize("commits", [False, True])
async def test_a_session_that_begins_in_the_stores_transaction_and_outlives_it_is_refused_and_nothing_written(
    store: PostgreSQLEventStore,
    sessions: Sessions,
    connection: asyncpg.Connection,
    account: Account,
    commits: bool,
) -> None:
    # Regression: all of it was committed, and then the session raised an error, as if nothing had been.
    session = sessions()
    lent = await session.connection()
    with pytest.raises(TransactionError, match="a savepoint is open"):
        async with store.transaction(await raw(session)) as tx:
            await Repository(Account, store).save(account, tx=tx)
            if commits:
                await order(session)
            else:
                await session.execute(text("select 1"))
    with pytest.raises(DBAPIError):
        await (session.commit() if commits else session.close())
    await lent.invalidate()  # or SQLAlchemy warns of a connection that never came back
    await lent.close()

    assert await orders(connection) == []
    assert await store.read_all_events() == []
    assert account.committed_version == 0


async def test_a_session_that_ends_within_the_stores_transaction_takes_part_in_it(
    store: PostgreSQLEventStore, sessions: Sessions, connection: asyncpg.Connection
) -> None:
    async with sessions() as session:
        async with store.transaction(await raw(session)) as tx:
            await store.append_to_stream("note-a", ANY, notes("a"), tx=tx)
            await order(session)
            await session.commit()
        assert await orders(connection) == ["7"]
        with pytest.raises(DomainError):
            async with store.transaction(await raw(session)) as tx:
                await store.append_to_stream("note-a", ANY, notes("b"), tx=tx)
                await order(session, "8")
                await session.commit()
                raise DomainError("no")

    assert await orders(connection) == ["7"]
    assert texts(await store.read_all_events()) == ["a"]
