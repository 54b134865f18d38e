"""Our stores pass the suite that the package ships."""

from collections.abc import AsyncIterator

import pytest

from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.conformance import EventStoreConformance


class TestInMemoryEventStore(EventStoreConformance):
    @pytest.fixture
    async def store(self) -> AsyncIterator[InMemoryEventStore]:
        async with InMemoryEventStore() as store:
            yield store


class TestPostgreSQLEventStore(EventStoreConformance):
    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
        async with PostgreSQLEventStore(database_url) as store:
            yield store
