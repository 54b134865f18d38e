"""Messages through FastStream to real brokers: confirmed, and in the order of their keys."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from faststream.kafka import KafkaBroker
from faststream.nats import NatsBroker
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.redis import RedisBroker
from redis.asyncio import Redis

from perdure import BrokerUnavailableError, InvalidArgumentError, UnconfirmedMessagesError, UnpublishableMessageError
from perdure.integrations.faststream import FastStreamPublisher
from perdure.message import Message
from tests.integrations.arrivals import judged
from tests.integrations.brokers import KAFKA, Broker, rabbitmq_server, redis_server
from tests.integrations.messages import message, messages, publish_insistently
from tests.integrations.nats_cluster import arrived, nats_cluster
from tests.patience import patience


class Arrived(NamedTuple):
    """A message as a consumer gets it."""

    event_id: UUID
    body: bytes
    headers: Mapping[str, Any]
    key: str | None = None


class Bench(NamedTuple):
    """A broker, and how to read what arrived."""

    publisher: FastStreamPublisher
    destination: str
    read: Callable[[], Awaitable[list[Arrived]]]


@pytest.fixture(scope="module")
def redis_itself() -> Iterator[Broker]:
    with redis_server() as broker:
        yield broker


@pytest.fixture(scope="module")
def rabbitmq_itself() -> Iterator[Broker]:
    with rabbitmq_server() as broker:
        yield broker


@pytest.fixture
async def redis(redis_itself: Broker) -> AsyncIterator[Bench]:
    destination = f"users-{uuid4()}"

    async def read() -> list[Arrived]:
        client: Any = Redis.from_url(redis_itself.url)
        async with client:
            entries: list[tuple[bytes, dict[bytes, bytes]]] = await client.execute_command(
                "XRANGE", destination, "-", "+"
            )
        stored = [fields[b"__data__"] for _, fields in entries]
        objects = [data[data.index(b'{"specversion') :] for data in stored]  # behind FastStream's own envelope
        return [Arrived(UUID(json.loads(one)["id"]), one, {}) for one in objects]

    async with RedisBroker(redis_itself.url) as broker:
        yield Bench(FastStreamPublisher(broker), destination, read)


@pytest.fixture
async def rabbitmq(rabbitmq_itself: Broker) -> AsyncIterator[Bench]:
    destination = f"users-{uuid4()}"
    async with RabbitBroker(rabbitmq_itself.url) as broker:
        queue = await broker.declare_queue(RabbitQueue(destination, durable=True))

        async def read() -> list[Arrived]:
            found = []
            while (one := await queue.get(fail=False)) is not None:
                found.append(Arrived(UUID(one.message_id), one.body, {**one.headers, "content-type": one.content_type}))
                await one.ack()
            return found

        yield Bench(FastStreamPublisher(broker), destination, read)


@pytest.fixture
async def nats() -> AsyncIterator[Bench]:
    async with nats_cluster(1) as cluster:
        client = await cluster.connect()
        await cluster.make_stream(client, "USERS", ["users"])

        async def read() -> list[Arrived]:
            found = await arrived(client, "USERS")
            return [Arrived(UUID((one.headers or {})["ce-id"]), one.data, one.headers or {}) for one in found]

        async with NatsBroker(cluster.urls) as broker:
            yield Bench(FastStreamPublisher(broker, jetstream="USERS"), "users", read)
        await client.close()


@pytest.fixture
async def kafka() -> AsyncIterator[Bench]:
    from aiokafka import AIOKafkaConsumer

    assert KAFKA is not None
    destination = f"users-{uuid4()}"

    async def read() -> list[Arrived]:
        found: list[Arrived] = []
        async with AIOKafkaConsumer(destination, bootstrap_servers=KAFKA, auto_offset_reset="earliest") as consumer:
            while batches := await consumer.getmany(timeout_ms=int(patience(3) * 1000)):
                for one in (record for records in batches.values() for record in records):
                    headers = {name: value.decode() for name, value in one.headers}
                    found.append(Arrived(UUID(headers["ce_id"]), one.value, headers, one.key.decode()))
        return found

    async with KafkaBroker(KAFKA, acks="all", enable_idempotence=True) as broker:
        yield Bench(FastStreamPublisher(broker), destination, read)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.broker(name)) for name in ("redis", "rabbitmq", "nats", "kafka")]
)
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(request.param)
    return found


frozen_brokers = pytest.mark.parametrize(
    ("name", "itself"),
    [
        pytest.param("redis", "redis_itself", marks=pytest.mark.broker("redis")),
        pytest.param("rabbitmq", "rabbitmq_itself", marks=pytest.mark.broker("rabbitmq")),
    ],
)


@pytest.fixture
def frozen(request: pytest.FixtureRequest, name: str, itself: str) -> tuple[Bench, Broker]:
    return request.getfixturevalue(name), request.getfixturevalue(itself)


def attributes_as_headers(sent: Message, prefix: str) -> dict[str, str]:
    return {f"{prefix}{name}": value for name, value in sent.attributes.items()}


async def test_all_messages_arrive_in_the_order_of_their_keys(bench: Bench) -> None:
    sent = messages(500, keys=50, destination=bench.destination)
    await bench.publisher.publish(sent)

    assert not judged(sent, [one.event_id for one in await bench.read()])


@frozen_brokers
async def test_a_broker_that_does_not_answer_is_tried_again(frozen: tuple[Bench, Broker]) -> None:
    bench, itself = frozen
    sent = messages(100, keys=10, destination=bench.destination)
    hurried = FastStreamPublisher(bench.publisher._broker, timeout=0.2)

    itself.freeze()
    with pytest.raises((UnconfirmedMessagesError, BrokerUnavailableError)):
        await hurried.publish(sent)
    itself.thaw()
    await publish_insistently(bench.publisher, sent)

    judgement = judged(sent, [one.event_id for one in await bench.read()])
    assert not judgement._replace(doubled=())  # these brokers keep repeats


@pytest.mark.broker("redis")
async def test_redis_gets_attributes_and_data_as_one_object(redis: Bench) -> None:
    sent = message("user-Zoë 1", redis.destination, b'{"name":"Zo\xc3\xab"}')
    await redis.publisher.publish([sent])

    [found] = await redis.read()
    assert json.loads(found.body) == {**sent.attributes, "data": {"name": "Zoë"}}


@pytest.mark.broker("rabbitmq")
async def test_rabbitmq_gets_attributes_as_headers(rabbitmq: Bench) -> None:
    sent = message("user-Zoë 1", rabbitmq.destination, b'{"name":"Zo\xc3\xab"}')
    await rabbitmq.publisher.publish([sent])

    [found] = await rabbitmq.read()
    assert found.body == sent.data
    assert found.headers == {**attributes_as_headers(sent, "cloudEvents_"), "content-type": "application/json"}


@pytest.mark.broker("nats")
async def test_jetstream_gets_attributes_as_headers_and_removes_repeats(nats: Bench) -> None:
    sent = message("user-1")
    await nats.publisher.publish([sent])
    await nats.publisher.publish([sent])

    [found] = await nats.read()
    assert found.body == sent.data
    assert found.headers == {
        **attributes_as_headers(sent, "ce-"),
        "content-type": "application/json",
        "correlation_id": str(sent.event_id),
        "Nats-Expected-Stream": "USERS",
        "Nats-Msg-Id": f"{sent.event_id}:users",
    }


@pytest.mark.broker("kafka")
async def test_kafka_gets_attributes_as_headers_and_the_key(kafka: Bench) -> None:
    sent = message("user-Zoë 1", kafka.destination, b'{"name":"Zo\xc3\xab"}')
    await kafka.publisher.publish([sent])

    [found] = await kafka.read()
    assert (found.body, found.key) == (sent.data, sent.key)
    expected = {**attributes_as_headers(sent, "ce_"), "content-type": "application/json"}
    assert {name: found.headers.get(name) for name in expected} == expected


@pytest.mark.broker("rabbitmq")
async def test_rabbitmq_publishes_to_an_exchange(rabbitmq_itself: Broker) -> None:
    async with RabbitBroker(rabbitmq_itself.url) as broker:
        declared = RabbitExchange("events", type=ExchangeType.TOPIC)
        exchange = await broker.declare_exchange(declared)
        queue = await broker.declare_queue(RabbitQueue("public", durable=True))
        await queue.bind(exchange, "user.*")
        sent = message(destination="user.registered")
        await FastStreamPublisher(broker, exchange=declared).publish([sent])

        found = await queue.get()
        assert (found.message_id, found.delivery_mode) == (str(sent.event_id), 2)
        await found.ack()


@pytest.mark.broker("rabbitmq")
async def test_a_message_without_a_queue_is_an_error(rabbitmq: Bench) -> None:
    lost, behind = message(destination="nowhere"), message(destination=rabbitmq.destination)
    with pytest.raises(UnconfirmedMessagesError) as caught:
        await rabbitmq.publisher.publish([lost, behind])

    assert isinstance(caught.value.failures[lost.event_id], UnpublishableMessageError)
    assert await rabbitmq.read() == []


@pytest.mark.broker("rabbitmq")
async def test_a_channel_that_confirms_nothing_is_an_error(rabbitmq: Bench, rabbitmq_itself: Broker) -> None:
    sent = message(destination=rabbitmq.destination)
    async with RabbitBroker(rabbitmq_itself.url, default_channel=Channel(publisher_confirms=False)) as broker:
        with pytest.raises(UnconfirmedMessagesError, match="confirms nothing"):
            await FastStreamPublisher(broker).publish([sent])


@pytest.mark.parametrize(
    ("broker", "options", "argument"),
    [
        (object, {}, "broker"),
        (lambda: None, {}, "broker"),
        (lambda: RedisBroker, {}, "broker"),
        (NatsBroker, {}, "jetstream"),
        (NatsBroker, {"jetstream": ""}, "jetstream"),
        (RedisBroker, {"jetstream": "USERS"}, "jetstream"),
        (RedisBroker, {"exchange": "users"}, "exchange"),
        (RedisBroker, {"structured": "yes"}, "structured"),
        (RedisBroker, {"timeout": -1}, "timeout"),
    ],
)
def test_bad_input_is_refused(broker: Callable[[], object], options: Mapping[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        FastStreamPublisher(broker(), **options)

    assert caught.value.argument == argument
