"""`FastStreamPublisher`: messages to Kafka, RabbitMQ, Redis and NATS, through a broker of FastStream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from perdure.checks import check_flag, check_instance, check_seconds
from perdure.errors import (
    BrokerUnavailableError,
    InvalidArgumentError,
    MissingExtraError,
    UnconfirmedMessagesError,
    UnpublishableMessageError,
)
from perdure.errors.formats import shown
from perdure.message import STRUCTURED, Message
from perdure.message_publisher import send_by_key

if find_spec("faststream") is None:
    raise MissingExtraError("faststream", "the publisher for FastStream")

if TYPE_CHECKING:
    from faststream.confluent import KafkaBroker as ConfluentBroker
    from faststream.kafka import KafkaBroker
    from faststream.nats import NatsBroker
    from faststream.rabbit import RabbitBroker, RabbitExchange
    from faststream.redis import RedisBroker


class FastStreamPublisher:
    """Publishes through a broker of FastStream, and connects it if you haven't.

    | broker | the destination of a message is | a message is confirmed when |
    | --- | --- | --- |
    | `KafkaBroker` | a topic; the key selects the partition | the replicas that `acks` names have it |
    | `RabbitBroker` | a queue, or the routing key of `exchange` | it is in a durable queue |
    | `RedisBroker` | a Redis stream | Redis has it in memory |
    | `NatsBroker` | a subject of JetStream | JetStream has stored it |

    One message of a key is under way at a time, and all keys at once. Except for JetStream, these brokers keep repeats:
    consumers recognise them by the event's id.

    Example:
        >>> from faststream.redis import RedisBroker
        >>> publisher = FastStreamPublisher(RedisBroker("redis://127.0.0.1:6379"))
    """

    def __init__(
        self,
        broker: object,
        *,
        exchange: RabbitExchange | str | None = None,
        jetstream: str | None = None,
        structured: bool | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Publish through a broker.

        Args:
            broker: a `KafkaBroker` of ``faststream.kafka`` or ``faststream.confluent``, a `RabbitBroker`, a
                `RedisBroker`, or a `NatsBroker`. It stays yours to close. Give a `KafkaBroker` ``acks="all"`` and
                ``enable_idempotence=True``: FastStream's default loses messages with their server.
            exchange: for RabbitMQ: where to publish. By default, the destination is the name of a queue.
            jetstream: for NATS, where it is required: the name of the JetStream stream that takes the messages.
            structured: send attributes and data as one JSON object instead of attributes as headers. By default so for
                Redis, whose messages have no headers.
            timeout: how many seconds a message may wait for its confirmation.

        Raises:
            InvalidArgumentError: an argument is invalid, or isn't for this broker.
        """
        kind = _kind_of(broker)
        check_instance("jetstream", jetstream, str, type(None))
        if structured is not None:
            check_flag("structured", structured)
        check_seconds("timeout", timeout)
        _check_option("exchange", exchange, "RabbitBroker", kind, is_required=False)
        _check_option("jetstream", jetstream, "NatsBroker", kind, is_required=True)
        self._broker: Any = broker
        self._kind = kind
        self._option = exchange or jetstream
        self._structured = kind.prefix is None if structured is None else structured
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages, and return when the broker has confirmed all of them. See `MessagePublisher.publish`."""
        try:
            async with self._turn, asyncio.timeout(self._timeout):
                await self._broker.connect()  # does nothing if it is connected
        except Exception as error:
            raise BrokerUnavailableError(f"{type(error).__name__} while it connects") from error
        try:
            await send_by_key(messages, self._send)
        except UnconfirmedMessagesError as error:
            if not await self._broker.ping(self._timeout):
                raise BrokerUnavailableError("it doesn't answer a ping") from error
            raise

    async def _send(self, message: Message) -> None:
        if self._structured:
            body, headers, content_type = message.structured(), {}, STRUCTURED
        else:
            body = message.data
            headers = message.headers(self._kind.prefix or "ce-", quoted=self._kind.is_quoted)
            content_type = message.attributes["datacontenttype"]
        sent = _Sent(message, body, headers, content_type, self._option, self._timeout)
        async with asyncio.timeout(self._timeout):
            await self._kind.send(self._broker, sent)


class _Sent(NamedTuple):
    """A message as its broker gets it."""

    message: Message
    body: bytes
    headers: dict[str, str]
    content_type: str
    option: Any
    timeout: float

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, where the content type is one of them."""
        return {**self.headers, "content-type": self.content_type}

    @property
    def correlation_id(self) -> str:
        """What FastStream would make up otherwise, differently for each repeat."""
        return self.message.attributes.get("correlationid", str(self.message.event_id))


async def _to_kafka(broker: KafkaBroker | ConfluentBroker, sent: _Sent) -> None:
    key = sent.message.key.encode()
    await broker.publish(
        sent.body,
        sent.message.destination,
        key=key,
        headers=sent.all_headers,
        correlation_id=sent.correlation_id,
    )


async def _to_rabbit(broker: RabbitBroker, sent: _Sent) -> None:
    from pamqp.commands import Basic

    answer = await broker.publish(
        sent.body,
        exchange=sent.option,
        routing_key=sent.message.destination,
        persist=True,
        headers={**sent.headers},
        content_type=sent.content_type,
        message_id=str(sent.message.event_id),
        correlation_id=sent.correlation_id,
    )
    if not isinstance(answer, Basic.Ack):
        reason = (
            "its channel confirms nothing: give the RabbitBroker a channel with publisher_confirms=True"
            if answer is None
            else "RabbitMQ has no queue for it: declare one, and bind it"
        )
        raise UnpublishableMessageError(sent.message.destination, reason)


async def _to_redis(broker: RedisBroker, sent: _Sent) -> None:
    await broker.publish(
        sent.body, stream=sent.message.destination, headers=sent.all_headers, correlation_id=sent.correlation_id
    )


async def _to_nats(broker: NatsBroker, sent: _Sent) -> None:
    identity = {"Nats-Msg-Id": f"{sent.message.event_id}:{sent.message.destination}"}
    await broker.publish(
        sent.body,
        sent.message.destination,
        {**sent.all_headers, **identity},
        stream=sent.option,
        correlation_id=sent.correlation_id,
        timeout=sent.timeout,
    )


class _Kind(NamedTuple):
    """A kind of broker."""

    name: str
    send: Callable[[Any, _Sent], Awaitable[None]]
    prefix: str | None
    """What the headers of attributes begin with, as CloudEvents' protocol bindings say; None without headers."""
    is_quoted: bool = False
    """Whether the values of headers are percent-encoded."""


_KINDS: Final = {
    "faststream.kafka": _Kind("KafkaBroker", _to_kafka, "ce_"),
    "faststream.confluent": _Kind("KafkaBroker", _to_kafka, "ce_"),
    "faststream.rabbit": _Kind("RabbitBroker", _to_rabbit, "cloudEvents_"),
    "faststream.redis": _Kind("RedisBroker", _to_redis, None),
    "faststream.nats": _Kind("NatsBroker", _to_nats, "ce-", is_quoted=True),
}
"""The kinds, by the module that a program has imported if it has such a broker."""


def _kind_of(broker: object) -> _Kind:
    for module, kind in _KINDS.items():
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(broker, getattr(loaded, kind.name)):
            return kind
    raise InvalidArgumentError(
        "broker", f"must be a KafkaBroker, RabbitBroker, RedisBroker or NatsBroker of FastStream, not {shown(broker)}"
    )


def _check_option(argument: str, value: object, owner: str, kind: _Kind, *, is_required: bool) -> None:
    if value is not None and kind.name != owner:
        raise InvalidArgumentError(argument, f"is for a {owner}, not for a {kind.name}")
    if not value and is_required and kind.name == owner:
        raise InvalidArgumentError(
            argument, f"is required for a {owner}: without JetStream, NATS confirms no message and keeps none"
        )
