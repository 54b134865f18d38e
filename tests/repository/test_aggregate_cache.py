"""Cached states: private, brought up to date from the tail of their streams, and never more than stored events make."""

import asyncio
import logging
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from perdure import (
    AggregateRoot,
    Decider,
    DeciderRepository,
    DomainError,
    NewEvent,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    StoreClosedError,
    UnknownEventTypeError,
    field,
    handles,
)
from perdure.commit import Commit
from perdure.log import PAGE_SIZE
from perdure.repository.aggregate_cache import AggregateCache, CachedState, LastEvent
from tests.repository.accounts import AT_ONCE, ONCE, Account, Deposited, Opened
from tests.repository.restored import RestorableStore
from tests.repository.snapshotted import deposit, version_of

Accounts = Repository[Account]


@pytest.fixture
def store() -> RestorableStore:
    return RestorableStore()


@pytest.fixture
async def accounts(store: RestorableStore) -> Accounts:
    """Accounts of which the first is cached, at version 3."""
    await store.append_to_stream("account-1", 0, [Opened(owner="ann"), Deposited(amount=1), Deposited(amount=2)])
    accounts = Repository(Account, store, retry=AT_ONCE, cache_size=2)
    await accounts.get("1")
    store.reads.clear()
    return accounts


def contents(account: Account | None) -> tuple[object, ...]:
    assert account is not None
    return (account.stream_version, account.owner, account.balance, account.notes)


async def test_a_cached_state_is_brought_up_to_date_in_one_read_of_the_tail(
    store: RestorableStore, accounts: Accounts
) -> None:
    await store.append_to_stream("account-1", 3, [Deposited(amount=4)])

    assert contents(await accounts.get("1")) == (4, "ann", 7, [])
    assert contents(await accounts.load("1")) == (4, "ann", 7, [])
    assert contents(await accounts.load_or_new("1")) == (4, "ann", 7, [])
    assert store.reads == [(2, 2), (3, 1), (3, 1)]  # the first event of each is the last one that is cached


@pytest.mark.usefixtures("accounts")
async def test_without_a_size_nothing_is_cached(store: RestorableStore) -> None:
    uncached = Repository(Account, store)

    await uncached.get("1")
    await uncached.get("1")

    assert store.reads == [(0, 3), (0, 3)]


async def test_what_callers_do_to_a_loaded_aggregate_never_reaches_the_cache(accounts: Accounts) -> None:
    spoilt = await accounts.get("1")
    spoilt.notes.append("spoilt")
    spoilt.owner = "me"
    spoilt.deposit(5)  # never saved

    assert contents(await accounts.get("1")) == (3, "ann", 3, [])
    assert (await accounts.get("1")).uncommitted_events == ()


async def test_what_callers_do_to_the_aggregate_that_fills_the_cache_never_reaches_it(
    store: RestorableStore, accounts: Accounts
) -> None:
    await store.append_to_stream("account-2", 0, [Opened(owner="bob"), Deposited(amount=1, note="a")])
    first = await accounts.get("2")
    first.notes.append("spoilt")
    await store.append_to_stream("account-2", 2, [Deposited(amount=1, note="b")])
    second = await accounts.get("2")
    second.notes.append("spoilt")

    assert contents(await accounts.get("2")) == (3, "bob", 2, ["a", "b"])


async def test_a_failed_save_and_a_conflict_leave_the_cache_as_the_store_is(
    store: RestorableStore, accounts: Accounts
) -> None:
    mine = await accounts.get("1")
    mine.deposit(5)
    await store.append_to_stream("account-1", 3, [Deposited(amount=1)])

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(mine)
    with pytest.raises(DomainError):
        await accounts.execute("1", lambda account: account.deposit(1000))

    assert contents(await accounts.get("1")) == (4, "ann", 4, [])


@pytest.mark.parametrize("queued", [True, False])
async def test_a_conflict_is_decided_again_on_the_tail(store: RestorableStore, *, queued: bool) -> None:
    await store.append_to_stream("account-1", 0, [Opened(owner="ann")] + [Deposited(amount=1)] * 9)
    accounts = Repository(Account, store, retry=AT_ONCE, cache_size=1, queue_commands=queued)
    await accounts.get("1")
    store.reads.clear()

    async def overtake(commit: Commit) -> None:
        assert isinstance(commit.expected_version, int)
        await store.append_to_stream(commit.stream_id, commit.expected_version, [Deposited(amount=20)])

    store.before = [overtake]
    result = await accounts.execute("1", lambda account: account.fill())

    assert result is not None
    assert result.stream_version == 12
    assert store.reads == [(9, 1), (9, 2)]
    assert contents(await accounts.get("1")) == (12, "ann", 100, [])


@pytest.mark.parametrize("is_written", [True, False])
async def test_an_unknown_outcome_never_reaches_the_cache(
    store: RestorableStore, accounts: Accounts, *, is_written: bool
) -> None:
    async def lose(commit: Commit) -> None:
        raise OutcomeUnknownError([one.event_id for one in commit.events])

    if is_written:
        store.after = [lose]
    else:
        store.before = [lose]
    with pytest.raises(OutcomeUnknownError):
        await accounts.execute("1", lambda account: account.deposit(5), retry=ONCE)

    assert contents(await accounts.get("1")) == ((4, "ann", 8, []) if is_written else (3, "ann", 3, []))


async def test_states_of_the_past_pass_the_cache_by(store: RestorableStore, accounts: Accounts) -> None:
    [first, *_] = await store.read_stream("account-1")
    store.reads.clear()

    assert contents(await accounts.load("1", at_version=1)) == (1, "ann", 0, [])
    assert await accounts.load("1", at_time=first.recorded_at - timedelta(days=1)) is None
    assert [version async for version, _ in _versions(accounts)] == [1, 2, 3]
    assert {start for start, _ in store.reads} == {0}
    store.reads.clear()
    assert contents(await accounts.get("1")) == (3, "ann", 3, [])
    assert store.reads == [(2, 1)]


async def _versions(accounts: Accounts) -> Any:
    async for stored, account in accounts.history("1"):
        yield stored.stream_version, account


async def test_a_missing_stream_is_not_cached(store: RestorableStore, accounts: Accounts) -> None:
    assert await accounts.load("2") is None
    await store.append_to_stream("account-2", 0, [Opened(owner="bob")])

    assert contents(await accounts.load("2")) == (1, "bob", 0, [])


async def test_a_log_that_was_set_back_is_replayed(store: RestorableStore, accounts: Accounts) -> None:
    store.restore(2)

    assert contents(await accounts.get("1")) == (2, "ann", 1, [])
    assert contents(await accounts.get("1")) == (2, "ann", 1, [])
    assert store.reads == [(2, 0), (0, 2), (1, 1)]


async def test_a_log_that_has_gone_another_way_is_replayed(store: RestorableStore, accounts: Accounts) -> None:
    store.restore(1)
    await store.append_to_stream("account-1", 1, [Deposited(amount=5, note=str(number)) for number in range(3)])

    assert contents(await accounts.get("1")) == (4, "ann", 15, ["0", "1", "2"])


async def test_an_event_that_was_lost_and_appended_again_is_another_one(store: RestorableStore) -> None:
    """A caller may repeat an append after a failover that lost it: then it has its id, but another past."""
    event = NewEvent(Deposited(amount=1))
    await store.append_to_stream("account-1", 0, [Opened(owner="ann")])
    await store.append_to_stream("account-1", 1, [event])
    accounts = Repository(Account, store, cache_size=1)
    await accounts.get("1")
    store.restore(0)
    await store.append_to_stream("account-1", 0, [Opened(owner="eve")])
    await store.append_to_stream("account-1", 1, [event])
    store._log[-1].recorded_at += timedelta(microseconds=1)  # in case that no time has passed

    assert contents(await accounts.get("1")) == (2, "eve", 1, [])


async def test_a_stream_that_is_gone_is_a_missing_one(store: RestorableStore, accounts: Accounts) -> None:
    store.restore(0)

    assert await accounts.load("1") is None


async def test_loads_at_once_each_get_a_state_of_their_own(store: RestorableStore, accounts: Accounts) -> None:
    await store.append_to_stream("account-1", 3, [Deposited(amount=1, note="a")])

    loaded = await asyncio.gather(*(accounts.get("1") for _ in range(5)))

    assert [contents(one) for one in loaded] == [(4, "ann", 4, ["a"])] * 5
    assert len({id(one.notes) for one in loaded}) == 5


async def test_a_load_that_is_cancelled_leaves_the_cache_as_it_was(store: RestorableStore, accounts: Accounts) -> None:
    await store.append_to_stream("account-1", 3, [Deposited(amount=1)])
    loading = asyncio.create_task(accounts.get("1"))
    await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading

    assert contents(await accounts.get("1")) == (4, "ann", 4, [])


async def test_an_event_that_can_not_be_applied_is_reported_at_each_load(
    store: RestorableStore, accounts: Accounts
) -> None:
    await store.append_to_stream("account-1", 3, [Deposited(amount=1)])
    store._log[-1].event_type = "account.unknown"

    for _ in range(2):
        with pytest.raises(UnknownEventTypeError):
            await accounts.get("1")

    store._log[-1].event_type = "account.deposited"
    assert contents(await accounts.get("1")) == (4, "ann", 4, [])


async def test_a_tail_of_several_pages_is_read_to_its_end(store: RestorableStore, accounts: Accounts) -> None:
    await store.append_to_stream("account-1", 3, [Deposited(amount=0)] * (2 * PAGE_SIZE))

    assert (await accounts.get("1")).stream_version == 2 * PAGE_SIZE + 3
    store.reads.clear()
    assert (await accounts.get("1")).stream_version == 2 * PAGE_SIZE + 3
    assert store.reads == [(2 * PAGE_SIZE + 2, 1)]


async def test_a_closed_store_answers_nothing_from_the_cache(store: RestorableStore, accounts: Accounts) -> None:
    await store.close()

    with pytest.raises(StoreClosedError):
        await accounts.get("1")


async def test_the_state_whose_last_use_is_longest_ago_is_forgotten(store: RestorableStore, accounts: Accounts) -> None:
    for aggregate_id in ("2", "3"):
        await store.append_to_stream(f"account-{aggregate_id}", 0, [Opened(owner="bob")] * 2)
    await accounts.get("2")
    await accounts.get("1")
    await accounts.get("3")  # in the place of 2
    store.reads.clear()

    await accounts.get("1")
    await accounts.get("3")
    await accounts.get("2")

    assert store.reads == [(2, 1), (1, 1), (0, 2)]


def test_a_cache_outlives_an_event_loop() -> None:
    store = RestorableStore()
    accounts = Repository(Account, store, retry=AT_ONCE, cache_size=2)
    for number in range(1, 4):
        asyncio.run(deposit(accounts))
        assert asyncio.run(accounts.get("1")).balance == number

    assert store.reads[-1] == (1, 2)


@pytest.mark.usefixtures("accounts")
async def test_repositories_share_no_cache(store: RestorableStore) -> None:
    await Repository(Account, store, cache_size=2).get("1")

    assert store.reads == [(0, 3)]


async def test_a_queue_of_commands_loads_through_the_cache(store: RestorableStore, accounts: Accounts) -> None:
    await asyncio.gather(*(accounts.execute("1", lambda account: account.deposit(1)) for _ in range(10)))

    assert {start >= 2 for start, _ in store.reads} == {True}
    assert contents(await accounts.get("1")) == (13, "ann", 13, [])


class Locked(AggregateRoot, category="account"):
    """Its state can't be copied."""

    lock: Any = field(default_factory=threading.Lock)
    balance: int = 0

    @handles
    def _deposited(self, event: Deposited) -> None:
        self.balance += event.amount


@pytest.mark.usefixtures("accounts")
async def test_a_state_that_can_not_be_copied_is_replayed_and_a_log_record_says_so_once(
    store: RestorableStore, caplog: pytest.LogCaptureFixture
) -> None:
    locked = Repository(Locked, store, cache_size=2, queue_commands=False)

    with caplog.at_level(logging.WARNING, "perdure.repository"):
        for _ in range(3):
            assert (await locked.get("1")).balance == 3

    assert store.reads == [(0, 3)] * 3
    [record] = caplog.records
    assert "'account-1' can't be copied, so it isn't cached" in record.getMessage()


def _decide(command: int, state: list[int]) -> Deposited:
    return Deposited(amount=command + 0 * len(state))


def _evolve(state: list[int], event: Deposited) -> list[int]:
    state.append(event.amount)
    return state


async def test_the_state_of_a_decider_is_private_too(store: RestorableStore) -> None:
    decider = Decider[int, Deposited, list[int]](category="account", initial_state=list, decide=_decide, evolve=_evolve)
    sums = DeciderRepository(decider, store, cache_size=1)
    await sums.execute("2", 1)
    (await sums.get("2")).append(99)
    await sums.execute("2", 2)
    (await sums.get("2")).append(99)

    assert await sums.get("2") == [1, 2]
    assert store.reads[-1] == (1, 1)


async def test_a_snapshot_serves_the_first_load_and_the_cache_the_others(store: RestorableStore) -> None:
    accounts = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1)
    await deposit(accounts, 3)
    assert await version_of(store) == 3
    again = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1)
    store.reads.clear()

    first, second = await again.get("1"), await again.get("1")

    assert contents(first) == contents(second)
    assert (first.snapshot_version, second.snapshot_version) == (3, 3)
    assert store.reads == [(3, 0), (2, 1)]


async def test_a_cached_state_knows_of_the_snapshot_that_was_taken_since(store: RestorableStore) -> None:
    accounts = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1, queue_commands=False)
    await deposit(accounts, 3)  # the third takes one
    store.reads.clear()

    await deposit(accounts, 2)

    assert len(store.reads) == 2  # no load to see whether a snapshot is due
    await deposit(accounts)
    assert await version_of(store) == 6


async def test_a_snapshot_is_never_taken_from_the_cache(store: RestorableStore) -> None:
    accounts = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1, queue_commands=False)
    await deposit(accounts, 2)
    store.reads.clear()

    await deposit(accounts)

    assert (0, 3) in store.reads  # replayed, for the snapshot


def test_the_cache_holds_as_many_states_as_it_may() -> None:
    cache: AggregateCache[Account] = AggregateCache(1)
    cache.put(CachedState(Account("1"), LastEvent(uuid4(), None)))
    cache.put(CachedState(Account("2"), LastEvent(uuid4(), None)))
    cache.discard("account-3")
    cache.note_snapshot("account-3", 1)

    assert len(cache) == 1
    assert cache.get("account-1") is None
    assert cache.get("account-2") is not None
