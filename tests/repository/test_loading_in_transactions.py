"""Aggregates loaded in a caller's transaction: with its own appends, on its own connection."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from perdure import Decider, DeciderRepository, HistoryRolledBackError, Repository, save_all
from perdure.commit import ANY
from perdure.errors import OptimisticConcurrencyError, TransactionEndedError, TransactionError
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account, Deposited, Opened
from tests.repository.counters import Counted


class Deliberate(Exception):  # noqa: N818 - it stands for any error
    """Rolls a transaction back."""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """A store whose pool has one connection, and doesn't wait long for another."""
    separator = "&" if "?" in database_url else "?"
    async with PostgreSQLEventStore(f"{database_url}{separator}connect_timeout=1", pool_size=1) as store:
        yield store


@pytest.fixture
def accounts(store: PostgreSQLEventStore) -> Repository[Account]:
    return Repository(Account, store, snapshot_every=2)


@pytest.fixture
async def account(accounts: Repository[Account]) -> Account:
    await accounts.execute("1", lambda one: one.open("ann"))
    return await accounts.get("1")


@pytest.mark.usefixtures("account")
async def test_loads_in_a_transaction_take_no_second_connection(
    store: PostgreSQLEventStore, accounts: Repository[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    acquire = Pool.acquire

    async def counted(pool: Pool, patience: float) -> object:
        nonlocal taken
        taken += 1
        return await acquire(pool, patience)

    monkeypatch.setattr(Pool, "acquire", counted)
    async with store.transaction() as tx:
        one = await accounts.get("1", tx=tx)
        one.deposit(5)
        await accounts.save(one, tx=tx)
        assert (await accounts.get("1", tx=tx)).balance == 5
        assert (await accounts.load_or_new("2", tx=tx)).stream_version == 0
        assert await accounts.load("2", tx=tx) is None
        assert [at.balance async for _, at in accounts.history("1", tx=tx)] == [0, 5]
        earlier = await accounts.load("1", at_version=1, tx=tx)
        assert earlier is not None
        assert earlier.balance == 0
        assert taken == 1

    assert one.uncommitted_events == ()
    assert (await accounts.get("1")).balance == 5


async def test_states_of_deciders_are_loaded_in_a_transaction(store: PostgreSQLEventStore) -> None:
    def decide(command: int, state: int) -> list[Counted]:
        return [Counted()] * (command - state)

    def evolve(state: int, event: Counted) -> int:
        return state + 1

    counters = DeciderRepository(Decider(category="counter", initial_state=int, decide=decide, evolve=evolve), store)
    async with store.transaction() as tx:
        counter = await counters.load_aggregate("1", tx=tx)
        counter.decide(2)
        await save_all(store, [counter], tx=tx)
        assert await counters.load("1", tx=tx) == await counters.get("1", tx=tx) == 2
        assert [state async for _, state in counters.history("1", tx=tx)] == [1, 2]

    assert await counters.get("1") == 2


async def test_a_snapshot_is_used_in_a_transaction_and_none_is_written_in_it(
    store: PostgreSQLEventStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(1)
    await accounts.save(account)
    snapshot = await store.read_snapshot("account-1")
    assert snapshot is not None
    async with store.transaction() as tx:
        one = await accounts.get("1", tx=tx)
        assert one.snapshot_version == 2
        for _ in range(3):
            one.deposit(1)
        await accounts.save(one, tx=tx)
        assert (await accounts.get("1", tx=tx)).snapshot_version == 2
        assert await store.read_snapshot("account-1", tx=tx) == snapshot

    assert await store.read_snapshot("account-1") == snapshot


async def lost_history(store: PostgreSQLEventStore, accounts: Repository[Account]) -> Account:
    """An account that was loaded from an event that was rolled back, and in whose place another event is now."""
    with pytest.raises(Deliberate):
        async with store.transaction() as tx:
            await store.append_to_stream("account-1", 1, [Deposited(amount=100)], tx=tx)
            lost = await accounts.get("1", tx=tx)
            raise Deliberate
    assert lost.balance == 100
    await store.append_to_stream("account-1", 1, [Deposited(amount=1)])
    return lost


@pytest.mark.usefixtures("account")
async def test_what_was_decided_on_events_that_were_rolled_back_is_not_saved(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    lost = await lost_history(store, accounts)
    lost.raise_event(Deposited(amount=-100))
    with pytest.raises(HistoryRolledBackError, match="'account-1' was loaded in a transaction, and its event at ver"):
        await accounts.save(lost)
    with pytest.raises(HistoryRolledBackError):
        await save_all(store, [lost])
    async with store.transaction() as tx:
        with pytest.raises(HistoryRolledBackError):
            await accounts.save(lost, tx=tx)

    assert await store.stream_version("account-1") == 2


@pytest.mark.usefixtures("account")
async def test_what_a_savepoint_has_undone_is_noticed_in_the_same_transaction(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    async with store.transaction() as tx:
        with pytest.raises(Deliberate):
            async with tx.savepoint():
                await store.append_to_stream("account-1", 1, [Deposited(amount=100)], tx=tx)
                lost = await accounts.get("1", tx=tx)
                raise Deliberate
        await store.append_to_stream("account-1", 1, [Deposited(amount=1)], tx=tx)
        lost.raise_event(Deposited(amount=-100))
        with pytest.raises(HistoryRolledBackError):
            await accounts.save(lost, tx=tx)


@pytest.mark.usefixtures("account")
async def test_commands_are_decided_again_on_what_is_stored_after_a_rollback(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    lost = await lost_history(store, accounts)
    lost.deposit(-10)
    await accounts.save_with_retry(lost)

    assert (lost.balance, (await accounts.get("1")).balance) == (-9, -9)


@pytest.mark.usefixtures("account")
async def test_after_the_commit_an_aggregate_of_the_transaction_is_like_any_other(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    async with store.transaction() as tx:
        await store.append_to_stream("account-1", 1, [Deposited(amount=100)], tx=tx)
        one, another = await accounts.get("1", tx=tx), await accounts.get("1", tx=tx)
        one.raise_event(Deposited(amount=-40))
        await accounts.save(one, tx=tx)
    one.raise_event(Deposited(amount=-40))
    await accounts.save(one)
    another.raise_event(Deposited(amount=-100))
    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(another)

    assert (await accounts.get("1")).balance == 20


@pytest.mark.usefixtures("account")
async def test_a_transaction_that_can_not_be_used_is_refused(
    store: PostgreSQLEventStore, accounts: Repository[Account], connection: asyncpg.Connection, database_url: str
) -> None:
    unentered = store.transaction(connection)
    with pytest.raises(TransactionError, match="isn't open: use it within its 'async with' block"):
        await accounts.get("1", tx=unentered)
    async with store.transaction(connection) as ended:
        pass
    with pytest.raises(TransactionError, match="isn't open"):
        await accounts.get("1", tx=ended)
    async with PostgreSQLEventStore(database_url) as other, other.transaction() as foreign:
        with pytest.raises(TransactionError, match="isn't a transaction of this store"):
            await accounts.get("1", tx=foreign)
    with pytest.raises(TransactionError, match="a statement failed in the transaction"):
        async with store.transaction(connection) as failed:
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("select from nowhere")
            await accounts.get("1", tx=failed)
    with pytest.raises(TransactionEndedError):
        async with store.transaction(connection) as replaced:
            await connection.execute("rollback; begin")
            await accounts.get("1", tx=replaced)


async def test_a_joined_transaction_sees_what_an_earlier_block_of_it_has_appended(
    store: PostgreSQLEventStore, accounts: Repository[Account], connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        async with store.transaction(connection, commit="caller") as first:
            await store.append_to_stream("account-1", ANY, [Opened(owner="ann")], tx=first)
        async with store.transaction(connection, commit="caller") as second:
            account = await accounts.get("1", tx=second)
            account.deposit(3)
            await accounts.save(account, tx=second)
    await first.committed()
    await second.committed()

    assert (await accounts.get("1")).balance == 3


async def test_what_a_transaction_sees_never_gets_into_the_cache(store: PostgreSQLEventStore) -> None:
    cached = Repository(Account, store, cache_size=8)
    await cached.execute("1", lambda one: one.open("ann"))
    assert (await cached.get("1")).balance == 0
    with pytest.raises(Deliberate):
        async with store.transaction() as tx:
            one = await cached.get("1", tx=tx)
            one.deposit(5)
            await cached.save(one, tx=tx)
            assert (await cached.get("1", tx=tx)).balance == 5
            raise Deliberate
    assert (await cached.get("1")).balance == 0


async def test_tasks_that_use_a_transaction_at_once_are_told_so(store: PostgreSQLEventStore) -> None:
    """The database can be reached, so to try again later is no cure."""
    accounts = Repository(Account, store)
    await accounts.execute("1", lambda account: account.open("ann"))
    async with store.transaction() as tx:
        loads = [accounts.get("1", tx=tx) for _ in range(2)]
        first, second = await asyncio.gather(*loads, return_exceptions=True)
        assert isinstance(first, Account)
        assert isinstance(second, TransactionError)
        assert "one task at a time" in str(second)
        assert (await accounts.get("1", tx=tx)).owner == "ann"
