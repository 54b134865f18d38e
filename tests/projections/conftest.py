"""What tests of projections share."""

from collections.abc import AsyncIterator

import pytest

from perdure.stores.postgres.store import PostgreSQLEventStore


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners look at once for what others asked of them."""
    monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.01)


@pytest.fixture
def quick_rebuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services see at once that a build is there, complete, or no longer wanted."""
    for name in ("_POLL_INTERVAL", "_REBUILD_POLL_INTERVAL"):
        monkeypatch.setattr(f"perdure.projections.runtime.supervisor.{name}", 0.01)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """The store as another process has it."""
    async with PostgreSQLEventStore(database_url) as store:
        yield store
