"""The calls about messages for brokers."""

from typing import Final
from uuid import UUID

from perdure import Message
from perdure.testing import InMemoryPublisher
from tests.bad_input.definition_calls import FUNCTION
from tests.bad_input.repository_calls import RETRY
from tests.bad_input.table import NO_ARGUMENTS, Call, Table, refused
from tests.bad_input.values import (
    HUGE_TEXT,
    NOT_A_COUNT,
    NOT_A_FUNCTION,
    NOT_TEXT,
    UNSTORABLE_TEXT,
    Nameless,
    but,
)

A_MESSAGE: Final = Message("notes", "note-1", UUID(int=1), {"id": "1"}, b"{}")
NOT_MESSAGES: Final = [
    refused([None, 5, "message", A_MESSAGE, [None], ["message"], [Message], [Nameless()], Nameless()])
]


async def sent(message: Message) -> None:
    """Keep nothing."""


MESSAGES: Final[Table] = {
    "Relay": Call(
        lambda _: {
            "name": "relay",
            "publisher": InMemoryPublisher(),
            "destination": "notes",
            "source": "/notes",
            "key": lambda stored: stored.stream_id,
            "translate": lambda stored: stored.event,
            "start": 0,
        },
        {
            "name": [refused([*NOT_TEXT, "", *UNSTORABLE_TEXT, HUGE_TEXT])],
            "publisher": [refused([None, 5, "nats://127.0.0.1", object(), Nameless(), InMemoryPublisher])],
            "destination": [refused([*but(NOT_A_FUNCTION, "f"), "", *UNSTORABLE_TEXT])],
            "source": [refused([*NOT_TEXT, "", "a b", "a\nb", *UNSTORABLE_TEXT])],
            "key": [refused(but(NOT_A_FUNCTION, None))],
            "translate": [refused(but(NOT_A_FUNCTION, None))],
            "start": [refused(NOT_A_COUNT)],
            "retry": RETRY,
        },
    ),
    "Message.headers": Call(
        lambda _: {"prefix": "ce-", "quoted": True},
        {"prefix": [refused([None, 5, b"ce-", Nameless()])], "quoted": [refused([None, 5, "true", Nameless()])]},
        lambda _: A_MESSAGE.headers,
    ),
    "Message.structured": Call(lambda _: {}, {}, lambda _: A_MESSAGE.structured),
    "MessagePublisher.publish": Call(
        lambda _: {"messages": [A_MESSAGE]}, {"messages": NOT_MESSAGES}, lambda _: InMemoryPublisher().publish
    ),
    "send_by_key": Call(
        lambda _: {"messages": [A_MESSAGE], "send": sent}, {"messages": NOT_MESSAGES, "send": FUNCTION}
    ),
    "InMemoryPublisher": NO_ARGUMENTS,
    "InMemoryPublisher.publish": Call(
        lambda _: {"messages": [A_MESSAGE]}, {"messages": NOT_MESSAGES}, lambda _: InMemoryPublisher().publish
    ),
    "InMemoryPublisher.fail": Call(
        lambda _: {"key": "note-1", "error": ValueError("a"), "times": 1},
        {
            "key": [refused([None, 5, b"note-1", Nameless()])],
            "error": [refused([None, 5, "error", ValueError, Nameless()])],
            "times": [refused([*NOT_A_COUNT, 0])],
        },
        lambda _: InMemoryPublisher().fail,
    ),
    "InMemoryPublisher.wait_for": Call(
        lambda _: {"count": 0}, {"count": [refused(NOT_A_COUNT)]}, lambda _: InMemoryPublisher().wait_for
    ),
}
