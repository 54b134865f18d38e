"""A relay sends each event, in the order of its key, and starts again where the broker has confirmed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from perdure import (
    ANY,
    BrokerUnavailableError,
    Message,
    MessagePublisher,
    RetryConfig,
    StoredEvent,
    UnconfirmedMessagesError,
    event,
    replay,
)
from perdure.context import context
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.engines.reaction.relay_definition import RelayDefinition
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.relay import Relay
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing import InMemoryPublisher, stored_event
from tests.integrations.arrivals import judged
from tests.patience import patience

SOONER = RetryConfig(base_delay=0.01, max_delay=0.05, max_seconds=1_000.0)
SOURCE = "https://shop.example/users"


@event("test.relays.noted")
class Noted:
    number: int


@event("test.relays.published")
class Published:
    text: str


def relay(publisher: Any, **options: Any) -> Relay:
    defaults: dict[str, Any] = {"destination": lambda stored: f"shop.{stored.event_type}", "source": SOURCE}
    return Relay("to_broker", publisher, **(defaults | {"start": 0, "retry": SOONER} | options))


async def note(store: PostgreSQLEventStore, stream: str, *numbers: int) -> int:
    """Append events, and return the position of the last."""
    events = [Noted(number=number) for number in numbers]
    return (await store.append_to_stream(f"note-{stream}", ANY, events)).global_position


def numbers(messages: Sequence[Message], key: str) -> list[int]:
    return [json.loads(message.data)["number"] for message in messages if message.key == key]


async def test_an_event_becomes_a_message_of_cloudevents(store: PostgreSQLEventStore) -> None:
    publisher = InMemoryPublisher()
    with context(correlation_id="request 1", causation_id="command 1"):
        position = await note(store, "a", 7)
    async with ProjectionService(store, [relay(publisher)]) as service:
        await service.wait_for("to_broker", position, timeout=patience(10))

    [stored] = await store.read_all_events()
    [sent] = publisher.messages
    assert sent.destination == "shop.test.relays.noted"
    assert (sent.key, sent.event_id, sent.data) == ("note-a", stored.event_id, b'{"number":7}')
    assert sent.attributes == {
        "specversion": "1.0",
        "id": str(stored.event_id),
        "source": SOURCE,
        "type": "test.relays.noted",
        "subject": "note-a",
        "time": stored.timestamp.isoformat(),
        "datacontenttype": "application/json",
        "eventversion": "1",
        "partitionkey": "note-a",
        "globalposition": str(position),
        "correlationid": "request 1",
        "causationid": "command 1",
    }


async def test_only_what_has_a_destination_is_sent(store: PostgreSQLEventStore) -> None:
    publisher = InMemoryPublisher()

    def odd(stored: StoredEvent) -> str | None:
        return "odd" if stored.event.number % 2 else None

    position = await note(store, "a", 1, 2, 3)
    async with ProjectionService(store, [relay(publisher, destination=odd)]) as service:
        await service.wait_for("to_broker", position, timeout=patience(10))

    assert numbers(publisher.messages, "note-a") == [1, 3]


async def test_other_systems_get_the_event_that_it_is_translated_to(store: PostgreSQLEventStore) -> None:
    publisher = InMemoryPublisher()

    def public(stored: StoredEvent) -> Published | None:
        return Published(text=f"number {stored.event.number}") if stored.event.number else None

    position = await note(store, "a", 0, 1)
    async with ProjectionService(store, [relay(publisher, translate=public)]) as service:
        await service.wait_for("to_broker", position, timeout=patience(10))

    [sent] = publisher.messages
    assert sent.data == b'{"text":"number 1"}'
    assert (sent.attributes["type"], sent.attributes["eventversion"]) == ("test.relays.published", "1")


async def test_by_default_a_relay_begins_now(store: PostgreSQLEventStore) -> None:
    publisher = InMemoryPublisher()
    await note(store, "a", 1)
    async with ProjectionService(store, [Relay("to_broker", publisher, destination="notes", source="/notes")]):
        await until(partial(is_set_up, store))
        await note(store, "a", 2)
        await publisher.wait_for(1)

    assert numbers(publisher.messages, "note-a") == [2]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(patience(10)):
        while not await condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def is_set_up(store: PostgreSQLEventStore) -> bool:
    return bool(await ProjectionOperations(store).status())


async def is_parked(store: PostgreSQLEventStore) -> bool:
    return bool(await ProjectionOperations(store).parked(states=None))


class Counting(InMemoryPublisher):
    """Counts how often it is called."""

    attempts = 0

    async def publish(self, messages: Sequence[Message]) -> None:
        self.attempts += 1
        await super().publish(messages)


async def test_messages_keep_the_order_of_their_key(store: PostgreSQLEventStore) -> None:
    publisher = InMemoryPublisher()
    for number in range(50):
        await note(store, str(number % 5), number, number + 100)
    position = await note(store, "0", 200)
    async with ProjectionService(store, [relay(publisher)], batch_size=10) as service:
        await service.wait_for("to_broker", position, timeout=patience(10))

    assert not judged(publisher_order(await store.read_all_events()), [one.event_id for one in publisher.messages])


def publisher_order(events: Sequence[StoredEvent]) -> list[Message]:
    return [Message("", stored.stream_id, stored.event_id, {}, b"") for stored in events]


async def test_a_key_that_fails_is_tried_again_and_only_it_waits(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, quick_beats: None
) -> None:
    publisher = InMemoryPublisher()
    publisher.fail("note-a", TimeoutError("no answer"), times=3)
    async with ProjectionService(store, [relay(publisher)]) as service:
        await note(store, "a", 1, 2)
        position = await note(store, "b", 3)
        await publisher.wait_for(1)
        assert numbers(publisher.messages, "note-b") == [3]
        await note(store, "a", 4)
        await publisher.wait_for(4)
        await service.wait_for("to_broker", position, timeout=patience(10))

    assert numbers(publisher.messages, "note-a") == [1, 2, 4]
    assert await connection.fetchval("select count(*) from perdure.parked_events") == 0


@pytest.mark.parametrize(
    "options",
    [
        {"destination": lambda stored: 1 / (stored.event.number - 1)},
        {"destination": lambda stored: 5 if stored.event.number == 1 else "notes"},
        {"translate": lambda stored: object() if stored.event.number == 1 else stored.event},
    ],
)
async def test_a_function_that_fails_holds_up_the_key(
    store: PostgreSQLEventStore, options: dict[str, Callable[[StoredEvent], object]], quick_beats: None
) -> None:
    publisher = InMemoryPublisher()
    await note(store, "a", 0 if "translate" in options else 3, 1, 2)
    broken = relay(publisher, **({"destination": "notes"} | options))
    async with ProjectionService(store, [broken]):
        await note(store, "b", 5)
        await until(partial(is_parked, store))

    assert len(numbers(publisher.messages, "note-a")) <= 1
    async with ProjectionService(store, [relay(publisher, destination="notes")]):
        await publisher.wait_for(4)
    assert numbers(publisher.messages, "note-a")[1:] == [1, 2]


async def test_while_there_is_no_broker_nothing_is_parked(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    publisher = Counting()
    publisher.outage = ConnectionError("no broker")
    async with ProjectionService(store, [relay(publisher)]) as service:
        await note(store, "a", 1, 2)
        position = await note(store, "b", 3)

        async def is_tried_again() -> bool:
            return publisher.attempts > 2

        await until(is_tried_again)
        assert await connection.fetchval("select count(*) from perdure.parked_events") == 0
        publisher.outage = None
        await service.wait_for("to_broker", position, timeout=patience(10))

    assert numbers(publisher.messages, "note-a") == [1, 2]
    assert publisher.repeats == []


class Failing:
    """Fails in one way."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.error is not None:
            raise self.error
        raise UnconfirmedMessagesError({messages[0].event_id: TimeoutError("no answer")})


async def outcomes(publisher: MessagePublisher, timeout: float = 10.0) -> list[type | None]:
    """What a relay makes of a publisher's answer for two events of a key, and one of another key."""
    keys = ("note-a", "note-a", "note-b")
    parcels = [
        Parcel(stored_event("test.relays.noted", {"number": 1}, stream_id=key), (key,), 1, may_be_repeat=False)
        for key in keys
    ]
    found = await RelayDefinition(relay(publisher)).deliver(parcels, timeout)
    return [None if outcome is None else type(outcome) for outcome in found]


async def test_behind_a_message_without_confirmation_the_rest_of_its_key_has_failed() -> None:
    assert await outcomes(Failing()) == [TimeoutError, TimeoutError, None]
    assert await outcomes(InMemoryPublisher()) == [None, None, None]


@pytest.mark.parametrize(
    "error",
    [
        UnconfirmedMessagesError({}),
        UnconfirmedMessagesError({UUID(int=7): TimeoutError("of an event that wasn't sent")}),
        ValueError("a defect"),
        asyncio.CancelledError(),
        BrokerUnavailableError("no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_after_any_other_answer_nothing_counts_as_confirmed(error: BaseException) -> None:
    assert await outcomes(Failing(error)) == [BrokerUnavailableError] * 3


async def test_a_publisher_that_hangs_is_given_up() -> None:
    class Hanging:
        async def publish(self, messages: Sequence[Message]) -> None:
            await asyncio.Event().wait()

    assert await outcomes(Hanging(), timeout=0.01) == [BrokerUnavailableError] * 3


async def test_a_replay_sends_again_and_is_recorded(store: PostgreSQLEventStore, quick_beats: None) -> None:
    publisher = InMemoryPublisher()
    one = relay(publisher)
    position = await note(store, "a", 1, 2, 3)
    async with ProjectionService(store, [one]) as service:
        await service.wait_for("to_broker", position, timeout=patience(10))
        count = await replay(store, one, from_position=position - 2, to_position=position, reason="lost there")

        async def is_repeated() -> bool:
            return len(publisher.repeats) == 2

        await until(is_repeated)

    assert count == 2
    assert numbers(publisher.repeats, "note-a") == [2, 3]
    actions = await ProjectionOperations(store).actions("to_broker")
    assert ("replayed", "lost there") in [(one.action, one.reason) for one in actions]
