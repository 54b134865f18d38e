"""`NatsPublisher`: messages to NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Final, cast

import msgspec

from perdure.checks import check_flag, check_seconds
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

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error
    from nats.js.api import Header
    from nats.js.errors import APIError, NoStreamResponseError
except ImportError as error:
    raise MissingExtraError("nats", "the publisher for NATS") from error

NO_RESPONDERS: Final = "503"


class _Refusal(msgspec.Struct):
    code: int | None = None
    err_code: int | None = None
    description: str | None = None


class _Answer(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    error: _Refusal | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class NatsPublisher:
    """Publishes to NATS JetStream. The destination of a message is its subject.

    Each message carries the id of its event and its subject in ``Nats-Msg-Id``, so the JetStream stream removes repeats
    within its ``duplicate_window``. One message of a key is under way at a time, and all keys at once: so a message
    that a failing server lost can't arrive after its successor.

    Example:
        >>> publisher = NatsPublisher(["nats://127.0.0.1:4222", "nats://127.0.0.1:4223"])
    """

    def __init__(self, client: Client | str | Sequence[str], *, structured: bool = False, timeout: float = 5.0) -> None:
        """Publish through a client of nats-py.

        Args:
            client: the client, which you connect and close; or the URLs of servers, to which the publisher connects
                when it is first used.
            structured: send attributes and data as one JSON object instead of attributes as headers.
            timeout: how many seconds a message may wait for its confirmation.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        self._servers = _checked_servers(client)
        check_flag("structured", structured)
        check_seconds("timeout", timeout)
        self._structured = structured
        self._timeout = timeout
        self._client = client if isinstance(client, Client) else Client()
        self._confirmations = _Confirmations(self._client, timeout)
        self._turn = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages, and return when JetStream has stored all of them. See `MessagePublisher.publish`."""
        if self._servers and not self._client.is_connected:
            await self._connect(self._servers)
        self._check_connected()
        try:
            await send_by_key(messages, self._send)
        except UnconfirmedMessagesError:
            self._check_connected()
            raise

    async def close(self) -> None:
        """Close the connection that this publisher has made. A client that was given stays open."""
        if self._servers and not self._client.is_closed:
            await self._client.close()

    async def _connect(self, servers: Sequence[str]) -> None:
        """Connect, once. After that, the client connects again by itself."""
        async with self._turn:
            if self._client.is_connected or self._client.is_reconnecting:
                return
            client = Client()
            try:
                async with asyncio.timeout(self._timeout):
                    await client.connect(list(servers), max_reconnect_attempts=-1)
            except (Error, OSError, TimeoutError) as error:
                await client.close()
                raise BrokerUnavailableError(f"{type(error).__name__} while it connects to NATS") from error
            self._client, self._confirmations = client, _Confirmations(client, self._timeout)

    def _check_connected(self) -> None:
        if not self._client.is_connected:
            # The client would send messages after the reconnect. By then, JetStream may have forgotten their ids.
            raise BrokerUnavailableError("the client isn't connected to NATS")

    async def _send(self, message: Message) -> None:
        subject = message.destination
        _check_subject(subject)
        self._check_connected()
        if self._structured:
            headers, body = {"Content-Type": STRUCTURED}, message.structured()
        else:
            headers, body = message.headers("ce-"), message.data
        headers[Header.MSG_ID.value] = f"{message.event_id}:{subject}"
        await self._confirmations.confirmed(subject, body, headers)


class _Confirmations:
    """Publishes with an address for the answer, and finds the message that an answer is for.

    `JetStreamContext.publish_async` of nats-py 2.16 does the same, but passes on no refusal (issue 985 of nats.py).
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._address = ""
        self._tokens = count()
        self._waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}
        """When each message times out, and what tells of its confirmation. The oldest comes first."""
        self._turn = asyncio.Lock()
        self._is_watching = False

    async def _listen(self) -> None:
        """Subscribe to the answers, once. The client does so again after a reconnect."""
        async with self._turn:
            if not self._address:
                address = f"{self._client.new_inbox()}."
                await self._client.subscribe(  # pyright: ignore[reportUnknownMemberType] - a Future of any type
                    f"{address}*", cb=self._take
                )
                self._address = address

    async def confirmed(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Publish, and return when JetStream has confirmed it."""
        if not self._address:
            await self._listen()
        loop = asyncio.get_running_loop()
        token, answer = str(next(self._tokens)), loop.create_future()
        self._waiting[token] = loop.time() + self._timeout, answer
        if not self._is_watching:
            self._watch(loop)
        try:
            await self._client.publish(subject, body, self._address + token, headers)
            await answer
        finally:
            del self._waiting[token]

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the wait for messages that have waited too long. One timer for all: one for each would cost more."""
        for due, answer in self._waiting.values():
            self._is_watching = due > loop.time()
            if self._is_watching:
                loop.call_at(due, self._watch, loop)
                return
            if not answer.done():
                answer.set_exception(TimeoutError(f"no confirmation within {self._timeout:g} s"))
        self._is_watching = False

    async def _take(self, message: Msg) -> None:
        _, answer = self._waiting.get(message.subject.rpartition(".")[2], (0.0, None))
        if answer is None or answer.done():  # it came too late
            return
        if failure := _failure(message):
            answer.set_exception(failure)
        else:
            answer.set_result(None)


def _failure(answer: Msg) -> Exception | None:
    """Return what an answer says went wrong; None if it says where the message is stored."""
    if answer.headers and answer.headers.get(Header.STATUS) == NO_RESPONDERS:
        return NoStreamResponseError()
    try:
        decoded = _decode(answer.data)
    except msgspec.MsgspecError:
        decoded = _Answer()
    if refusal := decoded.error:
        return APIError(refusal.code, refusal.description, refusal.err_code)
    if decoded.stream and decoded.seq:
        return None
    return Error("nats: something other than JetStream has answered, so the message isn't stored")


def _checked_servers(client: object) -> Sequence[str]:
    """Return the URLs to connect to; none if a client was given."""
    if isinstance(client, Client):
        return ()
    servers = [client] if isinstance(client, str) else cast("list[object]", client)
    if not isinstance(servers, list | tuple) or not servers or not all(isinstance(one, str) and one for one in servers):
        raise InvalidArgumentError("client", f"must be a Client of nats-py, or URLs of servers, not {shown(client)}")
    return cast("Sequence[str]", servers)


@lru_cache(maxsize=1000)
def _check_subject(subject: str) -> None:
    if any(token in {"", "*", ">"} for token in subject.split(".")) or not subject.isprintable() or " " in subject:
        raise UnpublishableMessageError(
            subject, "a subject of NATS is words with dots between them, without spaces and wildcards"
        )
