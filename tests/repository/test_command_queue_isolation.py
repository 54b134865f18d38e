"""Queued commands, each with a context, an error and a copy of the state of its own."""

import asyncio
from contextvars import ContextVar
from decimal import Decimal, localcontext

import pytest

from perdure import (
    AggregateRoot,
    AppendResult,
    DomainError,
    OptimisticConcurrencyError,
    PayloadTooLargeError,
    Repository,
    context,
    event,
    handles,
)
from tests.repository.accounts import (
    Account,
    Audited,
    Deposited,
    FaultyStore,
    Gate,
    QueueingStore,
    amounts,
    deposit,
    sizes,
    under_way,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


async def test_each_decides_and_encodes_in_the_context_of_its_caller(store: FaultyStore, accounts: Accounts) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody")
    seen: list[str] = []

    def action(account: Account) -> None:
        seen.append(variable.get())
        account.deposit(1)

    async def caller(name: str) -> None:
        variable.set(name)
        with context(correlation_id=f"request {name}", causation_id=f"cause {name}", user_id=name):
            await accounts.execute("1", action)

    await asyncio.gather(caller("ann"), caller("bob"), accounts.execute("1", action))

    assert sizes(store) == [3]
    assert seen == ["ann", "bob", "nobody"]
    metadata = [stored.metadata for stored in await store.read_stream("account-1")]
    assert [(one.correlation_id, one.causation_id, one.user_id) for one in metadata] == [
        ("request ann", "cause ann", "ann"),
        ("request bob", "cause bob", "bob"),
        (None, None, None),
    ]


@event("share.split")
class Split:
    parts: int


class Share(AggregateRoot, category="share"):
    size: Decimal = Decimal(1)

    @handles
    def _split(self, event: Split) -> None:
        self.size /= event.parts


async def test_handlers_run_in_the_context_of_a_caller(store: FaultyStore) -> None:
    shares = Repository(Share, store)
    seen: list[Decimal] = []

    def split(share: Share) -> None:
        share.raise_event(Split(parts=3))
        seen.append(share.size)

    with localcontext(prec=3):
        await asyncio.gather(*[shares.execute("1", split) for _ in range(2)])

        assert seen == [Decimal("0.333"), Decimal("0.111")]
        assert (await shares.get("1")).size == Decimal("0.111")


async def test_an_error_reaches_its_own_caller_alone(store: FaultyStore, accounts: Accounts) -> None:
    def fail(account: Account) -> None:
        account.deposit(5)
        raise ZeroDivisionError("mine")

    results = await asyncio.gather(
        accounts.execute("1", deposit(1)),
        accounts.execute("1", fail),
        accounts.execute("1", deposit(2)),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [AppendResult, ZeroDivisionError, AppendResult]
    assert await amounts(store) == [1, 2]


async def test_an_action_that_raises_leaves_no_trace_whatever_it_did(store: FaultyStore, accounts: Accounts) -> None:
    await accounts.execute("1", lambda account: account.deposit(1, note="first"))
    seen: list[tuple[int, list[str], int]] = []

    def spoil(account: Account) -> None:
        account.deposit(5, note="spoilt")
        account.balance = 1000
        account.notes.append("mine")
        account.notes.clear()
        account.stream_version = 7
        account.raise_event(Audited())
        raise ZeroDivisionError

    def look(account: Account) -> None:
        seen.append((account.balance, list(account.notes), account.stream_version))
        account.deposit(2)

    gate, first = await under_way(store, accounts)
    spoilt = [asyncio.create_task(accounts.execute("1", spoil)) for _ in range(2)]
    looking = asyncio.create_task(accounts.execute("1", look))
    gate.opened.set()
    await first
    await looking
    assert {type(error) for error in await asyncio.gather(*spoilt, return_exceptions=True)} == {ZeroDivisionError}

    assert seen == [(2, ["first"], 2)]
    assert await amounts(store) == [1, 1, 2]


async def test_an_action_that_catches_an_error_half_way_spoils_its_own_copy_only(
    store: FaultyStore, accounts: Accounts
) -> None:
    def half_way(account: Account) -> None:
        account.balance += 50  # outside of any command and handler
        with pytest.raises(DomainError):
            account.deposit(1000)
        account.deposit(1)

    results = await asyncio.gather(accounts.execute("1", half_way), accounts.execute("1", deposit(99)))

    assert [result.stream_version for result in results if result] == [1, 2]
    assert (await accounts.get("1")).balance == 100


async def test_an_action_that_keeps_its_aggregate_has_a_saved_one_of_its_own(
    store: FaultyStore, accounts: Accounts
) -> None:
    kept: list[Account] = []

    def keep(account: Account) -> None:
        account.deposit(1, note="kept")
        kept.append(account)

    store.before.append(gate := Gate())
    tasks = [asyncio.create_task(accounts.execute("1", keep)) for _ in range(2)]
    await gate.reached.wait()
    for account in kept:  # while they are being committed
        account.balance = 1000
        account.notes.clear()
        account.raise_event(Deposited(amount=77))
    looking = asyncio.create_task(accounts.execute("1", deposit(98)))
    gate.opened.set()
    await asyncio.gather(*tasks, looking)

    assert await amounts(store) == [1, 1, 98]
    assert (await accounts.get("1")).notes == ["kept", "kept"]
    assert [(one.committed_version, len(one.uncommitted_events)) for one in kept] == [(1, 1), (2, 1)]
    for account in kept:
        with pytest.raises(OptimisticConcurrencyError):
            await accounts.save(account)


async def test_an_event_that_cant_be_stored_fails_its_own_command(store: FaultyStore) -> None:
    store.payload_limit = 100
    accounts = Repository(Account, store)

    results = await asyncio.gather(
        accounts.execute("1", deposit(1)),
        accounts.execute("1", lambda account: account.deposit(1, note="x" * 1000)),
        accounts.execute("1", deposit(2)),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [AppendResult, PayloadTooLargeError, AppendResult]
    assert sizes(store) == [2]


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, GeneratorExit, asyncio.CancelledError])
async def test_whatever_an_action_raises_leaves_the_call_as_without_a_queue(
    store: FaultyStore, accounts: Accounts, error: type[BaseException]
) -> None:
    def action(account: Account) -> None:
        raise error

    async def outcome(accounts: Accounts) -> type[BaseException] | None:
        try:
            await accounts.execute("1", action)
        except BaseException as raised:  # noqa: BLE001 - it is what the test is about
            return type(raised)
        return None

    gate, first = await under_way(store, accounts)
    task = asyncio.create_task(outcome(accounts))
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    gate.opened.set()
    await first

    assert await task == await outcome(Repository(Account, store))
    assert await other == AppendResult("account-1", 2, (2,))
