"""A relay and real nats-servers: whatever is killed, every event arrives, once, in the order of its key."""

import asyncio
from uuid import UUID

import pytest
from nats.aio.client import Client

from perdure import ANY, Message, RetryConfig, event
from perdure.integrations.nats import NatsPublisher
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.relay import Relay
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.integrations.arrivals import Judgement, judged
from tests.integrations.broken_publishers import EarlyPublisher
from tests.integrations.nats_cluster import NatsCluster, arrived, nats_cluster
from tests.integrations.relay_process import started
from tests.patience import patience

pytestmark = pytest.mark.broker("nats")
STREAM = "USERS"
KEYS = 40


@event("test.nats.moved")
class Moved:
    number: int


async def test_nothing_is_lost_doubled_or_reordered_when_the_leader_is_killed(store: PostgreSQLEventStore) -> None:
    async with nats_cluster(3) as cluster:
        client = await cluster.connect()
        await cluster.make_stream(client, STREAM, ["users"])
        relay = Relay(
            "to_nats",
            NatsPublisher(client, timeout=patience(1)),
            destination="users",
            source="/users",
            start=0,
            retry=RetryConfig(base_delay=0.1, max_delay=1.0, max_seconds=1_000.0),
        )
        begun = asyncio.Event()
        async with ProjectionService(store, [relay], batch_size=100):
            writing = asyncio.create_task(write(store, 150, begun))
            await begun.wait()
            leader = await cluster.leader(client, STREAM)
            leader.kill()
            leader.start()
            await all_sent(store, await writing)

        assert not await judgement(store, client)
        await client.close()


async def test_nothing_is_lost_doubled_or_reordered_when_the_relay_is_killed(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    async with nats_cluster(1) as cluster:
        client = await made_stream(cluster)
        last = await killed_at_work(store, database_url, cluster, client)
        process = await started(database_url, cluster.urls[0], NatsPublisher)
        await all_sent(store, last)
        process.kill()
        await process.wait()

        assert not await judgement(store, client)
        await client.close()


async def test_a_publisher_that_confirms_what_it_has_not_sent_is_found(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    async with nats_cluster(1) as cluster:
        client = await made_stream(cluster)
        last = await write(store, 10)
        process = await started(database_url, cluster.urls[0], EarlyPublisher)
        await all_sent(store, last)  # as the relay believes
        process.kill()
        await process.wait()

        assert (await judgement(store, client)).lost
        await client.close()


async def made_stream(cluster: NatsCluster) -> Client:
    client = await cluster.connect()
    await cluster.make_stream(client, STREAM, ["users"])
    return client


async def killed_at_work(store: PostgreSQLEventStore, url: str, cluster: NatsCluster, client: Client) -> int:
    """Kill a relay three times while its messages arrive. Return the last position."""
    last = written = 0
    for _ in range(3):
        last = await write(store, 25)
        process = await started(url, cluster.urls[0], NatsPublisher)
        written += KEYS * 5
        while (await client.jetstream().stream_info(STREAM)).state.messages < written:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.001)
        process.kill()
        await process.wait()
    return last


async def write(store: PostgreSQLEventStore, rounds: int, begun: asyncio.Event | None = None) -> int:
    """Append an event for each key, many times, and return the last position."""
    last = 0
    for number in range(rounds):
        saved = await asyncio.gather(
            *(store.append_to_stream(f"user-{key}", ANY, [Moved(number=number)]) for key in range(KEYS))
        )
        last = max(one.global_position for one in saved)
        if begun is not None and number == rounds // 10:
            begun.set()
    return last


async def all_sent(store: PostgreSQLEventStore, last: int) -> None:
    """Wait until the relay has recorded all events, and none is parked."""
    operations = ProjectionOperations(store)
    async with asyncio.timeout(patience(60)):
        while not any(  # noqa: ASYNC110 - it may be another process
            (one.global_position or 0) >= last and not one.failed + one.waiting for one in await operations.status()
        ):
            await asyncio.sleep(0.01)


async def judgement(store: PostgreSQLEventStore, client: Client) -> Judgement:
    sent: list[Message] = []
    position = 0
    while page := await store.read_all_events(position, 1000):
        position = page[-1].global_position
        sent += [Message("users", stored.stream_id, stored.event_id, {}, b"") for stored in page]
    assert sent
    return judged(sent, [UUID((one.headers or {})["ce-id"]) for one in await arrived(client, STREAM)])
