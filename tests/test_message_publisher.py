"""Messages of a key are sent one after the other, and keys don't wait for each other."""

import asyncio

import pytest

from perdure import Message, MessagePublisher, UnconfirmedMessagesError, send_by_key
from perdure.testing import InMemoryPublisher
from tests.integrations.messages import message


async def test_a_message_is_sent_when_the_one_before_it_is_confirmed() -> None:
    first, second, other = message("a"), message("a"), message("b")
    confirmed = {one.event_id: asyncio.Event() for one in (first, second, other)}
    begun: list[Message] = []

    async def send(one: Message) -> None:
        begun.append(one)
        await confirmed[one.event_id].wait()

    sent = asyncio.create_task(send_by_key([first, second, other], send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == [first, other]
    confirmed[first.event_id].set()
    confirmed[second.event_id].set()
    while len(begun) < 3:  # noqa: ASYNC110 - a turn of the loop is all there is to wait for
        await asyncio.sleep(0)
    assert not sent.done()
    confirmed[other.event_id].set()
    await sent


async def test_after_a_failure_the_rest_of_the_key_is_not_sent() -> None:
    messages = [message("a"), message("a"), message("a"), message("b"), message("b")]
    begun: list[Message] = []

    async def send(one: Message) -> None:
        begun.append(one)
        if one is messages[1]:
            raise TimeoutError("no answer")

    with pytest.raises(
        UnconfirmedMessagesError, match=r"1 message wasn't confirmed: .*TimeoutError: no answer"
    ) as caught:
        await send_by_key(messages, send)

    assert list(caught.value.failures) == [messages[1].event_id]
    assert {one.event_id for one in begun} == {messages[index].event_id for index in (0, 1, 3, 4)}


async def test_all_that_was_begun_has_ended_when_the_caller_is_cancelled() -> None:
    messages = [message("a"), message("b")]
    begun, ended = asyncio.Semaphore(0), list[Message]()

    async def send(one: Message) -> None:
        begun.release()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(one)

    sent = asyncio.create_task(send_by_key(messages, send))
    await begun.acquire()
    await begun.acquire()
    sent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent

    assert len(ended) == 2


async def test_what_is_no_exception_is_raised_as_it_is() -> None:
    async def send(one: Message) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await send_by_key([message()], send)


def test_no_secret_of_a_failure_is_shown() -> None:
    error = UnconfirmedMessagesError({message().event_id: OSError("nats://app:s3cret@127.0.0.1:4222 is away")})

    assert "s3cret" not in str(error)


def test_a_publisher_needs_no_base_class() -> None:
    assert isinstance(InMemoryPublisher(), MessagePublisher)
    assert not isinstance(object(), MessagePublisher)
