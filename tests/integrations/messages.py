"""Messages to publish, and a caller that insists as a relay does."""

import asyncio
from collections.abc import Iterator, Sequence

from uuid_utils.compat import uuid7

from perdure import BrokerUnavailableError, UnconfirmedMessagesError
from perdure.message import Message
from perdure.message_publisher import MessagePublisher


def message(key: str = "user-1", destination: str = "users", data: bytes = b"{}") -> Message:
    """A message of an event of its own."""
    event_id = uuid7()
    attributes = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "perdure://shop/perdure",
        "type": "user.registered",
        "subject": key,
        "time": "2026-12-01T12:00:00Z",
        "datacontenttype": "application/json",
        "eventversion": "1",
        "partitionkey": key,
        "globalposition": "1",
    }
    return Message(destination, key, event_id, attributes, data)


def messages(count: int, keys: int, destination: str = "users") -> list[Message]:
    """So many messages, whose keys take turns."""
    return [message(f"user-{number % keys}", destination, b'{"number": %d}' % number) for number in range(count)]


def unconfirmed(messages: Sequence[Message], error: UnconfirmedMessagesError) -> list[Message]:
    """The messages to publish again: of each key that failed, the rest from the first failure on."""

    def of_failed_keys() -> Iterator[Message]:
        failed = set[str]()
        for one in messages:
            if one.event_id in error.failures:
                failed.add(one.key)
            if one.key in failed:
                yield one

    return list(of_failed_keys())


async def publish_insistently(publisher: MessagePublisher, messages: Sequence[Message]) -> int:
    """Publish until all are confirmed; returns how many attempts failed."""
    failed = 0
    while messages:
        try:
            await publisher.publish(messages)
        except (UnconfirmedMessagesError, BrokerUnavailableError) as error:
            if isinstance(error, UnconfirmedMessagesError):
                messages = unconfirmed(messages, error)
            failed += 1
            await asyncio.sleep(0.05)
        else:
            break
    return failed
