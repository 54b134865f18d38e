"""What readers of the tutorial try, row by row of the page: it works, or an error says what to write."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from examples.streaming.events import ContentWatched
from examples.streaming.popularity import ContentPopularity, ContentRow
from examples.streaming.profiles import UserRow
from examples.streaming.trend_score import with_watch
from examples.streaming.user import User
from perdure import (
    ANY,
    NO_STREAM,
    AggregateDefinitionError,
    AggregateRoot,
    EventMetadata,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    InvalidStreamIdError,
    OptimisticConcurrencyError,
    PostgreSQLEventStore,
    ProjectionService,
    Repository,
    RetryConfig,
    UnhandledEventError,
    UnregisteredEventError,
    context,
    current_context,
    event,
    handles,
)
from perdure.testing import fold, stored_event

TIME = datetime(2026, 1, 1, tzinfo=UTC)
WATCHED = {
    "content_id": "heat",
    "user_id": "123",
    "watch_duration_seconds": 60,
    "completion_percentage": 50.0,
    "genre": "crime",
}


@event("tutorial.opened")
class Opened:
    name: str


@pytest.fixture
async def memory() -> AsyncIterator[InMemoryEventStore]:
    async with InMemoryEventStore() as store:
        yield store


def test_metadata_by_position() -> None:
    metadata = EventMetadata(UUID(int=1), "user.registered", 1, TIME, "correlation")

    assert metadata.correlation_id == "correlation"
    assert msgspec.structs.asdict(metadata)["event_type"] == "user.registered"
    with pytest.raises(InvalidArgumentError, match=r"event_version '1\.0' isn't a whole number: count 1, 2, 3"):
        EventMetadata(UUID(int=1), "user.registered", "1.0", TIME)  # type: ignore[arg-type] # the point


def test_a_stored_event_by_hand() -> None:
    stored = stored_event("content.watched", WATCHED)

    assert stored.event == ContentWatched(**WATCHED)  # type: ignore[arg-type] # a dict of values of several types
    assert msgspec.json.decode(stored.stored_metadata)["timestamp"]
    row = fold(ContentPopularity(), [stored])["heat"]
    assert isinstance(row, ContentRow)
    assert (row.completion_sum, row.total_views) == (50.0, 1)


@pytest.mark.parametrize("given", [{"name": "a"}, "user.registered"])
async def test_a_dict_or_a_name_as_an_event(memory: InMemoryEventStore, given: object) -> None:
    with pytest.raises(UnregisteredEventError, match=r"is not an event: define a class with @event\("):
        await memory.append_to_stream("user-123", NO_STREAM, [given])


CALLS: list[Callable[[EventStore], Any]] = [
    lambda store: store.append_to_stream("cart", NO_STREAM, [Opened(name="a")]),
    lambda store: store.read_stream("cart"),
    lambda store: store.stream_version("cart"),
]


@pytest.mark.parametrize("call", CALLS)
async def test_any_stream_id(memory: InMemoryEventStore, call: Callable[[EventStore], Any]) -> None:
    with pytest.raises(InvalidStreamIdError, match="a stream id is 'category-id', as in 'user-123'"):
        await call(memory)


async def test_an_append_of_nothing(memory: InMemoryEventStore) -> None:
    with pytest.raises(InvalidArgumentError, match="there is nothing to append, so leave the call out"):
        await memory.append_to_stream("user-123", NO_STREAM, [])
    assert await Repository(User, memory).save(User("123")) is None


async def test_the_version_of_minus_one(memory: InMemoryEventStore) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"-1 isn't a version: use .* NO_STREAM \(or 0\), STREAM_EXISTS or ANY"
    ):
        await memory.append_to_stream("user-123", -1, [Opened(name="a")])


def test_a_retry_by_position() -> None:
    assert RetryConfig(3, 0.1) == RetryConfig(max_attempts=3, base_delay=0.1)
    assert RetryConfig().max_attempts is None


async def test_the_version_of_a_stream_and_the_error_of_a_conflict(memory: InMemoryEventStore) -> None:
    assert await memory.stream_version("user-123") == 0
    await memory.append_to_stream("user-123", ANY, [Opened(name="a")])

    assert await memory.stream_version("user-123") == 1
    with pytest.raises(OptimisticConcurrencyError):
        await memory.append_to_stream("user-123", 0, [Opened(name="a")])


def test_a_store_of_ones_own_implements_five_methods() -> None:
    assert len(EventStore.__abstractmethods__) == 5


async def test_the_columns_of_the_tables(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        await store.append_to_stream("user-123", NO_STREAM, [Opened(name="a")])

        [stream] = await store.database.fetch("select stream_version from perdure.streams")
        [row] = await store.database.fetch("select recorded_at, metadata ->> 'timestamp' from perdure.events")
        [stored] = await store.read_stream("user-123")

    assert stream["stream_version"] == 1
    assert row[0] == stored.recorded_at
    assert datetime.fromisoformat(row[1]) == stored.timestamp


async def test_the_checkpoint_of_each_projection(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        saved = await store.append_to_stream("content-heat", ANY, [ContentWatched(**WATCHED)])  # type: ignore[arg-type] # as above
        async with ProjectionService(store, [ContentPopularity()]) as service:
            await service.wait_for("content_popularity", saved, timeout=30)
            [status] = await service.status()

    assert status.global_position >= saved.global_position


def test_the_id_of_an_aggregate() -> None:
    assert (User("123").aggregate_id, User("123").stream_id) == ("123", "user-123")
    with pytest.raises(InvalidArgumentError, match="begins with its category: leave 'user-' out"):
        User("user-123")


def state_in_init() -> None:
    class Account(AggregateRoot, category="account"):
        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.name: str | None = None


def metadata_for_a_handler() -> None:
    class Account(AggregateRoot, category="account"):
        @handles
        def _opened(self, event: Opened, metadata: EventMetadata) -> None: ...


@pytest.mark.parametrize(
    ("define", "cure"),
    [
        (state_in_init, r"declare it in the body of the class, as 'name: TYPE = DEFAULT'"),
        (metadata_for_a_handler, r"a handler takes \(self, event\), so put what it needs into the event"),
    ],
)
def test_what_the_tutorials_aggregate_does(define: Callable[[], None], cure: str) -> None:
    with pytest.raises(AggregateDefinitionError, match=cure):
        define()


def test_an_event_without_a_handler() -> None:
    class Account(AggregateRoot, category="account", strict=True): ...

    with pytest.raises(UnhandledEventError, match="add a method with @handles"):
        Account("1").raise_event(Opened(name="a"))


def test_the_correlation_id() -> None:
    with context(correlation_id="c9"):
        user = User("123")
        user.register("john@example.com", "John Doe", ["drama"])
        assert current_context().correlation_id == "c9"

    assert user.uncommitted_events[0].metadata.correlation_id == "c9"


def test_the_rows_and_the_score() -> None:
    assert {"user_id", "name"} <= set(UserRow.__struct_fields__)
    assert with_watch(None, 100.0, TIME) is not None
    assert ContentPopularity.viewers.table == "content_popularity_viewers"
