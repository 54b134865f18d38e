"""The observer that turns what the package reports into spans and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import NamedTuple

from opentelemetry import context as tracing
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider, get_tracer_provider, set_span_in_context

from perdure.errors import DomainError, OptimisticConcurrencyError
from perdure.observation import (
    Append,
    AppendBatch,
    AppendToStreams,
    Deliver,
    EventsParked,
    Execute,
    Fact,
    Load,
    Observer,
    Operation,
    ProjectionBatch,
    ProjectionFailed,
    ProjectionProgress,
    TimersDue,
    TimersFired,
)
from perdure.telemetry.metrics import metrics_of
from perdure.telemetry.spans import Attributes, beginning, category_of, ending, projection_of, trace_headers


class _UnderWay(NamedTuple):
    span: Span
    token: Token[tracing.Context]
    attributes: Attributes
    since: float


class Telemetry(Observer):
    """Reports what happens to OpenTelemetry.

    Args:
        tracer_provider: receives the spans; by default the global one.
        meter_provider: receives the metrics; by default the global one.
        traceparent: whether events get the header that names the span of their append.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None, *, traceparent: bool
    ) -> None:
        release = version("perdure")
        self._tracer = (tracer_provider or get_tracer_provider()).get_tracer("perdure", release)
        self._metrics = metrics_of(meter_provider or get_meter_provider(), release)
        self._metrics.forget()
        self._traceparent = traceparent

    def began(self, operation: Operation) -> _UnderWay:
        """Begin a span, and make it the current one."""
        target, kind, attributes, context, links = beginning(operation)
        attributes["perdure.operation"] = operation.name
        # Without the exception's text, which may hold data of events.
        span = self._tracer.start_span(
            operation.name if target is None else f"{operation.name} {target}",
            context=context,
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        )
        return _UnderWay(span, tracing.attach(set_span_in_context(span)), attributes, perf_counter())

    def ended(self, operation: Operation, mark: _UnderWay, error: BaseException | None) -> None:
        """End the span, and record its duration and result."""
        seconds = perf_counter() - mark.since
        tracing.detach(mark.token)
        attributes = mark.attributes | ending(operation)
        if isinstance(error, DomainError):
            # A refusal by a rule is an answer, not a failure.
            attributes["perdure.refusal"] = type(error).__qualname__
        elif error is not None:
            attributes["error.type"] = type(error).__qualname__
            self._metrics.record("perdure.errors", 1, attributes)
            if isinstance(error, Exception):
                mark.span.set_status(Status(StatusCode.ERROR))
        mark.span.set_attributes(attributes)
        mark.span.end()
        self._measure(operation, attributes, seconds)
        if isinstance(operation, Append | AppendToStreams) and isinstance(error, OptimisticConcurrencyError):
            self._metrics.record("perdure.append.conflicts", 1, _category(error.stream_id))

    def happened(self, fact: Fact) -> None:
        """Record what happened."""
        record = self._metrics.record
        match fact:
            case AppendBatch():
                record("perdure.append.batch.commits", fact.commits, {})
                record("perdure.append.batch.events", fact.events, {})
                record("perdure.append.batch.duration", fact.seconds, {})
                record("perdure.append.batch.repeats", fact.repeated, {})
                record("perdure.append.queue", fact.queued, {})
            case ProjectionFailed():
                kinds = {"perdure.event_type": fact.stored.event_type, "error.type": type(fact.error).__qualname__}
                record("perdure.projection.failures", 1, projection_of(fact) | kinds)
            case EventsParked():
                record("perdure.projection.parkings", fact.count, projection_of(fact))
            case TimersFired():
                record("perdure.timer.fired", fact.count, {})
                record("perdure.timer.lateness", fact.seconds, {})
            case ProjectionProgress() | TimersDue():
                self._metrics.show(fact)
            case _:
                pass

    def headers(self) -> Mapping[str, str]:
        """Return the header that names the current span, if events get it."""
        return trace_headers() if self._traceparent else {}

    def _measure(self, operation: Operation, attributes: Attributes, seconds: float) -> None:
        record = self._metrics.record
        match operation:
            case Append() | AppendToStreams():
                record("perdure.append.duration", seconds, attributes)
                for stream_id, count in _appended(operation).items():
                    record("perdure.append.events", count, _category(stream_id))
            case Load():
                self._measure_load(operation, attributes, seconds)
            case Execute():
                record("perdure.execute.duration", seconds, attributes)
                record("perdure.execute.retries", max(operation.attempts - 1, 0), attributes)
            case Deliver():
                record("perdure.deliver.duration", seconds, attributes)
                record("perdure.deliver.events", operation.delivered, attributes)
            case ProjectionBatch():
                record("perdure.projection.batch.duration", seconds, attributes)
                if operation.done:
                    last = operation.events[operation.done - 1]
                    delay = (datetime.now(UTC) - last.recorded_at).total_seconds()
                    record("perdure.projection.batch.events", operation.done, attributes)
                    record("perdure.projection.delay", max(delay, 0.0), attributes)
            case _:
                pass

    def _measure_load(self, operation: Load, attributes: Attributes, seconds: float) -> None:
        record = self._metrics.record
        record("perdure.load.duration", seconds, attributes)
        if "error.type" not in attributes:
            record("perdure.load.events", operation.events, attributes)
        if operation.snapshot is not None:
            record("perdure.load.snapshots", 1, attributes)
        if operation.cache is not None:
            record("perdure.load.cache", 1, attributes)


def _appended(operation: Append | AppendToStreams) -> Mapping[str, int]:
    if not operation.global_position:
        return {}
    return {operation.stream_id: operation.events} if isinstance(operation, Append) else operation.events


def _category(stream_id: str) -> dict[str, str]:
    return {"perdure.category": category_of(stream_id) or ""}
