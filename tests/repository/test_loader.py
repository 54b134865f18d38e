"""Aggregates as their events make them."""

from typing import Any
from uuid import UUID

import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateNotFoundError,
    AggregateRoot,
    EventDecodingError,
    InvalidArgumentError,
    InvalidStreamIdError,
    OptimisticConcurrencyError,
    Repository,
    UnknownEventTypeError,
)
from perdure.log import PAGE_SIZE
from tests.repository.accounts import Account, Audited, FaultyStore, Opened


async def test_what_was_saved_is_loaded(accounts: Repository[Account]) -> None:
    account = Account("1")
    account.open("ann")
    account.deposit(5, "first")
    await accounts.save(account)

    loaded = await accounts.load("1")

    assert loaded is not None
    assert (loaded.owner, loaded.balance, loaded.notes) == ("ann", 5, ["first"])
    assert (loaded.stream_version, loaded.committed_version, loaded.uncommitted_events) == (2, 2, ())


async def test_an_aggregate_may_be_named_by_a_uuid(accounts: Repository[Account]) -> None:
    await accounts.execute(UUID(int=1), lambda account: account.open("ann"))

    assert (await accounts.get(str(UUID(int=1)))).owner == "ann"
    assert (await accounts.get(UUID(int=1))).stream_id == f"account-{UUID(int=1)}"


async def test_where_there_is_no_stream_load_returns_none_and_get_raises(accounts: Repository[Account]) -> None:
    assert await accounts.load("1") is None
    with pytest.raises(AggregateNotFoundError, match=r"no stream 'account-1'; use load\(\)") as caught:
        await accounts.get("1")
    assert caught.value.stream_id == "account-1"


async def test_events_that_nobody_handles_count(store: FaultyStore, accounts: Repository[Account]) -> None:
    await store.intrude(Audited(), Opened(owner="ann"), Audited())

    account = await accounts.get("1")

    assert (account.owner, account.stream_version) == ("ann", 3)


async def test_a_stream_of_events_that_nobody_handles_exists(store: FaultyStore, accounts: Repository[Account]) -> None:
    await store.intrude(Audited())

    assert (await accounts.get("1")).stream_version == 1


async def test_an_unknown_type_is_an_error(store: FaultyStore, accounts: Repository[Account]) -> None:
    await store.intrude(Opened(owner="ann"))
    store._streams["account-1"][0].event_type = "account.from_the_future"

    with pytest.raises(UnknownEventTypeError, match=r"account\.from_the_future"):
        await accounts.load("1")


async def test_data_that_doesnt_fit_is_an_error(store: FaultyStore, accounts: Repository[Account]) -> None:
    await store.intrude(Opened(owner="ann"))
    store._streams["account-1"][0].event_data = "{}"

    with pytest.raises(EventDecodingError, match="missing required field"):
        await accounts.load("1")


async def test_a_long_history_is_read_a_page_at_a_time(
    store: FaultyStore, accounts: Repository[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.intrude(*[Audited()] * (2 * PAGE_SIZE + 1))
    pages: list[int] = []
    stream_page = store.reader.stream_page

    async def counting(stream_id: str, from_version: int, *rest: Any) -> Any:
        page = await stream_page(stream_id, from_version, *rest)
        pages.append(len(page))
        return page

    monkeypatch.setattr(store.reader, "stream_page", counting)

    assert (await accounts.get("1")).stream_version == 2 * PAGE_SIZE + 1
    assert sum(pages) == 2 * PAGE_SIZE + 1
    assert max(pages) == PAGE_SIZE


async def test_regression_02_an_append_between_two_pages_is_no_surprise(
    store: FaultyStore, accounts: Repository[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.intrude(*[Audited()] * PAGE_SIZE)
    stream_page = store.reader.stream_page

    async def intruding(stream_id: str, from_version: int, *rest: Any) -> Any:
        page = await stream_page(stream_id, from_version, *rest)
        await store.intrude(Audited())
        return page

    monkeypatch.setattr(store.reader, "stream_page", intruding)
    account = await accounts.get("1")
    monkeypatch.undo()

    assert account.stream_version == PAGE_SIZE + 1  # what was read, and not what the stream had by then
    account.deposit(1)
    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(account)


@pytest.mark.parametrize("aggregate_id", ["", "a\x00"])
async def test_an_id_that_cant_be_one_is_refused(accounts: Repository[Account], aggregate_id: str) -> None:
    with pytest.raises(InvalidStreamIdError):
        await accounts.load(aggregate_id)


async def test_an_id_that_begins_with_its_category_is_refused(accounts: Repository[Account]) -> None:
    with pytest.raises(InvalidArgumentError, match="begins with its category"):
        await accounts.load("account-1")


@pytest.mark.parametrize("cls", [int, "Account", None])
def test_only_aggregates_have_repositories(store: FaultyStore, cls: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a class of aggregates"):
        Repository(cls, store)


async def test_a_class_without_a_category_cant_be_loaded(store: FaultyStore) -> None:
    with pytest.raises(AggregateDefinitionError, match="has no category"):
        await Repository(AggregateRoot, store).load("1")
