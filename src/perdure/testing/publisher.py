"""`InMemoryPublisher`: what a relay would send, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from perdure.checks import check_count, check_instance, check_text
from perdure.message import Message
from perdure.message_publisher import send_by_key


class InMemoryPublisher:
    """A `MessagePublisher` that keeps the messages, as a broker that removes repeats.

    Attributes:
        messages: The messages in the order in which they arrived, each once.
        repeats: The messages that arrived again.
        outage: What `publish` raises as long as it is set, as if the broker couldn't be reached.

    Example:
        >>> import asyncio
        >>> from uuid import UUID
        >>> message = Message("users", "user-1", UUID(int=1), {}, b"{}")
        >>> publisher = InMemoryPublisher()
        >>> asyncio.run(publisher.publish([message, message]))
        >>> len(publisher.messages), len(publisher.repeats)
        (1, 1)
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.repeats: list[Message] = []
        self.outage: Exception | None = None
        self._known: set[tuple[str, UUID]] = set()
        self._failures: dict[str, list[Exception]] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        """Keep messages. See `MessagePublisher.publish`."""
        if self.outage is not None:
            raise self.outage
        await send_by_key(messages, self._send)

    def fail(self, key: str, error: Exception, times: int = 1) -> None:
        """Refuse the next messages of a key.

        Args:
            key: of the messages.
            error: what is raised instead.
            times: how many attempts fail.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        check_text("key", key)
        check_instance("error", error, Exception)
        check_count("times", times, 1)
        self._failures.setdefault(key, []).extend([error] * times)

    async def wait_for(self, count: int) -> list[Message]:
        """Return the first so many messages, once they have arrived.

        Raises:
            InvalidArgumentError: `count` isn't a whole number.
        """
        check_count("count", count)
        if len(self.messages) < count:
            arrived = asyncio.get_running_loop().create_future()
            self._waiting.append((count, arrived))
            await arrived
        return self.messages[:count]

    async def _send(self, message: Message) -> None:
        if failures := self._failures.get(message.key):
            raise failures.pop(0)
        identity = message.destination, message.event_id
        if identity in self._known:
            self.repeats.append(message)
            return
        self._known.add(identity)
        self.messages.append(message)
        for count, arrived in self._waiting:
            if count <= len(self.messages) and not arrived.done():
                arrived.set_result(None)
