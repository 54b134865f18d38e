"""The attributes of a span for an operation: OpenTelemetry's own where they exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextvars import Context as ContextOfCaller
from functools import singledispatch
from itertools import islice
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perdure.context import current_context
from perdure.errors import PerdureError
from perdure.events import StoredEvent, check_stream_id
from perdure.observation import (
    Append,
    AppendToStreams,
    Deliver,
    EventsParked,
    Execute,
    Load,
    Operation,
    ProjectionBatch,
    ProjectionFailed,
    ProjectionProgress,
)
from perdure.store import EventStore

MOST_LINKS: Final = 128
"""As many as an SDK records by default."""

Attributes = dict[str, str | int]

_propagator = TraceContextTextMapPropagator()


class Beginning(NamedTuple):
    """What a new span begins with."""

    target: str | None
    """What the operation acts on. It has few different values."""
    kind: SpanKind
    attributes: Attributes
    context: Context | None = None
    """The parent of the span; None: the current span of the task."""
    links: Sequence[Link] = ()


@singledispatch
def beginning(operation: Operation) -> Beginning:
    """Return what is known of an operation when it begins."""
    raise NotImplementedError(operation.name)


@beginning.register
def _append(operation: Append) -> Beginning:
    known = _of_stream(operation.stream_id, SpanKind.CLIENT, _database(operation.store, operation.name))
    return known._replace(links=[Link(span) for span in islice(_current_spans(operation.sharing), MOST_LINKS)])


def _current_spans(callers: Iterable[ContextOfCaller]) -> Iterator[SpanContext]:
    """Yield the current span of each caller."""
    for caller in callers:
        span = caller.run(get_current_span).get_span_context()
        if span.is_valid:
            yield span


@beginning.register
def _append_to_streams(operation: AppendToStreams) -> Beginning:
    return Beginning(None, SpanKind.CLIENT, _database(operation.store, operation.name) | _request())


@beginning.register
def _load(operation: Load) -> Beginning:
    return _of_stream(operation.stream_id, SpanKind.CLIENT, _database(operation.store, operation.name))


@beginning.register
def _execute(operation: Execute) -> Beginning:
    return _of_stream(operation.stream_id, SpanKind.INTERNAL, {})


@beginning.register
def _batch(operation: ProjectionBatch) -> Beginning:
    events = operation.events
    attributes: Attributes = {
        "messaging.system": "perdure",
        "messaging.operation.type": "process",
        "messaging.operation.name": operation.name,
        "messaging.consumer.group.name": operation.projection,
        "messaging.batch.message_count": len(events),
    }
    attributes |= projection_of(operation)
    # An empty context: the batch isn't part of the span in which the service was started.
    return Beginning(
        operation.projection, SpanKind.CONSUMER, attributes, Context(), list(islice(_links(events), MOST_LINKS))
    )


@beginning.register
def _deliver(operation: Deliver) -> Beginning:
    events = operation.events
    attributes: Attributes = {
        "messaging.system": "perdure",
        "messaging.operation.type": "process",
        "messaging.operation.name": operation.name,
        "messaging.consumer.group.name": operation.reaction,
        "messaging.batch.message_count": len(events),
        "perdure.projection": operation.reaction,
        "perdure.event_type": events[0].event_type,
        "perdure.global_position": events[0].global_position,
    }
    return Beginning(operation.reaction, SpanKind.CONSUMER, attributes, None, list(islice(_links(events), MOST_LINKS)))


def projection_of(report: ProjectionBatch | ProjectionFailed | EventsParked | ProjectionProgress) -> Attributes:
    """Return the attributes that name the projection."""
    return {
        "perdure.projection": report.projection,
        "perdure.projection_version": report.projection_version,
        "perdure.projection_build": report.projection_build,
    }


@singledispatch
def ending(operation: Operation) -> Attributes:
    """Return what is known of an operation when it has ended."""
    raise NotImplementedError(operation.name)


@ending.register
def _appended(operation: Append) -> Attributes:
    if not operation.stream_version:
        return {"perdure.events": operation.events}
    return {
        "perdure.events": operation.events,
        "perdure.stream_version": operation.stream_version,
        "perdure.global_position": operation.global_position,
    }


@ending.register
def _appended_to_streams(operation: AppendToStreams) -> Attributes:
    known: Attributes = {"perdure.streams": len(operation.events), "perdure.events": sum(operation.events.values())}
    return known | {"perdure.global_position": operation.global_position} if operation.global_position else known


@ending.register
def _loaded(operation: Load) -> Attributes:
    found = {"perdure.snapshot": operation.snapshot, "perdure.cache": operation.cache}
    known: Attributes = {"perdure.events": operation.events}
    return known | {name: value for name, value in found.items() if value is not None}


@ending.register
def _executed(operation: Execute) -> Attributes:
    known: Attributes = {"perdure.attempts": operation.attempts}
    return known | {"perdure.exclusive": True} if operation.exclusive else known


@ending.register
def _taken(operation: ProjectionBatch) -> Attributes:
    if not operation.done:
        return {"perdure.events": 0}
    return {
        "perdure.events": operation.done,
        "perdure.global_position": operation.events[operation.done - 1].global_position,
    }


@ending.register
def _delivered(operation: Deliver) -> Attributes:
    return {"perdure.events": operation.delivered}


def category_of(stream_id: str | None) -> str | None:
    """Return the category of a stream; None if it isn't a stream id, because callers may pass anything."""
    try:
        check_stream_id(stream_id)
    except PerdureError:
        return None
    return None if stream_id is None else stream_id.partition("-")[0]


def trace_headers() -> dict[str, str]:
    """Return the headers that name the current span."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def _of_stream(stream_id: str | None, kind: SpanKind, attributes: Attributes) -> Beginning:
    category = category_of(stream_id)
    if stream_id is not None and category is not None:
        attributes |= {"perdure.stream_id": stream_id, "perdure.category": category}
    return Beginning(category, kind, attributes | _request())


def _database(store: object, operation: str) -> Attributes:
    database = store.database if isinstance(store, EventStore) else None
    if database is None:
        return {"db.operation.name": operation}
    return {
        "db.system.name": "postgresql",
        "db.namespace": "|".join(filter(None, (database.name, database.schema))),
        "db.operation.name": operation,
    }


def _request() -> Attributes:
    """Return the ids of the request. The user and the headers are left out, because they may hold anything."""
    context = current_context()
    known = {"perdure.correlation_id": context.correlation_id, "perdure.causation_id": context.causation_id}
    return {name: value for name, value in known.items() if value is not None}


def _links(events: Iterable[StoredEvent]) -> Iterator[Link]:
    """Yield a link to each span in which some of the events were appended."""
    seen: set[tuple[int, int]] = set()
    for stored in events:
        span = _appended_in(stored)
        if span is not None and (span.trace_id, span.span_id) not in seen:
            seen.add((span.trace_id, span.span_id))
            yield Link(span)


def _appended_in(stored: StoredEvent) -> SpanContext | None:
    if '"traceparent"' not in stored.stored_metadata:
        return None
    span = get_current_span(_propagator.extract(stored.metadata.headers, Context())).get_span_context()
    return span if span.is_valid else None
