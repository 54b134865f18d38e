"""Our stores pass the suite that the package ships."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from perdure.events import StoredEvent, handles
from perdure.projection import TableProjection
from perdure.projections.inline_store import InlineProjections
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.conformance import EventStoreConformance
from perdure.testing.conformance.samples import Counted, Measured, Noted


class TestInMemoryEventStore(EventStoreConformance):
    @pytest.fixture
    async def store(self) -> AsyncIterator[InMemoryEventStore]:
        async with InMemoryEventStore() as store:
            yield store


class TestPostgreSQLEventStore(EventStoreConformance):
    @pytest.fixture(autouse=True)
    def know_url(self, database_url: str) -> None:
        self.url = database_url

    def another_store(self, store: EventStore) -> EventStore:
        return PostgreSQLEventStore(self.url)

    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
        async with PostgreSQLEventStore(database_url) as store:
            yield store


@dataclass
class Count:
    note_id: str
    events: int = 0


class NoteCounts(TableProjection[Count], table="note_counts", key="note_id", by_stream="note"):
    """For nearly all streams of the suite."""

    @handles
    def happened(self, event: Noted | Counted | Measured, row: Count | None, at: StoredEvent) -> Count:
        row = row or Count(at.stream_id.partition("-")[2])
        row.events += 1
        return row


class TestInlineProjections(EventStoreConformance):
    @pytest.fixture(autouse=True)
    def know_url(self, database_url: str) -> None:
        self.url = database_url

    def another_store(self, store: EventStore) -> EventStore:
        return PostgreSQLEventStore(self.url)

    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[InlineProjections]:
        async with InlineProjections(PostgreSQLEventStore(database_url), [NoteCounts()]) as store:
            yield store
