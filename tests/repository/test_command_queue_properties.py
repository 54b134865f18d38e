"""Queued commands, whatever happens: what was acknowledged is there once, and nothing of what was refused."""

import asyncio
import random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import (
    AppendResult,
    DatabaseError,
    DomainError,
    EventStore,
    InMemoryEventStore,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    StoreUnavailableError,
)
from perdure.commit import Commit
from perdure.transaction import Transaction
from tests.repository.accounts import Account, Audited, Deposited

FAULTS = (
    None,
    "conflict",
    "lost before",
    "lost after",
    "lost and overtaken",
    "unavailable",
    "refused",
    "slow",
)


class Wish(NamedTuple):
    kind: str
    caller: int
    attempts: int
    pause: int


WISHES = st.lists(
    st.builds(
        Wish,
        st.sampled_from(["deposit", "twice", "raise", "nothing", "spoil", "named", "cancelled"]),
        st.integers(0, 4),
        st.integers(1, 4),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=25,
)


class UnsteadyStore(InMemoryEventStore):
    """Meets a fault at each append, one after the other; then all goes well."""

    def __init__(self, faults: list[str | None]) -> None:
        super().__init__()
        self.faults = faults

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        await asyncio.sleep(0)
        fault = self.faults.pop(0) if self.faults else None
        if fault in ("conflict", "lost and overtaken"):
            version = await self.stream_version("account-1")
            await super().append(self.encode("account-1", version, [Audited()]))
        if fault == "slow":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if fault == "unavailable":
            raise StoreUnavailableError("not now")
        if fault == "refused":
            raise DatabaseError("refused", "23514")
        if fault in ("lost before", "lost and overtaken"):
            raise OutcomeUnknownError([one.event_id for one in commit.events])
        result = await super().append(commit)
        if fault == "lost after":
            raise OutcomeUnknownError([one.event_id for one in commit.events])
        return result


class Caller:
    """What a caller wants, the state on which that was decided last, and what came of it."""

    def __init__(self, accounts: Repository[Account], wish: Wish, name: str) -> None:
        self.accounts = accounts
        self.wish = wish
        self.note = name
        self.saw: tuple[int, list[str]] = (0, [])
        self.outcome: Any = asyncio.CancelledError()  # as if it never began

    def action(self, account: Account) -> None:
        self.saw = (account.stream_version, list(account.notes))
        match self.wish.kind:
            case "nothing":
                return
            case "raise":
                account.deposit(0, note=self.note)
                raise DomainError("refused")
            case "spoil":
                account.notes.append("spoilt")
                account.raise_event(Deposited(amount=0, note=self.note))
                account.notes.clear()
                account.owner = "me"
            case "twice":
                account.deposit(0, note=self.note)
                account.deposit(0, note=f"{self.note} again")
            case "named" if self.note in account.notes:
                raise ZeroDivisionError("a command never acts on what it has done itself")
            case _:
                account.deposit(0, note=self.note)

    async def call(self) -> None:
        retry = RetryConfig(max_attempts=self.wish.attempts, base_delay=0)
        command_id = f"caller {self.wish.caller}" if self.wish.kind == "named" else None
        if command_id is not None:
            self.note = command_id
        try:
            for _ in range(self.wish.pause):
                await asyncio.sleep(0)
            self.outcome = await self.accounts.execute("1", self.action, command_id=command_id, retry=retry)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            self.outcome = error


async def run(accounts: Repository[Account], wishes: list[Wish], name: str = "wish") -> list[Caller]:
    callers = [Caller(accounts, wish, f"{name} {number}") for number, wish in enumerate(wishes)]
    tasks = [asyncio.create_task(caller.call()) for caller in callers]
    for caller, task in zip(callers, tasks, strict=True):
        if caller.wish.kind == "cancelled":
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return callers


async def check(store: EventStore, callers: list[Caller]) -> None:
    stored = await store.read_stream("account-1")
    notes = [one.event.note if isinstance(one.event, Deposited) else None for one in stored]
    written = [note for note in notes if note is not None]
    assert len(set(written)) == len(written), "nothing is there twice"
    for caller in callers:
        outcome, kind = caller.outcome, caller.wish.kind
        wanted = [caller.note, f"{caller.note} again"] if kind == "twice" else [caller.note]
        if isinstance(outcome, AppendResult):
            first = outcome.stream_version - len(outcome.global_positions)
            assert notes[first : outcome.stream_version] == wanted, "what was acknowledged is where it is said to be"
            places = tuple(one.global_position for one in stored[first : outcome.stream_version])
            assert outcome.global_positions == places
            assert kind == "named" or caller.saw[0] == first, "it was decided on all that stands before it"
        elif kind == "raise":
            assert isinstance(outcome, DomainError | StoreUnavailableError)
            assert caller.note not in written, "nothing is there of what was refused"
        elif kind == "nothing":
            assert outcome is None or isinstance(outcome, StoreUnavailableError)
        elif isinstance(outcome, OptimisticConcurrencyError | StoreUnavailableError | DatabaseError):
            assert kind == "named" or not {*wanted} & {*written}, "what failed is not there"
        else:
            assert isinstance(outcome, OutcomeUnknownError | asyncio.CancelledError), repr(outcome)
            assert {*wanted} <= {*written} or not {*wanted} & {*written}, "all of it is there, or nothing"
        if kind != "named" and (outcome is None or isinstance(outcome, AppendResult | DomainError)):
            version, saw = caller.saw
            there = [note for note in notes[:version] if note is not None]
            assert saw == there, "a reported result was decided on a state that the log never had"


@settings(max_examples=300, deadline=None)
@given(wishes=WISHES, faults=st.lists(st.sampled_from(FAULTS), max_size=12))
def test_whatever_happens_what_is_reported_is_what_is_stored(wishes: list[Wish], faults: list[str | None]) -> None:
    async def main() -> None:
        store = UnsteadyStore(list(faults))
        accounts = Repository(Account, store)
        await check(store, await run(accounts, wishes))

    asyncio.run(main())


async def test_many_tasks_of_two_processes_on_one_aggregate_in_a_database(database_url: str) -> None:
    rng = random.Random(7)
    kinds = ["deposit", "twice", "raise", "nothing", "spoil", "cancelled"]
    wishes = [Wish(rng.choice(kinds), 0, 1000, rng.randrange(4)) for _ in range(120)]
    async with PostgreSQLEventStore(database_url) as one, PostgreSQLEventStore(database_url) as two:
        sides = [Repository(Account, store, snapshot_every=20) for store in (one, two)]
        found = await asyncio.gather(run(sides[0], wishes[:60], "one"), run(sides[1], wishes[60:], "two"))
        callers = [caller for side in found for caller in side]

        await check(one, callers)
        assert not any(isinstance(caller.outcome, OptimisticConcurrencyError) for caller in callers)
