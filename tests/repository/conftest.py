"""A repository of accounts over a store in which something goes wrong."""

import pytest

from perdure import Repository
from tests.repository.accounts import AT_ONCE, Account, FaultyStore, Opened


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def accounts(store: FaultyStore) -> Repository[Account]:
    return Repository(Account, store, retry=AT_ONCE)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the repository would have slept."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("perdure.repository.saver.sleep", sleep)
    monkeypatch.setattr("perdure.repository.command_queue.sleep", sleep)
    return slept


@pytest.fixture
async def account(store: FaultyStore, accounts: Repository[Account]) -> Account:
    """An account that is open, loaded before anything else happens."""
    await store.intrude(Opened(owner="ann"))
    return await accounts.get("1")
