"""The publisher without a broker: it keeps messages, knows repeats, and fails when it is asked to."""

import asyncio

import pytest

from perdure import UnconfirmedMessagesError
from perdure.testing import InMemoryPublisher
from tests.integrations.messages import message


async def test_messages_are_kept_in_order_and_each_once() -> None:
    publisher = InMemoryPublisher()
    first, second = message("a"), message("b")
    await publisher.publish([first, second])
    await publisher.publish([second])

    assert publisher.messages == [first, second]
    assert publisher.repeats == [second]


async def test_a_key_fails_as_often_as_it_is_told_to() -> None:
    publisher = InMemoryPublisher()
    failing, behind, other = message("a"), message("a"), message("b")
    publisher.fail("a", TimeoutError("no answer"), times=2)

    for _ in range(2):
        with pytest.raises(UnconfirmedMessagesError) as caught:
            await publisher.publish([failing, behind, other])
        assert list(caught.value.failures) == [failing.event_id]
    await publisher.publish([failing, behind])

    assert publisher.messages == [other, failing, behind]


async def test_messages_can_be_waited_for() -> None:
    publisher = InMemoryPublisher()
    waiting = asyncio.create_task(publisher.wait_for(2))
    await asyncio.sleep(0)
    await publisher.publish([message("a")])
    await asyncio.sleep(0)
    assert not waiting.done()
    await publisher.publish([message("b"), message("c")])

    assert await waiting == publisher.messages[:2]
    assert await publisher.wait_for(3) == publisher.messages
