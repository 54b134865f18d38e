"""A command that makes a long pause after a conflict, and another one for the same aggregate."""

import asyncio

import pytest

from perdure import AppendResult, Repository, RetryConfig
from perdure.commit import Commit
from tests.repository.accounts import Account, FaultyStore, Gate, QueueingStore, deposit, settle

Accounts = Repository[Account]


@pytest.fixture
def store(request: pytest.FixtureRequest) -> FaultyStore:
    kind: type[FaultyStore] = getattr(request, "param", FaultyStore)
    return kind()


@pytest.mark.parametrize("store", [FaultyStore, QueueingStore], indirect=True, ids=["lone", "queued"])
@pytest.mark.parametrize("comes", ["before the conflict", "during the pause"])
async def test_a_long_pause_of_one_command_doesnt_hold_up_another(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    monkeypatch.setattr("perdure.retry.random.uniform", lambda _, most: most)
    patient = RetryConfig(base_delay=3600, max_delay=3600, max_seconds=36000)
    gate = Gate()

    async def overtaken(commit: Commit) -> None:
        await gate(commit)
        await store.intrude()

    store.before.append(overtaken)
    first = asyncio.create_task(accounts.execute("1", deposit(2), retry=patient))
    await gate.reached.wait()
    if comes == "during the pause":
        gate.opened.set()
        await settle()
    other = asyncio.create_task(accounts.execute("1", deposit(3)))
    await settle()
    gate.opened.set()

    assert await other == AppendResult("account-1", 3, (3,))
    assert await first == AppendResult("account-1", 2, (2,))
