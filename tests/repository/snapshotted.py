"""Accounts of which snapshots are taken, and what a load of them replays."""

from typing import Any

import pytest

from perdure import EventStore, Repository
from tests.repository.accounts import AT_ONCE, Account, FaultyStore

Accounts = Repository[Account]


@pytest.fixture
def accounts(store: FaultyStore) -> Accounts:
    return Repository(Account, store, retry=AT_ONCE, snapshot_every=3)


async def deposit(accounts: Accounts, count: int = 1, aggregate_id: str = "1") -> None:
    for _ in range(count):
        await accounts.execute(aggregate_id, lambda account: account.deposit(1, "x"))


async def version_of(store: EventStore, stream_id: str = "account-1") -> int | None:
    """The version of the stream's snapshot."""
    snapshot = await store.read_snapshot(stream_id)
    return None if snapshot is None else snapshot.stream_version


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions of the stored events that accounts apply."""
    versions: list[int] = []
    apply = Account.apply_stored_event

    def watched(self: Account, stored: Any) -> None:
        versions.append(stored.stream_version)
        apply(self, stored)

    monkeypatch.setattr(Account, "apply_stored_event", watched)
    return versions
