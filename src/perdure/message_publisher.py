"""The port to brokers: `MessagePublisher`, and how to keep the order of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable
from uuid import UUID

from perdure.checks import check_function, check_instance
from perdure.errors import InvalidArgumentError, UnconfirmedMessagesError
from perdure.errors.formats import shown
from perdure.message import Message


@runtime_checkable
class MessagePublisher(Protocol):
    """Sends messages to a broker. Adapters are in `perdure.integrations`; `send_by_key` helps to write another.

    Example:
        >>> class Printer:
        ...     async def publish(self, messages: Sequence[Message]) -> None:
        ...         for message in messages:
        ...             print(message.destination, message.data.decode())
    """

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages, and return when the broker has confirmed all of them.

        Messages of one key arrive in the order given. After a message that the broker didn't confirm, no later message
        of its key is sent: a repeat would arrive too late. A repeated message has the same `event_id`.

        Raises:
            UnconfirmedMessagesError: some weren't confirmed. Messages that it doesn't name, and that come before those
                that it names, were confirmed. Their keys wait, and others go on.
            BrokerUnavailableError: the broker can't be reached. None counts as confirmed, and all messages wait. Any
                other error counts as this one.
        """
        ...


async def send_by_key(messages: Sequence[Message], send: Callable[[Message], Awaitable[object]]) -> None:
    """Send one message of each key at a time, and all keys at once. Use it to write a `MessagePublisher`.

    Args:
        messages: what to send.
        send: sends one message, and returns when the broker has confirmed it.

    Raises:
        UnconfirmedMessagesError: `send` failed. The rest of that key wasn't sent.
        InvalidArgumentError: an argument is invalid. Nothing was sent.

    Example:
        >>> import asyncio
        >>> async def send(message: Message) -> None:
        ...     print(message.key, message.data.decode())
        >>> messages = [
        ...     Message("users", key, UUID(int=number), {}, b"%d" % number) for number, key in enumerate("abaa")
        ... ]
        >>> asyncio.run(send_by_key(messages, send))
        a 0
        a 2
        a 3
        b 1
    """
    check_function("send", send)
    if not isinstance(messages, Sequence):
        raise InvalidArgumentError("messages", f"must be a sequence of Message, not {shown(messages)}")
    queues: dict[str, list[Message]] = {}
    for message in messages:
        check_instance("messages", message, Message)
        queues.setdefault(message.key, []).append(message)
    failures: dict[UUID, Exception] = {}

    async def send_queue(queue: Sequence[Message]) -> None:
        for message in queue:
            try:
                await send(message)
            except Exception as error:  # noqa: BLE001 - a broker's client may raise anything
                failures[message.event_id] = error
                return

    # All are waited for, also if this task is cancelled: nothing may be sent after the caller has gone on.
    for outcome in await asyncio.gather(*map(send_queue, queues.values()), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    if failures:
        raise UnconfirmedMessagesError(failures)
