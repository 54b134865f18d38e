"""Aggregates as they were: at a version, at a time, after each event."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from perdure import (
    ANY,
    AggregateRoot,
    InMemoryEventStore,
    InvalidArgumentError,
    NewEvent,
    OptimisticConcurrencyError,
    PostgreSQLEventStore,
    Repository,
    event,
    handles,
)
from perdure.log import PAGE_SIZE
from tests.repository.accounts import Account, Audited, Deposited, FaultyStore, Opened

Accounts = Repository[Account]


@event("basket.filled")
class Filled:
    items: list[str]


class Basket(AggregateRoot, category="basket"):
    items: list[str] | None = None

    @handles
    def _filled(self, event: Filled) -> None:
        if self.items is None:
            self.items = event.items  # from now on the event's list is the state's
        else:
            self.items += event.items


@pytest.fixture
async def accounts(store: FaultyStore) -> Accounts:
    """Account 1: opened, then deposits of 1 to 4 with notes."""
    await store.intrude(Opened(owner="ann"), *[Deposited(amount=n, note=str(n)) for n in range(1, 5)])
    return Repository(Account, store)


def seen(account: Account | None) -> tuple[int, list[str]] | None:
    return None if account is None else (account.stream_version, account.notes)


# --- At a version -----------------------------------------------------------------------------------------------------


async def test_a_version_is_the_state_after_that_many_events(accounts: Accounts) -> None:
    assert seen(await accounts.load("1", at_version=1)) == (1, [])
    assert seen(await accounts.load("1", at_version=3)) == (3, ["1", "2"])
    assert seen(await accounts.load("1", at_version=5)) == (5, ["1", "2", "3", "4"])


async def test_before_the_first_event_there_is_none(accounts: Accounts) -> None:
    assert await accounts.load("1", at_version=0) is None


async def test_a_version_yet_to_come_is_the_present(accounts: Accounts) -> None:
    assert seen(await accounts.load("1", at_version=99)) == (5, ["1", "2", "3", "4"])


@pytest.mark.parametrize("version", [-1, True, 1.0, "1", 2**64])
async def test_what_is_no_version_is_refused(accounts: Accounts, version: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="at_version"):
        await accounts.load("1", at_version=version)


async def test_no_more_is_read_than_it_takes(
    accounts: Accounts, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.intrude(*[Audited()] * (3 * PAGE_SIZE))
    pages: list[int] = []
    stream_page = store.reader.stream_page

    async def counting(stream_id: str, from_version: int, *rest: Any) -> Any:
        pages.append(from_version)
        return await stream_page(stream_id, from_version, *rest)

    monkeypatch.setattr(store.reader, "stream_page", counting)
    await accounts.load("1", at_version=PAGE_SIZE)

    assert pages[0] == 0
    assert max(pages) <= PAGE_SIZE


async def test_saving_what_is_of_the_past_is_a_conflict(accounts: Accounts) -> None:
    account = await accounts.load("1", at_version=2)
    assert account is not None
    account.deposit(1)

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(account)


# --- At a time --------------------------------------------------------------------------------------------------------


async def recorded(store: FaultyStore) -> list[datetime]:
    """When the events of account 1 were recorded: an hour after one another, from 2030 on."""
    times = [datetime(2030, 1, 1, hour, tzinfo=UTC) for hour in range(5)]
    for stored, time in zip(store._streams["account-1"], times, strict=True):
        stored.recorded_at = time
    return times


async def test_a_time_is_the_state_that_was_recorded_by_then(accounts: Accounts, store: FaultyStore) -> None:
    times = await recorded(store)

    assert await accounts.load("1", at_time=times[0] - timedelta(microseconds=1)) is None
    assert seen(await accounts.load("1", at_time=times[0])) == (1, [])
    assert seen(await accounts.load("1", at_time=times[2] + timedelta(minutes=59))) == (3, ["1", "2"])
    assert seen(await accounts.load("1", at_time=times[4] + timedelta(days=365))) == (5, ["1", "2", "3", "4"])


async def test_a_time_may_be_of_any_zone(accounts: Accounts, store: FaultyStore) -> None:
    times = await recorded(store)
    zone = timezone(timedelta(hours=-7))

    assert seen(await accounts.load("1", at_time=times[1].astimezone(zone))) == (2, ["1"])


async def test_a_time_and_a_version_are_both_limits(accounts: Accounts, store: FaultyStore) -> None:
    times = await recorded(store)

    assert seen(await accounts.load("1", at_version=2, at_time=times[4])) == (2, ["1"])
    assert seen(await accounts.load("1", at_version=4, at_time=times[1])) == (2, ["1"])


async def test_what_an_event_says_of_its_time_doesnt_count(store: FaultyStore) -> None:
    long_ago = datetime(1999, 1, 1, tzinfo=UTC)
    await store.append_to_stream("account-1", ANY, [NewEvent(Opened(owner="ann"), timestamp=long_ago)])

    assert await Repository(Account, store).load("1", at_time=long_ago + timedelta(days=1)) is None


async def test_a_clock_that_was_set_back_doesnt_skip_events(accounts: Accounts, store: FaultyStore) -> None:
    times = await recorded(store)
    store._streams["account-1"][3].recorded_at = times[1]

    assert seen(await accounts.load("1", at_time=times[1])) == (2, ["1"])
    assert seen(await accounts.load("1", at_time=times[2])) == (4, ["1", "2", "3"])


@pytest.mark.parametrize("time", [datetime(2030, 1, 1), "2030-01-01", 5])  # noqa: DTZ001 - the point: it is naive
async def test_what_is_no_moment_is_refused(accounts: Accounts, time: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"at_time .* isn't a datetime with a time zone"):
        await accounts.load("1", at_time=time)


async def test_a_snapshot_doesnt_hide_the_past(store: FaultyStore) -> None:
    accounts = Repository(Account, store, snapshot_every=1)
    for amount in range(5):
        await accounts.execute("1", partial(Account.deposit, amount=amount, note=str(amount)))
    await recorded(store)
    assert await store.read_snapshot("account-1") is not None

    assert seen(await accounts.load("1", at_version=2)) == (2, ["0", "1"])
    assert seen(await accounts.load("1", at_time=datetime(2030, 1, 1, 1, tzinfo=UTC))) == (2, ["0", "1"])


async def test_the_same_on_postgresql(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        accounts = Repository(Account, store, snapshot_every=2)
        for amount in range(4):
            await accounts.execute("1", partial(Account.deposit, amount=amount, note=str(amount)))
        times = [stored.recorded_at for stored in await store.read_stream("account-1")]

        assert seen(await accounts.load("1", at_version=1)) == (1, ["0"])
        assert seen(await accounts.load("1", at_time=times[2])) == (3, ["0", "1", "2"])
        assert await accounts.load("1", at_time=times[0] - timedelta(seconds=1)) is None
        assert [account.stream_version async for _, account in accounts.history("1")] == [1, 2, 3, 4]


# --- After each event -------------------------------------------------------------------------------------------------


async def test_history_gives_each_event_and_the_state_after_it(accounts: Accounts) -> None:
    history = [(stored.event, account.balance) async for stored, account in accounts.history("1")]

    assert history == [(Opened(owner="ann"), 0)] + [
        (Deposited(amount=n, note=str(n)), sum(range(n + 1))) for n in range(1, 5)
    ]


async def test_each_state_is_independent(accounts: Accounts) -> None:
    states = [account async for _, account in accounts.history("1")]

    assert [seen(account) for account in states] == [
        seen(await accounts.load("1", at_version=version)) for version in range(1, 6)
    ]


async def test_changing_a_state_changes_nothing_that_comes(accounts: Accounts) -> None:
    async for stored, account in accounts.history("1"):
        assert account.stream_version == stored.stream_version
        account.notes.append("mine")
        account.deposit(1)

    assert seen(account) == (6, ["1", "2", "3", "4", "mine"])


async def test_an_event_stays_what_it_was_when_handlers_take_its_parts(store: FaultyStore) -> None:
    await store.append_to_stream("basket-1", 0, [Filled(items=["a"]), Filled(items=["b"])])

    history = [(stored.event.items, basket.items) async for stored, basket in Repository(Basket, store).history("1")]

    assert history == [(["a"], ["a"]), (["b"], ["a", "b"])]


async def test_where_there_is_no_stream_there_is_no_history(accounts: Accounts) -> None:
    assert [stored async for stored, _ in accounts.history("2")] == []


async def test_history_can_be_left_early() -> None:
    class Watched(InMemoryEventStore):
        is_left = False

        async def iterate_stream(self, *arguments: Any, **where: Any) -> Any:
            try:
                async for stored in super().iterate_stream(*arguments, **where):
                    yield stored
            finally:
                self.is_left = True

    store = Watched()
    await store.append_to_stream("account-1", 0, [Opened(owner="ann"), Audited(), Audited()])
    history = Repository(Account, store).history("1")

    assert isinstance(history, AsyncIterator)
    _, account = await anext(history)
    await history.aclose()

    assert (account.owner, store.is_left) == ("ann", True)
