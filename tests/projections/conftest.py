"""What tests of projections share."""

from collections.abc import AsyncIterator

import pytest

from perdure.stores.postgres.store import PostgreSQLEventStore


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners look at once for what others asked of them."""
    monkeypatch.setattr("perdure.projections.runner._BEAT", 0.01)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """The store as another process has it."""
    async with PostgreSQLEventStore(database_url) as store:
        yield store
