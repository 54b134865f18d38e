"""Purses and limits to be saved together, and a store in which something goes wrong."""

import pytest

from perdure import (
    AggregateRoot,
    AppendResult,
    DomainError,
    EventStore,
    InMemoryEventStore,
    OutcomeUnknownError,
    Repository,
    command,
    event,
    handles,
)
from perdure.commit import Commit, CommitGroup
from perdure.transaction import Transaction
from tests.repository.accounts import AT_ONCE


@event("purse.opened")
class PurseOpened:
    amount: int


@event("purse.changed")
class PurseChanged:
    amount: int
    note: str = ""


@event("limit.set")
class LimitSet:
    amount: int


class Purse(AggregateRoot, category="purse"):
    amount: int = 0

    @command
    def open(self, amount: int) -> None:
        self.raise_event(PurseOpened(amount=amount))

    @command
    def take(self, amount: int) -> None:
        if amount > self.amount:
            raise DomainError("not enough in the purse")
        self.raise_event(PurseChanged(amount=-amount))

    @command
    def put(self, amount: int, note: str = "") -> None:
        self.raise_event(PurseChanged(amount=amount, note=note))

    @handles
    def _opened(self, event: PurseOpened) -> None:
        self.amount = event.amount

    @handles
    def _changed(self, event: PurseChanged) -> None:
        self.amount += event.amount


class Limit(AggregateRoot, category="limit"):
    amount: int = 0

    @command
    def set(self, amount: int) -> None:
        self.raise_event(LimitSet(amount=amount))

    @handles
    def _set(self, event: LimitSet) -> None:
        self.amount = event.amount


class Faulty(InMemoryEventStore):
    """Raises before, or after, a group is written: the next of `before` and `after`; None lets it be."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Exception | type[BaseException] | None] = []
        self.after: list[Exception | type[BaseException] | None] = []
        self.groups: list[CommitGroup] = []
        self.transactions: list[Transaction | None] = []

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        [result] = await self.append_group(CommitGroup((commit,), {}), tx)
        return result

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        self.groups.append(group)
        self.transactions.append(tx)
        if self.before and (fault := self.before.pop(0)):
            raise fault
        results = await super().append_group(group)
        if self.after and (fault := self.after.pop(0)):
            raise fault
        return results

    async def intrude(self, stream_id: str, payload: object) -> None:
        """Append behind everybody's back."""
        commit = self.encode(stream_id, await self.stream_version(stream_id), [payload])
        await super().append_group(CommitGroup((commit,), {}))

    def sent(self) -> list[list[tuple[str, int]]]:
        """The streams of each attempt, with the number of their events."""
        return [[(commit.stream_id, len(commit.events)) for commit in group.commits] for group in self.groups]


UNKNOWN = OutcomeUnknownError([])


async def amounts(store: EventStore) -> list[int]:
    """What was moved, in the order of the log."""
    return [one.event.amount for one in await store.read_all_events(event_types=[PurseChanged])]


def counts(*aggregates: AggregateRoot) -> list[int]:
    return [len(one.uncommitted_events) for one in aggregates]


@pytest.fixture
async def store() -> Faulty:
    store = Faulty()
    await store.intrude("purse-ann", PurseOpened(amount=100))
    await store.intrude("purse-bob", PurseOpened(amount=0))
    await store.intrude("limit-ann", LimitSet(amount=50))
    return store


@pytest.fixture
def purses(store: Faulty) -> Repository[Purse]:
    return Repository(Purse, store, retry=AT_ONCE)


@pytest.fixture
async def ann(purses: Repository[Purse]) -> Purse:
    return await purses.get("ann")


@pytest.fixture
async def bob(purses: Repository[Purse]) -> Purse:
    return await purses.get("bob")


@pytest.fixture
async def limit(store: Faulty) -> Limit:
    return await Repository(Limit, store).get("ann")
