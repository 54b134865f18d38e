"""The names of all spans, metrics and attributes. The table in ``docs/telemetry.md`` is compared with these."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""The upper bounds of the buckets of durations, from the semantic conventions for databases."""
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0, 20_000.0)


class Metric(NamedTuple):
    """One metric."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    attributes: tuple[str, ...]
    description: str


_PROJECTION: Final = ("perdure.projection", "perdure.projection_version", "perdure.projection_build")

METRICS: Final = {
    "perdure.append.duration": Metric(
        "histogram",
        "s",
        ("perdure.operation", "perdure.category", "error.type"),
        "How long appends take, including the wait in the queue",
    ),
    "perdure.append.events": Metric("counter", "{event}", ("perdure.category",), "Events that were appended"),
    "perdure.append.conflicts": Metric(
        "counter", "{conflict}", ("perdure.category",), "Appends that found another version of a stream"
    ),
    "perdure.append.batch.commits": Metric(
        "histogram", "{append}", (), "How many appends shared a statement and a commit"
    ),
    "perdure.append.batch.events": Metric("histogram", "{event}", (), "How many events these appends had"),
    "perdure.append.batch.duration": Metric("histogram", "s", (), "How long the database took for these appends"),
    "perdure.append.batch.repeats": Metric(
        "counter",
        "{append}",
        (),
        "Appends that were sent again, because their stream was locked or the connection was lost",
    ),
    "perdure.append.queue": Metric(
        "histogram", "{event}", (), "How many events were queued or under way after a batch"
    ),
    "perdure.load.duration": Metric(
        "histogram", "s", ("perdure.category", "error.type"), "How long loading an aggregate takes"
    ),
    "perdure.load.events": Metric(
        "histogram", "{event}", ("perdure.category",), "How many events were applied to load an aggregate"
    ),
    "perdure.load.snapshots": Metric(
        "counter", "{load}", ("perdure.category", "perdure.snapshot"), "Loads that looked for a snapshot"
    ),
    "perdure.load.cache": Metric(
        "counter", "{load}", ("perdure.category", "perdure.cache"), "Loads that looked for a cached state"
    ),
    "perdure.execute.duration": Metric(
        "histogram",
        "s",
        ("perdure.category", "error.type"),
        "How long it takes to load, decide and save, including all repeats",
    ),
    "perdure.execute.retries": Metric("counter", "{retry}", ("perdure.category",), "Attempts to save after the first"),
    "perdure.projection.batch.duration": Metric(
        "histogram",
        "s",
        (*_PROJECTION, "error.type"),
        "How long a projection takes to process a batch",
    ),
    "perdure.projection.batch.events": Metric(
        "histogram",
        "{event}",
        _PROJECTION,
        "How many events of a batch were written",
    ),
    "perdure.projection.delay": Metric(
        "histogram",
        "s",
        _PROJECTION,
        "Time from the recording of the last event of a batch until the rows include it",
    ),
    "perdure.projection.failures": Metric(
        "counter",
        "{failure}",
        (*_PROJECTION, "perdure.event_type", "error.type"),
        "How often a projection failed to process an event",
    ),
    "perdure.projection.parkings": Metric(
        "counter",
        "{event}",
        _PROJECTION,
        "Events that a projection has parked, including those that wait behind others",
    ),
    "perdure.projection.parked": Metric(
        "gauge", "{event}", _PROJECTION, "Events that are parked now, including those that wait behind others"
    ),
    "perdure.projection.lag": Metric(
        "gauge",
        "{position}",
        _PROJECTION,
        "How many positions of the log are still to be processed",
    ),
    "perdure.projection.lag_seconds": Metric(
        "gauge", "s", _PROJECTION, "How long the first event that is still to be processed has been in the log"
    ),
    "perdure.projection.running": Metric(
        "gauge", "1", _PROJECTION, "1 if the projection runs, 0 if it is paused, even if only in part"
    ),
    "perdure.deliver.duration": Metric(
        "histogram",
        "s",
        ("perdure.projection", "error.type"),
        "How long a call of a reaction takes",
    ),
    "perdure.deliver.events": Metric(
        "counter", "{event}", ("perdure.projection",), "Events that a reaction has handled, with repeats"
    ),
    "perdure.timer.fired": Metric("counter", "{timer}", (), "Timers of processes that became events"),
    "perdure.timer.lateness": Metric(
        "histogram", "s", (), "How long the first of the timers that fired together was due"
    ),
    "perdure.timer.due": Metric("gauge", "{timer}", (), "Timers that are due and haven't fired, up to 10,000"),
    "perdure.timer.due_seconds": Metric("gauge", "s", (), "How long the first of these has been due"),
    "perdure.errors": Metric(
        "counter", "{error}", ("perdure.operation", "error.type"), "Operations that ended with an error"
    ),
}


class SpanName(NamedTuple):
    """One name of spans."""

    kind: Literal["client", "internal", "consumer"]
    attributes: tuple[str, ...]
    description: str


_DATABASE: Final = ("db.system.name", "db.namespace", "db.operation.name")
_STREAM: Final = ("perdure.stream_id", "perdure.category")
_REQUEST: Final = ("perdure.correlation_id", "perdure.causation_id")
_END: Final = ("perdure.operation", "error.type")

SPANS: Final = {
    "append {category}": SpanName(
        "client",
        (
            *_DATABASE,
            *_STREAM,
            *_REQUEST,
            "perdure.events",
            "perdure.stream_version",
            "perdure.global_position",
            *_END,
        ),
        "Events are appended to a stream: by `save`, or by `append_to_stream`",
    ),
    "append_to_streams": SpanName(
        "client",
        (*_DATABASE, *_REQUEST, "perdure.streams", "perdure.events", "perdure.global_position", *_END),
        "Events are appended to several streams: by `save_all`, or by `append_to_streams`",
    ),
    "load {category}": SpanName(
        "client",
        (*_DATABASE, *_STREAM, *_REQUEST, "perdure.events", "perdure.snapshot", "perdure.cache", *_END),
        "An aggregate is loaded from its events",
    ),
    "execute {category}": SpanName(
        "internal",
        (*_STREAM, *_REQUEST, "perdure.exclusive", "perdure.attempts", "perdure.refusal", *_END),
        "A command is decided and saved, again after each conflict: `execute`, `save_with_retry`, `execute_all`",
    ),
    "projection_batch {projection}": SpanName(
        "consumer",
        (
            "messaging.system",
            "messaging.operation.type",
            "messaging.operation.name",
            "messaging.consumer.group.name",
            "messaging.batch.message_count",
            *_PROJECTION,
            "perdure.events",
            "perdure.global_position",
            *_END,
        ),
        "A projection processes events, and writes rows and checkpoint in one transaction",
    ),
    "deliver {projection}": SpanName(
        "consumer",
        (
            "messaging.system",
            "messaging.operation.type",
            "messaging.operation.name",
            "messaging.consumer.group.name",
            "messaging.batch.message_count",
            "perdure.projection",
            "perdure.event_type",
            "perdure.global_position",
            "perdure.events",
            *_END,
        ),
        "A reaction calls its handler for an event, without a transaction",
    ),
}

ATTRIBUTES: Final = {
    "db.system.name": "`postgresql`; missing for other stores",
    "db.namespace": "Database and schema: `shop|perdure`",
    "db.operation.name": "As `perdure.operation`",
    "messaging.system": "`perdure`",
    "messaging.operation.type": "`process`",
    "messaging.operation.name": "As `perdure.operation`",
    "messaging.consumer.group.name": "As `perdure.projection`",
    "messaging.batch.message_count": "How many events were read for the batch",
    "error.type": "The class of the error",
    "perdure.operation": "The operation: `append`, `load`, …",
    "perdure.category": "The category of the stream; metrics have no stream, because there are many",
    "perdure.stream_id": "The stream",
    "perdure.correlation_id": "The request, from the context",
    "perdure.causation_id": "The event or command that caused this, from the context",
    "perdure.events": "How many events: appended, applied on loading, written by the batch, or handled by the call",
    "perdure.streams": "How many streams",
    "perdure.stream_version": "The version of the stream afterwards",
    "perdure.global_position": "The position of the last event, or of the event in question, in the log",
    "perdure.snapshot": "`hit` if a snapshot was used, `miss` if there was none that fits",
    "perdure.cache": "`hit` if the state was cached, `miss` if the stream was replayed",
    "perdure.attempts": "The number of attempts",
    "perdure.exclusive": "`true` if the stream was locked for the command; missing if not",
    "perdure.refusal": "The class of the `DomainError` with which a rule refused: an answer, not a failure",
    "perdure.projection": "The projection or reaction",
    "perdure.projection_version": "Its version",
    "perdure.projection_build": "The number of the build of that version: a rebuild makes another",
    "perdure.event_id": "The event in question",
    "perdure.event_type": "The type of that event",
    "perdure.appends": "How many appends are concerned",
    "perdure.pause": "Seconds until the next attempt",
    "perdure.outage": "Seconds that an outage lasted",
}
"""The attributes of spans, metrics and log records, each under one name."""
