"""Commands that meet conflicts until their time is over, and what their errors say."""

import asyncio
import re

import pytest

from perdure import (
    AggregateBusyError,
    OptimisticConcurrencyError,
    Repository,
    RetryConfig,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    Account,
    Deposited,
    FaultyStore,
    deposit,
    outcomes,
    settle,
    sizes,
    under_way,
)

Accounts = Repository[Account]


class Clock:
    """Seconds that pass only while a repository pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("perdure.retry.monotonic", lambda: self.now)
        monkeypatch.setattr("perdure.retry.random.uniform", lambda _, most: most)
        monkeypatch.setattr("perdure.repository.saver.sleep", self.sleep)
        monkeypatch.setattr("perdure.repository.command_queue.sleep", self.sleep)
        self.late = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_no_attempt_begins_after_the_time_is_over_and_the_error_says_how_many_there_were(
    store: FaultyStore, clock: Clock
) -> None:
    began: list[float] = []
    accounts = Repository(Account, store, retry=RetryConfig(base_delay=0.5, max_delay=2, max_seconds=7))

    async def intrude(commit: Commit) -> None:
        began.append(clock.now - 100)
        await store.intrude(Deposited(amount=0))

    store.before += [intrude] * 20
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await accounts.execute("1", deposit(1))

    assert began == [0.0, 0.5, 1.5, 3.5, 5.5]
    assert (conflict.value.attempts, conflict.value.seconds) == (5, 5.5)
    assert conflict.value.is_transient
    assert re.fullmatch(
        r"gave up after 5 attempts in 5\.50 s, because other writers were faster each time "
        r"\(stream 'account-1' is at version 5, but 4 was expected\): try again later, "
        r"allow more time with RetryConfig\(max_seconds=\.\.\.\), or let fewer processes change it",
        str(conflict.value),
    )


async def test_no_attempt_of_queued_commands_begins_after_their_time_is_over(store: FaultyStore, clock: Clock) -> None:
    began: list[float] = []
    accounts = Repository(Account, store, retry=RetryConfig(base_delay=0.5, max_delay=2, max_seconds=7))

    async def intrude(commit: Commit) -> None:
        began.append(clock.now - 100)
        await asyncio.sleep(0)  # the others come
        await store.intrude(Deposited(amount=0))

    store.before += [intrude] * 20
    patient = RetryConfig(base_delay=0.5, max_delay=2, max_seconds=9)
    results = await outcomes(*[accounts.execute("1", deposit(1), retry=one) for one in (None, None, patient)])

    assert began == [0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0]
    assert [(one.attempts, one.seconds) for one in results] == [(6, 6.0), (5, 6.0), (6, 8.0)]


async def test_a_queued_command_whose_time_is_over_before_it_is_decided_was_never_sent(
    store: FaultyStore, clock: Clock
) -> None:
    accounts = Repository(Account, store, retry=RetryConfig(max_seconds=7))
    gate, first = await under_way(store, accounts)
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    clock.now += 7
    gate.opened.set()
    await first

    with pytest.raises(AggregateBusyError, match=r"a command waited for 7\.00 s behind others on 'account-1'"):
        await other
    assert sizes(store) == [1]


@pytest.mark.parametrize("queued", [True, False])
async def test_a_pause_that_ends_late_is_followed_by_no_attempt(store: FaultyStore, clock: Clock, queued: bool) -> None:
    accounts = Repository(Account, store, retry=RetryConfig(base_delay=1, max_seconds=3), queue_commands=queued)

    async def intrude(commit: Commit) -> None:
        clock.late = 10
        await store.intrude()

    store.before += [intrude] * 3
    with pytest.raises(OptimisticConcurrencyError, match=r"gave up after 1 attempt in 11\.00 s"):
        await accounts.execute("1", deposit(1))

    assert len(store.attempts) == 1


async def test_a_conflict_that_is_not_retried_says_nothing_of_attempts(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude()

    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await store.append_to_stream("account-1", 0, [Deposited(amount=1)])

    assert conflict.value.attempts is None
    assert not conflict.value.is_transient
    assert str(conflict.value) == (
        "stream 'account-1' is at version 1, but 0 was expected: another writer appended first, "
        "so read the stream again, decide again, and append that"
    )
