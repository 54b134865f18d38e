"""The definition of a `Relay`: a courier that makes messages of events, and has its publisher send them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from uuid import UUID

from perdure.errors import (
    BrokerUnavailableError,
    ReactionKeyError,
    UnconfirmedMessagesError,
    UnpublishableMessageError,
)
from perdure.events import StoredEvent, registry
from perdure.message import JSON, Message
from perdure.projections.engines.reaction.courier import CourierDefinition, Parcel
from perdure.projections.engines.reaction.text_key import TextKeyCodec
from perdure.projections.state.failures import failed
from perdure.projections.state.identity import Key, KeyCodec
from perdure.relay import Relay
from perdure.tasks import is_ended_from_outside

Outcome = Exception | None


class RelayDefinition(CourierDefinition):
    """A relay, and what follows from it. See `Courier`."""

    concurrency = 32
    """One call sends a page. The others are for keys that are tried again."""
    most_at_once = 1000

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay.name, "relay")
        self.relay = relay
        self.start = relay.start
        self.retry = relay.retry
        self.key_codec: KeyCodec = TextKeyCodec("stream" if relay.key is None else "key")

    def wants(self, stored: StoredEvent) -> bool:  # noqa: ARG002 - a destination may depend on the payload
        """Return True: only the destination tells whether an event is sent."""
        return True

    def key_of(self, stored: StoredEvent) -> Key:
        """Return the key of an event. Raise ReactionKeyError, or what the user's function raises."""
        if self.relay.key is None:
            return (stored.stream_id,)
        key: object = self.relay.key(copy(stored))
        if not isinstance(key, str) or not key:
            raise ReactionKeyError(self.name, key)
        return (key,)

    async def deliver(self, parcels: Sequence[Parcel], timeout: float) -> Sequence[Outcome]:
        """Send the messages of events. See `Courier.deliver`."""
        failures: dict[UUID, Exception] = {}
        messages = list(self._messages(parcels, failures))
        if messages:
            failures |= await self._publish(messages, timeout)
        return list(_outcomes(parcels, failures)) if failures else [None] * len(parcels)

    def _messages(self, parcels: Sequence[Parcel], failures: dict[UUID, Exception]) -> Iterator[Message]:
        """Make the messages that are to be sent now: of a key none after an event that has no message by an error."""
        held_up = set[Key]()
        for stored, key, *_ in parcels:
            if key in held_up:
                continue
            try:
                message = self._message(stored, key)
            except BaseException as error:  # noqa: BLE001 - it may be raised by the user's code
                failures[stored.event_id] = failed(error)
                held_up.add(key)
                continue
            if message is not None:
                yield message

    async def _publish(self, messages: Sequence[Message], timeout: float) -> dict[UUID, Exception]:
        """Send messages. Return the first failure of each key that has one."""
        limit, task = asyncio.timeout(timeout), asyncio.current_task()
        try:
            async with limit:
                await self.relay.publisher.publish(messages)
        except UnconfirmedMessagesError as error:
            if error.failures and error.failures.keys() <= {message.event_id for message in messages}:
                return dict(error.failures)
            failure: Exception = error
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            failure = failed(error)
        else:
            return {}
        if not isinstance(failure, BrokerUnavailableError):
            reason = f"it took longer than {timeout:g} s" if limit.expired() else f"{type(failure).__name__}: {failure}"
            cause, failure = failure, BrokerUnavailableError(reason)
            failure.__cause__ = cause
        return {message.event_id: failure for message in messages}

    def _message(self, stored: StoredEvent, key: Key) -> Message | None:
        relay, shown = self.relay, copy(stored)  # the user's code may change it
        destination = relay.destination if isinstance(relay.destination, str) else relay.destination(shown)
        if destination is None:
            return None
        if not isinstance(destination, str):
            raise UnpublishableMessageError(destination, "the destination must be text, or None to send nothing")
        event_type, version, data = stored.event_type, stored.event_version, stored.event_data
        if relay.translate is not None:
            public = relay.translate(shown)
            if public is None:
                return None
            kind = registry.by_class(type(public))
            event_type, version, data = kind.name, kind.version, kind.codec.encode(public)
        metadata, event_id = stored.metadata, str(stored.event_id)
        attributes = {
            "specversion": "1.0",
            "id": event_id,
            "source": relay.source,
            "type": event_type,
            "subject": stored.stream_id,
            "time": metadata.timestamp.isoformat(),
            "datacontenttype": JSON,
            "eventversion": str(version),
            "partitionkey": key[0],
            "globalposition": str(stored.global_position),
        }
        if metadata.correlation_id is not None:
            attributes["correlationid"] = metadata.correlation_id
        if metadata.causation_id is not None:
            attributes["causationid"] = metadata.causation_id
        return Message(destination, key[0], stored.event_id, attributes, data.encode())


def _outcomes(parcels: Sequence[Parcel], failures: Mapping[UUID, Exception]) -> Iterator[Outcome]:
    """Return what became of each event: those behind a failure of their key have failed with it."""
    held_up: dict[Key, Exception] = {}
    for parcel in parcels:
        error = failures.get(parcel.stored.event_id)
        if error is not None:
            held_up.setdefault(parcel.key, error)
        yield held_up.get(parcel.key)
