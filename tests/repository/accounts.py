"""Accounts to be loaded and saved, and a store in which something goes wrong."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from perdure import (
    AggregateRoot,
    AppendResult,
    DatabaseError,
    DomainError,
    InMemoryEventStore,
    OutcomeUnknownError,
    RetryConfig,
    StoreClosedError,
    StoredEvent,
    StoreOverloadedError,
    StoreUnavailableError,
    TableProjection,
    command,
    event,
    field,
    handles,
)
from perdure.commit import Commit
from perdure.repository import Repository
from perdure.repository.command_queue import CommandQueue
from perdure.transaction import Transaction

AT_ONCE = RetryConfig(max_attempts=3, base_delay=0)
ONCE = RetryConfig(max_attempts=1)


@event("account.opened")
class Opened:
    owner: str


@event("account.deposited")
class Deposited:
    amount: int
    note: str | None = None


@event("account.audited")
class Audited:
    """No aggregate handles it."""


class Account(AggregateRoot, category="account"):
    owner: str | None = None
    balance: int = 0
    notes: list[str] = field(default_factory=list)

    @command
    def open(self, owner: str) -> None:
        if self.owner is not None:
            raise DomainError("the account is open already")
        self.raise_event(Opened(owner=owner))

    @command
    def deposit(self, amount: int, note: str | None = None) -> None:
        if self.balance + amount > 100:
            raise DomainError("too much for an account")
        self.raise_event(Deposited(amount=amount, note=note))

    @command
    def fill(self) -> None:
        if self.balance < 100:
            self.raise_event(Deposited(amount=100 - self.balance))

    @handles
    def _opened(self, event: Opened) -> None:
        self.owner = event.owner

    @handles
    def _deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        if event.note:
            self.notes.append(event.note)


@dataclass
class Balance:
    account_id: str
    balance: int = 0


class Balances(TableProjection[Balance], table="balances", key="account_id", version=1, by_stream="account"):
    @handles
    def deposited(self, event: Deposited, row: Balance | None, at: StoredEvent) -> Balance:
        row = row or Balance(at.stream_id.removeprefix("account-"))
        row.balance += event.amount
        return row


class OtherAccount(Account): ...


Fault = Callable[[Commit], Coroutine[Any, Any, None]]


class FaultyStore(InMemoryEventStore):
    """Runs a fault before, and another one after, each append: the next of `before` and `after`; None lets it be."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Fault | None] = []
        self.after: list[Fault | None] = []
        self.attempts: list[Commit] = []
        self.transactions: list[Transaction | None] = []

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        self.attempts.append(commit)
        self.transactions.append(tx)
        if self.before and (fault := self.before.pop(0)):
            await fault(commit)
        result = await super().append(commit)
        if self.after and (fault := self.after.pop(0)):
            await fault(commit)
        return result

    async def intrude(self, *events: object) -> None:
        """Append to account-1 behind everybody's back."""
        version = await self.stream_version("account-1")
        await super().append(self.encode("account-1", version, events or (Deposited(amount=1),)))

    def ids(self, attempt: int) -> list[UUID]:
        return [one.event_id for one in self.attempts[attempt].events]


class _NobodyIsAlone(dict[Any, CommandQueue[Any]]):
    """Queues in which even a lone caller finds another one under way, who ends as soon as the caller waits."""

    def __init__(self, store: InMemoryEventStore) -> None:
        super().__init__()
        self._store = store

    def get(self, key: Any, default: Any = None) -> Any:
        queue = super().get(key, default)
        if queue is None or queue.has_ended:
            queue = self[key] = CommandQueue(self, key, self._store)
            asyncio.get_running_loop().call_soon(queue.serve)
        return queue


class QueueingStore(FaultyStore):
    """A store on which every command is queued, those of lone callers, too."""

    def __init__(self) -> None:
        super().__init__()
        self.command_queues = cast("dict[Hashable, object]", _NobodyIsAlone(self))


def queues_of(store: FaultyStore) -> dict[Any, CommandQueue[Any]]:
    return cast("dict[Any, CommandQueue[Any]]", store.command_queues)


async def connection_lost(commit: Commit) -> None:
    raise OutcomeUnknownError([one.event_id for one in commit.events])


async def unavailable(commit: Commit) -> None:
    raise StoreUnavailableError("can't reach the database")


async def overloaded(commit: Commit) -> None:
    raise StoreOverloadedError("the queue of appends was full", 1)


async def closed(commit: Commit) -> None:
    raise StoreClosedError


async def refused(commit: Commit) -> None:
    raise DatabaseError("refused", "23514")


class Gate:
    """A fault that waits until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, commit: Commit) -> None:
        self.reached.set()
        await self.opened.wait()


async def broken(commit: Commit) -> None:
    raise ZeroDivisionError


def described(account: Account) -> tuple[object, ...]:
    work = account.uncommitted
    return (account.owner, account.balance, account.stream_version, account.uncommitted_events, list(work.commands))


def deposit(amount: int) -> Callable[[Account], None]:
    return lambda account: account.deposit(amount)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def sizes(store: FaultyStore) -> list[int]:
    """How many events each append brought."""
    return [len(commit.events) for commit in store.attempts]


async def amounts(store: FaultyStore) -> list[int]:
    return [read.event.amount for read in await store.read_all_events(event_types=[Deposited])]


async def outcomes(*calls: Coroutine[Any, Any, AppendResult | None]) -> list[Any]:
    """What comes of calls that are made at once."""
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def under_way(store: FaultyStore, accounts: Repository[Account]) -> tuple[Gate, asyncio.Task[Any]]:
    """A first command whose commit is held up."""
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    return gate, first
