"""Publishers that break what `MessagePublisher` promises, each in one way, to see that the tests find it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from perdure import UnconfirmedMessagesError
from perdure.integrations.nats import NatsPublisher
from perdure.message import Message


class EarlyPublisher(NatsPublisher):
    """Confirms messages before they are sent, and gives up on those that fail."""

    async def publish(self, messages: Sequence[Message]) -> None:
        _ = asyncio.gather(*map(self._send, messages), return_exceptions=True)


class DroppingPublisher(NatsPublisher):
    """Takes an error for a confirmation."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await asyncio.gather(*map(self._send, messages), return_exceptions=True)


class PipelinedPublisher(NatsPublisher):
    """Has all messages of a key under way at once, and names all that failed."""

    async def publish(self, messages: Sequence[Message]) -> None:
        outcomes = await asyncio.gather(*map(self._send, messages), return_exceptions=True)
        failures: dict[UUID, Exception] = {}
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failures[message.event_id] = outcome
        if failures:
            raise UnconfirmedMessagesError(failures)


class DoublingPublisher(NatsPublisher):
    """Gives a message another identity each time it is sent."""

    async def _send(self, message: Message) -> None:
        await self._client.jetstream().publish(message.destination, message.data, headers=message.headers("ce-"))
        await super()._send(message)
