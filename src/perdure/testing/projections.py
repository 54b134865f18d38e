"""Projections in memory: the rows that result from events, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.events import NewEvent, StoredEvent, check_stream_id, encode_metadata
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, plan
from perdure.projections.engines.table.fold import fold as fold_batch

Row = TypeVar("Row")


def fold(projection: TableProjection[Row], events: Iterable[object], *, stream_id: str | None = None) -> dict[Any, Row]:
    """Return the rows that a projection derives from events, by key.

    Args:
        projection: the projection.
        events: payloads, a `NewEvent` where timestamp or headers matter, or a `StoredEvent` as a store reads it.
        stream_id: the stream of events that don't have one. Default: ``test-1``, or a stream of the projection's
            category, if it has one (`by_stream`).

    Raises:
        InvalidArgumentError: `events` isn't iterable.
        ProjectionDefinitionError: the projection is invalid.
        Exception: the error of the first handler that fails.

    Example:
        rows = fold(UserProfiles(), [UserRegistered(user_id="123", email="john@example.com")])
        assert rows["123"].email == "john@example.com"
    """
    return fold_tables(projection, events, stream_id=stream_id)[projection.name]


def fold_tables(
    projection: TableProjection[Any], events: Iterable[object], *, stream_id: str | None = None
) -> dict[str, dict[Any, Any]]:
    """Return what `fold` returns for all tables, including child tables, by table name and key."""
    definition = TableDefinition(projection)
    if not isinstance(events, Iterable):
        raise InvalidArgumentError("events", f"must be a list of events, not {shown(events)}")
    if stream_id is None:
        stream_id = f"{projection.by_stream or 'test'}-1"
    check_stream_id(stream_id)
    rows: Rows = {table.name: {} for table in definition.tables}
    for stored in _stored(events, stream_id):
        _, failure = fold_batch(definition, plan(definition, [stored]), rows)
        if failure is not None:
            raise failure.error
    return {
        table.view: {key[0] if len(key) == 1 else key: table.codec.decode(row) for key, row in rows[table.name].items()}
        for table in definition.tables
    }


def _stored(events: Iterable[object], stream_id: str) -> Iterator[StoredEvent]:
    for position, one in enumerate(events, start=1):
        if isinstance(one, StoredEvent):
            yield one
            continue
        new = one if isinstance(one, NewEvent) else NewEvent(one)
        yield StoredEvent(
            stream_id=stream_id,
            stream_version=position,
            global_position=position,
            event_id=new.event_id,
            event_type=new.event_kind.name,
            event_version=new.event_kind.version,
            event_data=new.event_data,
            stored_metadata=encode_metadata(new.timestamp, new.context),
            recorded_at=datetime.now(UTC),
        )
