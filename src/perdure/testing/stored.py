"""Stored events, to test upcasters and projections with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from perdure.checks import check_count, check_instance, checked_time
from perdure.commit import ANY, AppendResult, Commit, EncodedEvent
from perdure.context import current_context, current_sources
from perdure.errors import InvalidArgumentError
from perdure.events import StoredEvent, check_stream_id, encode_metadata
from perdure.events.definition import check_event_type, check_event_version
from perdure.store import EventStore


def stored_event(
    event_type: str,
    data: Mapping[str, Any],
    *,
    version: int = 1,
    timestamp: datetime | None = None,
    stream_id: str = "test-1",
    stream_version: int = 1,
) -> StoredEvent:
    """Return an event as older code stored it, whatever its class is now.

    Args:
        event_type: the stored name.
        data: the payload as JSON.
        version: the schema version of the payload.
        timestamp: when it happened, with a time zone. Default: now.
        stream_id: its stream.
        stream_version: its version in the stream, and its position in the log.

    Example:
        >>> from perdure import event
        >>> @event("bulb.changed")
        ... class BulbChanged:
        ...     watts: int
        ...     color: str = "white"
        >>> stored_event("bulb.changed", {"watts": 60}).event
        BulbChanged(watts=60, color='white')
    """
    check_event_type("event_type", event_type)
    check_instance("data", data, Mapping)
    check_event_version("version", version)
    check_stream_id(stream_id)
    check_count("stream_version", stream_version, 1)
    sources = current_sources()
    event_id = sources.new_id()
    happened_at = sources.now() if timestamp is None else checked_time("timestamp", timestamp)
    return StoredEvent(
        stream_id=stream_id,
        stream_version=stream_version,
        global_position=stream_version,
        event_id=event_id,
        event_type=event_type,
        event_version=version,
        event_data=_encoded(data),
        stored_metadata=encode_metadata(happened_at, current_context()),
        recorded_at=happened_at,
    )


async def append_stored(store: EventStore, stored: StoredEvent) -> AppendResult:
    """Append an event as older code stored it to the end of its stream, to test today's code with a real store.

    Nothing is checked against today's classes, so use it in tests only. The store gives the event its version and its
    position. Appending the same object again is a repeat, and writes nothing.

    Args:
        store: an open store.
        stored: the event, made by `stored_event`.

    Raises:
        InvalidArgumentError: an argument is of another type.
        What `EventStore.append_to_stream` raises about the database.

    Example:
        old = stored_event("order.placed", {"address": "Jena, DE"}, version=1, stream_id="order-1")
        await append_stored(store, old)
        assert (await orders.get("1")).city == "Jena"
    """
    check_instance("store", store, EventStore)
    check_instance("stored", stored, StoredEvent)
    encoded = EncodedEvent(
        stored.event_id, stored.event_type, stored.event_version, stored.event_data, stored.stored_metadata
    )
    size = len(stored.event_data) + len(stored.stored_metadata)
    return await store.append(Commit(stored.stream_id, ANY, (encoded,), size))


def _encoded(data: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.encode(data).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgumentError("data", f"can't be encoded as JSON: {error}") from error
