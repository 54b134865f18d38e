"""Messages through real nats-servers: confirmed, in order of their keys, each once."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

from perdure import BrokerUnavailableError, InvalidArgumentError, UnconfirmedMessagesError, UnpublishableMessageError
from perdure.integrations.nats import NatsPublisher
from tests.integrations.arrivals import Judgement, judged
from tests.integrations.broken_publishers import (
    DoublingPublisher,
    DroppingPublisher,
    EarlyPublisher,
    PipelinedPublisher,
)
from tests.integrations.messages import message, messages, publish_insistently
from tests.integrations.nats_cluster import NatsCluster, arrived, nats_cluster
from tests.patience import growing, patience

pytestmark = pytest.mark.broker("nats")
STREAM = "USERS"


@pytest.fixture
async def cluster() -> AsyncIterator[NatsCluster]:
    """A server of the test's own, with a JetStream stream."""
    async with nats_cluster(1) as cluster:
        client = await cluster.connect()
        await cluster.make_stream(client, STREAM, ["users", "users.>"])
        await client.close()
        yield cluster


@pytest.fixture
async def client(cluster: NatsCluster) -> AsyncIterator[Client]:
    client = await cluster.connect()
    yield client
    await client.close()


async def test_attributes_are_headers_and_the_payload_is_the_data(client: Client) -> None:
    sent = message("user-Zoë 1", data=b'{"name":"Zo\xc3\xab"}')
    await NatsPublisher(client).publish([sent])

    [stored] = await arrived(client, STREAM)
    assert stored.subject == "users"
    assert stored.data == sent.data
    assert stored.headers == {
        "ce-specversion": "1.0",
        "ce-id": str(sent.event_id),
        "ce-source": "perdure://shop/perdure",
        "ce-type": "user.registered",
        "ce-subject": "user-Zo%C3%AB%201",
        "ce-time": "2026-12-01T12:00:00Z",
        "ce-datacontenttype": "application/json",
        "ce-eventversion": "1",
        "ce-partitionkey": "user-Zo%C3%AB%201",
        "ce-globalposition": "1",
        "Nats-Msg-Id": f"{sent.event_id}:users",
    }


async def test_attributes_and_data_are_one_object_in_structured_mode(client: Client) -> None:
    sent = message("user-Zoë 1", data=b'{"name":"Zo\xc3\xab"}')
    await NatsPublisher(client, structured=True).publish([sent])

    [stored] = await arrived(client, STREAM)
    assert json.loads(stored.data) == {**sent.attributes, "data": {"name": "Zoë"}}
    assert stored.headers == {
        "Content-Type": "application/cloudevents+json",
        "Nats-Msg-Id": f"{sent.event_id}:users",
    }


async def test_all_messages_arrive_in_the_order_of_their_keys(client: Client) -> None:
    sent = messages(2000, keys=100)
    await NatsPublisher(client).publish(sent)

    assert not judged(sent, await ids(client))


async def test_repeats_are_removed(client: Client) -> None:
    sent = messages(100, keys=10)
    publisher = NatsPublisher(client)
    await publisher.publish(sent[:60])
    await publisher.publish(sent)

    assert not judged(sent, await ids(client))


async def test_one_event_can_go_to_two_subjects_of_a_stream(client: Client) -> None:
    sent = message()
    await NatsPublisher(client).publish([sent, msgspec.structs.replace(sent, destination="users.public")])

    assert [stored.subject for stored in await arrived(client, STREAM)] == ["users", "users.public"]


async def test_a_message_that_fails_holds_up_its_own_key_only(client: Client) -> None:
    await refuse_large_messages(client)
    large, behind, other = message("user-1", data=LARGE), message("user-1"), message("user-2")

    with pytest.raises(UnconfirmedMessagesError) as caught:
        await NatsPublisher(client).publish([large, behind, other])

    assert list(caught.value.failures) == [large.event_id]
    assert await ids(client) == [other.event_id]


async def test_a_refusal_is_passed_on(client: Client) -> None:
    await refuse_large_messages(client)
    large = message(data=LARGE)

    with pytest.raises(UnconfirmedMessagesError, match="message size exceeds maximum allowed") as caught:
        await NatsPublisher(client).publish([large])

    assert isinstance(caught.value.failures[large.event_id], APIError)


@pytest.mark.parametrize("answer", [b"", b"ok", b"{}", b"[]", b'{"stream":"USERS"}', b'{"seq":"1"}'])
async def test_an_answer_of_another_service_is_no_confirmation(client: Client, answer: bytes) -> None:
    async def reply(request: Msg) -> None:
        await request.respond(answer)

    await client.subscribe("elsewhere", cb=reply)
    with pytest.raises(UnconfirmedMessagesError, match="something other than JetStream has answered"):
        await NatsPublisher(client).publish([message(destination="elsewhere")])


async def test_messages_behind_a_failed_one_come_after_it(client: Client) -> None:
    assert not await judged_after_a_refusal(client, NatsPublisher(client))


async def test_a_pipeline_for_each_key_is_found_to_reorder(client: Client) -> None:
    found = await judged_after_a_refusal(client, PipelinedPublisher(client))

    assert found.disordered
    assert (found.lost, found.doubled) == ([], [])


@pytest.mark.parametrize("broken", [EarlyPublisher, DroppingPublisher])
async def test_a_confirmation_that_is_none_is_found(client: Client, broken: type[NatsPublisher]) -> None:
    assert (await judged_after_a_refusal(client, broken(client))).lost


async def test_messages_without_an_identity_are_found_to_be_doubled(client: Client) -> None:
    sent = messages(10, keys=2)
    await DoublingPublisher(client).publish(sent)

    assert len(judged(sent, await ids(client)).doubled) == 10


async def test_a_subject_without_a_stream_is_an_error(client: Client) -> None:
    sent = message(destination="elsewhere")
    with pytest.raises(UnconfirmedMessagesError) as caught:
        await NatsPublisher(client).publish([sent])

    assert isinstance(caught.value.failures[sent.event_id], NoStreamResponseError)


@pytest.mark.parametrize(
    "subject", ["users.*", "users.>", "users..a", ".users", "users.", "users a", "users\r\n", "ü\x00"]
)
async def test_what_is_no_subject_is_refused(client: Client, subject: str) -> None:
    sent = message(destination=subject)
    with pytest.raises(UnconfirmedMessagesError) as caught:
        await NatsPublisher(client).publish([sent])

    assert isinstance(caught.value.failures[sent.event_id], UnpublishableMessageError)
    assert await ids(client) == []


async def test_nothing_is_kept_for_later_while_the_server_is_away(cluster: NatsCluster, client: Client) -> None:
    away = asyncio.Event()

    async def noted() -> None:
        away.set()

    own = await cluster.connect(disconnected_cb=noted)
    sent = message()
    cluster.servers[0].kill()
    await away.wait()

    with pytest.raises(BrokerUnavailableError, match="the client isn't connected"):
        await NatsPublisher(own).publish([sent])

    cluster.servers[0].start()
    await publish_insistently(NatsPublisher(own), [sent])
    assert await ids(own) == [sent.event_id]
    await own.close()


async def test_a_publisher_connects_to_urls_at_its_first_use(cluster: NatsCluster, client: Client) -> None:
    sent = messages(2, keys=1)
    publisher = NatsPublisher(cluster.urls, timeout=patience(2))
    cluster.servers[0].kill()
    with pytest.raises(BrokerUnavailableError):
        await NatsPublisher(cluster.urls[0], timeout=0.1).publish(sent)
    cluster.servers[0].start()
    await publish_insistently(publisher, sent)
    await publisher.publish(sent)
    await publisher.close()
    with pytest.raises(BrokerUnavailableError):
        await NatsPublisher(Client()).publish(sent)

    assert not judged(sent, await ids(client))


@pytest.mark.parametrize("given", [None, 5, "", [], ["nats://127.0.0.1:4222", None], object()])
def test_what_is_no_client_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        NatsPublisher(given)

    assert caught.value.argument == "client"


async def test_a_lost_answer_is_a_failure_and_the_repeat_is_removed(cluster: NatsCluster, client: Client) -> None:
    sent = messages(20, keys=2)
    for timeout in growing(0.2):
        cluster.servers[0].send_signal(signal.SIGSTOP)
        with pytest.raises(UnconfirmedMessagesError) as caught:
            await NatsPublisher(client, timeout=timeout).publish(sent)
        cluster.servers[0].send_signal(signal.SIGCONT)
        if all(isinstance(error, TimeoutError) for error in caught.value.failures.values()):
            break
    await publish_insistently(NatsPublisher(client), sent)

    assert not judged(sent, await ids(client))


async def test_nothing_is_lost_doubled_or_reordered_when_the_leader_is_killed() -> None:
    async with nats_cluster(3) as cluster:
        client = await cluster.connect()
        await cluster.make_stream(client, STREAM, ["users"])
        publisher = NatsPublisher(client, timeout=patience(2))
        pages = [messages(640, keys=64) for _ in range(20)]
        begun, failures = asyncio.Event(), 0

        async def publish_all() -> None:
            nonlocal failures
            for number, page in enumerate(pages):
                failures += await publish_insistently(publisher, page)
                if number == 2:
                    begun.set()

        async def kill_leader() -> None:
            await begun.wait()
            leader = await cluster.leader(client, STREAM)
            leader.kill()
            leader.start()

        await asyncio.gather(publish_all(), kill_leader())

        assert failures > 0
        assert not judged([one for page in pages for one in page], await ids(client))
        await client.close()


LARGE = b'"%s"' % (b"x" * 2000)


async def refuse_large_messages(client: Client, limit: int = 1000) -> None:
    await client.jetstream().update_stream(StreamConfig(name=STREAM, subjects=["users", "users.>"], max_msg_size=limit))


async def judged_after_a_refusal(client: Client, publisher: NatsPublisher) -> Judgement:
    """Publish while the first message of a key is refused, and again when it is taken."""
    await refuse_large_messages(client)
    sent = [message("user-1", data=LARGE), *messages(20, keys=2)]
    with_limit = asyncio.create_task(publish_insistently(publisher, sent))
    await asyncio.sleep(0)
    while (await client.jetstream().stream_info(STREAM)).state.messages < 10:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    await refuse_large_messages(client, limit=-1)
    await with_limit
    return judged(sent, await ids(client))


async def ids(client: Client) -> list[UUID]:
    """The events that a JetStream stream holds, in its order."""
    return [UUID((stored.headers or {})["ce-id"]) for stored in await arrived(client, STREAM)]
