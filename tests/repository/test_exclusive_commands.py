"""`execute(exclusive=True)`: the action is called once, because all other writers of the stream wait for the commit."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from perdure import (
    AggregateBusyError,
    CommandIdReuseError,
    Decider,
    DeciderRepository,
    DomainError,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    Repository,
    RetryConfig,
    execute_all,
)
from perdure.errors import OutcomeUnknownError, StoreUnavailableError
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.stores.postgres.transactions.own_transaction import OwnTransaction
from tests.patience import patience
from tests.repository.accounts import Account, Deposited, Opened

ROOT = Path(__file__).parents[2]
SHORT = RetryConfig(max_seconds=0.2)
LONG = RetryConfig(max_seconds=600)


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[list[PostgreSQLEventStore]]:
    """Two stores on one database, with queues of their own, as two processes have them, and of two connections each."""
    async with AsyncExitStack() as stack:
        stores = [PostgreSQLEventStore(database_url, pool_size=2) for _ in range(2)]
        for store in stores:
            await stack.enter_async_context(store)
        await Repository(Account, stores[0]).execute("1", lambda account: account.open("ann"))
        yield stores


@pytest.fixture
def accounts(stores: list[PostgreSQLEventStore]) -> list[Repository[Account]]:
    return [Repository(Account, store, retry=LONG) for store in stores]


async def test_each_action_is_called_once_however_many_processes_compete(accounts: list[Repository[Account]]) -> None:
    calls = 0

    def deposit(account: Account) -> None:
        nonlocal calls
        calls += 1
        account.deposit(1)

    one, two = accounts
    competing = [one.execute("1", lambda account: account.deposit(1)) for _ in range(20)]
    exclusive = [accounts[number % 2].execute("1", deposit, exclusive=True) for number in range(20)]
    results = await asyncio.gather(*exclusive, *competing)
    assert calls == 20
    versions = [result.stream_version for result in results if result is not None]
    assert sorted(versions) == list(range(2, 42))
    assert (await two.get("1")).balance == 40


async def test_without_it_actions_are_called_again(accounts: list[Repository[Account]]) -> None:
    """The test above can fail: the same load without `exclusive` decides again."""
    calls = 0

    def deposit(account: Account) -> None:
        nonlocal calls
        calls += 1
        account.deposit(1)

    while calls % 20 == 0:
        await asyncio.gather(*[accounts[number % 2].execute("1", deposit) for number in range(20)])


async def test_other_writers_wait_for_the_commit(stores: list[PostgreSQLEventStore]) -> None:
    one, two = stores
    async with one.exclusively("account-1", 1.0) as tx:
        waiting = asyncio.create_task(two.append_to_stream("account-1", 1, [Deposited(amount=5)]))
        both = asyncio.create_task(
            two.append_to_streams([("account-2", 0, [Opened(owner="bob")]), ("account-1", 1, [Deposited(amount=5)])])
        )
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert not both.done()
        await one.append_to_stream("account-1", 1, [Deposited(amount=1)], tx=tx)
    for task in (waiting, both):
        with pytest.raises(OptimisticConcurrencyError):
            await task


async def test_a_stream_that_stays_in_use_is_busy(
    stores: list[PostgreSQLEventStore], accounts: list[Repository[Account]]
) -> None:
    async with stores[0].exclusively("account-1", 1.0):
        with pytest.raises(AggregateBusyError) as caught:
            await accounts[1].execute("1", lambda account: account.deposit(1), exclusive=True, retry=SHORT)
        assert caught.value.is_transient
        await accounts[1].execute("2", lambda account: account.open("bob"), exclusive=True, retry=SHORT)
    await accounts[1].execute("1", lambda account: account.deposit(1), exclusive=True)


async def test_commands_that_wait_in_this_process_take_no_connection(
    stores: list[PostgreSQLEventStore], accounts: list[Repository[Account]]
) -> None:
    async with stores[1].exclusively("account-1", 1.0):
        waiting = [
            asyncio.create_task(accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True))
            for _ in range(10)
        ]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(patience(20)):
            assert await stores[0].stream_version("account-1") == 1
    await asyncio.gather(*waiting)


async def test_a_caller_that_gives_up_leaves_the_stream_free(
    stores: list[PostgreSQLEventStore], accounts: list[Repository[Account]]
) -> None:
    async with stores[1].exclusively("account-1", 1.0):
        waiting = asyncio.create_task(accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(patience(20)):
        await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True)
        await accounts[1].execute("1", lambda account: account.deposit(1))
    assert (await accounts[0].get("1")).balance == 2


async def test_an_action_that_raises_leaves_nothing(accounts: list[Repository[Account]]) -> None:
    def refuse(account: Account) -> None:
        account.deposit(1)
        raise DomainError("no")

    with pytest.raises(DomainError):
        await accounts[0].execute("1", refuse, exclusive=True)
    assert (await accounts[1].get("1")).stream_version == 1


async def test_identified_commands_are_executed_once(accounts: list[Repository[Account]]) -> None:
    def deposit(account: Account) -> None:
        account.deposit(1)

    results = await asyncio.gather(
        *[
            accounts[number % 2].execute("1", deposit, command_id="a", fingerprint="b", exclusive=number % 3 != 0)
            for number in range(12)
        ]
    )
    assert {result.stream_version for result in results if result is not None} == {2}
    assert sum([not result.is_repeat for result in results if result is not None]) == 1
    with pytest.raises(CommandIdReuseError):
        await accounts[0].execute("1", deposit, command_id="a", fingerprint="c", exclusive=True)


async def test_the_version_that_the_caller_saw_counts(accounts: list[Repository[Account]]) -> None:
    with pytest.raises(OptimisticConcurrencyError) as caught:
        await accounts[0].execute("1", lambda account: account.deposit(1), expected_version=7, exclusive=True)
    assert (caught.value.expected_version, caught.value.actual_version) == (7, 1)


async def test_a_group_and_exclusive_commands_make_way_for_each_other(accounts: list[Repository[Account]]) -> None:
    one, two = accounts
    await one.execute("2", lambda account: account.open("bob"))

    async def both(repository: Repository[Account]) -> None:
        async def decide() -> list[Account]:
            found = [await repository.get("1"), await repository.get("2")]
            for account in found:
                account.deposit(1)
            return found

        await execute_all(repository.store, decide, retry=LONG)

    def deposit(account: Account) -> None:
        account.deposit(1)

    await asyncio.gather(
        *[both(accounts[number % 2]) for number in range(6)],
        *[accounts[number % 2].execute(str(1 + number % 3 % 2), deposit, exclusive=True) for number in range(12)],
    )
    assert (await one.get("1")).balance + (await two.get("2")).balance == 24


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_lost_answer_to_the_commit_is_settled(
    accounts: list[Repository[Account]], monkeypatch: pytest.MonkeyPatch, *, is_written: bool
) -> None:
    calls, losses = 0, 0
    commit = OwnTransaction._commit

    async def lost(tx: OwnTransaction) -> None:
        nonlocal losses
        losses += 1
        if losses > 1:
            return await commit(tx)
        ids = tx._event_ids
        if is_written:
            await tx._transaction.commit()
        else:
            await tx._transaction.rollback()
        raise OutcomeUnknownError(ids)

    def deposit(account: Account) -> None:
        nonlocal calls
        calls += 1
        account.deposit(1)

    monkeypatch.setattr(OwnTransaction, "_commit", lost)
    result = await accounts[0].execute("1", deposit, exclusive=True)
    assert result is not None
    assert result.stream_version == 2
    assert calls == 1
    assert (await accounts[1].get("1")).balance == 1


async def test_an_outage_is_reported_and_nothing_is_written(
    accounts: list[Repository[Account]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: OwnTransaction) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched, pytest.raises(StoreUnavailableError):
        patched.setattr(OwnTransaction, "__aenter__", away)
        await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True)
    await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True)
    assert (await accounts[1].get("1")).balance == 1


async def test_a_snapshot_is_taken(stores: list[PostgreSQLEventStore]) -> None:
    accounts = Repository(Account, stores[0], snapshot_every=2, cache_size=5)
    for _ in range(3):
        await accounts.execute("1", lambda account: account.deposit(1), exclusive=True)
    snapshot = await stores[0].read_snapshot("account-1")
    assert snapshot is not None
    assert snapshot.stream_version == 4
    assert (await accounts.get("1")).balance == 3


@pytest.mark.parametrize("in_memory", [True, False])
async def test_deciders_take_it_too(stores: list[PostgreSQLEventStore], *, in_memory: bool) -> None:
    store: EventStore = InMemoryEventStore() if in_memory else stores[0]

    def decide(command: int, state: int) -> list[object]:
        if command + state > 5:
            raise DomainError("enough")
        return [Deposited(amount=command)]

    def evolve(state: int, event: object) -> int:
        return state + (event.amount if isinstance(event, Deposited) else 0)

    counts = DeciderRepository(Decider(category="count", initial_state=int, decide=decide, evolve=evolve), store)
    outcomes = await asyncio.gather(*[counts.execute("1", 1, exclusive=True) for _ in range(8)], return_exceptions=True)
    assert sum([isinstance(one, DomainError) for one in outcomes]) == 3
    assert await counts.load("1") == 5


async def test_it_must_be_a_flag(accounts: list[Repository[Account]]) -> None:
    with pytest.raises(InvalidArgumentError, match="exclusive"):
        await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=cast("bool", 1))


async def test_timeouts_of_the_stream_are_checked(stores: list[PostgreSQLEventStore]) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        async with stores[0].exclusively("account-1", -1):
            pass
    with pytest.raises(InvalidArgumentError, match="stream_id"):
        async with stores[0].exclusively("", 1):
            pass
    async with stores[0].transaction() as tx:
        with pytest.raises(InvalidArgumentError, match="stream_id"):
            await tx.lock_stream("", 1)
        before = await tx.connection.fetchval("show lock_timeout")
        await tx.lock_stream("account-1", 3600)
        assert await tx.connection.fetchval("show lock_timeout") == before


async def test_a_frozen_process_keeps_the_stream_busy_and_a_killed_one_frees_it(
    database_url: str, accounts: list[Repository[Account]]
) -> None:
    words = ("-m", "tests.repository.exclusive_holder", database_url)
    holder = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout is not None
        async with asyncio.timeout(patience(60)):
            assert await holder.stdout.readline() == b"holding\n"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(AggregateBusyError):
            await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True, retry=SHORT)
    finally:
        holder.kill()
        await holder.wait()
    await accounts[0].execute("1", lambda account: account.deposit(1), exclusive=True)
    assert (await accounts[1].get("1")).balance == 1
